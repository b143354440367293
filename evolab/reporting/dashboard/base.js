// Small tools that every panel shares: elements, numbers, scales, shapes, a tooltip, a canvas that follows its box.
// The parts of this folder are joined into one module in the order that page.py names; only dashboard.js exports.

const NS = "http://www.w3.org/2000/svg";

// Text enters the page through textContent alone, so a name can never become markup.
function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value != null) node.setAttribute(key, value);
  }
  node.append(...children.filter((c) => c != null).map((c) => (c instanceof Node ? c : String(c))));
  return node;
}

// Words that stay the same are left alone: new ones cost the page a layout and a repaint, four times a second.
function say(node, words) {
  if (node.textContent !== String(words)) node.textContent = words;
}

// Children that are made anew only where what they show has changed; `key` says it in words.
function renew(node, key, make) {
  if (MADE.get(node) === key) return;
  MADE.set(node, key);
  node.replaceChildren(...make());
}
const MADE = new WeakMap();

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function icon(path) {
  return svg("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true", fill: "currentColor" },
    svg("path", { d: path }));
}

const ICONS = {
  step: "M3 2.5v11l6.5-5.5zM10.5 2.5h2.5v11h-2.5z",
  run: "M4 2v12l9.5-6z",
  pause: "M3.5 2.5h3v11h-3zM9.5 2.5h3v11h-3z",
  stop: "M3 3h10v10H3z",
  save: "M7.2 1.5h1.6v6.2l2.2-2.2 1.1 1.1L8 10.7 3.9 6.6 5 5.5l2.2 2.2zM2.5 12.5h11v1.6h-11z",
  copy: "M5 1.5h8v10h-2v-1.4h.6V2.9H6.4v.6H5zM2.5 4.5h8v10h-8zM3.9 5.9v7.2h5.2V5.9z",
  drop: "M4 2.9 8 6.9l4-4L13.1 4l-4 4 4 4-1.1 1.1-4-4-4 4L2.9 12l4-4-4-4z",
  film: "M1.5 3h13v10h-13zM4 4.2v1.6h1.6V4.2zM4 10.2v1.6h1.6v-1.6zM10.4 4.2v1.6H12V4.2zM10.4 10.2v1.6H12v-1.6z",
};

// Unit shapes, centred on 0: drawn on canvases and in legends alike.
const SHAPES = {
  circle: "M.88 0A.88 .88 0 1 1 -.88 0A.88 .88 0 1 1 .88 0Z",
  ring: "M.88 0A.88 .88 0 1 1 -.88 0A.88 .88 0 1 1 .88 0ZM.45 0A.45 .45 0 1 0 -.45 0A.45 .45 0 1 0 .45 0Z",
  square: "M-.8 -.8H.8V.8H-.8Z",
  "triangle-up": "M0 -1L1 .8H-1Z",
  "triangle-down": "M0 1L1 -.8H-1Z",
  diamond: "M0 -1.08L1.08 0L0 1.08L-1.08 0Z",
  hexagon: "M1 0L.5 .87H-.5L-1 0L-.5 -.87H.5Z",
  cross: "M-.32 -1H.32V-.32H1V.32H.32V1H-.32V.32H-1V-.32H-.32Z",
  star: "M0 -1.15L.32 -.4L1.1 -.36L.5 .15L.7 .93L0 .5L-.7 .93L-.5 .15L-1.1 -.36L-.32 -.4Z",
  "star-open": "M0 -1.15L.32 -.4L1.1 -.36L.5 .15L.7 .93L0 .5L-.7 .93L-.5 .15L-1.1 -.36L-.32 -.4ZM0 -.52L-.16 -.14L-.55 -.13L-.25 .1L-.35 .48L0 .26L.35 .48L.25 .1L.55 -.13L.16 -.14Z",
};

const LOOKS = {
  first: ["first population", "none", "ring"],
  elite: ["elite, kept", "none", "star"],
  revived: ["archived elite, revived", "none", "star-open"],
  migrated: ["from another island", "none", "cross"],
  none: ["none", "none", "circle"],
  architecture: ["architecture", "architecture", "square"],
  parameters: ["parameters", "parameters", "triangle-up"],
  activation: ["activation", "activation", "triangle-down"],
  hyperparameters: ["hyperparameters", "hyperparameters", "diamond"],
};
// What a word of the panels means; the words are those of ev.Mutations and of the history's tables.
const MEANS = {
  first: "made at the start of the run", elite: "the best agent, kept as it is", revived: "the archived elite, back again",
  migrated: "the best agent of another island, with its weights and moments",
  none: "a copy of its parent, only trained on", architecture: "units or layers were added or removed",
  parameters: "noise was added to weights", activation: "another activation function", hyperparameters: "one hyperparameter was changed",
  new_layer: "of the mutations of architecture, the share that changes the number of layers", sd: "strength of the noise on weights, in units of each weight",
  resample: "of the mutations of hyperparameters, the share that draws a value anew",
};
const lookOf = (kind) => LOOKS[kind] || [kind, "other", "hexagon"];

function mark(kind, size = 11) {
  const [, colour, shape] = lookOf(kind);
  return svg("svg", { viewBox: "-1.25 -1.25 2.5 2.5", width: size, height: size, class: "ev-mark", "aria-hidden": "true" },
    svg("path", { d: SHAPES[shape], fill: `var(--ev-${colour})`, "fill-rule": "evenodd" }));
}

function fmt(value, digits = 4) {
  if (value == null || Number.isNaN(value)) return "–";
  return typeof value === "number" ? written(value, digits).replace(/^-/, "\u2212") : String(value);
}
function written(value, digits) {
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return group(value);
  if (size >= 1e7 || size < 1e-2) return value.toExponential(Math.max(1, digits - 3)).replace("e+", "e");
  if (size >= 1000) return group(Math.round(value));
  if (size >= 1) return value.toFixed(size >= 100 ? 1 : digits - 2);
  // A discount of 0.9996 is not 1.
  return String(Number(value.toPrecision(Math.max(digits - 1, Math.ceil(-Math.log10(1 - size))))));
}
const group = (value) => (Math.abs(value) < 10000 ? String(value)
  : String(value).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f"));
const compact = (value) => (Math.abs(value) >= 1e6 ? `${Number((value / 1e6).toPrecision(3))}M`
  : Math.abs(value) >= 1e4 ? `${Number((value / 1e3).toPrecision(3))}k` : fmt(value)).replace(/^-/, "\u2212");
const signed = (value) => (value == null ? "–" : (value > 0 ? "+" : value < 0 ? "\u2212" : "") + fmt(Math.abs(value), 3));
// A birth's record keeps four digits and plain signs; a reader wants two digits and an arrow.
const change = (detail) => String(detail || "").replace(/(?<![\w.])\d+(?:\.\d+(?:e[-+]?\d+)?|e[-+]?\d+)(?![\w.])/g, (v) => fmt(Number(v)))
  .replaceAll(" -> ", " \u2192 ").replace(/(\d)x(?=\d)/g, "$1\u00d7");
const hiddenText = (widths) => (widths && widths.length ? widths.join("\u00d7") : "–");

function ticks(low, high, wanted) {
  const raw = (high - low || 1) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.7);
  const found = [];
  for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) found.push(Math.abs(v) < step / 1e6 ? 0 : v);
  return found;
}

// The numbers of one axis have one unit and equally many decimals.
function together(values) {
  const most = Math.max(...values.map(Math.abs)), unit = most >= 1e6 ? [1e6, "M"] : most >= 1e4 ? [1e3, "k"] : [1, ""];
  const step = Math.abs((values[1] ?? 0) - (values[0] ?? 0)) / unit[0] || 1, digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  if (digits > 5) return compact;
  return (v) => (v ? `${(v / unit[0]).toFixed(digits).replace("-", "\u2212")}${unit[1]}` : "0");
}

const linear = (low, high, from, to) => (value) => from + ((value - low) / (high - low || 1)) * (to - from);

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (v != null && Number.isFinite(v)) { if (v < low) low = v; if (v > high) high = v; }
  return low > high ? null : [low, high];
}

// A canvas as wide as its box, sharp on any screen; draw(ctx, width, height) is called when either changes.
function stage(box, label, height, draw) {
  const canvas = h("canvas", { role: "img", "aria-label": label });
  box.append(canvas);
  let tall = height, wide = 0, drawn = false;
  // Asked for its width, a page that was just written to is laid out: so a box is measured when it changes alone.
  new ResizeObserver(() => { if (wide !== box.clientWidth) { wide = box.clientWidth; if (drawn) paint(); } }).observe(box);
  const paint = () => {
    drawn = true;
    if (!(wide ||= box.clientWidth)) return;
    const ratio = window.devicePixelRatio || 1, sizes = [Math.round(wide * ratio), Math.round(tall * ratio)];
    if (canvas.width !== sizes[0] || canvas.height !== sizes[1]) { [canvas.width, canvas.height] = sizes; canvas.style.height = `${tall}px`; }
    const ctx = canvas.getContext("2d");
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, wide, tall);
    ctx.font = `11px ${getComputedStyle(box).fontFamily}`;
    draw(ctx, wide, tall);
  };
  const pen = () => { const made = svgPen(box.clientWidth || 640, tall, getComputedStyle(box).fontFamily); draw(made, made.width, tall); return made; };
  return { canvas, paint, pen, resize: (value) => { tall = value; } };
}

function colours(node) {
  const style = getComputedStyle(node);
  const found = {};
  for (const name of ["ink", "muted", "grid", "bg", "winner", "cloud", "link", "target", "none", "architecture",
    "parameters", "activation", "hyperparameters", "other"]) found[name] = style.getPropertyValue(`--ev-${name}`).trim();
  // color-mix and nested variables are resolved by a probe, since a canvas knows neither.
  const probe = h("i", { style: "display:none" });
  node.append(probe);
  for (const name of Object.keys(found)) { probe.style.color = `var(--ev-${name})`; found[name] = getComputedStyle(probe).color; }
  probe.remove();
  return found;
}

// Hollow: an outline, for agents that were not evaluated yet.
function drawShape(ctx, shape, x, y, size, hollow = false) {
  if (ctx.shape) return ctx.shape(SHAPES[shape], x, y, size, hollow);
  const path = PATHS[shape] || (PATHS[shape] = new Path2D(SHAPES[shape]));
  ctx.save();
  ctx.translate(x, y);
  ctx.scale(size, size);
  if (hollow) { ctx.lineWidth = 1.5 / size; ctx.stroke(path); } else ctx.fill(path, "evenodd");
  ctx.restore();
}
const PATHS = {};

// The name of the vertical axis stands above it, that of the horizontal one below its right end.
function names(ctx, c, box, xname, yname) {
  ctx.fillStyle = c.muted;
  ctx.textBaseline = "top"; ctx.textAlign = "right"; ctx.fillText(xname, box.right - 2, box.bottom + 19);
  ctx.textBaseline = "alphabetic"; ctx.textAlign = "left"; ctx.fillText(yname, Math.max(0, box.left - 44), box.top - 8);
}

function axes(ctx, c, box, x, y, xticks, yticks, xlabel = together(xticks), ylabel = together(yticks)) {
  ctx.lineWidth = 1;
  ctx.strokeStyle = c.grid;
  ctx.fillStyle = c.muted;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  for (const v of yticks) {
    const py = Math.round(y(v)) + 0.5;
    ctx.beginPath(); ctx.moveTo(box.left, py); ctx.lineTo(box.right, py); ctx.stroke();
    ctx.fillText(ylabel(v), box.left - 6, py);
  }
  ctx.textAlign = "center";
  ctx.textBaseline = "top";
  // The last label ends where the chart does, however long it is.
  for (const v of xticks) { const text = xlabel(v); ctx.fillText(text, Math.min(Math.max(x(v), box.left), box.right + 6 - ctx.measureText(text).width / 2), box.bottom + 5); }
}

function makeTip(root) {
  const node = h("div", { class: "ev-tip", role: "status" });
  root.append(node);
  return {
    show(event, lines) {
      node.replaceChildren(...lines.filter(Boolean).map((line, i) => h("div", i ? {} : { class: "ev-tip-head" }, line)));
      node.style.display = "block";
      const area = root.getBoundingClientRect();
      const left = event.clientX - area.left + 14, top = event.clientY - area.top + 14;
      node.style.left = `${Math.max(4, Math.min(left, area.width - node.offsetWidth - 4))}px`;
      node.style.top = `${top + node.offsetHeight > area.height ? top - node.offsetHeight - 24 : top}px`;
    },
    hide() { node.style.display = "none"; },
  };
}

function describe(store, row, i) {
  const kind = row.k ? store.kinds[row.k[i]] : null, ring = i ? -1 : store.rings.n.indexOf(row.n);
  const lines = [row.id ? `agent ${row.id[i]} · generation ${row.n}` : `generation ${row.n}, rank ${i + 1}`];
  lines.push((row.f[i] == null ? "no finite fitness" : `fitness ${fmt(row.f[i])}`) + (ring < 0 ? "" : ` · confirmed ${fmt(store.rings.f[ring])} \u2713`));
  if (kind) {
    const parent = row.p[i] >= 0 && row.p[i] !== row.id[i] ? ` from agent ${row.p[i]}` : "";
    lines.push(`${lookOf(kind)[0]}${parent}${row.d && row.d[i] ? `: ${change(row.d[i])}` : ""}`);
  }
  if (row.c && row.c[i] != null) lines.push(`policy changed by up to ${fmt(row.c[i], 3)}`);
  if (row.h) {
    lines.push(store.names.map((name, j) => `${name} ${fmt(row.h[i][j])}`).join(" · "));
    lines.push(`${row.w ? `layers ${row.w[i]},` : `hidden ${hiddenText(row.a[i])}`} ${row.v[i]} · network size ${fmt(row.m[i])} · trained ${fmt(row.s[i])} steps`);
  }
  return lines;
}

// Sizes alone, where there is no room for kernels and strides.
const briefly = (words) => words.replace(/ \([^)]*\)/g, "");

function panel(title, extra = null, className = "") {
  const body = h("div", { class: "ev-body" });
  const head = h("div", { class: "ev-head" }, h("h3", {}, title), h("div", { class: "ev-tools" }, extra));
  return { element: h("section", { class: `ev-panel ${className}`, "aria-label": title }, head, body), body, head };
}

// Columns that a narrow page has no room for give way, by what is missed least (the fourth entry; 0 stays): nothing
// scrolls sideways. Gives the names of those.
function fit(scroll, columns, first = 0) {
  const rows = [...scroll.querySelectorAll("tr")], table = scroll.firstChild, hidden = [];
  const order = columns.map(([, , , least], i) => [least, i]).filter(([least]) => least).sort((a, b) => a[0] - b[0]);
  // A fraction of a pixel too wide is cut as well.
  while (scroll.clientWidth && table.getBoundingClientRect().width > scroll.clientWidth && order.length) {
    const [, i] = order.shift();
    for (const tr of rows) tr.children[first + i].style.display = "none";
    hidden.push(i);
  }
  return hidden.sort((a, b) => a - b).map((i) => columns[i][0]);
}

const empty = (text) => h("p", { class: "ev-empty" }, text);
const nothing = (ui, words) => `${words} ${ui.still ? "Call" : "Press Step, or call"} exp.step().`;
