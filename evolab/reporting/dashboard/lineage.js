// The family tree: a column per generation, best agent on top, shapes by kind of mutation, the winner's line drawn through.

function lineagePanel(ui) {
  let last = null, nodes = [], end = null, zoom = 1, step = 28;
  const side = h("span", { class: "ev-side" }, "best on top; click pins an agent, drag moves");
  const { element, body, head } = panel("Lineage", side, "ev-lineage");
  const box = h("div", { class: "ev-chart", tabindex: "0", "aria-label": "Family tree; arrow keys walk from agent to agent, Enter pins one, + and - zoom" });
  const slider = h("input", { type: "range", class: "ev-range", "aria-label": "Last generation shown", title: "Last generation shown: older ones are to the left", oninput: () => {
    end = Number(slider.value) >= Number(slider.max) ? null : Number(slider.value);
    chart.paint();
  } });
  const legend = h("div", { class: "ev-legend" });
  const note = empty(nothing(ui, "Here will be the family tree: who descends from whom, and by which mutation."));
  body.append(box, slider, legend, note);
  const chart = stage(box, "Family tree by generation", 200, (ctx, w, t) => paint(ctx, w, t));
  const save = saveMenu(ui, "Lineage", () => [["generation", "rank", "agent", "parent", "born by", "fitness"],
    ...last.rows.filter((r) => r.id).flatMap((r) => r.id.map((id, i) => [r.n, i + 1, id, r.p[i] < 0 ? "" : r.p[i], last.kinds[r.k[i]], r.f[i]]))], chart);
  const closer = (by, words, text) => h("button", { type: "button", class: "ev-icon ev-zoom", title: words, "aria-label": words, onclick: () => { zoom = Math.max(0.3, Math.min(1.6, zoom * by)); chart.paint(); } }, text);
  const zooms = h("span", { class: "ev-zooms" }, closer(1 / 1.35, "More generations, smaller", "\u2212"), closer(1.35, "Fewer generations, larger", "+"));
  head.lastChild.append(zooms, save);
  const ring = h("div", { class: "ev-ring ev-ring-large" });
  box.append(ring);

  // A population may have been larger at first.
  const largest = (rows) => Math.max(last.unborn.id.length, ...rows.map((r) => r.id.length));

  function paint(ctx, width, height) {
    const c = ui.colours(), rows = last.rows.filter((r) => r.id);
    const size = largest(rows);
    if (end != null && end >= rows[rows.length - 1].n) end = null;  // the dashboard was set back to before it
    const pitch = (size > 24 ? 20 : 28) * zoom, gap = (height - 36) / size;
    const radius = Math.max(2.4, Math.min(6, gap * 0.36, pitch * 0.3));
    const room = Math.max(2, Math.floor((width - 44) / pitch) - 1);
    slider.hidden = rows.length <= room;
    slider.min = rows[Math.min(room, rows.length) - 1].n; slider.max = rows[rows.length - 1].n;
    if (end == null) slider.value = slider.max;
    const stop = end == null ? rows.length : rows.findIndex((r) => r.n >= end) + 1;
    const shown = rows.slice(Math.max(0, stop - room), stop);
    const live = end == null && last.unborn.id.length > 0;
    const left = 20, columns = shown.length + (live ? 1 : 0);
    const dx = step = Math.min(46, Math.max(pitch, (width - 64) / Math.max(1, columns - 1)));
    const px = (i) => left + i * dx, py = (i) => 10 + gap * (i + 0.5);
    const next = live ? { n: null, id: last.unborn.id, p: last.unborn.p, k: last.unborn.k, d: last.unborn.d } : null;
    const all = next ? shown.concat(next) : shown;
    const line = winners(shown);
    links(ctx, c, all, line, px, py);
    nodes = [];
    const groups = {};
    all.forEach((row, i) => row.id.forEach((id, j) => {
      const kind = last.kinds[row.k[j]], node = { x: px(i), y: py(j), row, j, kind };
      nodes.push(node);
      (groups[`${kind}\n${row.n == null}`] ||= []).push(node);
    }));
    ctx.lineWidth = 1.6; ctx.strokeStyle = c.winner;
    shown.forEach((row, i) => { const j = row.id.indexOf(line[i]); if (j >= 0) { ctx.beginPath(); ctx.arc(px(i), py(j), radius + 3, 0, 7); ctx.fillStyle = c.bg; ctx.fill(); ctx.stroke(); } });
    for (const [key, found] of Object.entries(groups)) {
      const [kind, hollow] = key.split("\n"), [, colour, shape] = lookOf(kind);
      ctx.fillStyle = ctx.strokeStyle = c[colour];
      for (const n of found) drawShape(ctx, shape, n.x, n.y, radius, hollow === "true");
    }
    ctx.fillStyle = c.muted; ctx.textAlign = "center"; ctx.textBaseline = "alphabetic";
    const every = Math.max(1, Math.ceil(34 / dx));
    const words = last.head.status === "running" ? "in training" : "next", half = ctx.measureText(words).width / 2;
    const middle = next ? Math.min(px(columns - 1), width - half - 2) : Infinity;
    if (next) ctx.fillText(words, middle, height - 8);
    shown.forEach((row, i) => {
      const number = group(row.n), room = middle - half - 6 - px(i);
      if ((row.n % every === 0 || shown.length < 3) && ctx.measureText(number).width / 2 < room) ctx.fillText(number, px(i), height - 8);
    });
  }

  // The id of the winner's ancestor in each shown generation.
  function winners(shown) {
    const ids = new Map(last.line.n.map((n, i) => [n, last.line.id[i]]));
    return shown.map((row) => ids.get(row.n));
  }

  function links(ctx, c, rows, line, px, py) {
    const strong = [], arcs = [], migrated = last.kinds.indexOf("migrated"), join = rows[0].id.length > 24 ? straight : curve;  // a thousand curves are slow to draw
    ctx.strokeStyle = c.link; ctx.lineWidth = 1;
    ctx.globalAlpha = Math.max(0.35, Math.min(1, 14 / rows[0].id.length));  // many families: paler links
    ctx.beginPath();
    for (let r = 1; r < rows.length; r++) {
      const at = new Map(rows[r - 1].id.map((id, i) => [id, i]));
      rows[r].id.forEach((id, j) => {
        const k = at.get(rows[r].p[j]);
        if (k == null) return;
        const edge = [px(r - 1), py(k), px(r), py(j)];
        if (line[r] === id && line[r - 1] === rows[r].p[j]) strong.push(edge); else if (rows[r].k[j] === migrated) arcs.push(edge); else join(ctx, edge);
      });
      strong.push(...leap(rows, line, r).map(([from, k, j]) => [px(from), py(k), px(r), py(j)]));
    }
    ctx.stroke();
    ctx.globalAlpha = 1;
    ctx.strokeStyle = c.muted; ctx.lineWidth = 1.4; ctx.setLineDash([4, 3]);
    ctx.beginPath(); arcs.forEach((edge) => arc(ctx, edge)); ctx.stroke();
    ctx.setLineDash([]);
    ctx.strokeStyle = c.winner; ctx.lineWidth = 2.4;
    ctx.beginPath(); strong.forEach((edge) => curve(ctx, edge)); ctx.stroke();
  }

  // A revived elite comes out of the archive: its line leaps over the generations in between.
  function leap(rows, line, r) {
    const j = rows[r].id.indexOf(line[r]);
    if (j < 0 || line[r - 1] != null) return [];
    let from = r - 1;
    while (from >= 0 && line[from] == null) from--;
    const k = from < 0 ? -1 : rows[from].id.indexOf(rows[r].p[j]);
    return k < 0 ? [] : [[from, k, j]];
  }

  // Who came from another island went over the heads of those between.
  function arc(ctx, [x0, y0, x1, y1]) {
    const top = Math.max(2, Math.min(y0, y1) - 12 - Math.abs(y1 - y0) / 3), third = (x1 - x0) / 3;
    ctx.moveTo(x0, y0); ctx.bezierCurveTo(x0 + third, top, x1 - third, top, x1, y1);
  }

  function straight(ctx, [x0, y0, x1, y1]) {
    ctx.moveTo(x0, y0); ctx.lineTo(x1, y1);
  }

  function curve(ctx, [x0, y0, x1, y1]) {
    const middle = (x0 + x1) / 2;
    ctx.moveTo(x0, y0); ctx.bezierCurveTo(middle, y0, middle, y1, x1, y1);
  }

  box.addEventListener("pointermove", (event) => {
    const at = chart.canvas.getBoundingClientRect(), mx = event.clientX - at.left, my = event.clientY - at.top;
    tell(event, nodes.find((n) => Math.abs(n.x - mx) < 9 && Math.abs(n.y - my) < 9));
  });
  box.addEventListener("pointerleave", () => tell(null, null));

  let aimed = null;
  function tell(event, near) {
    aimed = near;
    box.style.cursor = near && near.row.n != null ? "pointer" : "";
    ring.style.display = near ? "block" : "none";
    if (!near) return ui.tip.hide();
    ring.style.left = `${near.x - 10}px`; ring.style.top = `${near.y - 10}px`;
    const { row, j, kind } = near;
    ui.tip.show(event, row.n != null ? describe(last, row, j) : [`agent ${row.id[j]} · not evaluated yet`,
      `${lookOf(kind)[0]}${row.p[j] === row.id[j] ? "" : ` from agent ${row.p[j]}`}`, change(row.d[j])]);
  }
  const pinNear = () => { if (aimed && aimed.row.n != null) ui.pin(aimed.row.id[aimed.j], aimed.row.n); };
  let grip = null;  // where a drag began, and the last generation shown then
  box.addEventListener("pointerdown", (event) => { grip = { x: event.clientX, from: Number(slider.value), moved: false }; });
  box.addEventListener("pointermove", (event) => {
    if (!grip || !event.buttons || slider.hidden) return;
    const by = Math.round((grip.x - event.clientX) / step), to = Math.max(Number(slider.min), Math.min(Number(slider.max), grip.from + by));
    if (Math.abs(event.clientX - grip.x) > 4) grip.moved = true;
    if (to === Number(slider.value)) return;
    slider.value = to;
    end = to >= Number(slider.max) ? null : to;
    chart.paint();
  });
  box.addEventListener("click", () => { if (!grip || !grip.moved) pinNear(); });

  let at = null;  // the agent that the arrow keys have reached
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter") return pinNear();
    if (event.key === "+" || event.key === "-") return zooms.children[event.key === "+" ? 1 : 0].click();
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] || [0, 0];
    if ((!dx && !dy) || !nodes.length) return;
    event.preventDefault();
    const columns = [...new Set(nodes.map((n) => n.row))], was = at ? columns.findIndex((row) => row.n === at.n) : columns.length - (dx < 0 ? 0 : 1);
    const column = columns[Math.max(0, Math.min(columns.length - 1, (was < 0 ? columns.length - 1 : was) + dx))];
    const rank = Math.max(0, Math.min(column.id.length - 1, (at ? at.j : 0) + (at ? dy : 0)));
    at = { n: column.n, j: rank };
    const node = nodes.find((n) => n.row === column && n.j === rank), area = chart.canvas.getBoundingClientRect();
    tell({ clientX: area.left + node.x, clientY: area.top + node.y }, node);
  });
  box.addEventListener("blur", () => { at = null; tell(null, null); });

  function draw(store) {
    last = store;
    const rows = store.rows.filter((r) => r.id), any = rows.length > 0;
    note.hidden = any; box.hidden = legend.hidden = save.hidden = side.hidden = zooms.hidden = !any;
    if (!any) { slider.hidden = true; return; }
    const size = largest(rows);
    chart.resize(36 + size * Math.max(7, Math.min(24, 250 / size)));
    chart.paint();
    const found = new Set([...rows.flatMap((r) => r.k), ...store.unborn.k].map((k) => store.kinds[k]));
    const known = Object.keys(LOOKS), order = (kind) => (known.includes(kind) ? known.indexOf(kind) : known.length);
    renew(legend, [...found].sort().join(), () => [...found].sort((a, b) => order(a) - order(b)).map((kind) => h("span", { title: MEANS[kind] }, mark(kind), lookOf(kind)[0].split(",")[0])));
  }
  return { element, draw };
}
