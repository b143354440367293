// One store per model, any number of views of it: rows are appended as they come, every view draws the same store.

function emptyStore() {
  return { rows: [], head: { status: "idle", alive: false }, line: { n: [], t: [], id: [], f: [], h: [], a: [], m: [], kinds: {}, length: 0 },
    effects: [], unborn: { id: [], p: [], k: [], d: [] }, kinds: ["first"], names: [], custom: [], best: null, confirmed: null, rollout: null };
}

const newestOf = (store) => (store.rows.length ? store.rows[store.rows.length - 1].n : 0);

function take(store, message) {
  for (const key of ["head", "line", "effects", "unborn", "kinds", "names", "custom", "best", "confirmed"]) if (message[key] != null) store[key] = message[key];
  if (message.reset) store.rows = message.rows || [];
  else for (const row of message.rows || []) if (row.n === newestOf(store) + 1 || !store.rows.length) store.rows.push(row);
  // A page that stays open for a thousand generations keeps the newest in full and thins the rest.
  if (store.rows.length > 600) store.rows = store.rows.filter((_, i) => i % 2 === 0 || i > store.rows.length - 200);
}

// Draw a store into an element. `still` pages (reports) have no controls.
function mount(root, store, { send = () => {}, still = false } = {}) {
  root.classList.add("evolab");
  const inner = h("div", { class: "ev-inner" });
  root.replaceChildren(inner);
  let cached = null;
  const ui = { send, still, tip: makeTip(root), colours: () => cached || (cached = colours(root)) };
  const head = controls(ui);
  const film = rolloutPanel(ui);
  const left = [fitnessPanel(ui), lineagePanel(ui), hyperparametersPanel(ui)], rates = ratesPanel(ui);
  const right = [film, mutationsPanel(ui), rates], panels = [...left, ...right, populationPanel(ui)];
  const column = (name, parts) => h("div", { class: name }, ...parts.map((p) => p.element));
  const custom = new Map();
  const grid = h("div", { class: "ev-grid" }, column("ev-left", left), column("ev-right", right), panels[6].element);
  inner.append(head.element, grid);

  // Heavy panels are drawn when generations arrive, light ones with every message; one that fails leaves the rest alone.
  const light = new Set([film, rates]);
  let drawn = null, width = 0, working = false;
  const pending = new Set();
  // One heavy panel a task: between two of them the page answers clicks and keys.
  function work() {
    const [p] = pending;
    pending.delete(p);
    if (p) { safely(p, store); setTimeout(work); } else working = false;
  }
  function safely(p, value) {
    try { p.draw(value); } catch (error) { console.error("evolab: a panel failed", error); }
  }
  function draw(force = false) {
    const key = `${newestOf(store)} ${store.rows.length} ${store.head.status} ${store.head.alive} ${store.head.target}`;
    const all = force || key !== drawn;
    cached = null;
    drawn = key;
    safely(head, store);
    for (const p of panels) {
      if (force || light.has(p)) safely(p, store);
      else if (all) pending.add(p);
    }
    if (pending.size && !working) { working = true; setTimeout(work); }
    if (!all) return;
    for (const { title, data } of store.custom) {
      if (!custom.has(title)) { const p = formPanel(ui, title); custom.set(title, p); grid.append(p.element); }
      safely(custom.get(title), data);
    }
  }
  const resized = new ResizeObserver(() => { if (inner.clientWidth !== width) { width = inner.clientWidth; draw(true); } });
  resized.observe(inner);
  // A theme's style sheet arrives some time after its name: draw now, and again when it is there.
  const changed = () => [0, 200, 1000].forEach((wait) => setTimeout(() => draw(true), wait));
  const themed = new MutationObserver(changed);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", changed);
  draw(true);
  return { draw, close() { pending.clear(); resized.disconnect(); themed.disconnect(); scheme.removeEventListener("change", changed); film.stop(); } };
}

const stores = new Map();  // by the widget's own name: each call gets its own wrapper of the same model

function initialize({ model }) {
  const store = emptyStore(), views = new Set();
  let heard = 0, asked = 0;
  const drawAll = () => views.forEach((view) => view.draw());
  const state = () => {
    const saved = model.get("state");
    const fresh = saved && saved.rows && (saved.rows.length ? saved.rows[saved.rows.length - 1].n : 0);
    if (fresh != null && (fresh > newestOf(store) || !heard)) take(store, { ...saved, reset: true, head: { ...saved.head, alive: heard > 0 } });
    store.rollout = model.get("rollout");
    drawAll();
  };
  const message = (content) => {
    if (content.type !== "frame") return;
    heard = Date.now();
    const first = (content.rows || [])[0];
    if (!content.reset && first && store.rows.length && first.n > newestOf(store) + 1) {
      // A gap: this page slept through some messages. Ask once for what is missing.
      if (Date.now() - asked > 1000) { asked = Date.now(); model.send({ type: "hello", have: newestOf(store) }); }
      delete content.rows;
    }
    take(store, content);
    // Acknowledged after drawing, so that a busy or hidden page is never flooded.
    requestAnimationFrame(() => { drawAll(); model.send({ type: "seen", seq: content.seq }); });
  };
  model.on("change:state", state);
  model.on("change:rollout", () => { store.rollout = model.get("rollout"); drawAll(); });
  model.on("msg:custom", message);
  stores.set(model.get("twin"), { store, views, hello: () => model.send({ type: "hello", have: newestOf(store) }) });
  state();
  return () => { stores.delete(model.get("twin")); model.off("change:state", state); model.off("msg:custom", message); };
}

function render({ model, el }) {
  const twin = model.get("twin");
  const { store, views, hello } = stores.get(twin);
  // The still picture next to the widget is for pages without widgets.
  const style = h("style", {}, `.jp-OutputArea-child:has(#${twin}), #${twin} { display: none !important; }`);
  document.head.append(style);
  const view = mount(el, store, { send: (content) => model.send(content) });
  views.add(view);
  hello();
  return () => { view.close(); views.delete(view); style.remove(); if (!views.size) model.send({ type: "unseen" }); };
}
