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

const draw = () => {
  for (const place of places) {
    const { data, layout } = JSON.parse(place.querySelector("script").textContent);
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
