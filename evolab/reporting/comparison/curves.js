// The best fitness so far of every kind of run: medians over seeds with the middle half, or each run by itself.

function curvesPanel(ui) {
  let axis = "t", last = null, kinds = [], near = [];
  const toggle = (label, options, chosen, act) => {
    const box = h("div", { class: "ev-toggle", role: "group", "aria-label": label }, ...options.map(([value, words]) => h("button", { type: "button", "aria-pressed": String(value === chosen),
      onclick: (event) => { for (const b of box.children) b.setAttribute("aria-pressed", String(b === event.target)); act(value); } }, words)));
    return box;
  };
  const along = toggle("Horizontal axis", [["t", "steps"], ["n", "generations"], ["s", "time"]], axis, (value) => { axis = value; chart.paint(); });
  const middle = toggle("Curves", [[false, "median"], [true, "each run"]], false, (value) => { ui.alone = value; ui.changed(); });
  const { element, body, head } = panel("Best fitness so far", null, "ev-fitness");
  const box = h("div", { class: "ev-chart" }), legend = h("div", { class: "ev-legend ev-long" }), note = empty("Here will be a curve for each kind of run, once a generation has ended.");
  body.append(box, legend, note);
  const chart = stage(box, "Best fitness so far of every run", 300, (ctx, w, t) => paint(ctx, w, t));
  const save = saveMenu(ui, "Best fitness so far", () => [["run", "generation", "steps", "seconds", "best fitness so far"],
    ...[...last.curves].flatMap(([name, c]) => c.n.map((n, i) => [name, n, c.t[i], c.s[i], c.f[i]]))], chart);
  head.lastChild.append(middle, along, save);
  const NAMES = { t: "environment steps of all agents (training + evaluation)", n: "generation", s: "seconds of training and evaluation" };

  // At x, the values that the members have reached; those that have not begun or have ended say nothing.
  function at(curves, x) {
    return curves.filter((c) => c[axis][0] <= x && c[axis][c[axis].length - 1] >= x).map((c) => { let i = 0; while (i + 1 < c[axis].length && c[axis][i + 1] <= x) i++; return c.f[i]; }).filter((v) => v != null);
  }
  function bandOf(curves) {
    const from = Math.max(...curves.map((c) => c[axis][0])), to = Math.min(...curves.map((c) => c[axis][c[axis].length - 1]));
    if (!(to >= from) || curves.length === 1) { const c = curves.reduce((a, b) => (b[axis].length > a[axis].length ? b : a)); return c[axis].map((x, i) => [x, c.f[i], c.f[i], c.f[i]]).filter((p) => p[2] != null); }
    const xs = [...new Set(curves.flatMap((c) => c[axis]))].filter((x) => x >= from && x <= to).sort((a, b) => a - b), stride = Math.ceil(xs.length / 240);
    return xs.filter((_, i) => i % stride === 0 || i === xs.length - 1).map((x) => { const v = at(curves, x).sort((a, b) => a - b); return [x, quantile(v, 0.25), quantile(v, 0.5), quantile(v, 0.75)]; });
  }
  const quantile = (sorted, q) => { const k = q * (sorted.length - 1), low = Math.floor(k), high = Math.ceil(k); return sorted[low] + (sorted[high] - sorted[low]) * (k - low); };

  function paint(ctx, width, height) {
    const c = ui.colours(), area = { left: 52, right: width - 12, top: 22, bottom: height - 38 };
    const lines = kinds.map((kind) => ({ ...kind, curves: kind.members.map((run) => last.curves.get(run.name)).filter(Boolean) })).filter((kind) => kind.curves.length)
      .map((kind) => ({ ...kind, points: bandOf(kind.curves) })).filter((kind) => kind.points.length);
    const aims = [...new Set([...last.rows.values()].map((run) => run.target).filter((v) => v != null))];
    const ys = extent(lines.flatMap((l) => l.points.flatMap((p) => [p[1], p[3]])).concat(aims)), xs = extent(lines.flatMap((l) => l.points.map((p) => p[0])));
    near = [];
    if (!ys || !xs) return;
    if (xs[0] === xs[1]) xs[0] = 0;
    const pad = (ys[1] - ys[0] || 1) * 0.05, x = linear(xs[0], xs[1], area.left + 4, area.right - 4), y = linear(ys[0] - pad, ys[1] + pad, area.bottom, area.top);
    const wanted = ticks(xs[0], xs[1], Math.max(2, width / 90));
    axes(ctx, c, area, x, y, axis === "n" ? wanted.filter(Number.isInteger) : wanted, ticks(ys[0], ys[1], 5));
    names(ctx, c, area, NAMES[axis], "fitness");
    for (const aim of aims) { ctx.setLineDash([5, 4]); ctx.strokeStyle = c.target; ctx.lineWidth = 1.2; ctx.beginPath(); ctx.moveTo(area.left, y(aim)); ctx.lineTo(area.right, y(aim)); ctx.stroke(); ctx.setLineDash([]); }
    const picked = (kind) => kind.members.some((run) => ui.chosen.has(run.name)), any = lines.some(picked);
    const order = [...lines].sort((a, b) => (a.colour == null ? 0 : 1) - (b.colour == null ? 0 : 1) || picked(a) - picked(b));
    for (const line of order) {
      const strong = any ? picked(line) : line.colour != null, colour = line.colour == null ? c.cloud : c[SERIES[line.colour]];
      ctx.globalAlpha = strong ? 1 : 0.35;
      stepped(ctx, line, x, y, colour, strong ? (picked(line) ? 3 : 2) : 1.1);
      near.push({ line, points: line.points.map((p) => [x(p[0]), y(p[2]), p]) });
    }
    ctx.globalAlpha = 1;
  }

  function stepped(ctx, line, x, y, colour, thick) {
    const alpha = ctx.globalAlpha, walk = (k) => line.points.flatMap((p, i) => (i ? [[x(p[0]), y(line.points[i - 1][k])], [x(p[0]), y(p[k])]] : [[x(p[0]), y(p[k])]]));
    if (line.curves.length > 1) {
      ctx.globalAlpha = 0.16 * alpha; ctx.fillStyle = colour; ctx.beginPath();
      [...walk(1), ...walk(3).reverse()].forEach(([px, py], i) => ctx[i ? "lineTo" : "moveTo"](px, py));
      ctx.fill(); ctx.globalAlpha = alpha;
    }
    ctx.strokeStyle = ctx.fillStyle = colour; ctx.lineWidth = thick; ctx.beginPath();
    const points = walk(2);
    points.forEach(([px, py], i) => ctx[i ? "lineTo" : "moveTo"](px, py));
    ctx.stroke();
    const [px, py] = points[points.length - 1];
    ctx.beginPath(); ctx.arc(px, py, thick + 0.6, 0, 7); ctx.fill();
  }

  box.addEventListener("pointermove", (event) => {
    const area = chart.canvas.getBoundingClientRect(), mx = event.clientX - area.left, my = event.clientY - area.top;
    let best = null, distance = 500;
    for (const { line, points } of near) for (const [px, py, p] of points) { const d = (px - mx) ** 2 + (py - my) ** 2; if (d < distance) { distance = d; best = { line, p }; } }
    if (!best) return ui.tip.hide();
    const [x, low, mid, high] = best.p;
    ui.tip.show(event, [best.line.label, `${NAMES[axis]} ${fmt(x)}`, best.line.curves.length > 1 ? `median ${fmt(mid)}, middle half ${fmt(low)} to ${fmt(high)}` : `best so far ${fmt(mid)}`, `runs: ${best.line.members.slice(0, 6).map((run) => run.name).join(", ")}${best.line.members.length > 6 ? ", …" : ""}`]);
  });
  box.addEventListener("pointerleave", () => ui.tip.hide());

  function draw(store, shown, list) {
    last = store; kinds = list;
    const any = shown.some((run) => store.curves.has(run.name));
    note.hidden = any; box.hidden = legend.hidden = save.hidden = along.hidden = middle.hidden = !any;
    if (!any) return;
    chart.paint();
    const aims = [...new Set([...store.rows.values()].map((run) => run.target).filter((v) => v != null))], rest = list.filter((kind) => kind.colour == null && kind.score != null).length;
    legend.replaceChildren(...list.filter((kind) => kind.colour != null && kind.score != null).map((kind) => h("span", { title: kind.members.map((run) => run.name).join(", ") },
      h("i", { style: `border-color:var(--ev-${SERIES[kind.colour]});border-top-width:3px` }), kind.label)),
      ...(rest ? [h("span", {}, h("i", { class: "ev-key-cloud" }), `${group(rest)} more, in grey`)] : []), ...aims.map((aim) => h("span", {}, h("i", { class: "ev-key-target" }), `target ${fmt(aim)}`)));
  }
  return { element, draw };
}
