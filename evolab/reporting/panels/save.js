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

// A small button with a menu. `rows()` gives the numbers, heading first; `chart` a stage, where there is one.
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
  const c = ui.colours(), from = chart.canvas, ratio = from.width / (from.clientWidth || from.width);
  const made = document.createElement("canvas"), ctx = made.getContext("2d");
  made.width = from.width; made.height = from.height + Math.round(HEAD * ratio);
  ctx.fillStyle = c.bg; ctx.fillRect(0, 0, made.width, made.height);
  ctx.fillStyle = c.ink; ctx.font = `600 ${14 * ratio}px ${getComputedStyle(from).fontFamily}`;
  ctx.fillText(title, 10 * ratio, 20 * ratio);
  ctx.drawImage(from, 0, HEAD * ratio);
  made.toBlob(done, "image/png");
}

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
