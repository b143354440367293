// Episodes: a sprite sheet cut up on a canvas, with play, pause and a scrub bar; the panel of the newest one.

function player() {
  let film = null, image = null, frame = 0, timer = null;
  const canvas = h("canvas", { class: "ev-film", role: "img", "aria-label": "Recorded episode" });
  const scrub = h("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Frame of the episode", title: "Frame of the episode", oninput: () => { pause(); show(Number(scrub.value)); } });
  const play = h("button", { type: "button", class: "ev-icon", "aria-label": "Play episode", title: "Play episode", onclick: () => (timer ? pause() : start()) }, icon(ICONS.run));
  const count = h("span", { class: "ev-num ev-frames" });
  const element = h("div", { hidden: true }, canvas, h("div", { class: "ev-player" }, play, scrub, count));

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
  const name = (words) => { play.setAttribute("aria-label", words); play.title = words; };
  function start() {
    if (!film || timer) return;
    timer = setInterval(tick, film.milliseconds);
    play.replaceChildren(icon(ICONS.pause)); name("Pause episode");
  }
  function pause() {
    clearInterval(timer); timer = null;
    play.replaceChildren(icon(ICONS.run)); name("Play episode");
  }
  function load(next) {
    film = next; element.hidden = !film;
    pause();
    if (!film) return;
    canvas.width = film.width; canvas.height = film.height;
    scrub.max = film.frames - 1;
    image = new Image();
    image.onload = () => { show(0); if (!window.matchMedia("(prefers-reduced-motion: reduce)").matches) start(); };
    image.src = film.source;
  }
  return { element, load, stop: pause };
}

const filmWords = (film) => [film.agent != null ? `agent ${film.agent}` : null, film.generation != null ? `generation ${film.generation}` : null,
  `return ${film.returns.map((r) => fmt(r)).join(", ")}`, `${group(film.steps)} frames`].filter(Boolean).join(" · ");

function rolloutPanel(ui) {
  let seen = null, film = null;
  const { element, body, head } = panel("Episode", null, "ev-episode");
  const shown = player();
  const caption = h("p", { class: "ev-foot" });
  const who = h("select", { "aria-label": "Agent to render", title: "Agent to render" });
  const every = h("select", { "aria-label": "Render by itself", title: "Render by itself", onchange: () => ui.send({ type: "rollout_every", value: Number(every.value) }) },
    ...[[0, "on demand"], [1, "every generation"], [5, "every 5 gen."], [10, "every 10 gen."], [25, "every 25 gen."]].map(([v, t]) => h("option", { value: v }, t)));
  const render = h("button", { type: "button", title: "Record an episode beside training", onclick: () => ui.send({ type: "rollout", agent: who.value }) }, icon(ICONS.film), "Render");
  const actions = h("div", { class: "ev-actions" }, render, who, every);
  const note = empty("");
  const trouble = h("p", { class: "ev-trouble", role: "alert" });
  const keep = h("button", { type: "button", class: "ev-icon ev-save", title: "Save this film as a GIF", "aria-label": "Save this film as a GIF", onclick: () => ui.send({ type: "film" }) }, icon(ICONS.save));
  head.lastChild.append(keep);
  body.append(shown.element, caption, note, trouble, actions);

  function draw(store) {
    const next = store.rollout && store.rollout.source ? store.rollout : null, none = store.head.no_pictures;
    caption.hidden = !next;
    keep.hidden = !next || !store.head.alive || ui.still;
    note.hidden = !!next || store.head.rendering;
    say(note, none ? `No episodes to see: ${none.replace(/\.$/, "")}.` : ui.still || !store.head.alive ? "No episode was recorded."
      : `Here will be an episode of one agent, as a film. ${store.rows.length ? "Press Render." : "Press Step first."}`);
    const alive = ["best", "elite", ...store.unborn.id.map(String)];
    if (who.dataset.alive !== alive.join()) {
      const chosen = who.value;
      who.replaceChildren(...alive.map((id) => h("option", { value: id }, /^\d/.test(id) ? `agent ${id}` : id)));
      who.value = alive.includes(chosen) ? chosen : "best";
      who.dataset.alive = alive.join();
    }
    const wanted = String(store.head.rollout_every ?? 0);
    if (document.activeElement !== every && every.value !== wanted) every.value = wanted;
    actions.hidden = ui.still || !!none || !store.head.alive;
    render.disabled = !store.head.alive || store.head.rendering || !store.rows.length;
    say(render.lastChild, store.head.rendering ? "Rendering…" : "Render");
    say(trouble, store.head.rollout_error || "");
    trouble.hidden = !store.head.rollout_error;
    const key = next && `${next.agent} ${next.generation} ${next.source}`;  // another agent may play the same episode
    if (!next || key === seen) return;
    seen = key; film = next;
    caption.textContent = filmWords(film);
    shown.load(film);
  }
  return { element, draw, stop: shown.stop };
}
