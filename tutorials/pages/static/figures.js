// Draws the figures of notebooks from their data, in the page's theme; the library is loaded only where there is one.
const places = [...document.querySelectorAll(".figure-data")];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A figure's own template is for white pages: on dark ones text, grid and ground change, marks keep their colours.
const themed = (layout) => {
  const ink = colour("--pst-color-text-base"), grid = colour("--pst-color-border");
  const axes = Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key));
  const lines = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, automargin: true };
  const changed = Object.fromEntries([...new Set(["xaxis", "yaxis", ...axes])].map((key) => [key, { ...layout[key], ...lines }]));
  return {
    ...layout, ...changed, width: undefined, autosize: true, font: { ...layout.font, color: ink },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    annotations: (layout.annotations ?? []).map((one) => ({ ...one, font: { ...one.font, color: ink } })),
  };
};

// evolab's colours by meaning, on light and on dark ground (`evolab/reporting/figures/colours.py`).
const PAIRS = {
  "#0066aa": "#5ab8f0", "#6b6f78": "#a5a9b4", "#00805d": "#2fc49a", "#c44f00": "#f58549", "#b04a86": "#e593c2",
  "#a87400": "#e9ae2b", "#7a5230": "#c69c72", "#3b3f46": "#d5d8de", "#1f2329": "#e6e8ec", "#5b616b": "#a9aeb8",
};

const coloured = (text) => {
  if (document.documentElement.dataset.theme !== "dark") return text;
  return text.replace(/#[0-9a-f]{6}\b/gi, (found) => PAIRS[found.toLowerCase()] ?? found);
};

const draw = () => {
  for (const place of places) {
    const { data, layout } = JSON.parse(coloured(place.querySelector("script").textContent));
    let box = place.querySelector("div");
    if (!box) place.append((box = document.createElement("div")));
    Plotly.react(box, data, themed(layout ?? {}), { responsive: true, displaylogo: false });
  }
};

if (places.length) {
  const script = document.createElement("script");
  script.src = new URL("plotly.min.js", document.currentScript?.src ?? document.querySelector("script[src*='figures.js']").src);
  script.onload = () => {
    draw();
    new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  };
  document.head.append(script);
}
