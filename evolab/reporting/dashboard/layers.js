// A network's layers in the order of the computation, as core/layers.py has them: [kind, size, kernel, stride, note, part].
// A bar is as high as its layer is wide in units, or in channels; a convolution stands with what follows it as one stage.

const DRAWN = 4;  // residual blocks of a stage; the words below have their number
const BASE = 56, TALL = 40;  // of the bars, in pixels: above them is room for connections that skip or return
const isStage = (kind) => ["conv", "max-pool", "residual block"].includes(kind);
const side = (kernel) => `${kernel}\u00d7${kernel}`;

function network(layers, words) {
  const most = (wide) => Math.max(1, ...layers.filter(([kind]) => isStage(kind) === wide).map(([, size]) => size));
  const limits = { true: most(true), false: most(false) }, tall = ([kind, size]) => Math.max(2, (TALL * size) / limits[isStage(kind)]);
  const alone = layers.every(([kind]) => kind === "linear"), names = [...new Set(layers.map((layer) => layer[5] || ""))];
  const several = names.length > 1 || names[0];
  const row = (name) => {
    const units = [];
    for (const layer of layers.filter((one) => (one[5] || "") === name)) {
      if (layer[0] === "conv" || !isStage(layer[0]) || !units.length) units.push([]);
      units[units.length - 1].push(layer);
    }
    return h("div", { class: "ev-row" }, several ? h("span", { class: "ev-part" }, name || "all") : null, ...units.map((unit) => (isStage(unit[0][0]) ? stageOf(unit, tall) : layerOf(unit[0], tall, alone))));
  };
  return h("div", { class: "ev-network", role: "img", "aria-label": words }, ...names.map(row));
}

// A drawing with words below it: the size first.
const unitOf = (width, shapes, size, words) => h("div", { class: "ev-unit" }, svg("svg", { viewBox: `0 0 ${width} ${BASE}`, width, height: BASE, "aria-hidden": "true" }, ...shapes), h("b", {}, group(size)), ...words.filter(Boolean).map((line) => h("span", {}, line)));
const bar = (x, width, high, name = "ev-layer") => svg("rect", { x, y: BASE - high, width, height: high, rx: Math.min(2, width / 4), class: name });

function layerOf(layer, tall, alone) {
  const [kind, size, kernel, , note] = layer, high = tall(layer), shapes = [bar(6, 20, high)], top = BASE - high;
  // What it gave a step ago comes back to it.
  if (kind === "GRU" || kind === "LSTM") shapes.push(svg("path", { class: "ev-skip", d: `M22 ${top - 2}v-2a5 5 0 0 0 -5 -5h-2a5 5 0 0 0 -5 5v2m-3 -3l3 3l3 -3` }));
  return unitOf(32, shapes, size, [alone ? "" : kind, kernel ? side(kernel) : "", note]);
}

function stageOf(stage, tall) {
  const conv = stage[0], high = tall(conv), pool = stage.find(([kind]) => kind === "max-pool"), blocks = stage.filter(([kind]) => kind === "residual block");
  const shapes = [bar(3, 10, high)], top = BASE - high;
  let x = 16;
  if (pool) {
    shapes.push(svg("path", { class: "ev-layer ev-pool", d: `M${x} ${BASE}v${-high}l8 ${0.25 * high}v${0.5 * high}z` }));
    x += 12;
  }
  for (let k = 0; k < Math.min(DRAWN, blocks.length); k++, x += 20) {
    // The map goes by both of a block's convolutions, and is added to what they make of it.
    shapes.push(bar(x + 1, 5, high), bar(x + 8, 5, high), svg("path", { class: "ev-skip", d: `M${x - 1} ${top + 4}v-4a5 5 0 0 1 5 -5h6a5 5 0 0 1 5 5v4` }));
  }
  const [, size, kernel, stride, note] = conv, by = (n) => (n > 1 ? `, stride ${n}` : "");
  return unitOf(x + 3, shapes, size, [`conv ${side(kernel)}${by(stride)}`, note, pool ? `max-pool ${side(pool[2])}${by(pool[3])}` : "", blocks.length ? `${blocks.length} residual block${blocks.length > 1 ? "s" : ""}` : ""]);
}
