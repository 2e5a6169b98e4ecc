// The difference map, a panel per group, and the divergence lines.
const find = (selector) => element.querySelector(selector);
const [map, lines] = [find(".contrast-plot.map"), find(".contrast-plot.line")];
const DASHES = { visual: "solid", text: "dash", multimodal: "dot" };
const SYMBOLS = { visual: "circle", text: "diamond", multimodal: "square" };
let value = null;
let Plotly = null;

const choice = (name) => find(`input[name="contrast-${name}"]:checked`).value;
const routing = () => value?.routing;
const drawn = () => routing().phases[choice("phase")];
const outOf = () => drawn().out[choice("measure")];
const tokensOf = (g) => {
  const [a, b] = drawn().tokens[g];
  return a && b ? `tokens: ${a} in A, ${b} in B` : "no tokens in this phase";
};
const colour = (group) => routing().scales.colour[group][smola.mode()];
const saidLayers = () => `layers ${routing().layers[0]} to ${routing().layers.at(-1)}`;
const saidTokens = () => (drawn().same ? "both runs hold the same tokens here" : "the runs hold different tokens or patches, so means are compared, not token by token");

const said = () => {
  const what = choice("measure") === "weight"
    ? `Routing weight, a group's experts sum to 1 per token, uniform is 1/${routing().experts}`
    : "Contribution, the length of what an expert adds, as a share of all experts' at the same linear and token";
  const gone = outOf().flat(2).some(Boolean) ? " Grey cells with a × hold an expert that a run has taken out: it counts as 0 there and has no say in the colours." : "";
  return `${what}; B minus A; mean over projections and the ${choice("phase")} tokens each group serves; ${saidLayers()}; ${saidTokens()}.${gone}`;
};
const saidLine = () =>
  `Jensen-Shannon divergence in nats of the two mean routings; means over the ${choice("phase")} tokens, divergence per linear, then mean over projections; ${saidLayers()}; experts that a run has taken out take no part, the rest is re-normalised; ${saidTokens()}.`;

// Without the experts taken out: they differ by all they have, and beside that nothing else would show.
const reach = () => {
  const out = outOf().flat(2);
  const found = drawn()[choice("measure")].flat(2).filter((v, i) => v != null && !out[i]).map(Math.abs);
  return Math.max(...found, 1e-4);
};

const byExpert = (rows) => rows[0].map((_, e) => rows.map((row) => row[e]));

// Over a panel: what was taken out, grey and crossed.
const outTrace = (panel, g) => {
  const z = byExpert(outOf()[g]).map((row) => row.map((out) => (out ? 1 : null)));
  const grey = smola.css("--input-border-color");
  return {
    ...panel, z, zmin: 0, zmax: 1, colorscale: [[0, grey], [1, grey]], showscale: false, hoverinfo: "skip", hovertemplate: null, colorbar: null,
    text: z.map((row) => row.map((out) => (out ? "×" : ""))), texttemplate: "%{text}", textfont: { size: 11, color: smola.css("--body-text-color") },
  };
};

const drawMap = () => {
  const { groups, layers, experts, scales } = routing();
  const [panel, head, foot] = [experts * 15, 24, 92];
  const height = groups.length * (panel + head);
  const top = reach();
  const layout = { height: height + foot, margin: { l: 28, r: 12, t: 4, b: foot - 4 }, annotations: [] };
  const data = groups.map((group, g) => {
    const axis = g ? g + 1 : "";
    const last = g === groups.length - 1;
    const y1 = 1 - (g * (panel + head) + head) / height;
    layout[`xaxis${axis}`] = { anchor: `y${axis}`, showgrid: false, zeroline: false, fixedrange: true, showticklabels: last, ...(g ? { matches: "x" } : {}), ...(last ? { title: { text: "layer", standoff: 2 } } : {}) };
    layout[`yaxis${axis}`] = { anchor: `x${axis}`, domain: [Math.max(0, y1 - panel / height), y1], range: [experts - 0.5, -0.5], showgrid: false, zeroline: false, fixedrange: true, nticks: 8 };
    layout.annotations.push({ xref: "paper", yref: "paper", x: 0, y: y1, xanchor: "left", yanchor: "bottom", showarrow: false, text: `<b>${group} experts</b> · ${tokensOf(g)}`, font: { size: 12, color: colour(group) } });
    const z = drawn()[choice("measure")][g];
    return {
      type: "heatmap", x: layers, y: Array.from({ length: experts }, (_, e) => e), z: byExpert(z), zmin: -top, zmax: top,
      colorscale: scales.diverging[smola.mode()], xaxis: `x${axis}`, yaxis: `y${axis}`, xgap: 1, ygap: 1, hoverongaps: false, showscale: last,
      colorbar: { orientation: "h", x: 0.5, y: 0, yanchor: "top", yref: "paper", ypad: 34, thickness: 9, len: 1, tickvals: [-0.8 * top, 0, 0.8 * top], ticktext: [`A more, ${signed(-0.8 * top, 3)}`, "0 = alike", `B more, ${signed(0.8 * top, 3)}`], outlinewidth: 0 },
      hovertemplate: `<b>${group} expert %{y}</b>, layer %{x}<br>B minus A %{z:.5f}<extra></extra>`,
    };
  });
  map.setAttribute("aria-label", `Difference map, ${groups.join(", ")} experts by layer, largest difference ${top.toFixed(4)}. The table below has the same numbers.`);
  Plotly.react(map, [...data, ...data.map(outTrace)], { ...smola.themed(layout), width: map.clientWidth || undefined }, smola.config);
};

const drawLines = () => {
  const { groups, layers } = routing();
  const data = groups.map((group, g) => ({
    type: "scatter", mode: "lines+markers", name: `${group}${drawn().js[g].every((v) => v == null) ? " (none)" : ""}`, x: layers, y: drawn().js[g],
    line: { color: colour(group), width: 2, dash: DASHES[group] ?? "solid" }, marker: { size: 5, symbol: SYMBOLS[group] ?? "circle" },
    hovertemplate: `<b>${group}</b>, layer %{x}<br>%{y:.6f} nats<extra></extra>`,
  }));
  const layout = {
    height: 250, margin: { l: 66, r: 12, t: 30, b: 40 }, showlegend: true, legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
    xaxis: { title: { text: "layer" }, fixedrange: true, zeroline: false },
    yaxis: { title: { text: "nats" }, rangemode: "tozero", fixedrange: true, nticks: 5, exponentformat: "power" },
  };
  lines.setAttribute("aria-label", `Divergence by layer, a line for each group: ${groups.join(", ")}. The table below has the same numbers.`);
  Plotly.react(lines, data, { ...smola.themed(layout), width: lines.clientWidth || undefined }, smola.config);
};

const mapSheet = () => ({
  head: ["group", "layer", ...Array.from({ length: routing().experts }, (_, e) => `expert ${e}`)],
  rows: routing().groups.flatMap((group, g) => routing().layers.map((layer, l) => [group, String(layer), ...drawn()[choice("measure")][g][l]])),
});
const lineSheet = () => ({
  head: ["layer", ...routing().groups],
  rows: routing().layers.map((layer, l) => [String(layer), ...routing().groups.map((_, g) => drawn().js[g][l])]),
});

const fill = (name, sheet, show) => {
  const details = find(`.${name}-table`);
  if (!details.open || !routing()) return;
  const { head, rows } = sheet();
  const line = (row) => el("tr", {}, ...row.map((v, i) => (i ? el("td", {}, typeof v === "string" ? v : show(v)) : el("th", { scope: "row" }, v))));
  const top = el("tr", {}, ...head.map((name_) => el("th", { scope: "col" }, name_)));
  details.querySelector(".scroll").replaceChildren(el("table", {}, el("thead", {}, top), el("tbody", {}, ...rows.map(line))));
};
const fillTables = () => {
  fill("map", mapSheet, (v) => signed(v, 5));
  fill("line", lineSheet, (v) => (v == null ? "–" : v.toPrecision(4)));
};

const draw = () => {
  if (!routing()) return;
  find(".contrast-said").textContent = said();
  find(".contrast-line-said").textContent = saidLine();
  fillTables();
  if (!Plotly || !map.clientWidth) return;
  drawMap();
  drawLines();
};

for (const [name, plot, title, text, table] of [
  ["map", map, "Where the routing differs: B minus A", said, mapSheet],
  ["line", lines, "How far apart the two routings are", saidLine, lineSheet],
]) {
  find(`.${name}-saves`).replaceChildren(saveButtons(`smola-compare-${name}`, { title, plot, library: () => Plotly, said: text, table }));
  find(`.${name}-table`).addEventListener("toggle", fillTables);
}
