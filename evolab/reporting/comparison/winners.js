// The winners of the chosen runs side by side: how their settings and networks changed on the way.

function winnersPanel(ui) {
  const { element, body, head } = panel("Winners side by side", h("span", { class: "ev-side" }, "schedules of the chosen runs"), "ev-wide ev-last");
  const list = h("div", { class: "ev-cards" }), note = empty("Here will be the winners\u2019 schedules and architectures of the runs that are ticked in the table.");
  body.append(list, note);
  const cards = new Map();
  const save = saveMenu(ui, "Winners side by side", () => { const found = [...cards].filter(([, one]) => one.known()), names = [...new Set(found.flatMap(([, one]) => Object.keys(one.known().h)))];
    return [["run", "generation", "steps", ...names, "hidden"], ...found.flatMap(([run, one]) => { const d = one.known(); return d.n.map((n, i) => [run, n, d.t[i], ...names.map((name) => (d.h[name] || [])[i]), d.hidden[i].join("x")]); })]; },
  gallery(ui, () => [...cards].flatMap(([run, one]) => one.figures().map((figure) => ({ ...figure, name: `${run}: ${figure.name}` })))));
  head.lastChild.append(save);

  function card(name) {
    const box = h("article", { class: "ev-card", "aria-label": name }), charts = h("div", { class: "ev-multiples" }), words = h("p", { class: "ev-foot" });
    box.append(h("h4", {}, name), charts, words);
    let made = null;
    return { box, known: () => made, figures: () => [...charts.children].map((node) => node.figure), draw(details) {
      if (!details) return say(words, "reading\u2026");
      if (details.error) return say(words, details.error);
      if (made !== details) {
        made = details;
        const varied = Object.entries(details.h).filter(([, values]) => new Set(values).size > 1), fixed = Object.entries(details.h).filter(([, values]) => new Set(values).size === 1);
        charts.replaceChildren(...varied.map(([hyper, values]) => small(hyper, details.t, values, fmt(values[values.length - 1]))), layersOf(details));
        say(words, `${details.layers ? `layers ${details.layers} \u00b7 ` : ""}${details.n.length ? `activation ${[...new Set(details.activation)].join(", ")}` : ""}${fixed.length ? ` \u00b7 never changed: ${fixed.map(([hyper, values]) => `${hyper} ${said(values[0])}`).join(" \u00b7 ")}` : ""}`);
      }
      for (const node of charts.children) if (node.paint) node.paint();
    } };
  }

  function small(name, steps, values, now) {
    const box = h("div", { class: "ev-small" }, h("div", { class: "ev-small-title" }, h("span", {}, name), h("b", {}, now)));
    const chart = stage(box, `${name} over the winner\u2019s steps`, 70, (ctx, width, height) => {
      const c = ui.colours(), axis = axisOf(name, values), area = { left: 44, right: width - 6, top: 8, bottom: height - 18 };
      const x = linear(0, steps[steps.length - 1] || 1, area.left + 4, area.right - 4), y = linear(axis.low, axis.high === axis.low ? axis.low + 1 : axis.high, area.bottom - 3, area.top + 3);
      axes(ctx, c, area, x, y, [0, steps[steps.length - 1]], [], compact, () => "");
      ctx.fillStyle = c.muted; ctx.textAlign = "right"; ctx.textBaseline = "middle";
      for (const v of axis.numeric ? axis.range : axis.words) ctx.fillText(axis.numeric ? compact(v) : v.slice(0, 7), 40, y(axis.place(v)));
      ctx.strokeStyle = c.winner; ctx.lineWidth = 1.8; ctx.beginPath();
      values.forEach((v, i) => { const from = x(i ? steps[i - 1] : 0), to = x(steps[i]), py = y(axis.place(v)); ctx[i ? "lineTo" : "moveTo"](from, py); ctx.lineTo(to, py); });
      ctx.stroke();
    });
    return Object.assign(box, { paint: chart.paint, figure: { name, now, chart } });
  }

  function layersOf(details) {
    const stacks = details.hidden, name = details.layers ? "layers" : "hidden units", now = details.layers ? briefly(details.layers) : hiddenText(stacks[stacks.length - 1]), units = stacks.map((s) => (s.every((v) => typeof v === "number") ? s : []));
    const box = h("div", { class: "ev-small" }, h("div", { class: "ev-small-title" }, h("span", {}, name), h("b", {}, now)));
    const chart = stage(box, `${name} over the winner\u2019s steps`, 70, (ctx, width, height) => {
      const c = ui.colours(), steps = details.t, most = Math.max(1, ...units.map((s) => s.reduce((a, b) => a + b, 0))), area = { left: 44, right: width - 6, top: 8, bottom: height - 18 };
      const along = linear(0, steps[steps.length - 1] || 1, area.left + 4, area.right - 4), x = (v) => Math.round(along(v));  // whole pixels leave no seams
      const y = linear(0, most, area.bottom, area.top + 3);
      axes(ctx, c, area, x, y, [0, steps[steps.length - 1]], [0, most], compact, compact);
      ctx.fillStyle = c.architecture;
      units.forEach((stack, i) => { let base = 0; stack.forEach((u, layer) => { ctx.globalAlpha = 0.85 - (0.6 * layer) / Math.max(1, stack.length); ctx.fillRect(x(i ? steps[i - 1] : 0), y(base + u), x(steps[i]) - x(i ? steps[i - 1] : 0), y(base) - y(base + u) - 0.8); base += u; }); });
      ctx.globalAlpha = 1;
    });
    return Object.assign(box, { paint: chart.paint, figure: { name, now, chart } });
  }

  function draw(store) {
    const wanted = [...ui.chosen].slice(-4);
    note.hidden = wanted.length > 0; list.hidden = save.hidden = !wanted.length;
    for (const [name, one] of cards) if (!wanted.includes(name)) { one.box.remove(); cards.delete(name); }
    for (const name of wanted) {
      if (!cards.has(name)) { cards.set(name, card(name)); list.append(cards.get(name).box); }
      cards.get(name).draw(ui.details(name));
    }
  }
  return { element, draw };
}
