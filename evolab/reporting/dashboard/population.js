// The agents of the newest evaluated generation, best first; what all share is said once below the table.

function populationPanel(ui) {
  const { element, body, head } = panel("Population", null, "ev-population");
  const side = h("span", { class: "ev-side" });
  head.lastChild.append(side);
  const scroll = h("div", { class: "ev-scroll", tabindex: "0", "aria-label": "Population table" });
  const shared = h("p", { class: "ev-foot" });
  const hint = nothing(ui, "Here will be the agents of the newest generation, best first."), note = empty(hint);
  body.append(scroll, shared, note);
  let seen = null, columns = [], built = "", cells = [], fitted = 0, left = [];
  const save = saveMenu(ui, "Population", () => [columns.map(([name]) => name), ...seen.id.map((_, i) => columns.map(([, text]) => text(i)))]);
  head.lastChild.append(save);

  function draw(store) {
    const row = [...store.rows].reverse().find((r) => r.h);
    say(note, store.head.back && !row ? "Of this generation the page keeps fitness and ancestry alone." : hint);
    note.hidden = !!row; scroll.hidden = shared.hidden = side.hidden = save.hidden = !row;
    seen = row;
    if (!row) return;
    say(side, `generation ${group(row.n)}`);
    const spread = store.names.map((name, j) => ({ name, j, varies: new Set(row.h.map((v) => v[j])).size > 1 }));
    const varying = spread.filter((s) => s.varies), same = spread.filter((s) => !s.varies);
    const hidden = row.w || row.a.map(hiddenText), sizes = row.w ? "layers" : "hidden", same_hidden = new Set(hidden).size === 1;
    const activation = new Set(row.v).size > 1;
    columns = [
      ["agent", (i) => row.id[i], "num"],
      ["last change", (i) => change(row.d[i]) || lookOf(store.kinds[row.k[i]])[0], "words"],
      ["parent", (i) => (row.p[i] < 0 ? "–" : row.p[i]), "num", 2],
      ["fitness", (i) => fmt(row.f[i]), "num"],
      row.w ? (same_hidden ? null : ["layers", (i) => hidden[i], "words ev-sizes", 4]) : ["hidden", (i) => hidden[i], "num"],
      activation ? ["activation", (i) => row.v[i], "words", 3] : null,
      ["network size", (i) => fmt(row.m[i]), "num", 1],
      ...varying.map(({ name, j }, k) => [name, (i) => fmt(row.h[i][j]), "num", 4 + varying.length - k]),
    ].filter(Boolean);
    const plan = `${row.id.length} ${columns.map(([name]) => name)}`;
    if (plan !== built) { build(row.id.length); built = plan; fitted = 0; }
    cells.forEach((line, i) => columns.forEach(([, text], j) => (j === 1 ? renewChange(line[1], store, row, i) : say(line[j], text(i)))));
    if (scroll.clientWidth !== fitted) { fitted = scroll.clientWidth; for (const cell of scroll.querySelectorAll("th, td")) cell.style.display = ""; left = []; }
    left = [...new Set([...left, ...fit(scroll, columns)])];
    const text = same.map(({ name, j }) => `${name} ${fmt(row.h[0][j])}`);
    if (!activation) text.push(`activation ${row.v[0]}`);
    if (same_hidden) text.push(`${sizes} ${hidden[0]}`);
    const parts = [text.length ? `The same for all agents: ${text.join(" · ")}.` : "", left.length ? `A wider page also shows ${left.join(", ")}.` : ""];
    say(shared, parts.filter(Boolean).join(" "));
    shared.hidden = !shared.textContent;
  }

  // The table stays while its columns do, and only what its cells say is written anew.
  function build(agents) {
    const head = columns.map(([name, , style]) => h("th", { class: `ev-${style}`, scope: "col" }, name));
    const pin = (i) => h("button", { type: "button", class: "ev-link", title: "Pin this agent", onclick: () => ui.pin(seen.id[i], seen.n) });
    const rows = Array.from({ length: agents }, (_, i) => h("tr", i ? {} : { class: "ev-first" }, ...columns.map(([, , style], j) => h("td", { class: `ev-${style}` }, j ? null : pin(i)))));
    cells = rows.map((tr) => [tr.firstChild.firstChild, ...[...tr.children].slice(1)]);
    scroll.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows)));
  }

  function renewChange(cell, store, row, i) {
    const kind = store.kinds[row.k[i]], words = change(row.d[i]) || lookOf(kind)[0];
    renew(cell, `${kind} ${words}`, () => [h("span", { class: "ev-change", title: `${words} (${lookOf(kind)[0]}: ${MEANS[kind] || "a mutation of your own"})` }, mark(kind), h("span", {}, words))]);
  }
  return { element, draw };
}
