// All experts that serve one token, sorted: the way back from a patch or a word to the experts.
const sortedExperts = () => {
  const r = run.routing;
  const t = state.token;
  const found = r.serving[t].flatMap((g) =>
    range(r.E).map((e) => ({
      g,
      e,
      value: r.value(state.measure, state.layer, g, t, e) - minus(r.even(state.measure, t)),
    })),
  );
  return found.sort((a, b) => b.value - a.value);
};

const drawServed = () => {
  const r = run.routing;
  if (state.token == null) return { message: "Choose a patch or a word: the experts that serve it stand here." };
  if (!r.serving[state.token].length) return { message: NOBODY };
  if (idle()) return { message: IDLE };
  const sorted = sortedExperts();
  const even = r.even(state.measure, state.token);
  const name = ({ g, e }) => expertName(g, e);
  const ink = smola.css("--body-text-color");
  const data = [
    {
      type: "bar",
      orientation: "h",
      x: sorted.map(({ value }) => value),
      y: range(sorted.length),
      marker: {
        color: sorted.map(({ g }) => colour(r.groups[g])),
        line: { color: ink, width: sorted.map(({ g, e }) => (g === state.group && e === state.expert ? 2 : 0)) },
      },
      customdata: sorted.map(name),
      hovertemplate: "%{customdata}: %{x:.4f}<extra></extra>",
    },
  ];
  const at = state.scale === "difference" ? 0 : even;
  const layout = {
    height: 62 + 17 * sorted.length,
    margin: { l: 92, r: 10, t: 18, b: 44 },
    bargap: 0.2,
    xaxis: {
      fixedrange: true,
      zeroline: false,
      nticks: 5,
      title: { text: `${measureName()}${lessEven()}`, standoff: 4 },
    },
    yaxis: {
      ...bare,
      range: [sorted.length - 0.5, -0.5],
      fixedrange: true,
      tickvals: range(sorted.length),
      ticktext: sorted.map(name),
    },
    shapes: [
      {
        type: "line",
        xref: "x",
        yref: "paper",
        x0: at,
        x1: at,
        y0: 0,
        y1: 1,
        line: { color: ink, width: 1.5, dash: "dot" },
      },
    ],
    annotations: [
      {
        x: at,
        y: 1,
        xref: "x",
        yref: "paper",
        yanchor: "bottom",
        text: "even",
        showarrow: false,
        font: { size: 10, color: ink },
      },
    ],
  };
  return {
    said: [saidToken(state.token), `${saidLayers()}, mean over projections`, saidMeasure([state.token])],
    data,
    layout,
    key: `served ${state.token}`,
    label: `Bars of the experts that serve ${r.label(state.token)}.`,
    table: {
      caption: `Experts that serve ${r.label(state.token)}`,
      head: ["expert", `${state.measure}${lessEven()}`, "uniform"],
      rows: sorted.map((one) => [name(one), one.value, even]),
      choose: (i) => choose({ group: sorted[i].g, expert: sorted[i].e }),
    },
  };
};

const servedFigure = () =>
  figure("served", {
    title: "Experts that serve the chosen token",
    how: [
      "The longer the bar, the more of that expert the token gets;",
      "the dotted line is an even share.",
      "Click a bar to choose its expert and see where else it works.",
    ],
    draw: drawServed,
    click: ({ y }) => {
      const { g, e } = sortedExperts()[y];
      choose({ group: g, expert: e });
    },
  });
