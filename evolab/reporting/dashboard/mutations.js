// What each kind of mutation brought: how often it was tried, its gains, its share of the winner's ancestry.

function mutationsPanel(ui) {
  const { element, body, head } = panel("What mutations brought", null, "ev-mutations");
  const table = h("div", { class: "ev-effects" });
  const note = empty("Here will be what each kind of mutation brought: gains are known one generation after a mutation.");
  const foot = h("p", { class: "ev-foot" }, "Gain: fitness of the child after its first generation minus its parent\u2019s before; line: median, bar: middle half. Compare with \u201cnone\u201d, which was only trained on. Ancestry: share of the births in the winner\u2019s ancestry.");
  body.append(table, foot, note);
  const save = saveMenu(ui, "What mutations brought", () => [["kind", "name", "tried", "measured", "gain", "lower quartile", "upper quartile", "better than parent"],
    ...seen.map(([key, count, measured, low, middle, high, positive]) => [...(key.includes("/") ? key.split(/\/(.*)/s).slice(0, 2) : [key, ""]), count, measured, middle, low, high, positive])],
  intervals(ui, table, () => ({ heads: ["tried", "gain", "ancestry"], rows: shown })));
  head.lastChild.append(save);
  let seen = [], shown = [];

  function draw(store) {
    const rows = store.effects.filter(([key]) => !["elite", "revived", "migrated"].includes(key));
    const any = rows.length > 0;
    seen = rows;
    note.hidden = any; table.hidden = foot.hidden = save.hidden = !any;
    if (!any) return;
    const range = extent(rows.flatMap((r) => [r[3], r[5]]).concat(0)) || [-1, 1];
    const x = linear(range[0], range[1], 4, 96), most = Math.max(...rows.map((r) => r[1]));
    const order = rows.filter(([key]) => !key.includes("/")).flatMap((row) => [row, ...rows.filter(([key]) => key.startsWith(`${row[0]}/`)).slice(0, 6)]);
    const share = (key) => (store.line.length ? `${Math.round((100 * (store.line.kinds[key] || 0)) / store.line.length)}%` : "–");
    shown = order.map(([key, count, , low, middle, high]) => {
      const [kind, name] = key.split(/\/(.*)/s);
      return { name: name || lookOf(kind)[0], under: !!name, low, middle, high, colour: lookOf(kind)[1], words: [group(count), signed(middle), share(key)] };
    });
    const cells = ["", "tried", "gain", "", "ancestry"].map((text) => h("span", { class: "ev-th" }, text));
    for (const [key, count, measured, low, middle, high, positive] of order) {
      const [kind, name] = key.split(/\/(.*)/s);
      const colour = `var(--ev-${lookOf(kind)[1]})`;
      const title = `${MEANS[kind] || "a mutation of your own"}: ` + (measured ? `${positive} of ${measured} children did better than their parent` : "not measured yet");
      cells.push(
        h("span", { class: name ? "ev-sub" : "ev-kind", title }, name ? null : mark(kind), name || lookOf(kind)[0]),
        h("span", { class: "ev-count" }, h("i", { style: `width:${Math.max(2, (18 * count) / most)}px;background:${colour}` }), group(count)),
        whisker(x, low, middle, high, colour),
        h("span", { class: "ev-num" }, signed(middle)),
        h("span", { class: "ev-num" }, share(key)));
    }
    table.replaceChildren(...cells);
  }

  function whisker(x, low, middle, high, colour) {
    const zero = x(0), node = svg("svg", { viewBox: "0 0 100 14", class: "ev-whisker", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("line", { x1: zero, x2: zero, y1: 0, y2: 14, class: "ev-zero" }));
    if (middle != null) {
      node.append(svg("line", { x1: x(low), x2: x(high), y1: 7, y2: 7, style: `stroke:${colour};stroke-width:4;stroke-opacity:.45`, "vector-effect": "non-scaling-stroke" }),
        svg("line", { x1: x(middle), x2: x(middle), y1: 2, y2: 12, style: `stroke:${colour};stroke-width:3`, "vector-effect": "non-scaling-stroke" }));
    }
    return node;
  }
  return { element, draw };
}
