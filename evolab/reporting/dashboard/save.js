// What a figure is saved as: a picture as it is seen, a drawing without loss, or its numbers.

const HEAD = 30;  // pixels above a saved figure, for its title

function download(name, data, type) {
  const url = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type }));
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// Cells with commas, quotes or line breaks are quoted, as RFC 4180 has it.
const csv = (rows) => rows.map((row) => row.map((v) => (v == null ? "" : /[",\n]/.test(String(v)) ? `"${String(v).replaceAll('"', '""')}"` : String(v))).join(",")).join("\r\n") + "\r\n";

// A small button with a menu. `rows()` gives the numbers, heading first; `chart` a stage or a figure of several, where there is one.
function saveMenu(ui, title, rows, chart = null) {
  const file = title.toLowerCase().replace(/[^a-z0-9]+/g, "-"), menu = h("div", { class: "ev-menu", role: "menu", hidden: true });
  const button = h("button", { type: "button", class: "ev-icon ev-save", title: "Save this figure", "aria-label": `Save ${title}`, "aria-haspopup": "menu", "aria-expanded": "false" }, icon(ICONS.save));
  const box = h("div", { class: "ev-saver" }, button, menu);
  const open = (is) => { menu.hidden = !is; button.setAttribute("aria-expanded", String(is)); };
  const item = (words, act) => h("button", { type: "button", role: "menuitem", onclick: () => { open(false); button.focus(); act(); } }, words);
  if (chart) menu.append(item("PNG picture", () => png(title, chart, ui, (blob) => download(`${file}.png`, blob))),
    item("SVG drawing", () => download(`${file}.svg`, drawing(title, chart, ui), "image/svg+xml")));
  menu.append(item("CSV table", () => download(`${file}.csv`, csv(rows()), "text/csv")));
  button.addEventListener("click", () => { open(menu.hidden); if (!menu.hidden) menu.firstChild.focus(); });
  box.addEventListener("keydown", (event) => {
    const items = [...menu.children], at = items.indexOf(document.activeElement), move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape" && !menu.hidden) { open(false); button.focus(); event.stopPropagation(); }
    else if (move && at >= 0) { event.preventDefault(); items[(at + move + items.length) % items.length].focus(); }
  });
  box.addEventListener("focusout", (event) => { if (!box.contains(event.relatedTarget)) open(false); });
  return box;
}

function png(title, chart, ui, done) {
  if (!chart.canvas) return pictured(drawing(title, chart, ui), done);
  const c = ui.colours(), from = chart.canvas, ratio = from.width / (from.clientWidth || from.width);
  const made = document.createElement("canvas"), ctx = made.getContext("2d");
  made.width = from.width; made.height = from.height + Math.round(HEAD * ratio);
  ctx.fillStyle = c.bg; ctx.fillRect(0, 0, made.width, made.height);
  ctx.fillStyle = c.ink; ctx.font = `600 ${14 * ratio}px ${getComputedStyle(from).fontFamily}`;
  ctx.fillText(title, 10 * ratio, 20 * ratio);
  ctx.drawImage(from, 0, HEAD * ratio);
  made.toBlob(done, "image/png");
}

// A drawing as a picture, twice as large: of figures that no single canvas shows.
function pictured(text, done) {
  const image = new Image(), url = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  image.onload = () => {
    const made = document.createElement("canvas");
    made.width = 2 * image.width; made.height = 2 * image.height;
    made.getContext("2d").drawImage(image, 0, 0, made.width, made.height);
    URL.revokeObjectURL(url);
    made.toBlob(done, "image/png");
  };
  image.src = url;
}

// Small charts as one figure, four to a row; `list()` gives each as { name, now, chart }.
const gallery = (ui, list) => ({
  pen() {
    const c = ui.colours(), found = list().map((one) => ({ ...one, pen: one.chart.pen() })), columns = Math.min(4, found.length);
    const wide = Math.max(...found.map((one) => one.pen.width)) + 20, tall = Math.max(...found.map((one) => one.pen.height)) + 30;
    const made = svgPen(columns * wide, Math.ceil(found.length / columns) * tall, found[0].pen.family);
    found.forEach(({ name, now, pen }, i) => {
      made.parts.push(`<g transform="translate(${10 + (i % columns) * wide} ${Math.floor(i / columns) * tall})"><text y="14" fill="${c.muted}">${markup(name)}</text>`
        + `<text x="${pen.width}" y="14" text-anchor="end" font-weight="600" fill="${c.ink}">${markup(now)}</text><g transform="translate(0 18)">${pen.parts.join("")}</g></g>`);
    });
    return made;
  },
});

// Intervals as one figure, a line each; `list()` gives { heads, rows }, a row as { name, under, low, middle, high, colour, bar, words }.
const intervals = (ui, node, list) => ({
  pen() {
    const c = ui.colours(), { heads, rows } = list(), made = svgPen(420 + 66 * heads.length, 22 * rows.length + 30, getComputedStyle(node).fontFamily);
    const range = extent(rows.flatMap((r) => [r.low, r.middle, r.high]).concat(0)), x = linear(range[0], range[1], 180, 400);
    const words = (texts, y) => { made.textAlign = "right"; made.fillStyle = c.muted; texts.forEach((text, k) => made.fillText(text, 410 + 66 * (k + 1), y)); };
    made.textBaseline = "middle";
    words(heads, 10);
    made.fillStyle = c.link; made.fillRect(x(0) - 0.5, 20, 1, 22 * rows.length);
    rows.forEach((r, i) => {
      const y = 31 + 22 * i;
      made.textAlign = "left"; made.fillStyle = r.under ? c.muted : c.ink; made.fillText(r.name, r.under ? 26 : 10, y);
      words(r.words, y);
      made.fillStyle = c[r.colour];
      if (r.middle == null) return;
      made.globalAlpha = 0.5;
      if (r.bar) made.fillRect(x(0), y - 4, x(r.middle) - x(0), 8); else made.fillRect(x(r.low), y - 2, x(r.high) - x(r.low), 4);
      made.globalAlpha = 1;
      if (!r.bar) made.fillRect(x(r.middle) - 1.5, y - 5, 3, 10);
      else if (r.low != null) { made.fillStyle = c.ink; made.fillRect(x(r.low), y - 0.75, x(r.high) - x(r.low), 1.5); }
    });
    return made;
  },
});

function drawing(title, chart, ui) {
  const c = ui.colours(), pen = chart.pen(), { width, height } = pen;
  const head = `<text x="10" y="20" font-size="14" font-weight="600" fill="${c.ink}">${markup(title)}</text>`;
  return `<svg xmlns="${NS}" width="${width}" height="${height + HEAD}" viewBox="0 0 ${width} ${height + HEAD}" font-family="${markup(pen.family)}" font-size="11">`
    + `<rect width="100%" height="100%" fill="${c.bg}"/>${head}<g transform="translate(0 ${HEAD})">${pen.parts.join("")}</g></svg>`;
}

const markup = (text) => String(text).replace(/[&<>"]/g, (v) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[v]);

// The few methods of a canvas that the panels use, written down as SVG elements.
function svgPen(width, height, family) {
  const parts = [], r = (v) => Math.round(v * 100) / 100;
  let path = "", dash = [];
  const pen = {
    width, height, family, parts, fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, globalAlpha: 1, textAlign: "left", textBaseline: "alphabetic", lineJoin: "miter",
    save() {}, restore() {}, setLineDash(value) { dash = value; },
    beginPath() { path = ""; },
    moveTo(x, y) { path += `M${r(x)} ${r(y)}`; },
    lineTo(x, y) { path += `L${r(x)} ${r(y)}`; },
    bezierCurveTo(a, b, d, e, x, y) { path += `C${[a, b, d, e, x, y].map(r).join(" ")}`; },
    closePath() { path += "Z"; },
    arc(x, y, size) { path += `M${r(x + size)} ${r(y)}A${size} ${size} 0 1 1 ${r(x - size)} ${r(y)}A${size} ${size} 0 1 1 ${r(x + size)} ${r(y)}Z`; },
    stroke() { if (path) parts.push(`<path d="${path}" fill="none" stroke="${pen.strokeStyle}" stroke-width="${pen.lineWidth}" opacity="${pen.globalAlpha}"${dash.length ? ` stroke-dasharray="${dash.join(" ")}"` : ""}/>`); },
    fill() { if (path) parts.push(`<path d="${path}" fill="${pen.fillStyle}" opacity="${pen.globalAlpha}"/>`); },
    fillRect(x, y, w, t) { parts.push(`<rect x="${r(Math.min(x, x + w))}" y="${r(Math.min(y, y + t))}" width="${r(Math.abs(w))}" height="${r(Math.abs(t))}" fill="${pen.fillStyle}" opacity="${pen.globalAlpha}"/>`); },
    shape(d, x, y, size, hollow) {
      const paint = hollow ? `fill="none" stroke="${pen.strokeStyle}" stroke-width="${r(1.5 / size)}"` : `fill="${pen.fillStyle}" fill-rule="evenodd"`;
      parts.push(`<path d="${d}" transform="translate(${r(x)} ${r(y)}) scale(${r(size)})" ${paint} opacity="${pen.globalAlpha}"/>`);
    },
    fillText(text, x, y) {
      const anchor = { center: "middle", right: "end" }[pen.textAlign] || "start", base = { middle: "central", top: "hanging" }[pen.textBaseline] || "auto";
      parts.push(`<text x="${r(x)}" y="${r(y)}" text-anchor="${anchor}" dominant-baseline="${base}" fill="${pen.fillStyle}">${markup(text)}</text>`);
    },
    measureText: (text) => ({ width: 6.2 * String(text).length }),
  };
  return pen;
}
