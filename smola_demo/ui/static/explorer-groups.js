// How the contribution splits between the groups, token by token.
const drawGroups = () => {
  const r = run.routing;
  const view = shownRows();
  const { rows } = view;
  if (r.idle) return { message: IDLE.replace(" Choose Weight to see the routing itself.", "") };
  if (!rows.length) return { message: "This run has no tokens of this phase: choose another phase above." };
  const evens = rows.map(({ tokens }) => average(tokens.map((t) => 1 / r.serving[t].length)));
  const sum = (row, g) =>
    r.serves[g][row.tokens[0]] ? r.mean("share", state.layer, g, row.tokens).reduce((a, b) => a + b, 0) : null;
  const parts = r.groups.map((_, g) =>
    rows.map((row, i) => (sum(row, g) == null ? null : sum(row, g) - minus(evens[i]))),
  );
  const shapes = ["", "/", "."];
  const data = r.groups.map((group, g) => ({
    type: "bar",
    name: group,
    x: range(rows.length),
    y: parts[g],
    marker: {
      color: colour(group),
      pattern: {
        shape: shapes[g],
        fillmode: "overlay",
        size: 7,
        solidity: 0.2,
        fgcolor: smola.css("--block-background-fill"),
      },
    },
    customdata: rows.map((row, i) => `<b>${plain(row.label)}</b> (${row.phase})<br>${group}: ${digits(parts[g][i])}`),
    hovertemplate: "%{customdata}<extra></extra>",
  }));
  const even = (i) => (state.scale === "difference" ? 0 : evens[i]);
  const ink = smola.css("--body-text-color");
  data.push({
    type: "scatter",
    mode: "lines",
    name: "even split",
    x: rows.flatMap((_, i) => [i - 0.5, i + 0.5]),
    y: rows.flatMap((_, i) => [even(i), even(i)]),
    line: { color: ink, width: 1.5, dash: "dot" },
    hoverinfo: "skip",
  });
  const picked = rows.findIndex(({ tokens }) => tokens.length === 1 && tokens[0] === state.token);
  const layout = {
    height: 290,
    barmode: "relative",
    bargap: 0.15,
    margin: { l: 60, r: 8, t: 30, b: 74 },
    showlegend: true,
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom" },
    xaxis: { ...bare, tickvals: range(rows.length), ticktext: rows.map(rowTick), tickangle: -60, fixedrange: true },
    yaxis: {
      zeroline: false,
      fixedrange: true,
      title: { text: state.scale === "difference" ? "share minus even split" : "share of contribution" },
    },
    shapes:
      picked < 0
        ? []
        : [
            {
              type: "rect",
              xref: "x",
              yref: "paper",
              x0: picked - 0.5,
              x1: picked + 0.5,
              y0: 0,
              y1: 1,
              line: { color: ink, width: 1.5 },
            },
          ],
  };
  return {
    said: [
      `${saidLayers()}, mean over projections`,
      `${saidPhase[state.phase]}, ${saidWindow(view)}`,
      `contribution ‖${addition()}‖ summed over a group's experts as a share of all experts', whatever the measure above`,
      `${state.scale === "difference" ? "minus" : "dotted:"} an even split between the groups that serve the token`,
    ],
    data,
    layout,
    key: "groups",
    label: "Stacked bars: each group's share of the contribution, token by token.",
    table: {
      caption: `Share of the contribution by group${state.scale === "difference" ? ", minus an even split" : ""}`,
      head: ["token", "phase", "even split", ...r.groups],
      rows: rows.map((row, i) => [row.label, row.phase, evens[i], ...parts.map((part) => part[i])]),
    },
  };
};

const groupsFigure = () =>
  figure("groups", {
    title: "Who adds what: visual, text, multimodal",
    how: [
      "Each bar is one token, split by how much the groups' experts add to it.",
      "Answer tokens are text, so the visual experts never serve them;",
      "they show in the image's bar under Prompt.",
    ],
    draw: drawGroups,
    click: ({ x }) => {
      const { tokens } = shownRows().rows[Math.round(x)];
      if (tokens.length === 1) choose({ token: tokens[0] });
    },
  });
