// The runs as a table: sorted by a click on a heading, filtered by words; a tick takes a run to the charts and to the winners.

function tablePanel(ui) {
  const { element, body, head } = panel("Runs", null, "ev-wide");
  const find = h("input", { type: "search", class: "ev-find", placeholder: "filter: words, or lr<0.001 seed=2", "aria-label": "Filter runs", oninput: () => { ui.query = find.value; ui.changed(); } });
  const found = h("span", { class: "ev-side", role: "status" });
  const scroll = h("div", { class: "ev-scroll ev-runs", tabindex: "0", "aria-label": "Table of runs" }), note = empty("Here will be every run below the folder, as soon as it is saved for the first time.");
  const foot = h("p", { class: "ev-foot" });
  body.append(scroll, foot, note);
  let by = "best", down = true, last = null, shown = [];
  const save = saveMenu(ui, "Runs", () => [columns(last).map(([name]) => name), ...sorted(shown, columns(last)).map((run) => columns(last).map(([, value]) => value(run)))]);
  head.lastChild.append(find, found, save);

  function columns(store) {
    const same = (i) => new Set([...store.rows.values()].map((run) => run.what[i]).filter((v) => v != null)).size < 2;
    const settings = store.columns.filter(([name]) => !["environment", "algorithm"].includes(name));
    return [
      ["run", (run) => run.name, "words", 0],
      ...(same(0) ? [] : [["environment", (run) => run.what[0], "words", 7]]),
      ...(same(1) ? [] : [["algorithm", (run) => run.what[1], "words", 6]]),
      ["seed", (run) => run.seed, "num", 4],
      ["generation", (run) => run.n || null, "num", 3],
      ["steps", (run) => run.t, "num", 5, compact],
      ["time", (run) => run.s, "num", 1, time],
      ["now", (run) => run.now, "num", 2],
      ["best", (run) => run.best, "num", 0],
      ["confirmed", (run) => run.confirmed, "num", 0, (v) => `${fmt(v)} \u2713`],
      ...settings.map(([key, name], k) => { const i = store.columns.findIndex(([k]) => k === key); return [name, (run) => run.v[i], "num", k < 4 ? 12 - k : 1 - k / 1000, said]; }),  // the first few are missed more than the facts, the rest less
    ];
  }
  const time = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);

  function sorted(runs, list) {
    const value = (list.find(([name]) => name === by) || list[0])[1], empty = (v) => v == null || v === "";
    return [...runs].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (empty(x) || empty(y)) return empty(x) - empty(y);  // what is not known stands below, whichever way round
      const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, { numeric: true });
      return down ? -order : order;
    });
  }

  function draw(store, runs, kinds) {
    last = store; shown = runs;
    note.hidden = store.rows.size > 0; scroll.hidden = foot.hidden = save.hidden = !store.rows.size;
    if (!store.rows.size) return;
    const list = columns(store), ordered = sorted(runs, list), colourOf = new Map(kinds.flatMap((kind) => kind.members.map((run) => [run.name, kind.colour])));
    if (!list.some(([name]) => name === by)) by = list[0][0];
    say(found, runs.length === store.rows.size ? `${group(runs.length)} runs` : `${group(runs.length)} of ${group(store.rows.size)} runs`);
    const heading = ([name, , style]) => h("th", { scope: "col", class: `ev-${style}`, "aria-sort": name === by ? (down ? "descending" : "ascending") : false },
      h("button", { type: "button", class: "ev-sort", title: `Sort by ${name}`, onclick: () => { if (by === name) down = !down; else { by = name; down = style === "num"; } draw(last, shown, kinds); } }, `${name}${name === by ? (down ? " \u2193" : " \u2191") : ""}`));
    const line = (run) => {
      const box = h("input", { type: "checkbox", "aria-label": `Choose ${run.name}`, title: "Choose: two runs are shown side by side", onchange: () => { if (box.checked) ui.chosen.add(run.name); else ui.chosen.delete(run.name); ui.changed(); } });
      box.checked = ui.chosen.has(run.name);
      const colour = colourOf.get(run.name);
      const swatch = h("i", { class: "ev-swatch", style: `background:${colour == null ? "var(--ev-grid)" : `var(--ev-${SERIES[colour]})`}` });
      const sign = run.trouble ? h("span", { class: "ev-broken", title: run.trouble }, "cannot be read") : run.writing ? h("span", { class: "ev-live", title: "a process has this run open and writes to it" }, "open") : null;
      return h("tr", {}, h("td", {}, box), ...list.map(([name, value, style, , words]) => {
        const v = value(run), text = v == null || v === "" ? "–" : (words || fmt)(v);
        return name === "run" ? h("td", { class: "ev-words", title: run.name }, h("span", { class: "ev-change" }, swatch, ui.address && !run.trouble ? h("a", { class: "ev-open", href: ui.address(run.name), title: "Open this run" }, text) : h("span", {}, text), sign)) : h("td", { class: `ev-${style}` }, text);
      }));
    };
    // Focus survives a redraw: the table may be read by keyboard while runs grow.
    const focus = document.activeElement && scroll.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") || document.activeElement.title : null;
    const top = scroll.scrollTop;
    foot.hidden = true;
    scroll.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, ""), ...list.map(heading))), h("tbody", {}, ...ordered.map(line))));
    scroll.scrollTop = top;
    const left = fit(scroll, list, 1);
    foot.hidden = !left.length;
    say(foot, `A wider page also shows ${left.join(", ")}.`);
    if (focus) for (const node of scroll.querySelectorAll("button, input")) if ((node.getAttribute("aria-label") || node.title) === focus) node.focus({ preventScroll: true });
  }
  return { element, draw };
}
