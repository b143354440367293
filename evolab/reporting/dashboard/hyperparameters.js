// Hyperparameters and architecture over generations: one small chart each, the winner's ancestry in blue. All agents are
// dots where each is known in every generation, and otherwise the range from the lowest to the highest.

function hyperparametersPanel(ui) {
  const side = h("span", { class: "ev-side" });
  const { element, body, head } = panel("Hyperparameters and architecture", side, "ev-hyper");
  const grid = h("div", { class: "ev-multiples" });
  const fixed = h("p", { class: "ev-foot" });
  const note = empty(nothing(ui, "Here will be every value that evolves, for all agents and for the best one\u2019s ancestry."));
  body.append(grid, fixed, note);
  let charts = [], last = null;
  const save = saveMenu(ui, "Hyperparameters", () => [["generation", "agent", ...last.names, "hidden", "network_size"],
    ...last.line.n.map((n, i) => [n, last.line.id[i], ...last.line.h[i], (last.line.a[i] || []).join("x"), last.line.m[i]])], gallery(ui, () => charts.map(({ spec, chart }) => ({ name: spec.name, now: spec.now, chart }))));
  head.lastChild.append(save);

  function series(store) {
    const full = store.rows.filter((r) => r.h), found = [], constant = [];
    const stride = full.length ? Math.ceil((full.length * full[0].h.length) / 3000) : 1;
    const rows = full.filter((_, i) => (full.length - 1 - i) % stride === 0);  // at most 3 000 dots a chart
    // Older generations have lost their agents' values, but not how far these went.
    const dots = full.length === store.rows.length;
    const bands = (key) => (dots ? [] : store.rows.map((r, i) => [i ? store.rows[i - 1].n : r.n - 1, r.n, ...rangeOf(r, key)]).filter((b) => b.length > 2));
    store.names.forEach((name, j) => {
      const winner = store.line.h.map((values) => values[j]);
      const values = extent(rows.flatMap((r) => r.h.map((v) => v[j])).concat(winner, ...bands(j).map((b) => b.slice(2))).map((v) => (typeof v === "number" ? v : null)));
      if (!values) return;
      if (values[0] === values[1]) constant.push(`${name} ${fmt(values[0])}`);
      else found.push({ name, winner, range: values, bands: bands(j), points: dots ? rows.flatMap((r) => r.h.map((v) => [r.n, v[j]])) : [] });
    });
    const sizes = dots ? rows.flatMap((r) => r.m.map((m) => [r.n, m])) : [];
    const range = extent(rows.flatMap((r) => r.m).concat(store.line.m, ...bands("m").map((b) => b.slice(2))));
    if (range) found.push({ name: "network size", winner: store.line.m, range, bands: bands("m"), points: sizes, whole: true });
    return { found, constant, dots };
  }

  function small(spec) {
    const name = h("span"), now = h("b"), box = h("div", { class: "ev-small" }, h("div", { class: "ev-small-title" }, name, now));
    const chart = stage(box, "", 96, (ctx, w, t) => (spec.layers ? layers(ctx, w, t, spec) : plot(ctx, w, t, spec)));
    return { box, chart, spec, set(next) { Object.assign(spec, next); chart.canvas.setAttribute("aria-label", `${spec.name} over generations`);
      say(name, spec.name); say(now, spec.now); chart.paint(); } };
  }

  function frame(ctx, c, width, height, low, high, format) {
    const box = { left: 44, right: width - 6, top: 8, bottom: height - 18 }, n = last.line.n;
    const from = Math.min(last.rows[0].n, n[0]), to = Math.max(from + 1, n[n.length - 1]);
    const x = linear(from, to, box.left + 4, box.right - 4), y = linear(low, high, box.bottom - 3, box.top + 3);
    axes(ctx, c, box, x, y, [from, to].filter((v) => v <= n[n.length - 1]), [low, high], group, format);
    return { x, y };
  }

  function plot(ctx, width, height, { range, bands, points, winner }) {
    const c = ui.colours(), log = range[0] > 0 && range[1] / range[0] > 6, f = log ? Math.log10 : (v) => v;
    const pad = (f(range[1]) - f(range[0])) * 0.04 || Math.abs(f(range[0])) * 0.05 || 1;
    const { x, y } = frame(ctx, c, width, height, f(range[0]) - pad, f(range[1]) + pad, () => "");
    ctx.fillStyle = c.muted; ctx.textAlign = "right"; ctx.textBaseline = "middle";
    for (const v of range[0] === range[1] ? [range[0]] : range) ctx.fillText(compact(v), 40, y(f(v)));
    ctx.fillStyle = c.cloud;
    ctx.globalAlpha = 0.3;
    for (const [before, n, low, high] of bands) ctx.fillRect(x(before), y(f(high)), x(n) - x(before), Math.max(1.5, y(f(low)) - y(f(high))));
    ctx.globalAlpha = points.length > 600 ? 0.3 : 0.5;
    for (const [n, v] of points) if (typeof v === "number") ctx.fillRect(x(n) - 1.2, y(f(v)) - 1.2, 2.4, 2.4);
    ctx.globalAlpha = 1;
    ctx.strokeStyle = c.winner; ctx.lineWidth = 2; ctx.beginPath();
    winner.forEach((v, i) => {
      if (typeof v !== "number") return;
      if (i) ctx.lineTo(x(last.line.n[i - 1]), y(f(v)));  // in force since the generation before: steps, not slopes
      ctx[i ? "lineTo" : "moveTo"](x(last.line.n[i]), y(f(v)));
    });
    ctx.stroke();
    const end = winner.length - 1;
    ctx.fillStyle = c.winner; ctx.beginPath(); ctx.arc(x(last.line.n[end]), y(f(winner[end])), 3, 0, 7); ctx.fill();
  }

  // The winner's hidden layers as a stack of widths, first layer at the bottom.
  function layers(ctx, width, height, { layers: stacks }) {
    const c = ui.colours(), most = Math.max(1, ...stacks.map((s) => s.reduce((a, b) => a + b, 0)));
    const { x, y } = frame(ctx, c, width, height, 0, most, compact), n = last.line.n;
    const deep = Math.max(...stacks.map((s) => s.length));
    ctx.fillStyle = c.architecture;
    stacks.forEach((stack, i) => {
      let base = 0;
      const x0 = Math.round(i ? x(n[i - 1]) : x(n[0]) - 4), x1 = Math.round(x(n[i]));  // whole pixels leave no seams
      stack.forEach((units, layer) => {
        ctx.globalAlpha = 0.85 - (0.6 * layer) / Math.max(1, deep);
        ctx.fillRect(x0, y(base + units), x1 - x0, y(base) - y(base + units) - 0.8);
        base += units;
      });
    });
    ctx.globalAlpha = 1;
  }

  function draw(store) {
    last = store;
    const any = store.rows.length > 0 && store.line.n.length > 0;
    note.hidden = any; grid.hidden = fixed.hidden = save.hidden = side.hidden = !any;
    if (!any) return;
    const { found, constant, dots } = series(store), end = store.line.n.length - 1;
    const specs = found.map((s) => ({ ...s, layers: null, now: fmt(s.winner[end]) }));
    if (store.line.a.some((a) => a.length) && store.line.a.flat().every((units) => typeof units === "number")) {
      const words = store.line.w;
      specs.push({ name: words ? "winner\u2019s layers" : "winner\u2019s hidden units", layers: store.line.a, now: words ? briefly(words) : hiddenText(store.line.a[end]) });
    }
    say(side, `blue: the winner\u2019s ancestry \u00b7 grey: ${dots ? "every agent" : "lowest to highest agent"}`);
    if (charts.length !== specs.length) {
      charts = specs.map(() => small({}));
      grid.replaceChildren(...charts.map((s) => s.box));
    }
    charts.forEach((s, i) => s.set(specs[i]));
    fixed.hidden = !constant.length;
    say(fixed, `Never changed: ${constant.join(" · ")}`);
  }
  return { element, draw };
}

// Lowest and highest value of a generation: hyperparameter number `key`, or "m" for the networks' sizes.
function rangeOf(row, key) {
  return (row.q && row.q[key]) || [];
}
