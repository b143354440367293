// The player of an episode: a sprite sheet cut up on a canvas, with play, pause and a scrub bar.

function rolloutPanel(ui) {
  let film = null, image = null, frame = 0, timer = null, seen = null;
  const { element, body } = panel("Episode", null, "ev-episode");
  const canvas = h("canvas", { class: "ev-film", role: "img", "aria-label": "Recorded episode" });
  const scrub = h("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Frame of the episode", oninput: () => { pause(); show(Number(scrub.value)); } });
  const play = h("button", { type: "button", class: "ev-icon", "aria-label": "Play episode", onclick: () => (timer ? pause() : start()) }, icon(ICONS.run));
  const count = h("span", { class: "ev-num ev-frames" });
  const caption = h("p", { class: "ev-foot" });
  const bar = h("div", { class: "ev-player" }, play, scrub, count);
  const who = h("select", { "aria-label": "Agent to render" });
  const every = h("select", { "aria-label": "Render by itself", onchange: () => ui.send({ type: "rollout_every", value: Number(every.value) }) },
    ...[[0, "on demand"], [1, "every generation"], [5, "every 5 gen."], [10, "every 10 gen."], [25, "every 25 gen."]].map(([v, t]) => h("option", { value: v }, t)));
  const render = h("button", { type: "button", onclick: () => ui.send({ type: "rollout", agent: who.value }) }, icon(ICONS.film), "Render");
  const actions = h("div", { class: "ev-actions" }, render, who, every);
  const note = empty("No episode yet: press Render.");
  const trouble = h("p", { class: "ev-trouble", role: "alert" });
  body.append(canvas, bar, caption, note, trouble, actions);

  function show(index) {
    frame = index;
    scrub.value = index;
    count.textContent = `${index + 1}/${film.frames}`;
    if (!image || !image.complete) return;
    const ctx = canvas.getContext("2d"), column = index % film.columns, row = Math.floor(index / film.columns);
    ctx.drawImage(image, column * film.width, row * film.height, film.width, film.height, 0, 0, film.width, film.height);
  }
  function tick() {
    if (!canvas.isConnected) return pause();
    if (document.visibilityState === "visible") show((frame + 1) % film.frames);
  }
  function start() {
    if (!film || timer) return;
    timer = setInterval(tick, film.milliseconds);
    play.replaceChildren(icon(ICONS.pause)); play.setAttribute("aria-label", "Pause episode");
  }
  function pause() {
    clearInterval(timer); timer = null;
    play.replaceChildren(icon(ICONS.run)); play.setAttribute("aria-label", "Play episode");
  }

  function draw(store) {
    const next = store.rollout && store.rollout.source ? store.rollout : null;
    canvas.hidden = bar.hidden = caption.hidden = !next;
    note.hidden = !!next || store.head.rendering;
    const alive = ["best", "elite", ...store.unborn.id.map(String)];
    if (who.dataset.alive !== alive.join()) {
      const chosen = who.value;
      who.replaceChildren(...alive.map((id) => h("option", { value: id }, /^\d/.test(id) ? `agent ${id}` : id)));
      who.value = alive.includes(chosen) ? chosen : "best";
      who.dataset.alive = alive.join();
    }
    const wanted = String(store.head.rollout_every ?? 0);
    if (document.activeElement !== every && every.value !== wanted) every.value = wanted;
    actions.hidden = ui.still;
    if (ui.still) say(note, "No episode was recorded.");
    render.disabled = !store.head.alive || store.head.rendering || !store.rows.length;
    say(render.lastChild, store.head.rendering ? "Rendering…" : "Render");
    say(trouble, store.head.rollout_error || "");
    trouble.hidden = !store.head.rollout_error;
    const key = next && `${next.agent} ${next.generation} ${next.source}`;  // another agent may play the same episode
    if (!next || key === seen) return;
    seen = key; film = next;
    canvas.width = film.width; canvas.height = film.height;
    scrub.max = film.frames - 1;
    const of = [film.agent != null ? `agent ${film.agent}` : null, film.generation != null ? `generation ${film.generation}` : null,
      `return ${film.returns.map((r) => fmt(r)).join(", ")}`, `${group(film.steps)} frames`];
    caption.textContent = of.filter(Boolean).join(" · ");
    image = new Image();
    image.onload = () => { show(0); if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) start(); };
    image.src = film.source;
    pause();
  }
  return { element, draw, stop: pause };
}
