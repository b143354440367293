// Fitness of every agent: the cloud of family lines in grey, the winner's ancestry in blue, the target dashed.

function fitnessPanel(ui) {
  let axis = "steps", points = [], last = null;
  const choose = (name) => h("button", {
    type: "button", "aria-pressed": String(name === axis), onclick: (event) => {
      axis = name;
      for (const b of event.target.parentNode.children) b.setAttribute("aria-pressed", String(b === event.target));
      if (last) draw(last);
    },
  }, name);
  const toggle = h("div", { class: "ev-toggle", role: "group", "aria-label": "Horizontal axis" }, choose("steps"), choose("generations"));
  const { element, body, head } = panel("Fitness", toggle, "ev-fitness");
  const legend = h("div", { class: "ev-legend" });
  const box = h("div", { class: "ev-chart", tabindex: "0", "aria-label": "Fitness chart; left and right arrows read the winner's line, Enter pins the agent" });
  const note = empty(nothing(ui, "Here will be the fitness of every agent, and the ancestry of the best one."));
  body.append(box, legend, note);
  const TALL = 270, chart = stage(box, "Fitness of every agent", TALL, (ctx, w, t) => paint(ctx, w, t));
  const save = saveMenu(ui, "Fitness", () => [["generation", stepsOf(last), "agent", "fitness"],
    ...last.rows.flatMap((r) => r.f.map((f, i) => [r.n, r.t, r.id ? r.id[i] : "", f]))], chart);
  head.lastChild.append(save);
  const ring = h("div", { class: "ev-ring" });
  box.append(ring);

  const place = (row) => (axis === "steps" ? row.t : row.n);
  function paint(ctx, width, height) {
    const store = last, c = ui.colours();
    const area = { left: 52, right: width - 12, top: 22, bottom: height - 38 };
    const stride = Math.max(1, Math.ceil((store.rows.length * (store.rows[0].f.length || 1)) / 9000));
    const rows = store.rows.filter((_, i) => i % stride === 0 || i === store.rows.length - 1);  // as dense at its end as before
    const all = rows.flatMap((r) => r.f).concat(store.line.f, store.rings.f);
    const target = store.head.target;
    const found = extent(target == null ? all : all.concat(target));
    if (!found) { ctx.fillStyle = c.muted; ctx.fillText("No agent has a finite fitness yet.", area.left, height / 2); return; }
    const pad = (found[1] - found[0] || 1) * 0.05;
    const y = linear(found[0] - pad, found[1] + pad, area.bottom, area.top);
    const along = axis === "steps" ? "t" : "n", xs = extent(rows.map(place).concat(store.line[along], store.rings[along]));  // old rows may be missing
    if (xs[0] === xs[1]) xs[0] = axis === "steps" ? 0 : xs[0] - 1;
    const x = linear(xs[0], xs[1], area.left + 4, area.right - 4);
    const wanted = axis === "steps" ? ticks(xs[0], xs[1], Math.max(2, width / 85)) : ticks(xs[0], xs[1], Math.max(2, width / 80)).filter(Number.isInteger);
    axes(ctx, c, area, x, y, wanted, ticks(found[0], found[1], 5));
    names(ctx, c, area, axis === "steps" ? stepsOf(store) : "generation", "fitness");
    cloud(ctx, c, rows, x, y);
    if (target != null) {
      ctx.setLineDash([5, 4]); ctx.strokeStyle = c.target; ctx.lineWidth = 1.2;
      ctx.beginPath(); ctx.moveTo(area.left, y(target)); ctx.lineTo(area.right, y(target)); ctx.stroke(); ctx.setLineDash([]);
    }
    winner(ctx, c, store, x, y);
    ctx.strokeStyle = c.winner; ctx.fillStyle = c.bg; ctx.lineWidth = 1.6;
    store.rings.f.forEach((f, i) => { ctx.beginPath(); ctx.arc(x((axis === "steps" ? store.rings.t : store.rings.n)[i]), y(f), 3.8, 0, 7); ctx.fill(); ctx.stroke(); });
    points = rows.map((row) => ({ row, px: x(place(row)), py: row.f.map((f) => (f == null ? null : y(f))) }));
  }

  // Children are joined to their parents; where detail was thinned away, rank to rank shows the spread.
  function cloud(ctx, c, rows, x, y) {
    ctx.strokeStyle = c.cloud; ctx.lineWidth = 1;
    ctx.globalAlpha = Math.max(0.22, Math.min(0.75, 5 / Math.sqrt(rows[0].f.length * 4)));
    ctx.beginPath();
    for (let r = 1; r < rows.length; r++) {
      const now = rows[r], before = rows[r - 1];
      const at = now.p && before.id && now.n === before.n + 1 ? new Map(before.id.map((id, i) => [id, i])) : null;
      const x0 = x(place(before)), x1 = x(place(now));
      for (let i = 0; i < now.f.length; i++) {
        const j = at ? at.get(now.p[i]) : i;
        if (j == null || now.f[i] == null || before.f[j] == null) continue;
        ctx.moveTo(x0, y(before.f[j])); ctx.lineTo(x1, y(now.f[i]));
      }
    }
    ctx.stroke();
    ctx.fillStyle = c.cloud;
    if (rows.length * rows[0].f.length < 700) {
      for (const r of rows) for (const f of r.f) if (f != null) { ctx.beginPath(); ctx.arc(x(place(r)), y(f), 2, 0, 7); ctx.fill(); }
    }
    ctx.globalAlpha = 1;
  }

  function winner(ctx, c, store, x, y) {
    const line = store.line, where = axis === "steps" ? line.t : line.n;
    ctx.strokeStyle = c.winner; ctx.fillStyle = c.winner; ctx.lineWidth = 2.2; ctx.lineJoin = "round";
    ctx.beginPath();
    let open = false;
    line.f.forEach((f, i) => { if (f == null) open = false; else { ctx[open ? "lineTo" : "moveTo"](x(where[i]), y(f)); open = true; } });
    ctx.stroke();
    const end = line.f.length - 1;
    if (end >= 0 && line.f[end] != null) { ctx.beginPath(); ctx.arc(x(where[end]), y(line.f[end]), 3.6, 0, 7); ctx.fill(); }
  }

  let aimed = null;
  function hover(event, near) {
    aimed = near;
    box.style.cursor = near && near.row.id ? "pointer" : "";
    if (!near) { ring.style.display = "none"; ui.tip.hide(); return; }
    ring.style.cssText = `display:block;left:${near.px - 6}px;top:${near.y - 6}px`;
    ui.tip.show(event, describe(last, near.row, near.i));
  }
  box.addEventListener("pointermove", (event) => {
    const at = chart.canvas.getBoundingClientRect(), mx = event.clientX - at.left, my = event.clientY - at.top;
    let best = null, distance = 900;
    for (const p of points) {
      const dx = (p.px - mx) ** 2;
      if (dx < distance) p.py.forEach((py, i) => { const d = dx + (py - my) ** 2; if (py != null && d < distance) { distance = d; best = { ...p, y: py, i }; } });
    }
    hover(event, best);
  });
  box.addEventListener("click", () => { if (aimed && aimed.row.id) ui.pin(aimed.row.id[aimed.i], aimed.row.n); });
  box.addEventListener("pointerleave", (event) => hover(event, null));
  let cursor = -1;
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && aimed && aimed.row.id) return ui.pin(aimed.row.id[aimed.i], aimed.row.n);
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || !points.length) return;
    event.preventDefault();
    cursor = Math.max(0, Math.min(points.length - 1, (cursor < 0 ? points.length : cursor) + move));
    const p = points[cursor], id = last.line.id[last.line.n.indexOf(p.row.n)];
    const i = Math.max(0, p.row.id ? p.row.id.indexOf(id) : 0), at = chart.canvas.getBoundingClientRect();
    if (p.py[i] != null) hover({ clientX: at.left + p.px, clientY: at.top + p.py[i] }, { ...p, y: p.py[i], i });
  });
  box.addEventListener("blur", (event) => { cursor = -1; hover(event, null); });

  function draw(store) {
    last = store;
    const any = store.rows.length > 0;
    note.hidden = any; box.hidden = legend.hidden = toggle.hidden = save.hidden = !any;
    say(toggle.firstChild, store.head.updates ? "updates" : "steps");
    if (!any) return;
    chart.paint();
    const target = store.head.target;
    const items = [["ev-key-winner", "winner\u2019s ancestry"], ["ev-key-cloud", "every agent"]];
    if (target != null) items.push(["ev-key-target", `target ${fmt(target)}`]);
    if (store.rings.f.length) items.push(["ev-key-confirmed", "best agent confirmed over fresh episodes \u2713"]);
    renew(legend, items.join(), () => items.map(([key, text]) => h("span", {}, h("i", { class: key }), text)));
  }
  // More room than the rest of the column needs goes to this chart.
  return { element, draw, grow(by) { chart.resize(TALL + by); if (last && last.rows.length) chart.paint(); } };
}

const stepsOf = (store) => (store.head.updates ? "updates of all agents" : "environment steps of all agents (training + evaluation)");
