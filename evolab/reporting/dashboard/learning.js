// How learning goes: losses, episode lengths, updates per step, and what went wrong and was survived.

function learningPanel(ui) {
  const side = h("span", { class: "ev-side" }, "over generations");
  const { element, body, head } = panel("Learning", side, "ev-learning");
  const grid = h("div", { class: "ev-multiples" }), foot = h("p", { class: "ev-foot" });
  const note = empty(nothing(ui, "Here will be losses, lengths of episodes and updates per step."));
  body.append(grid, foot, note);
  let charts = [], last = null;
  const save = saveMenu(ui, "Learning", () => { const columns = specs().flatMap((s) => (s.beside ? [s, { name: "earned return", values: s.beside }] : [s]));
    return [["generation", ...columns.map((s) => s.name)], ...last.learning.n.map((n, i) => [n, ...columns.map((s) => s.values[i])])]; },
  gallery(ui, () => charts.map(({ spec, chart }) => ({ name: `${spec.short || spec.name}${spec.legend ? ` ${spec.legend}` : ""}`, now: newestOfAll(spec.values), chart }))));
  head.lastChild.append(save);

  function specs() {
    const { losses, length, ratio } = last.learning;
    const found = Object.entries(losses).map(([name, values]) => ({ name: lossName(name), means: "mean over the agents and updates of the generation", values }));
    found.push({ name: "episode length", means: "of the best agent, in environment steps", values: length });
    const { value = [], earned = [] } = last.learning;
    if (value.some((v) => v != null)) {
      found.push({ name: "expected return", short: "expected", means: "of the best agent: what its critic expects at the beginning of an episode, discounted; dashed, what its training episodes earned, discounted in the same way", values: value, beside: earned, legend: "\u2504 earned" });
    }
    if (!last.head.updates) found.push({ name: "updates per step", means: "gradient updates of the best agent\u2019s line by environment steps that it trained on", values: ratio });
    for (const [name, values] of Object.entries(last.learning.metrics || {})) found.push({ name, means: "of the best agent: a number that the environment tells in info, or another measure beside fitness", values });
    return found.filter((s) => s.values.some((v) => v != null));
  }

  function small(spec) {
    const name = h("span"), now = h("b"), box = h("div", { class: "ev-small" }, h("div", { class: "ev-small-title" }, name, now));
    const chart = stage(box, "", 74, (ctx, width, height) => drawCurves(ctx, ui.colours(), width, height, last.learning.n, spec.values, spec.beside));
    return { box, chart, spec, set(next) { Object.assign(spec, { short: null, legend: null, beside: [] }, next); box.title = spec.means; chart.canvas.setAttribute("aria-label", `${spec.name} over generations`);
      renew(name, `${spec.short || spec.name} ${spec.legend}`, () => [spec.short || spec.name, spec.legend ? h("span", { class: "ev-key" }, ` ${spec.legend}`) : ""]);
      say(now, newestOfAll(spec.values)); chart.paint(); } };
  }

  function draw(store) {
    last = store;
    const any = store.learning.n.length > 0, found = any ? specs() : [];
    note.hidden = any; grid.hidden = foot.hidden = save.hidden = side.hidden = !any;
    if (!any) return;
    if (charts.length !== found.length) {
      charts = found.map(() => small({}));
      grid.replaceChildren(...charts.map((s) => s.box));
    }
    charts.forEach((s, i) => s.set(found[i]));
    const faults = Object.entries(store.learning.faults || {});
    say(foot, !store.learning.faults ? "Faults are counted over the whole run: see the newest generation." : faults.length ? `Survived faults: ${faults.map(([kind, times]) => `${group(times)} \u00d7 ${kind}`).join(" · ")}` : "No faults.");
  }
  return { element, draw };
}

const lossName = (name) => (/loss/.test(name) ? name : `${name} loss`);
const newestOfAll = (values) => fmt([...values].reverse().find((v) => v != null), 3);

// A curve over generations, by logarithms where it spans much, and another one dashed beside it.
function drawCurves(ctx, c, width, height, n, values, beside = []) {
  const range = extent(values.concat(beside)), area = { left: 44, right: width - 6, top: 8, bottom: height - 18 };
  const log = range[0] > 0 && range[1] / range[0] > 30, f = log ? Math.log10 : (v) => v, pad = (f(range[1]) - f(range[0])) * 0.04 || 0.5;
  const from = n[0], to = Math.max(from + 1, n[n.length - 1]);
  const x = linear(from, to, area.left + 4, area.right - 4), y = linear(f(range[0]) - pad, f(range[1]) + pad, area.bottom - 3, area.top + 3);
  axes(ctx, c, area, x, y, [from, to].filter((v) => v <= n[n.length - 1]), [], group, () => "");
  ctx.fillStyle = c.muted; ctx.textAlign = "right"; ctx.textBaseline = "middle";
  for (const v of range[0] === range[1] ? [range[0]] : range) ctx.fillText(compact(v), 40, y(f(v)));
  for (const [one, colour, dashes] of [[beside, c.muted, [4, 3]], [values, c.ink, []]]) {
    ctx.strokeStyle = colour; ctx.lineWidth = 1.6; ctx.setLineDash(dashes); ctx.beginPath();
    let open = false;
    one.forEach((v, i) => { if (v == null) open = false; else { ctx[open ? "lineTo" : "moveTo"](x(n[i]), y(f(v))); open = true; } });
    ctx.stroke();
    // A lone value is no line.
    if (one.filter((v) => v != null).length === 1) { const i = one.findIndex((v) => v != null); ctx.fillStyle = colour; ctx.beginPath(); ctx.arc(x(n[i]), y(f(one[i])), 2.5, 0, 7); ctx.fill(); }
  }
  ctx.setLineDash([]);
}
