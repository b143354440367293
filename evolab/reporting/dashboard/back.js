// Back through the generations: a slider, and the dashboard as it was after an earlier one, made of the rows that the page has.

function backBar(moved) {
  const slider = h("input", { type: "range", min: 1, step: 1, "aria-label": "Generation shown", title: "Look back: the dashboard as it was after this generation", oninput: () => moved(Number(slider.value) >= Number(slider.max) ? null : Number(slider.value)) });
  const words = h("output", { class: "ev-num" }), now = h("button", { type: "button", class: "ev-icon", title: "Show the newest generation", onclick: () => moved(null) }, "Newest");
  const element = h("div", { class: "ev-back" }, h("span", {}, "generation"), slider, words, now);
  function draw(store, at) {
    element.hidden = store.rows.length < 3;
    if (element.hidden) return;
    slider.min = store.rows[0].n; slider.max = newestOf(store);
    if (at == null || Number(slider.value) !== at) slider.value = at ?? slider.max;
    slider.setAttribute("aria-valuetext", at == null ? `${newestOf(store)}, the newest` : `${at} of ${newestOf(store)}`);
    say(words, at == null ? `${group(newestOf(store))}, the newest` : `${group(at)} of ${group(newestOf(store))}`);
    now.hidden = at == null;
    element.classList.toggle("ev-is-back", at != null);
  }
  return { element, draw };
}

function backIn(store, n) {
  const rows = store.rows.filter((r) => r.n <= n), newest = rows[rows.length - 1];
  if (!newest) return store;
  const next = store.rows[rows.length], { learning, rings } = store;
  const kept = learning.n.filter((m) => m <= n).length, known = rings.n.filter((m) => m <= n).length, cut = (list, to) => list.slice(0, to);
  const finite = rows.flatMap((r) => r.f[0] ?? []), confirmed = cut(rings.f, known);
  return {
    ...store, rows, line: lineIn(store, rows), effects: effectsIn(store, rows),
    unborn: next && next.id && next.n === newest.n + 1 ? { id: next.id, p: next.p, k: next.k, d: next.d || [] } : { id: [], p: [], k: [], d: [] },
    best: finite.length ? Math.max(...finite) : null, confirmed: confirmed.length ? Math.max(...confirmed) : null, fresh: null,
    rings: { n: cut(rings.n, known), t: cut(rings.t, known), f: confirmed },
    learning: { n: cut(learning.n, kept), losses: Object.fromEntries(Object.entries(learning.losses).map(([name, v]) => [name, cut(v, kept)])), length: cut(learning.length, kept), own: learning.own, value: cut(learning.value || [], kept), earned: cut(learning.earned || [], kept), metrics: Object.fromEntries(Object.entries(learning.metrics || {}).map(([name, v]) => [name, cut(v, kept)])), ratio: cut(learning.ratio, kept), faults: null },
    head: { ...store.head, back: newest.n, generation: newest.n, all_steps: newest.t, progress: null, speed: null, solved: false },
  };
}

// What a birth counts for: its kind and, where one hyperparameter was changed and the page knows so of every generation, that one.
function sortsOf(store, row, i, named) {
  const kind = store.kinds[row.k[i]], name = kind === "hyperparameters" && named ? row.d[i].split(" ")[0].replace(/:$/, "") : "";
  return store.names.includes(name) ? [kind, `${kind}/${name}`] : [kind];
}

function lineIn(store, rows) {
  const members = [], whole = new Map(store.line.n.map((n, i) => [`${n} ${store.line.id[i]}`, i])), kinds = {};
  let wanted = null;
  for (let k = rows.length - 1; k >= 0; k--) {
    const row = rows[k];
    if (!row.id) continue;
    if (wanted == null) wanted = row.id[0];
    const i = row.id.indexOf(wanted);
    if (i < 0) continue;  // a revived elite was last evaluated further back
    members.push([row, i]);
    if (row.p[i] < 0) break;
    wanted = row.p[i];
  }
  members.reverse();
  const named = rows.every((r) => r.d);
  members.slice(1).forEach(([row, i]) => sortsOf(store, row, i, named).forEach((key) => { kinds[key] = (kinds[key] || 0) + 1; }));
  // Of old generations a page keeps the settings of the winner's own ancestors alone.
  const of = (key, [row, i], none) => { const at = whole.get(`${row.n} ${row.id[i]}`); return row[key] ? row[key][i] : at != null ? store.line[key][at] : none; };
  return {
    n: members.map(([r]) => r.n), t: members.map(([r]) => r.t), id: members.map(([r, i]) => r.id[i]), f: members.map(([r, i]) => r.f[i]),
    h: members.map((one) => of("h", one, [])), a: members.map((one) => of("a", one, [])), m: members.map((one) => of("m", one, null)), l: members.map((one) => of("l", one, null)),
    kinds, length: Math.max(0, members.length - 1),
  };
}

function effectsIn(store, rows) {
  const counts = {}, gains = {}, named = rows.every((r) => r.d);
  let before = null;
  for (const row of rows) {
    if (!row.id) { before = null; continue; }
    const parents = before && before.n === row.n - 1 ? new Map(before.id.map((id, i) => [id, before.f[i]])) : new Map();
    row.id.forEach((_, i) => {
      if (store.kinds[row.k[i]] === "first") return;
      const from = parents.get(row.p[i]);
      for (const key of sortsOf(store, row, i, named)) {
        counts[key] = (counts[key] || 0) + 1;
        if (from != null && row.f[i] != null) (gains[key] ||= []).push(row.f[i] - from);
      }
    });
    before = row;
  }
  const quantile = (sorted, q) => { const at = q * (sorted.length - 1), low = Math.floor(at); return sorted[low] + ((sorted[low + 1] ?? sorted[low]) - sorted[low]) * (at - low); };
  return Object.entries(counts).sort((a, b) => b[1] - a[1]).map(([key, count]) => {
    const found = (gains[key] || []).sort((a, b) => a - b);
    return [key, count, found.length, ...[0.25, 0.5, 0.75].map((q) => (found.length ? quantile(found, q) : null)), found.filter((g) => g > 0).length];
  });
}
