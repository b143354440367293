// Mutation rates as sliders: a change counts from the next generation on.

function ratesPanel(ui) {
  const { element, body } = panel("Mutation rates", null, "ev-rates-panel");
  const list = h("div", { class: "ev-rates" });
  const foot = h("p", { class: "ev-foot" });
  const note = empty("This experiment does not mutate.");
  body.append(list, foot, note);
  const sliders = new Map();

  function make(name, low, high) {
    const value = h("output", { class: "ev-num" }), share = h("span", { class: "ev-num ev-share" });
    const input = h("input", { type: "range", min: low, max: high, step: high > 1 ? 0.05 : 0.01, "aria-label": `rate of ${name}`,
      oninput: () => { value.textContent = Number(input.value).toFixed(2); entry.moved = true; shares(); },
      onchange: () => { ui.send({ type: "rates", name, value: Number(input.value) }); entry.sent = Date.now(); entry.moved = false; } });
    const kind = LOOKS[name] ? mark(name) : h("i", { class: "ev-nomark" });
    const entry = { input, value, share, moved: false, sent: 0, row: h("label", { class: "ev-rate" }, kind, h("span", {}, label(name)), input, value, share) };
    return entry;
  }
  const label = (name) => ({ none: "no mutation", parameters: "weights", new_layer: "new layer", sd: "weight noise", resample: "drawn anew" }[name] || name.replace(/_/g, " "));

  function shares() {
    const kinds = [...sliders].filter(([name]) => !["new_layer", "sd", "resample"].includes(name));
    const total = kinds.reduce((sum, [, s]) => sum + Number(s.input.value), 0);
    for (const [, s] of kinds) say(s.share, total ? `${Math.round((100 * s.input.value) / total)}%` : "–");
  }

  function draw(store) {
    const rates = store.head.rates || [];
    note.hidden = rates.length > 0; list.hidden = foot.hidden = !rates.length;
    for (const [name, value, low, high] of rates) {
      if (!sliders.has(name)) { const s = make(name, low, high); sliders.set(name, s); list.append(s.row); }
      const s = sliders.get(name);
      s.input.disabled = !store.head.alive || ui.still;
      if (s.moved || Date.now() - s.sent < 700) continue;  // do not pull the slider from under a hand
      if (Number(s.input.value) !== value) s.input.value = value;
      say(s.value, Number(value).toFixed(2));
    }
    shares();
    say(foot, ui.still ? "As they were at the end." : `A change counts for the children born at the end of generation ${group(store.head.generation + 1)}.`);
  }
  return { element, draw };
}
