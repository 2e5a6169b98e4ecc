// Two kinds of pictures: points with their 95 % intervals against a reference, and maps side by side.
const INK = { good: "--good", open: "--body-text-color-subdued", bad: "--bad" };
const MARK = { good: "▲", open: "○", bad: "▼" };

const verdictList = (section) =>
  el("ul", { class: "verdicts" }, ...section.verdicts.map(({ text, kind }) => el("li", { "data-kind": kind }, el("span", { "aria-hidden": "true" }, `${MARK[kind]} `), text)));

const verdicts = (section) =>
  el(
    "div", { class: "truth-says" },
    section.summary ? el("p", { class: "truth-summary" }, section.summary) : null,
    verdictList(section),
    section.message ? el("p", { class: "figure-message" }, section.message) : null,
  );

const intervalsDrawn = (section, plot) => {
  const { rows } = section;
  if (!rows.length) return { message: section.message, said: [section.said], table: tableOf(section), keep: true };
  const narrow = plot.clientWidth < 520;
  const names = rows.map(({ name }) => wrapped(name, narrow ? 16 : 30).map((part) => plain(part.trim())).join("<br>"));
  const hover = rows.map((r) => `${plain(r.name)}<br>${digits(r.value)} [${digits(r.low)}, ${digits(r.high)}]${r.says ? `<br>${plain(r.says)}` : ""}`);
  const at = rows.map((_, i) => i);
  const ink = smola.css("--body-text-color");
  const data = [{
    type: "scatter", mode: "markers", x: rows.map((r) => r.value), y: at, customdata: hover, hovertemplate: "%{customdata}<extra></extra>",
    marker: { size: 10, color: ink },
    error_x: { type: "data", symmetric: false, array: rows.map((r) => r.high - r.value), arrayminus: rows.map((r) => r.value - r.low), color: ink, thickness: 2, width: 5 },
  }];
  const layout = {
    height: (narrow ? 106 : 96) + 38 * rows.length, margin: { l: narrow ? 112 : 190, r: 18, t: 26, b: narrow ? 58 : 48 }, showlegend: false,
    xaxis: { title: { text: wrapped(section.axis, narrow ? 30 : 90).map(plain).join("<br>"), font: { size: 11 } }, range: section.range, zeroline: false, fixedrange: false },
    yaxis: { tickvals: at, ticktext: names, range: [rows.length - 0.4, -0.6], zeroline: false, showgrid: false, fixedrange: true },
    shapes: [{ type: "line", xref: "x", yref: "paper", x0: 0, x1: 0, y0: 0, y1: 1, line: { color: ink, width: 1.5, dash: "dash" } }],
    annotations: [{ text: plain(section.reference), x: 0, y: 1, xref: "x", yref: "paper", yanchor: "bottom", xanchor: section.range && section.range[0] > -0.5 ? "left" : "center", showarrow: false, font: { size: 11 } }],
  };
  const label = `${section.verdicts.map(({ text }) => text).join(". ")}.`;
  return { data, layout, said: [section.said], table: tableOf(section), label, key: section.name, zooms: true };
};

const tableOf = ({ title, table }) => ({ caption: title, ...table });

// One row of panels per group, trained left and random right; one below the other where it is narrow.
const routersDrawn = (section, plot) => {
  const { groups, even, maps } = section;
  const narrow = plot.clientWidth < 620;
  const kinds = ["trained", "random"];
  const layers = value.layers;
  const reach = Math.max(1e-4, ...kinds.flatMap((kind) => maps[kind].flat(2)).map((v) => Math.abs(v - even)));
  const low = Math.max(0, even - reach); // the colours reach as far on both sides, a weight does not
  const columns = narrow ? 1 : 2;
  const count = narrow ? groups.length * 2 : groups.length;
  const experts = maps.trained[0][0].length;
  const panel = Math.max(96, 13 * experts);
  const gap = 42;
  const area = count * (panel + gap) - gap;
  const layout = {
    height: area + 130, margin: { l: 44, r: 10, t: 30, b: 100 }, annotations: [],
    coloraxis: {
      cmin: even - reach, cmax: even + reach, colorscale: SCALES.diverging[smola.mode()],
      colorbar: {
        orientation: "h", thickness: 10, len: narrow ? 1 : 0.6, x: 0.5, xanchor: "center", y: -58 / area, yanchor: "top", outlinewidth: 0,
        tickvals: [low, even, even + reach],
        ticktext: [short(low), `even ${short(even)}`, short(even + reach)],
        ticks: "outside",
      },
    },
  };
  const data = groups.flatMap((group, g) =>
    kinds.map((kind, k) => {
      const i = g * 2 + k;
      const row = narrow ? i : g;
      const column = narrow ? 0 : k;
      const top = 1 - (row * (panel + gap)) / area;
      const left = column * 0.53;
      const domain = columns === 1 ? [0, 1] : [left, left + 0.47];
      const [x, y] = [axisName("x", i), axisName("y", i)];
      const last = row === count - 1;
      layout[`xaxis${i ? i + 1 : ""}`] = { domain, anchor: y, ...bare, title: last ? { text: "layer", standoff: 6 } : undefined, fixedrange: true };
      layout[`yaxis${i ? i + 1 : ""}`] = { domain: [Math.max(0, top - panel / area), top], anchor: x, ...bare, autorange: "reversed", dtick: experts > 10 ? 2 : 1, title: column ? undefined : { text: "expert", standoff: 4 }, fixedrange: true };
      layout.annotations.push(panelTitle(kind, group, domain[0], top));
      const z = range(experts).map((e) => layers.map((_, n) => maps[kind][g][n][e]));
      const hover = range(experts).map((e) => layers.map((layer, n) => `${group} ${e}, layer ${layer}, ${kind}<br>weight ${digits(maps[kind][g][n][e])}, even ${short(even)}`));
      return { type: "heatmap", name: `${group} ${kind}`, z, x: layers, y: range(experts), xaxis: x, yaxis: y, customdata: hover, hovertemplate: "%{customdata}<extra></extra>", coloraxis: "coloraxis", xgap: 1, ygap: 1 };
    }),
  );
  return { data, layout, said: [section.said], table: tableOf(section), label: section.verdicts[0].text, key: "routers" };
};
