// Mutation rates as sliders: a change counts from the next generation on. What only says how one kind is made stands under it.

function ratesPanel(ui) {
  const { element, body } = panel("Mutation rates", null, "ev-rates-panel");
  const list = h("div", { class: "ev-rates" });
  const foot = h("p", { class: "ev-foot" });
  const note = empty("This experiment does not mutate.");
  body.append(list, foot, note);
  const sliders = new Map(), UNDER = { new_layer: "architecture", sd: "parameters", resample: "hyperparameters" };

  function make(name, low, high) {
    const value = h("output", { class: "ev-num" }), share = h("span", { class: "ev-num ev-share", title: "share of the children" });
    const words = UNDER[name] ? name : lookOf(name)[0], means = MEANS[name] || "a mutation of your own";
    const input = h("input", { type: "range", min: low, max: high, step: high > 1 ? 0.05 : 0.01, "aria-label": words, "aria-description": means,
      oninput: () => { value.textContent = Number(input.value).toFixed(2); entry.moved = true; shares(); },
      onchange: () => { ui.send({ type: "rates", name, value: Number(input.value) }); entry.sent = Date.now(); entry.moved = false; } });
    const kind = UNDER[name] ? h("i", { class: "ev-nomark" }) : mark(name);
    const entry = { input, value, share, moved: false, sent: 0, row: h("label", { class: `ev-rate${UNDER[name] ? " ev-under" : ""}`, title: means }, kind, h("span", {}, words), input, value, share) };
    return entry;
  }

  function shares() {
    const kinds = [...sliders].filter(([name]) => !UNDER[name]);
    const total = kinds.reduce((sum, [, s]) => sum + Number(s.input.value), 0);
    for (const [, s] of kinds) say(s.share, total ? `${Math.round((100 * s.input.value) / total)}%` : "–");
  }

  function draw(store) {
    const rates = store.head.rates || [];
    note.hidden = rates.length > 0; list.hidden = foot.hidden = !rates.length;
    for (const [name, value, low, high] of rates) {
      if (!sliders.has(name)) {
        const s = make(name, low, high), above = sliders.get(UNDER[name]);
        sliders.set(name, s);
        if (above) above.row.parentNode.append(s.row); else list.append(h("div", { class: "ev-kind-of" }, s.row));
      }
      const s = sliders.get(name);
      s.input.disabled = !store.head.alive || ui.still;
      if (s.moved || Date.now() - s.sent < 700) continue;  // do not pull the slider from under a hand
      if (Number(s.input.value) !== value) s.input.value = value;
      say(s.value, Number(value).toFixed(2));
    }
    shares();
    say(foot, ui.still || !store.head.alive ? "As they were at the end." : `Shares of the children of each generation; a change counts from the end of generation ${group(store.head.generation + 1)} on.`);
  }
  return { element, draw };
}
