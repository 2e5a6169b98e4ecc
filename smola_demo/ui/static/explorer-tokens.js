// Token by expert: who serves each word; and the rows that this picture and the group shares have in common.
const WINDOW = 32;

// Rows of the chosen phase: the picture's patches as one, then prompt text, then the answer.
const tokenRows = (phase = state.phase) => {
  const r = run.routing;
  const rows = range(r.T)
    .filter((t) => r.modality[t] === 0 && r.serving[t].length && r.inPhase(phase, t))
    .map((t) => ({ tokens: [t], label: r.label(t), phase: r.phase[t] ? "answer" : "prompt" }));
  const seen = r.patches.filter((t) => r.serving[t].length && r.inPhase(phase, t));
  const image = { tokens: seen, label: `image (${seen.length} patches), mean`, phase: "prompt" };
  return seen.length ? [image, ...rows] : rows;
};

// The rows on screen: all, or a window of them.
const shownRows = () => {
  const rows = tokenRows();
  const first = Math.max(0, Math.min(state.first, rows.length - WINDOW));
  return { rows: rows.slice(first, first + WINDOW), first, count: rows.length };
};
const saidWindow = ({ rows, first, count }) =>
  rows.length < count ? `rows ${first + 1} to ${first + rows.length} of ${count}` : `${count} rows`;
const rowTick = ({ label }) =>
  plain(
    label.length > 18 && !label.startsWith("image")
      ? `${label.slice(0, 17)}…`
      : label.replace(" patches), mean", ")"),
  );

const rowValues = (row, g) => {
  const r = run.routing;
  if (!row.tokens.every((t) => r.serves[g][t])) return Array(r.E).fill(null);
  return r.mean(state.measure, state.layer, g, row.tokens);
};

const drawTokens = () => {
  const r = run.routing;
  const view = shownRows();
  const { rows } = view;
  earlier.disabled = view.first === 0;
  later.disabled = view.first + rows.length >= view.count;
  pager.hidden = view.count <= WINDOW;
  if (!rows.length) return { message: "This run has no tokens of this phase: choose another phase above." };
  const evens = rows.map(({ tokens }) => r.evenMean(state.measure, tokens));
  const panels = r.groups.map((group, g) => {
    const values = rows.map((row) => rowValues(row, g));
    const z = values.map((row, i) => row.map((v) => (v == null ? null : v - minus(evens[i]))));
    const hover = rows.map((row, i) =>
      range(r.E).map(
        (e) =>
          `<b>${plain(row.label)}</b> (${row.phase})<br>${group} ${e}: ${digits(values[i][e])}, even ${short(evens[i])}`,
      ),
    );
    return { group, z, hover, x: range(r.E), y: range(rows.length) };
  });
  const height = Math.max(60, rows.length * 17);
  const wide = Math.min(150, 14 + 6.2 * Math.max(...rows.map((row) => rowTick(row).length)));
  const layout = { height: height + 98, margin: { l: wide, r: 8, t: 22, b: 76 }, annotations: [], shapes: [] };
  panels.forEach(({ group }, i) => {
    const span = [i / panels.length + 0.01, (i + 1) / panels.length - 0.01];
    layout[`xaxis${i ? i + 1 : ""}`] = {
      ...bare,
      anchor: axisName("y", i),
      domain: span,
      range: [-0.5, r.E - 0.5],
      fixedrange: true,
      tickvals: range(r.E).filter((e) => e % Math.ceil(r.E / 8) === 0),
      title: { text: "expert", standoff: 2 },
    };
    layout[`yaxis${i ? i + 1 : ""}`] = {
      ...bare,
      anchor: axisName("x", i),
      range: [rows.length - 0.5, -0.5],
      fixedrange: true,
      showticklabels: i === 0,
      tickvals: range(rows.length),
      ticktext: rows.map(rowTick),
    };
    layout.annotations.push(panelTitle("", group, span[0], 1));
    const at = rows.findIndex(({ tokens }) => tokens.length === 1 && tokens[0] === state.token);
    if (at >= 0) layout.shapes.push(mark(i, -0.5, r.E - 0.5, at - 0.5, at + 0.5, 1.5));
  });
  layout.shapes.push(mark(state.group, state.expert - 0.5, state.expert + 0.5, -0.5, rows.length - 0.5, 1));
  const names = r.groups.flatMap((_, g) => range(r.E).map((e) => expertName(g, e)));
  return {
    said: [
      `${saidLayers()}, mean over projections`,
      `${saidPhase[state.phase]}, ${saidWindow(view)}`,
      `${saidMeasure(rows.flatMap(({ tokens }) => tokens))}`,
    ],
    message: idle() ? IDLE : "",
    data: heatTraces(panels, average(evens), height, 40, tokensNode.clientWidth - wide - 40),
    layout,
    key: `tokens ${rows.length}`,
    label: `Heat map of tokens by expert, ${saidLayers()}.`,
    table: {
      caption: "Tokens by expert; – where a group does not serve the token",
      head: ["token", "phase", "uniform", ...names],
      rows: rows.map((row, i) => [row.label, row.phase, evens[i], ...panels.flatMap(({ z }) => z[i])]),
      choose: (i) => rows[i].tokens.length === 1 && choose({ token: rows[i].tokens[0] }),
    },
  };
};

const earlier = el("button", { type: "button" }, "◀ Earlier tokens");
const later = el("button", { type: "button" }, "Later tokens ▶");
const pager = el("div", { class: "figure-tools", hidden: true }, earlier, later);
const turn = (by) => choose({ first: Math.max(0, shownRows().first + by) });
earlier.addEventListener("click", () => turn(-WINDOW));
later.addEventListener("click", () => turn(WINDOW));

let tokensNode = null;
const tokensFigure = () =>
  (tokensNode = figure("tokens", {
    title: "Token by expert",
    how: [
      "Each row is a token, each column an expert;",
      "gaps are groups that do not serve the token.",
      "Click a cell to choose its token and expert.",
    ],
    draw: drawTokens,
    tools: pager,
    click: ({ curveNumber, x, y }) => {
      const { tokens } = shownRows().rows[y];
      choose({ group: curveNumber, expert: x, ...(tokens.length === 1 ? { token: tokens[0] } : {}) });
    },
  }));
