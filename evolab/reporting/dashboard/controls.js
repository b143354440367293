// The head of the dashboard: four buttons, what is going on, how far it is, and the figures one looks for first.

function controls(ui) {
  const button = (name, action, title) => h("button", { type: "button", class: `ev-button ev-${action}`, title,
    onclick: () => ui.send({ type: action }) }, icon(ICONS[action]), name);
  const buttons = {
    step: button("Step", "step", "Train one generation"),
    run: button("Run", "run", "Train on until paused"),
    pause: button("Pause", "pause", "Pause at the next environment step; Run goes on from there"),
    stop: button("Stop", "stop", "Stop at the next environment step and show the run as stopped; Run goes on from there all the same"),
  };
  const state = h("span", { class: "ev-state", role: "status" });
  const phase = h("span", { class: "ev-phase" });
  const fill = h("i"), bar = h("div", { class: "ev-progress", role: "progressbar", "aria-label": "Progress of the generation", "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  const title = h("h2", {}), tiles = h("div", { class: "ev-tiles", role: "list" });
  const banner = h("div", { class: "ev-banner", role: "alert" });
  const group_ = h("div", { class: "ev-buttons", role: "group", "aria-label": "Training" }, ...Object.values(buttons));
  const top = h("div", { class: "ev-top" }, group_, h("div", { class: "ev-now" }, h("div", { class: "ev-line" }, state, phase), bar));
  top.hidden = ui.still && !ui.watched;
  const element = h("header", {}, top, banner, h("div", { class: "ev-facts" }, title, tiles));

  const SAVED = "a picture of the last saved state; run the cell again for a live dashboard";
  const WATCHED = { running: "a process has this run open and writes to it", idle: "no process has this run open" };
  const STATES = ui.watched ? WATCHED : { idle: "ready", running: "running", pausing: "pausing", paused: "paused", stopping: "stopping", stopped: "stopped", failed: "failed" };

  let listed = "";
  function draw(store) {
    const head = store.head, status = head.alive ? head.status : "saved", running = status === "running";
    buttons.step.disabled = buttons.run.disabled = !head.alive || running;
    buttons.pause.disabled = !head.alive || !running;
    buttons.stop.disabled = !head.alive || status === "stopped" || status === "idle";
    group_.hidden = !head.alive || ui.watched;
    state.className = `ev-state ev-is-${status}`;
    say(state, head.gone ? head.ended || "the kernel has ended: this is a picture" : STATES[status] || (ui.watched ? "reading the run" : SAVED));
    say(banner, head.error || "");
    banner.hidden = !head.error;
    const p = head.progress, part = p && p.total ? Math.min(1, p.done / p.total) : 0;
    const newest = store.rows[store.rows.length - 1];
    // What is left of the last generation's progress is not news: only a generation under way is shown.
    const busy = p && head.alive && (running || ["pausing", "paused", "stopping"].includes(status)) && p.generation > (newest ? newest.n : -1);
    const doing = { fill: "filling the buffer", train: "training", evaluate: "evaluating" };
    say(phase, busy ? `generation ${group(p.generation)} · ${doing[p.phase] || p.phase} ${group(p.done)} / ${group(p.total)}`
      : ui.watched ? (head.unread ? `reading generations 1 to ${group(head.unread)}` : "") : head.alive && !store.rows.length ? "press Step or Run to begin"
      : head.gone ? (head.folder ? `ev.Experiment.load("${head.folder}") goes on from its newest checkpoint` : "run the notebook again; exp.save(folder) keeps a run") : "");
    fill.style.width = `${busy ? 100 * part : 0}%`;
    bar.setAttribute("aria-valuenow", Math.round(busy ? 100 * part : 0));
    bar.style.visibility = head.alive && !ui.watched ? "visible" : "hidden";
    say(title, `${head.algorithm} on ${head.name}`);
    const best = newest && newest.f[0];
    const facts = [
      ["generation", newest ? group(newest.n) : "0"],
      ["best now", newest ? fmt(best) : "–"],
      [store.confirmed != null ? "best confirmed" : "best ever", store.confirmed != null ? fmt(store.confirmed) : store.best != null ? fmt(store.best) : "–"],
      head.target != null ? ["target", fmt(head.target)] : null,
      head.updates ? ["updates", compact(head.back ? head.all_steps : head.total_steps || 0), head.back ? "all agents" : `all agents, and ${compact(head.evaluation_steps || 0)} evaluation steps`]
        : ["environment steps", compact(head.back ? head.all_steps : (head.total_steps || 0) + (head.evaluation_steps || 0)), head.back ? "training + evaluation" : `${compact(head.total_steps || 0)} training + ${compact(head.evaluation_steps || 0)} evaluation`],
      head.speed ? [head.updates ? "updates/s" : "training steps/s", compact(Math.round(head.speed))] : null,
    ].filter(Boolean);
    const names = facts.map(([name]) => name).join();
    if (names !== listed) {
      listed = names;
      tiles.replaceChildren(...facts.map(([name]) => h("div", { role: "listitem" }, h("span", { class: "ev-fact" }, name), h("b"), h("small"))));
    }
    const sure = head.solved ? "target reached" : store.fresh ? `over ${group(store.fresh)} fresh episode${store.fresh > 1 ? "s" : ""}` : "over fresh episodes";
    facts.forEach(([name, value, below], i) => {
      const [, figure, small] = tiles.children[i].children, confirmed = name === "best confirmed";
      say(figure, value);
      figure.className = confirmed ? "ev-confirmed" : "";
      say(small, below || (confirmed ? sure : name === "best ever" ? "one evaluation" : ""));
    });
  }
  return { element, draw };
}
