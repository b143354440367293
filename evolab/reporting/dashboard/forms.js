// Panels that users write in Python: a dict of one of four forms, drawn without any JavaScript of theirs.

function formPanel(ui, title) {
  const { element, body, head } = panel(title, null, "ev-full");
  const box = h("div", { class: "ev-chart" }), rest = h("div"), legend = h("div", { class: "ev-legend" });
  body.append(box, legend, rest);
  let data = null, saver = null, form = null;
  const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3]];
  const chart = stage(box, title, 180, (ctx, width, height) => {
    if (data.apart) return apart(ctx, width, height);
    const c = ui.colours(), area = { left: 52, right: width - 12, top: 8, bottom: height - 22 };
    const names = Object.keys(data.lines), found = extent(names.flatMap((n) => data.lines[n])), xs = extent(data.x);
    if (!found || !xs) return;
    const x = linear(xs[0], xs[1], area.left + 4, area.right - 4), y = linear(found[0], found[1] === found[0] ? found[0] + 1 : found[1], area.bottom, area.top);
    axes(ctx, c, area, x, y, ticks(xs[0], xs[1], width / 100), ticks(found[0], found[1], 4));
    names.forEach((name, i) => {
      ctx.strokeStyle = i ? c.muted : c.ink; ctx.setLineDash(DASHES[i % 4]); ctx.lineWidth = 1.8; ctx.beginPath();
      let open = false;
      data.lines[name].forEach((v, j) => { if (v == null) open = false; else { ctx[open ? "lineTo" : "moveTo"](x(data.x[j]), y(v)); open = true; } });
      ctx.stroke();
    });
    ctx.setLineDash([]);
  });
  // A small chart for each line, all with the same axes: its name, where it stands, and how it came there.
  const across = (width) => Math.max(1, Math.min(Object.keys(data.lines).length, Math.floor(width / 130)));
  function apart(ctx, width, height) {
    const c = ui.colours(), names = Object.keys(data.lines), found = extent(names.flatMap((n) => data.lines[n])), xs = extent(data.x);
    if (!found || !xs) return;
    const columns = across(width), wide = width / columns, tall = height / Math.ceil(names.length / columns);
    names.forEach((name, i) => {
      const left = 6 + wide * (i % columns), top = tall * Math.floor(i / columns), right = left + wide - 14, bottom = top + tall - 10;
      const x = linear(xs[0], xs[1], left, right), y = linear(found[0], found[1] === found[0] ? found[0] + 1 : found[1], bottom, top + 20);
      const known = data.lines[name].filter((v) => v != null), value = known.length ? fmt(known[known.length - 1]) : "";
      ctx.fillStyle = i ? c.muted : c.ink; ctx.textBaseline = "alphabetic";
      ctx.textAlign = "right"; ctx.fillText(value, right, top + 12);
      ctx.textAlign = "left";
      if (ctx.measureText(name).width + ctx.measureText(value).width + 8 < right - left) ctx.fillText(name, left, top + 12);
      ctx.strokeStyle = c.grid; ctx.lineWidth = 1; ctx.beginPath(); ctx.moveTo(left, bottom); ctx.lineTo(right, bottom); ctx.stroke();
      ctx.strokeStyle = i ? c.muted : c.ink; ctx.lineWidth = 1.6; ctx.beginPath();
      let open = false;
      data.lines[name].forEach((v, j) => { if (v == null) open = false; else { ctx[open ? "lineTo" : "moveTo"](x(data.x[j]), y(v)); open = true; } });
      ctx.stroke();
    });
  }

  const bars = (values) => {
    const most = Math.max(1e-12, ...Object.values(values).map(Math.abs));
    return h("div", { class: "ev-bars" }, ...Object.entries(values).flatMap(([name, v]) => [h("span", {}, name),
      h("i", { style: `width:${(100 * Math.abs(v)) / most}%` }), h("span", { class: "ev-num" }, fmt(v))]));
  };
  const table = ({ columns, rows }) => h("div", { class: "ev-scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ...columns.map((c, i) => h("th", { scope: "col", class: rows.length && typeof rows[0][i] === "number" ? "ev-num" : "" }, c)))),
    h("tbody", {}, ...rows.map((r) => h("tr", {}, ...r.map((v) => h("td", { class: typeof v === "number" ? "ev-num" : "ev-words" }, typeof v === "number" ? fmt(v) : v)))))));

  // Each form has its own table of numbers, and a picture where it is a figure.
  const ROWS = {
    lines: () => [["x", ...Object.keys(data.lines)], ...data.x.map((x, i) => [x, ...Object.values(data.lines).map((values) => values[i])])],
    bars: () => [["name", "value"], ...Object.entries(data.bars)],
    table: () => [data.columns, ...data.rows],
  };
  const FIGURES = { lines: chart, bars: intervals(ui, rest, () => ({ heads: [""], rows: Object.entries(data.bars).map(([name, middle]) => ({ name, middle, bar: true, colour: "muted", words: [fmt(middle)] })) })) };

  function draw(next) {
    data = next;
    if (form !== data.form) {
      if (saver) saver.remove();
      form = data.form;
      saver = ROWS[form] ? saveMenu(ui, title, ROWS[form], FIGURES[form]) : null;
      if (saver) head.lastChild.append(saver);
    }
    box.hidden = legend.hidden = data.form !== "lines";
    rest.replaceChildren(...(data.form === "bars" ? [bars(data.bars)] : data.form === "table" ? [table(data)] : data.form === "text" ? [empty(data.text)] : []));
    if (data.form !== "lines") return;
    legend.hidden = Boolean(data.apart);
    chart.resize(data.apart ? 76 * Math.ceil(Object.keys(data.lines).length / across(box.clientWidth || 640)) : 180);
    legend.replaceChildren(...Object.keys(data.lines).map((name, i) => h("span", {}, svg("svg", { width: 22, height: 8, "aria-hidden": "true" },
      svg("line", { x1: 0, x2: 22, y1: 4, y2: 4, style: `stroke:var(--ev-${i ? "muted" : "ink"});stroke-width:2`, "stroke-dasharray": DASHES[i % 4].join(" ") })), name)));
    chart.paint();
  }
  return { element, draw };
}
