// The dashboard of runs: one store per model, any number of views; rows and curves come in parts and are kept by the run's name.

function emptyRuns() {
  return { title: "", columns: [], rows: new Map(), curves: new Map(), details: new Map(), importance: [], alive: false, gone: false };
}

function takeRuns(store, message) {
  if (message.reset) { store.rows.clear(); store.curves.clear(); }
  for (const key of ["title", "columns", "importance"]) if (message[key] != null) store[key] = message[key];
  for (const name of message.gone || []) { store.rows.delete(name); store.curves.delete(name); }
  for (const [name, row] of Object.entries(message.rows || {})) store.rows.set(name, { name, ...row });
  for (const [name, curve] of Object.entries(message.curves || {})) store.curves.set(name, curve);
}

// Runs whose settings are the same but for the seed, best first; the first six have a colour each.
function kindsOf(runs, columns, alone) {
  const found = new Map();
  for (const run of runs) {
    const key = alone ? run.name : JSON.stringify([run.what, run.v]);
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(run);
  }
  const scored = [...found.values()].map((members) => ({ members, score: median(members.map(scoreOf).filter((v) => v != null)) }));
  scored.sort((a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity));
  const told = telling(scored.map(({ members }) => members[0].v));
  return scored.map(({ members, score }, i) => ({ members, score, colour: i < COLOURED && score != null ? i : null, label: labelOf(members, columns, told, alone) }));
}

// Which few columns tell rows apart: each next one parts the most of those that are still alike.
function telling(rows, most = 3) {
  if (rows.length && rows[0].length <= most) return rows[0].map((_, i) => i);
  const found = [], parts = (list) => new Set(rows.map((row) => JSON.stringify(list.map((i) => row[i] ?? null)))).size;
  while (found.length < most && rows.length) {
    const known = parts(found), gains = rows[0].map((_, i) => parts([...found, i]) - known), best = Math.max(0, ...gains);
    if (!best) break;
    found.push(gains.indexOf(best));
  }
  return found.sort((a, b) => a - b);
}

const SERIES = ["winner", "parameters", "architecture", "hyperparameters", "activation", "other"];  // grey is for all the rest
const COLOURED = SERIES.length;
const scoreOf = (run) => run.confirmed ?? run.best;

function median(values) {
  const sorted = [...values].sort((a, b) => a - b), k = (sorted.length - 1) / 2;
  return sorted.length ? (sorted[Math.floor(k)] + sorted[Math.ceil(k)]) / 2 : null;
}

function labelOf(members, columns, told, alone) {
  const [run] = members, own = told.filter((i) => run.v[i] != null);
  const settings = own.map((i) => (["environment", "algorithm"].includes(columns[i][0]) ? said(run.v[i]) : `${columns[i][1]} ${said(run.v[i])}`));
  if (alone) return run.name;
  if (members.length === 1) return settings.length ? `${run.name} (${settings.join(", ")})` : run.name;
  return `${settings.join(", ") || run.what.filter(Boolean).join(", ") || run.name} (median of ${members.length})`;
}

const said = (value) => (value == null ? "–" : value === true ? "yes" : value === false ? "no" : fmt(value));

// Words that must all be somewhere in a run, and comparisons such as lr<0.001 or seed=2.
function filtered(store, query) {
  const tests = query.trim().split(/\s+/).filter(Boolean).map((word) => {
    const [, name, sign, wanted] = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.+)$/) || [];
    if (!name) return (run) => cellsOf(store, run).some(([, v]) => String(v).toLowerCase().includes(word.toLowerCase()));
    return (run) => cellsOf(store, run).some(([key, v]) => key.toLowerCase().endsWith(name.toLowerCase()) && compare(v, sign, wanted));
  });
  return [...store.rows.values()].filter((run) => tests.every((test) => test(run)));
}

function compare(value, sign, wanted) {
  if (value == null) return false;
  if (sign === "=") return String(value).toLowerCase() === wanted.toLowerCase() || (typeof value === "number" && value === Number(wanted));
  const [a, b] = [Number(value), Number(wanted)];
  return { "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b }[sign];
}

const cellsOf = (store, run) => [["run", run.name], ["environment", run.what[0]], ["algorithm", run.what[1]], ["seed", run.seed], ["generation", run.n],
  ["best", run.best], ["confirmed", run.confirmed], ...store.columns.map(([, name], i) => [name, run.v[i]])];

function mountRuns(root, store, send, address = null) {
  root.classList.add("evolab");
  const inner = h("div", { class: "ev-inner" });
  root.replaceChildren(inner);
  let cached = null, width = 0;
  const chosen = new Set(), ui = { send, address, tip: makeTip(root), colours: () => cached || (cached = colours(root)), chosen, query: "", alone: false,
    changed: () => draw(), details: (name) => { if (!store.details.has(name)) { store.details.set(name, null); send({ type: "details", run: name }); } return store.details.get(name); } };
  const title = h("h2", {}), tiles = h("div", { class: "ev-tiles", role: "list" }), state = h("span", { class: "ev-state", role: "status" });
  const parts = [tablePanel(ui), curvesPanel(ui), scatterPanel(ui), parallelPanel(ui), importancePanel(ui), winnersPanel(ui)];
  const [table, curves, scatter, parallel, weights, winners] = parts;
  const grid = h("div", { class: "ev-grid" }, table.element, h("div", { class: "ev-left" }, curves.element), h("div", { class: "ev-right" }, scatter.element, weights.element), parallel.element, winners.element);
  inner.append(h("header", {}, h("div", { class: "ev-facts" }, h("div", {}, title, state), tiles)), grid);
  const released = ownKeys(root);

  const themedDraw = () => { cached = null; draw(); };  // a theme's colours are looked up once
  function draw() {
    const all = [...store.rows.values()], shown = filtered(store, ui.query), kinds = kindsOf(shown, store.columns, ui.alone);
    for (const name of [...chosen]) if (!store.rows.has(name)) chosen.delete(name);
    say(title, `Runs in ${store.title}`);
    state.className = `ev-state ev-is-${store.alive ? "running" : "saved"}`;
    say(state, store.gone ? store.ended || "the kernel has ended: this is a picture" : store.alive ? "live" : store.reading || "a picture of the last saved state; run the cell again for a live dashboard");
    const known = (of) => all.map(of).filter((v) => v != null), sure = known((run) => run.confirmed), best = known((run) => run.best), steps = all.reduce((sum, run) => sum + (run.t || 0), 0);
    const facts = [["runs", group(all.length)], ["open", group(all.filter((run) => run.writing).length)], sure.length ? ["best confirmed", `${fmt(Math.max(...sure))} \u2713`] : ["best", best.length ? fmt(Math.max(...best)) : "–"], ["steps of all runs", compact(steps)]];
    tiles.replaceChildren(...facts.map(([name, value]) => h("div", { role: "listitem" }, h("span", { class: "ev-fact" }, name), h("b", {}, value))));
    for (const part of parts) {
      try { part.draw(store, shown, kinds); } catch (error) { console.error("evolab: a panel failed", error); }
    }
  }
  const resized = new ResizeObserver(() => { if (inner.clientWidth !== width) { width = inner.clientWidth; themedDraw(); } });
  resized.observe(inner);
  const changed = () => [0, 200, 1000].forEach((wait) => setTimeout(themedDraw, wait));
  const themed = new MutationObserver(changed);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
  draw();
  return { draw, close() { resized.disconnect(); themed.disconnect(); released(); } };
}

const dashboards = new Map();

function initialize({ model }) {
  const store = emptyRuns(), views = new Set();
  const drawAll = () => views.forEach((view) => view.draw());
  const send = (content) => { try { if (!store.gone) model.send(content); } catch (error) { gone(); } };
  function gone() { if (!store.alive) return; store.alive = false; store.gone = true; drawAll(); }
  const state = () => { if (!store.alive && !store.gone) { takeRuns(store, { ...model.get("state"), reset: true }); drawAll(); } };
  let waiting = false;
  const message = (content) => {
    if (content.type === "details") { store.details.set(content.run, content); return drawAll(); }
    if (content.type !== "runs") return;
    store.alive = true;
    takeRuns(store, content);
    send({ type: "seen", seq: content.seq });
    // Several parts that come together are drawn once.
    if (!waiting) { waiting = true; setTimeout(() => { waiting = false; drawAll(); }, 60); }
  };
  model.on("change:state", state);
  model.on("msg:custom", message);
  const released = onKernelEnd(model, gone);
  dashboards.set(model.get("twin"), { store, views, send, gone });
  state();
  hearAlways(model).catch((error) => console.warn("evolab: messages come by anywidget alone", error));
  return () => { released(); dashboards.delete(model.get("twin")); model.off("change:state", state); model.off("msg:custom", message); };
}

function render({ model, el }) {
  const twin = model.get("twin"), { store, views, send, gone } = dashboards.get(twin);
  const style = h("style", {}, `.jp-OutputArea-child:has(#${twin}), #${twin} { display: none !important; }`);
  document.head.append(style);
  const view = mountRuns(el, store, send);
  views.add(view);
  const marked = new MutationObserver(() => { if (el.closest(".jupyter-widgets-disconnected")) gone(); });
  marked.observe(el, { attributes: true, attributeFilter: ["class"] });
  send({ type: "hello" });
  return () => { marked.disconnect(); view.close(); views.delete(view); style.remove(); if (!views.size) send({ type: "unseen" }); };
}
