// Agents that were clicked, side by side: what each was, how its line got there, its episode; saved, copied or dropped from here.

const MOST = 8;  // changes that a card lists
const middle = (values) => { const sorted = [...values].sort((a, b) => a - b), k = (sorted.length - 1) / 2; return (sorted[Math.floor(k)] + sorted[Math.ceil(k)]) / 2; };

function pinsPanel(ui) {
  const { element, body } = panel("Pinned agents", null, "ev-pins ev-full"), cards = new Map();
  const list = h("div", { class: "ev-cards" });
  let last = null;
  body.append(list);
  element.hidden = true;

  function pin(id, n) {
    const key = `${id} ${n}`;
    if (!cards.has(key)) { cards.set(key, card(id, n, () => { drop(key); })); list.append(cards.get(key).element); }
    element.hidden = false;
    cards.get(key).draw(last);
    cards.get(key).element.focus({ preventScroll: true });
    element.scrollIntoView({ block: "nearest" });
  }
  function drop(key) {
    cards.get(key).close();
    cards.delete(key);
    element.hidden = !cards.size;
    ui.resized();
  }

  function card(id, n, away) {
    const title = `Agent ${id} in generation ${n}`;
    const facts = h("dl", { class: "ev-facts-of" }), layers = h("div", { class: "ev-layers" }), box = h("div", { class: "ev-chart" }), curves = h("div", { class: "ev-own" }), film = player(), words = h("p", { class: "ev-foot" }), steps = h("div", { class: "ev-steps" });
    const button = (name, path, means, act) => h("button", { type: "button", class: "ev-icon", title: means, "aria-label": `${name} ${title.toLowerCase()}`, onclick: act }, icon(path));
    const render = h("button", { type: "button", title: "Record an episode of this agent", onclick: () => ui.send({ type: "rollout", agent: String(id) }) }, icon(ICONS.film), "Render");
    const copy = button("Copy", ICONS.copy, "Copy as text", () => navigator.clipboard && navigator.clipboard.writeText(text()));
    const tools = h("div", { class: "ev-tools" }, render, copy, button("Save", ICONS.save, "Save as a JSON file", () => download(`agent-${id}.json`, JSON.stringify(record(), null, 2), "application/json")),
      button("Drop", ICONS.drop, "Take this card away", away));
    const node = h("article", { class: "ev-card", tabindex: "-1", "aria-label": title }, h("div", { class: "ev-head" }, h("h4", {}, title), tools), facts, layers, steps, box, curves, film.element, words);
    let own = null, line = [], births = [], learnt = [], drawn = [];
    const chart = stage(box, `Fitness of the line of agent ${id}`, 96, (ctx, width, height) => {
      const c = ui.colours(), found = extent(line.map(([, f]) => f));
      if (!found || line.length < 2) return;
      const area = { left: 44, right: width - 8, top: 24, bottom: height - 18 }, x = linear(line[0][0], line[line.length - 1][0], area.left + 4, area.right - 4);
      const y = linear(found[0], found[0] === found[1] ? found[0] + 1 : found[1], area.bottom, area.top);
      axes(ctx, c, area, x, y, [line[0][0], line[line.length - 1][0]], found, group, compact);
      names(ctx, c, { ...area, bottom: area.bottom - 100 }, "", "fitness of its line over generations");
      ctx.strokeStyle = c.ink; ctx.lineWidth = 1.6; ctx.beginPath();
      line.forEach(([m, f], i) => ctx[i ? "lineTo" : "moveTo"](x(m), y(f)));
      ctx.stroke();
    });

    const at = () => last.rows.find((r) => r.n === n && r.id), known = (row, key, i) => (row[key] ? row[key][i] : null);
    function record() {
      const row = at(), i = row.id.indexOf(id), kind = last.kinds[row.k[i]], ring = i ? -1 : last.rings.n.indexOf(n);
      const values = known(row, "h", i), own = { agent: id, generation: n, rank: i + 1, fitness: row.f[i] };
      if (ring >= 0) own.confirmed = last.rings.f[ring];
      const others = row.f.filter((f, j) => j !== i && f != null);
      if (others.length) own["compared with"] = `${others.length} others of its generation: best ${fmt(Math.max(...others))}, median ${fmt(middle(others))}`;
      Object.assign(own, { "born by": kind, "from agent": row.p[i] >= 0 && row.p[i] !== id ? row.p[i] : null, change: change(known(row, "d", i)) || null });
      if (values) last.names.forEach((name, j) => { own[name] = values[j]; });
      if (row.a) Object.assign(own, row.w ? { layers: row.w[i] } : { hidden: row.a[i] }, { activation: row.v[i], "network size": row.m[i], "trained steps": row.s[i] });
      if (row.l) Object.assign(own, { "expected return": row.l[i][0], "earned return": row.l[i][1] }, Object.fromEntries((last.learning.own || []).map((name, j) => [lossName(name), row.l[i][j + 2] ?? null])));
      return own;
    }
    const text = () => Object.entries(record()).filter(([, v]) => v != null).map(([k, v]) => `${k}: ${Array.isArray(v) ? v.join("x") : v}`).join("\n");

    // The line back to the first population, through the rows that have parents.
    function ancestry() {
      const found = [], winners = new Map(last.line.n.map((m, k) => [`${m} ${last.line.id[k]}`, last.line.l && last.line.l[k]]));
      births = []; learnt = [];
      let wanted = id;
      for (let k = last.rows.length - 1; k >= 0; k--) {
        const row = last.rows[k];
        if (row.n > n || !row.id) continue;
        const i = row.id.indexOf(wanted);
        if (i < 0) continue;
        if (row.f[i] != null) found.push([row.n, row.f[i]]);
        const values = row.l ? row.l[i] : winners.get(`${row.n} ${wanted}`);
        if (values) learnt.unshift([row.n, values]);
        if (row.p[i] >= 0 && row.p[i] !== wanted && !["none", "revived"].includes(last.kinds[row.k[i]])) births.push([row.n, last.kinds[row.k[i]], row.d ? change(row.d[i]) : ""]);
        if (row.p[i] >= 0) wanted = row.p[i];
      }
      return found.reverse();
    }

    // Its losses, and what it expected beside what it earned, along its line as far back as this page knows them.
    function drawLearning() {
      const names = last.learning.own || [], at = (j) => learnt.map(([, values]) => values[j] ?? null);
      const specs = learnt.length < 2 ? [] : [...names.map((name, j) => ({ name: lossName(name), values: at(j + 2) })), { name: "expected return", short: "expected", values: at(0), beside: at(1), legend: "\u2504 earned" }].filter((s) => s.values.some((v) => v != null));
      if (drawn.length !== specs.length) {
        drawn = specs.map((spec) => { const title = h("div", { class: "ev-small-title" }), one = h("div", { class: "ev-small" }, title), made = { ...spec, title };
          made.chart = stage(one, "", 64, (ctx, width, height) => drawCurves(ctx, ui.colours(), width, height, learnt.map(([m]) => m), made.values, made.beside)); made.box = one; return made; });
        curves.replaceChildren(...drawn.map((made) => made.box));
      }
      specs.forEach((spec, k) => {
        const made = Object.assign(drawn[k], { short: null, legend: null, beside: [] }, spec);
        made.chart.canvas.setAttribute("aria-label", `${spec.name} of the line of agent ${id} over generations`);
        made.title.replaceChildren(h("span", {}, spec.short || spec.name, spec.legend ? h("span", { class: "ev-key" }, ` ${spec.legend}`) : null), h("b", {}, newestOfAll(spec.values)));
        made.chart.paint();
      });
    }

    function draw(store) {
      last = store;
      if (!at()) return;
      const own_ = record();
      facts.replaceChildren(...Object.entries(own_).filter(([k, v]) => v != null && !["agent", "generation"].includes(k)).flatMap(([k, v]) => [h("dt", {}, k),
        h("dd", {}, k === "from agent" ? h("button", { type: "button", class: "ev-link", title: "Pin the parent", onclick: () => ui.pin(v, n - 1) }, v)
          : k === "confirmed" ? `${fmt(v)} \u2713` : k === "born by" ? h("span", { class: "ev-change" }, mark(v), lookOf(v)[0]) : Array.isArray(v) ? hiddenText(v) : typeof v === "number" ? fmt(v) : v)]));
      const row = at(), widths = own_.hidden || [], drawn = row.y ? row.g[row.id.indexOf(id)].map((j) => row.y[j]) : widths.every((u) => typeof u === "number") ? widths.map((u) => ["linear", u]) : [];
      layers.replaceChildren(...(drawn.length ? [network(drawn, own_.layers || `hidden layers of ${widths.join(", ")} units`)] : []));
      line = ancestry();
      const told = births.slice(0, MOST).map(([m, kind, words]) => h("li", {}, h("span", { class: "ev-num" }, `${group(m)} `), mark(kind), ` ${words || lookOf(kind)[0]}`));
      if (births.length > MOST) told.push(h("li", {}, `and ${group(births.length - MOST)} before`));
      steps.hidden = !births.length;
      steps.replaceChildren(h("span", {}, "changes along its line, by generation"), h("ol", {}, ...told));
      box.hidden = line.length < 2;
      chart.paint();
      drawLearning();
      const newest = store.rollout;
      if (newest && newest.source && newest.agent === id && (!own || own.source !== newest.source)) { own = newest; film.load(own); say(words, filmWords(own)); }
      render.hidden = ui.still || !store.head.alive || !!store.head.no_pictures;
      render.disabled = store.head.rendering || !store.unborn.id.includes(id);
      render.title = store.unborn.id.includes(id) ? "Record an episode of this agent" : "This agent lives no more: only living agents can play";
    }
    return { element: node, draw, close() { film.stop(); node.remove(); } };
  }

  function draw(store) {
    last = store;
    for (const one of cards.values()) one.draw(store);
  }
  return { element, draw, pin, stop() { for (const key of [...cards.keys()]) drop(key); } };
}
