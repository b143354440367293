// Settings against results: a scatter, parallel coordinates, and how strongly each setting went with the result.

// Values of runs on one axis: numbers as they are (by their logarithm where they span much), words in order of appearance.
function axisOf(name, values) {
  const known = values.filter((v) => v != null), numeric = known.length > 0 && known.every((v) => typeof v === "number");
  if (numeric) {
    const range = extent(known), log = range[0] > 0 && range[1] / range[0] > 6, f = log ? Math.log10 : (v) => v;
    return { name, numeric, log, low: f(range[0]), high: f(range[1]), range, place: (v) => (v == null ? null : f(v)) };
  }
  const words = [...new Set(known.map(said))].sort();
  return { name, numeric, words, low: -0.5, high: words.length - 0.5, place: (v) => (v == null ? null : words.indexOf(said(v))) };
}

// What can stand on an axis: settings that differ, and the winner's hyperparameters at the end.
function axesOf(store, runs) {
  const ends = [...new Set(runs.flatMap((run) => Object.keys(run.w)))];
  return [...store.columns.map(([, name], i) => [name, (run) => run.v[i]]), ...ends.map((name) => [`winner\u2019s ${name}`, (run) => run.w[name]])]
    .filter(([, value]) => new Set(runs.map((run) => JSON.stringify(value(run) ?? null))).size > 1);
}

function scatterPanel(ui) {
  const { element, body, head } = panel("A setting against fitness", null, "ev-scatter");
  const pick = h("select", { "aria-label": "Setting on the horizontal axis", title: "Setting on the horizontal axis", onchange: () => { wanted = pick.value; chart.paint(); } });
  const box = h("div", { class: "ev-chart" }), note = empty("Here will be each run\u2019s result by a setting of your choice, once two runs differ.");
  body.append(box, note);
  let last = null, runs = [], kinds = [], options = [], wanted = null, points = [];
  const chart = stage(box, "A setting against fitness", 240, (ctx, width, height) => {
    const option = options.find(([name]) => name === wanted) || options[0];
    points = [];
    if (!option) return;
    const c = ui.colours(), area = { left: 52, right: width - 12, top: 22, bottom: height - 38 }, [name, value] = option;
    const axis = axisOf(name, runs.map(value)), ys = extent(runs.map(scoreOf));
    if (!ys) return;
    const pad = (ys[1] - ys[0] || 1) * 0.07, y = linear(ys[0] - pad, ys[1] + pad, area.bottom, area.top), x = linear(axis.low, axis.high, area.left + 10, area.right - 10);
    axes(ctx, c, area, x, y, [], ticks(ys[0], ys[1], 4), () => "");
    ctx.fillStyle = c.muted; ctx.textAlign = "center"; ctx.textBaseline = "top";
    const marks = axis.numeric ? [axis.low, (axis.low + axis.high) / 2, axis.high].map((v) => [v, compact(axis.log ? 10 ** v : v)]) : axis.words.slice(0, 8).map((w, i) => [i, w.length > 12 ? `${w.slice(0, 11)}\u2026` : w]);
    for (const [v, text] of marks) { const half = ctx.measureText(text).width / 2; ctx.fillText(text, Math.min(Math.max(x(v), area.left + half), area.right - half), area.bottom + 5); }
    names(ctx, c, area, name + (axis.log ? " (log)" : ""), "best fitness (confirmed where known)");
    const colourOf = new Map(kinds.flatMap((kind) => kind.members.map((run) => [run.name, kind.colour])));
    for (const run of runs) {
      const px = axis.place(value(run)), score = scoreOf(run);
      if (px == null || score == null) continue;
      const at = [x(px) + (axis.numeric ? 0 : jitter(run.name) * 14), y(score)];
      ctx.globalAlpha = 0.8; ctx.fillStyle = colourOf.get(run.name) == null ? c.cloud : c[SERIES[colourOf.get(run.name)]];
      ctx.beginPath(); ctx.arc(at[0], at[1], ui.chosen.has(run.name) ? 6 : 4, 0, 7); ctx.fill();
      if (ui.chosen.has(run.name)) { ctx.strokeStyle = c.ink; ctx.lineWidth = 1.5; ctx.stroke(); }
      points.push([...at, run, value(run)]);
    }
    ctx.globalAlpha = 1;
  });
  const save = saveMenu(ui, "A setting against fitness", () => [["run", ...options.map(([name]) => name), "best fitness"], ...runs.map((run) => [run.name, ...options.map(([, value]) => value(run)), scoreOf(run)])], chart);
  head.lastChild.append(pick, save);
  const jitter = (text) => { let v = 7; for (const letter of text) v = (v * 31 + letter.charCodeAt(0)) % 1009; return v / 1009 - 0.5; };
  const hit = (event) => {
    const area = chart.canvas.getBoundingClientRect(), mx = event.clientX - area.left, my = event.clientY - area.top;
    return points.map((p) => [(p[0] - mx) ** 2 + (p[1] - my) ** 2, p]).filter(([d]) => d < 150).sort((a, b) => a[0] - b[0]).map(([, p]) => p)[0];
  };
  box.addEventListener("pointermove", (event) => { const p = hit(event); box.style.cursor = p ? "pointer" : ""; if (!p) return ui.tip.hide(); ui.tip.show(event, [p[2].name, `${wanted || options[0][0]} ${said(p[3])}`, `best fitness ${fmt(scoreOf(p[2]))}${p[2].confirmed != null ? " \u2713" : ""}`]); });
  box.addEventListener("pointerleave", () => ui.tip.hide());
  box.addEventListener("click", (event) => { const p = hit(event); if (p) { const name = p[2].name; if (ui.chosen.has(name)) ui.chosen.delete(name); else ui.chosen.add(name); ui.changed(); } });

  function draw(store, shown, list) {
    last = store; kinds = list;
    runs = shown.filter((run) => scoreOf(run) != null);
    options = axesOf(store, runs);
    const any = options.length > 0;
    note.hidden = any; box.hidden = pick.hidden = save.hidden = !any;
    if (!any) return;
    if (pick.dataset.names !== options.map(([name]) => name).join("\n")) {
      pick.replaceChildren(...options.map(([name]) => h("option", { value: name }, name)));
      pick.dataset.names = options.map(([name]) => name).join("\n");
    }
    if (!options.some(([name]) => name === wanted)) wanted = options[0][0];
    pick.value = wanted;
    chart.paint();
  }
  return { element, draw };
}

function parallelPanel(ui) {
  const side = h("span", { class: "ev-side" }), { element, body, head } = panel("All settings against fitness", side, "ev-parallel");
  const box = h("div", { class: "ev-chart" }), note = empty("Here will be a line for each run through all settings that differ, once two runs differ.");
  body.append(box, note);
  let runs = [], kinds = [], options = [], paths = [], hovered = null;
  const chart = stage(box, "Settings of every run and its fitness", 240, (ctx, width, height) => {
    const c = ui.colours(), most = Math.max(3, Math.floor((width - 60) / 92)), used = [...options.slice(0, most - 1), ["best fitness", scoreOf]];
    const list = used.map(([name, value]) => ({ ...axisOf(name, runs.map(value)), value })), top = 36, bottom = height - 22;
    const x = linear(0, list.length - 1, 46, width - 46), y = (axis, v) => linear(axis.low, axis.high === axis.low ? axis.low + 1 : axis.high, bottom, top)(axis.place(v));
    const room = (width - 92) / Math.max(1, list.length - 1) - 6;
    const shorten = (text) => { let t = String(text); while (t.length > 4 && ctx.measureText(t).width > room) t = `${t.slice(0, -2)}\u2026`; return t; };
    ctx.textAlign = "center"; ctx.lineWidth = 1;
    list.forEach((axis, i) => {
      ctx.strokeStyle = c.link; ctx.beginPath(); ctx.moveTo(x(i), top - 4); ctx.lineTo(x(i), bottom + 4); ctx.stroke();
      ctx.fillStyle = c.ink; ctx.textBaseline = "alphabetic";
      ctx.fillText(shorten(axis.name), x(i), 12);
      ctx.fillStyle = c.muted;
      if (axis.numeric) { ctx.fillText(compact(axis.range[1]), x(i), 26); ctx.textBaseline = "top"; ctx.fillText(compact(axis.range[0]), x(i), bottom + 8); }
    });
    const colourOf = new Map(kinds.flatMap((kind) => kind.members.map((run) => [run.name, kind.colour]))), any = runs.some((run) => ui.chosen.has(run.name));
    const strong = (run) => (hovered ? run === hovered : any ? ui.chosen.has(run.name) : colourOf.get(run.name) != null);
    paths = [];
    for (const run of [...runs].sort((a, b) => strong(a) - strong(b) || scoreOf(a) - scoreOf(b))) {
      const points = list.map((axis, i) => (axis.place(axis.value(run)) == null ? null : [x(i), y(axis, axis.value(run))])).filter(Boolean);
      ctx.globalAlpha = strong(run) ? 0.95 : 0.3; ctx.strokeStyle = colourOf.get(run.name) == null ? c.cloud : c[SERIES[colourOf.get(run.name)]]; ctx.lineWidth = strong(run) ? 2 : 1;
      ctx.beginPath(); points.forEach(([px, py], i) => ctx[i ? "lineTo" : "moveTo"](px, py)); ctx.stroke();
      paths.push([run, points]);
    }
    ctx.globalAlpha = 1; ctx.textAlign = "center"; ctx.textBaseline = "middle";
    list.forEach((axis, i) => {
      if (axis.numeric) return;
      axis.words.slice(0, 9).forEach((word, k) => {  // on a ground of their own: lines meet here
        const py = linear(axis.low, axis.high, bottom, top)(k), text = shorten(word), wide = ctx.measureText(text).width + 8;
        ctx.fillStyle = c.bg; ctx.fillRect(x(i) - wide / 2, py - 8, wide, 16);
        ctx.fillStyle = c.ink; ctx.fillText(text, x(i), py);
      });
    });
  });
  const save = saveMenu(ui, "All settings against fitness", () => [["run", ...options.map(([name]) => name), "best fitness"], ...runs.map((run) => [run.name, ...options.map(([, value]) => value(run)), scoreOf(run)])], chart);
  head.lastChild.append(save);
  box.addEventListener("pointermove", (event) => {
    const area = chart.canvas.getBoundingClientRect(), mx = event.clientX - area.left, my = event.clientY - area.top;
    let best = null, distance = 8;
    for (const [run, points] of paths) for (let i = 1; i < points.length; i++) {
      const [[ax, ay], [bx, by]] = [points[i - 1], points[i]];
      if (mx < ax || mx > bx) continue;
      const d = Math.abs(ay + ((by - ay) * (mx - ax)) / (bx - ax || 1) - my);
      if (d < distance) { distance = d; best = run; }
    }
    if (best !== hovered) { hovered = best; chart.paint(); }
    if (best) ui.tip.show(event, [best.name, `best fitness ${fmt(scoreOf(best))}`, ...options.slice(0, 10).map(([name, value]) => `${name} ${said(value(best))}`)]); else ui.tip.hide();
  });
  box.addEventListener("pointerleave", () => { hovered = null; chart.paint(); ui.tip.hide(); });

  function draw(store, shown, list) {
    runs = shown.filter((run) => scoreOf(run) != null); kinds = list;
    options = axesOf(store, runs);
    const any = options.length > 0 && runs.length > 1;
    note.hidden = any; box.hidden = save.hidden = side.hidden = !any;
    say(side, `a line is a run; strong: the ${runs.some((run) => ui.chosen.has(run.name)) ? "chosen ones" : "best"}`);
    if (any) chart.paint();
  }
  return { element, draw };
}

function importancePanel(ui) {
  const { element, body, head } = panel("What went with fitness", null, "ev-weights");
  const table = h("div", { class: "ev-weights-of" }), note = empty("Here will be how strongly each setting went with the result, from five runs on.");
  const foot = h("p", { class: "ev-foot" }, "Rank correlation over runs, from 0 to 1; thin line: 95% interval. Settings that were changed together cannot be told apart, and no cause is proved.");
  let rows = [];
  body.append(table, foot, note);
  const save = saveMenu(ui, "What went with fitness", () => [["setting", "strength", "low", "high"], ...rows],
    intervals(ui, table, () => ({ heads: ["strength"], rows: rows.slice(0, 12).map(([name, middle, low, high]) => ({ name, low, middle, high, bar: true, colour: "winner", words: [middle.toFixed(2)] })) })));
  head.lastChild.append(save);
  function draw(store) {
    rows = store.importance;
    note.hidden = rows.length > 0; table.hidden = foot.hidden = save.hidden = !rows.length;
    table.replaceChildren(...rows.slice(0, 12).flatMap(([name, strength, low, high]) => [h("span", { class: "ev-kind", title: name }, name),
      svg("svg", { viewBox: "0 0 100 14", class: "ev-whisker", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { x: 0, y: 3, width: 100 * strength, height: 8, class: "ev-weight" }),
        svg("line", { x1: 100 * low, x2: 100 * high, y1: 7, y2: 7, class: "ev-interval", "vector-effect": "non-scaling-stroke" })),
      h("span", { class: "ev-num", title: `${fmt(low)} to ${fmt(high)}` }, strength.toFixed(2))]));
  }
  return { element, draw };
}
