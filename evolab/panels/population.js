// The agents of the newest evaluated generation, best first; what all share is said once below the table.

function populationPanel(ui) {
  const { element, body, head } = panel("Population", null, "ev-population");
  const side = h("span", { class: "ev-side" });
  head.append(side);
  const scroll = h("div", { class: "ev-scroll", tabindex: "0", "aria-label": "Population table" });
  const shared = h("p", { class: "ev-foot" });
  const note = empty(NOTHING);
  body.append(scroll, shared, note);

  function draw(store) {
    const row = [...store.rows].reverse().find((r) => r.h);
    note.hidden = !!row; scroll.hidden = shared.hidden = side.hidden = !row;
    if (!row) return;
    side.textContent = `generation ${group(row.n)}`;
    const spread = store.names.map((name, j) => ({ name, j, varies: new Set(row.h.map((v) => v[j])).size > 1 }));
    const varying = spread.filter((s) => s.varies), same = spread.filter((s) => !s.varies);
    const hidden = row.a.map(hiddenText), same_hidden = new Set(hidden).size === 1;
    const activation = new Set(row.v).size > 1;
    const columns = [
      ["agent", (i) => row.id[i], "num"],
      ["last change", (i) => change(store, row, i), "words"],
      ["parent", (i) => (row.p[i] < 0 ? "–" : row.p[i]), "num ev-optional"],
      ["fitness", (i) => fmt(row.f[i]), "num"],
      ["hidden", (i) => hidden[i], "num"],
      activation ? ["activation", (i) => row.v[i], "words ev-optional"] : null,
      ["parameters", (i) => fmt(row.m[i]), "num ev-optional"],
      ...varying.slice(0, 5).map(({ name, j }) => [name, (i) => fmt(row.h[i][j]), "num"]),
    ].filter(Boolean);
    const line = (cells, tag, attributes = {}) => h("tr", attributes, ...cells.map(([text, style]) => h(tag, { class: `ev-${style}`, ...(tag === "th" ? { scope: "col" } : {}) }, text)));
    const lines = row.id.map((_, i) => line(columns.map(([, text, style]) => [text(i), style]), "td", i ? {} : { class: "ev-first" }));
    scroll.replaceChildren(h("table", {}, h("thead", {}, line(columns.map(([name, , style]) => [name, style]), "th")), h("tbody", {}, ...lines)));
    const text = same.map(({ name, j }) => `${name} ${fmt(row.h[0][j])}`);
    if (!activation) text.push(`activation ${row.v[0]}`);
    if (same_hidden) text.push(`hidden ${hidden[0]}`);
    varying.slice(5).forEach(({ name }) => text.push(`${name} varies`));
    shared.textContent = text.length ? `All agents: ${text.join(" · ")}` : "";
    shared.hidden = !text.length;
  }

  function change(store, row, i) {
    const kind = store.kinds[row.k[i]];
    return h("span", { class: "ev-change", title: row.d[i] || lookOf(kind)[0] }, mark(kind), row.d[i] || lookOf(kind)[0]);
  }
  return { element, draw };
}
