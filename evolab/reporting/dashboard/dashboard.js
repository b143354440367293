// One store per model, any number of views of it: rows are appended as they come, every view draws the same store.

function emptyStore() {
  return { rows: [], head: { status: "idle", alive: false }, line: { n: [], t: [], id: [], f: [], h: [], a: [], m: [], l: [], kinds: {}, length: 0 },
    effects: [], unborn: { id: [], p: [], k: [], d: [] }, kinds: ["first"], names: [], custom: [], best: null, confirmed: null, fresh: null, rollout: null,
    rings: { n: [], t: [], f: [] }, learning: { n: [], losses: {}, length: [], ratio: [], faults: {} } };
}

const newestOf = (store) => (store.rows.length ? store.rows[store.rows.length - 1].n : 0);
const PARTS = ["head", "effects", "unborn", "kinds", "names", "custom", "best", "confirmed", "fresh", "rings", "learning"];
const FULL = 300;  // of the newest generations a page keeps everything, of older ones what charts and family tree need

function take(store, message) {
  for (const key of PARTS) if (message[key] != null) store[key] = message[key];
  if (message.line) store.line = unfolded(message.line);
  if (message.reset) merge(store, message.rows || [], true);
  else for (const row of message.rows || []) if (row.n === newestOf(store) + 1 || !store.rows.length) store.rows.push(row);
  for (const row of store.rows) if (row.h && !row.q) row.q = spread(row);
  for (let i = store.rows.length - FULL; i-- > 0 && store.rows[i].h;) lighten(store.rows[i]);
}

// [index, value] where a setting changes, and everywhere in between the same object.
function unfolded(line) {
  const everywhere = (changes) => { const found = []; changes.forEach(([from, value], k) => { const to = k + 1 < changes.length ? changes[k + 1][0] : line.n.length; for (let i = from; i < to; i++) found.push(value); }); return found; };
  const l = line.n.map(() => null);
  for (const [i, values] of line.l || []) l[i] = values;
  return { ...line, h: everywhere(line.h), a: everywhere(line.a), m: everywhere(line.m), l };
}

// Lowest and highest value of each hyperparameter of a generation, and of the networks' sizes, where they differ.
function spread(row) {
  const q = {};
  for (const key of ["m", ...row.h[0].keys()]) {
    const found = extent(key === "m" ? row.m : row.h.map((v) => (typeof v[key] === "number" ? v[key] : null)));
    if (found && found[0] < found[1]) q[key] = found;
  }
  return q;
}

function lighten(row) {
  for (const key of ["d", "c", "h", "a", "w", "g", "y", "v", "m", "s", "x"]) delete row[key];
}

// Rows of two sources in order of their generations; where both have one, the one that says more. A run that begins anew
// (a dashboard of another experiment) shares nothing with what was there.
function merge(store, rows, newest = false) {
  const known = new Map(newest && rows.length && rows[rows.length - 1].n < newestOf(store) ? [] : store.rows.map((r) => [r.n, r]));
  const level = (row) => (row.h ? 2 : row.id ? 1 : 0);
  for (const row of rows) if (!known.has(row.n) || level(row) >= level(known.get(row.n))) known.set(row.n, row);
  store.rows = [...known.values()].sort((a, b) => a.n - b.n);
}

// What a saved dashboard has no room for: older rows, compressed.
async function unpack(store, past) {
  const bytes = Uint8Array.from(atob(past), (v) => v.charCodeAt(0));
  const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
  merge(store, JSON.parse(text));
}

// Draw a store into an element. `still` pages (reports) have no controls; `watched` ones say what another process does.
function mount(root, store, { send = () => {}, still = false, watched = false } = {}) {
  root.classList.add("evolab");
  const inner = h("div", { class: "ev-inner" });
  root.replaceChildren(inner);
  let cached = null;
  const ui = { send, still, watched, tip: makeTip(root), colours: () => cached || (cached = colours(root)), pin: (id, n) => { pins.pin(id, n); ui.tip.hide(); }, resized: () => draw(true) };
  const head = controls(ui);
  const film = rolloutPanel(ui), fitness = fitnessPanel(ui), rates = ratesPanel(ui), pins = pinsPanel(ui);
  const left = [fitness, lineagePanel(ui)], right = [film, mutationsPanel(ui), rates];
  const below = [pins, hyperparametersPanel(ui), learningPanel(ui), populationPanel(ui)], panels = [...left, ...right, ...below];
  const column = (name, parts) => h("div", { class: name }, ...parts.map((p) => p.element));
  const custom = new Map(), columns = [column("ev-left", left), column("ev-right", right)];
  const grid = h("div", { class: "ev-grid" }, ...columns, ...below.map((p) => p.element));
  // `at` is an earlier generation that is looked at, or null for the newest; `shown` is the store as it was then.
  let at = null, shown = store, asked = 0;
  const back = backBar((n) => { at = n; cancelAnimationFrame(asked); asked = requestAnimationFrame(() => draw(true)); });
  inner.append(head.element, back.element, grid);
  const released = ownKeys(root);

  // The columns end together: the fitness chart takes what room its own has left.
  let grown = 0;
  function balance() {
    const bottoms = columns.map((c) => c.lastChild.getBoundingClientRect().bottom), gap = bottoms[1] - bottoms[0];
    const by = getComputedStyle(columns[0]).display === "contents" ? 0 : Math.max(0, Math.min(360, grown + gap));
    if (Math.abs(by - grown) > 1) { grown = by; fitness.grow(by); }
  }

  // Heavy panels are drawn when generations arrive, light ones with every message; one that fails leaves the rest alone.
  const light = new Set([film, rates, pins]);
  let drawn = null, width = 0, working = false;
  const pending = new Set();
  // What lies outside the window is drawn when it comes in; a report may be printed, so there everything is drawn.
  const unseen = new Set(), late = new Set(), owners = new Map(panels.map((p) => [p.element, p]));
  const looked = new IntersectionObserver((entries) => entries.forEach(({ target, isIntersecting }) => {
    const p = owners.get(target);
    if (isIntersecting) unseen.delete(p); else unseen.add(p);
    if (isIntersecting && late.delete(p)) safely(p, shown);
  }));
  if (!still || watched) panels.forEach((p) => looked.observe(p.element));
  // One heavy panel a task: between two of them the page answers clicks and keys.
  function work() {
    const [p] = pending;
    pending.delete(p);
    if (p) { safely(p, shown); setTimeout(work); } else working = false;
  }
  function safely(p, value) {
    try { p.draw(value); } catch (error) { console.error("evolab: a panel failed", error); }
  }
  function draw(force = false) {
    const key = `${newestOf(store)} ${store.rows.length} ${store.head.status} ${store.head.alive} ${store.head.gone} ${store.head.target}`;
    const all = force || key !== drawn;
    if (force) cached = null;  // a theme's colours
    drawn = key;
    if (at != null && at >= newestOf(store)) at = null;
    if (at == null || all) shown = at == null ? store : backIn(store, at);
    safely(head, shown);
    back.draw(store, at);
    grid.classList.toggle("ev-none", !store.rows.length);
    for (const p of panels) {
      if (light.has(p)) safely(p, store);
      else if (unseen.has(p)) { if (all) late.add(p); }
      else if (force) safely(p, shown);
      else if (all) pending.add(p);
    }
    if (pending.size && !working) { working = true; setTimeout(work); }
    if (!all) return;
    for (const { title, data } of store.custom) {
      if (!custom.has(title)) { const p = formPanel(ui, title); custom.set(title, p); grid.append(p.element); }
      safely(custom.get(title), data);
    }
  }
  const uneven = new ResizeObserver(balance);
  columns.flatMap((c) => [...c.children]).forEach((part) => uneven.observe(part));
  const resized = new ResizeObserver(() => { if (inner.clientWidth !== width) { width = inner.clientWidth; draw(true); } });
  resized.observe(inner);
  // A theme's style sheet arrives some time after its name: draw now, and again when it is there.
  const changed = () => [0, 200, 1000].forEach((wait) => setTimeout(() => draw(true), wait));
  const themed = new MutationObserver(changed);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", changed);
  draw(true);
  return { draw, close() { pending.clear(); looked.disconnect(); uneven.disconnect(); resized.disconnect(); themed.disconnect(); scheme.removeEventListener("change", changed); released(); film.stop(); pins.stop(); } };
}

const stores = new Map();  // by the widget's own name: each call gets its own wrapper of the same model

function initialize({ model }) {
  const store = emptyStore(), views = new Set();
  let heard = 0, asked = 0;
  const drawAll = () => views.forEach((view) => view.draw());
  const send = (content) => { try { if (!store.head.gone) model.send(content); } catch (error) { gone(); } };
  // The kernel has ended, and the experiment with it: nobody answers a button any more.
  function gone() {
    if (store.head.gone || !heard) return;
    store.head = { ...store.head, alive: false, gone: true };
    drawAll();
  }
  const state = () => {
    const saved = model.get("state");
    const fresh = saved && saved.rows && (saved.rows.length ? saved.rows[saved.rows.length - 1].n : 0);
    if (fresh != null && (fresh > newestOf(store) || !heard)) take(store, { ...saved, reset: true, head: { ...saved.head, alive: heard > 0 } });
    store.rollout = model.get("rollout");
    drawAll();
  };
  const past = () => { const packed = model.get("past"); if (packed) unpack(store, packed).then(drawAll).catch((error) => console.error("evolab: the past cannot be read", error)); };
  const message = (content, buffers) => {
    if (content.type === "film") return download(content.name, new Blob(buffers), "image/gif");
    if (content.type !== "frame") return;
    heard = Date.now();
    const first = (content.rows || [])[0];
    if (!content.reset && first && store.rows.length && first.n > newestOf(store) + 1) {
      // A gap: this page slept through some messages. Ask once for what is missing.
      if (Date.now() - asked > 1000) { asked = Date.now(); send({ type: "hello", have: newestOf(store) }); }
      delete content.rows;
    }
    take(store, content);
    // Acknowledged after drawing, so that a busy or hidden page is never flooded.
    requestAnimationFrame(() => { drawAll(); send({ type: "seen", seq: content.seq }); });
  };
  model.on("change:state", state);
  model.on("change:past", past);
  model.on("change:rollout", () => { store.rollout = model.get("rollout"); drawAll(); });
  model.on("msg:custom", message);
  const released = onKernelEnd(model, gone);
  stores.set(model.get("twin"), { store, views, send, gone, hello: () => send({ type: "hello", have: newestOf(store) }) });
  state();
  past();
  hearAlways(model).catch((error) => console.warn("evolab: messages come by anywidget alone", error));
  return () => { released(); stores.delete(model.get("twin")); model.off("change:state", state); model.off("change:past", past); model.off("msg:custom", message); };
}

function render({ model, el }) {
  const twin = model.get("twin");
  const { store, views, send, gone, hello } = stores.get(twin);
  // The still picture next to the widget is for pages without widgets.
  const style = h("style", {}, `.jp-OutputArea-child:has(#${twin}), #${twin} { display: none !important; }`);
  document.head.append(style);
  const view = mount(el, store, { send });
  views.add(view);
  // Widgets mark a view whose kernel has gone.
  const marked = new MutationObserver(() => { if (el.closest(".jupyter-widgets-disconnected")) gone(); });
  marked.observe(el, { attributes: true, attributeFilter: ["class"] });
  hello();
  return () => { marked.disconnect(); view.close(); views.delete(view); style.remove(); if (!views.size) send({ type: "unseen" }); };
}
