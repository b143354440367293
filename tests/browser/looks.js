// What a number can check about looks; each function gives a list of what is wrong.

// Colours may come as rgb(), rgba() or color(srgb ...).
const parse = (text) => {
  const v = text.match(/[-.\de]+/g).map(Number), unit = text.startsWith("color(") ? 255 : 1;
  return [v[0] * unit, v[1] * unit, v[2] * unit, v[3] ?? 1];
};

// Relative luminance as WCAG 2 defines it.
const luminance = (colour) => {
  const [r, g, b] = colour.slice(0, 3).map((x) => x / 255)
    .map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};

const behind = (node) => {
  for (let n = node; n; n = n.parentElement) {
    const colour = parse(getComputedStyle(n).backgroundColor.replace("transparent", "rgba(0, 0, 0, 0)"));
    if (colour[3] > 0.9) return colour;
  }
  return [255, 255, 255, 1];
};

const contrast = () => {
  const poor = new Set();
  for (const node of document.querySelectorAll(".evolab *")) {
    const words = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!words || !node.checkVisibility() || node.closest(":disabled, option, style, script")) continue;
    const a = luminance(parse(getComputedStyle(node).color)), b = luminance(behind(node));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.add(`${node.className} "${node.textContent.slice(0, 20)}" ${ratio.toFixed(2)}`);
  }
  return [...poor];
};

const overlaps = () => {
  const boxes = [...document.querySelectorAll(".ev-panel, .evolab header")].filter((n) => n.checkVisibility())
    .map((n) => [n.getAttribute("aria-label") || "header", n.getBoundingClientRect()]);
  const apart = (p, q) => p.left >= q.right - 1 || q.left >= p.right - 1 || p.top >= q.bottom - 1 || q.top >= p.bottom - 1;
  return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([, q]) => !apart(p, q)).map(([b]) => `${a} / ${b}`));
};

const wide = (selector) => [...document.querySelectorAll(selector)]
  .filter((n) => n.checkVisibility() && n.scrollWidth > n.clientWidth + 1 && getComputedStyle(n).display !== "inline")
  .map((n) => `${n.className || n.tagName} "${n.textContent.slice(0, 24)}" ${n.scrollWidth} > ${n.clientWidth}`);

const clipped = () => wide(".evolab :is(button, h2, h3, b, .ev-kind, .ev-sub, .ev-rate span, .ev-fact, .ev-num, .ev-panel)");
const sideways = () => wide(".evolab, .ev-scroll, .jp-NotebookPanel-notebook, .jp-OutputArea-output");

({ sideways: sideways(), overlaps: overlaps(), clipped: clipped(), contrast: contrast() });
