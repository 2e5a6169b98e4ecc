// How decided the routing is: entropy of the weights over depth, beside chance.
const LINES = { prompt: { dash: "solid", symbol: "circle" }, answer: { dash: "dash", symbol: "diamond-open" } };

const drawEntropy = () => {
  const r = run.routing;
  const count = state.count === "number";
  const top = count ? r.E : Math.log(r.E);
  const seen = (h) => (count ? Math.exp(h) : h) - minus(top);
  const ink = smola.css("--body-text-color");
  const [panel, head] = [110, 24];
  const height = r.groups.length * (panel + head);
  const layout = {
    height: height + 74,
    margin: { l: 50, r: 10, t: 30, b: 44 },
    annotations: [],
    shapes: [],
    showlegend: true,
    legend: { orientation: "h", x: 0, y: 1 + 4 / height, yanchor: "bottom" },
  };
  const data = [];
  const rows = [];
  r.groups.forEach((group, i) => {
    const axes = { xaxis: axisName("x", i), yaxis: axisName("y", i), showlegend: i === 0 };
    const x = r.layers.map(Number);
    const bands = range(r.L).map((l) => r.band(i, l).map(seen));
    const edge = {
      type: "scatter",
      mode: "lines",
      x,
      line: { width: 0 },
      hoverinfo: "skip",
      legendgroup: "band",
      ...axes,
    };
    data.push({ ...edge, name: "lower", y: bands.map(([low]) => low), showlegend: false });
    data.push({
      ...edge,
      name: "random routers, 5 to 95 %",
      y: bands.map(([, high]) => high),
      fill: "tonexty",
      fillcolor: smola.dark() ? "rgba(164,175,188,.3)" : "rgba(86,97,112,.22)",
    });
    const flat = {
      type: "scatter",
      mode: "lines",
      name: count ? `uniform, E = ${r.E}` : `uniform, log ${r.E}`,
      hoverinfo: "skip",
      ...axes,
    };
    data.push({
      ...flat,
      x: [x[0], x.at(-1)],
      y: [seen(Math.log(r.E)), seen(Math.log(r.E))],
      line: { color: ink, width: 1.5, dash: "dot" },
    });
    const drawn = {};
    for (const phase of ["prompt", "answer"]) {
      const tokens = r.rowsOf(i, phase);
      const y = range(r.L).map((l) => (tokens.length ? seen(r.entropy(i, l, tokens)) : null));
      drawn[phase] = y;
      data.push({
        type: "scatter",
        mode: "lines+markers",
        name: phase,
        x,
        y,
        ...axes,
        line: { color: colour(group), dash: LINES[phase].dash, width: 2 },
        marker: { symbol: LINES[phase].symbol, size: 5, color: colour(group) },
        hovertemplate: `<b>${group}</b>, layer %{x}, ${phase}: %{y:.4f}<extra></extra>`,
      });
    }
    for (const l of range(r.L))
      rows.push([group, String(r.layers[l]), drawn.prompt[l], drawn.answer[l], seen(Math.log(r.E)), ...bands[l]]);
    const y1 = 1 - (i * (panel + head) + head) / height;
    const last = i === r.groups.length - 1;
    layout[`xaxis${i ? i + 1 : ""}`] = {
      ...bare,
      anchor: axisName("y", i),
      showticklabels: last,
      ...(i ? { matches: "x" } : {}),
      ...(last ? { title: { text: "layer", standoff: 2 } } : {}),
    };
    layout[`yaxis${i ? i + 1 : ""}`] = {
      anchor: axisName("x", i),
      domain: [Math.max(0, y1 - panel / height), y1],
      zeroline: false,
      fixedrange: true,
      nticks: 4,
      title: { text: count ? "experts" : "nats" },
    };
    layout.annotations.push(
      panelTitle(`experts${r.rowsOf(i, "answer").length ? "" : " (serve no answer token)"}`, group, 0, y1),
    );
    if (state.layer >= 0) {
      const yref = `${axisName("y", i)} domain`;
      const at = x[state.layer];
      layout.shapes.push({
        type: "line",
        xref: axisName("x", i),
        yref,
        x0: at,
        x1: at,
        y0: 0,
        y1: 1,
        line: { color: ink, width: 1 },
      });
    }
  });
  const what = count
    ? "effective number of experts, exp of the mean entropy"
    : "mean entropy of one linear's routing weights, nats";
  return {
    said: [
      "each layer, mean over projections and tokens",
      "prompt and answer apart",
      `${what}${state.scale === "difference" ? `, minus uniform (${short(top)})` : `, uniform is ${count ? r.E : `log ${r.E} = ${short(top)}`}`}`,
      "of weights, whatever the measure above",
      "grey: 5 to 95 % of single tokens under random routers of the same scale",
    ],
    data,
    layout,
    table: {
      caption: what,
      head: ["group", "layer", "prompt", "answer", "uniform", "random 5 %", "random 95 %"],
      rows,
    },
    key: `entropy ${r.layers}`,
    zooms: true,
    label: `Lines over layers: ${what}.`,
  };
};

const countSwitch = choiceSwitch("count", "Shown as", { entropy: "Entropy", number: "Effective number" });

const entropyFigure = () =>
  figure("entropy", {
    title: "How decided the routing is",
    how: [
      "On the dotted line all experts get the same;",
      "the lower, the fewer experts a token uses.",
      "The grey band holds nine in ten single tokens under random routers; a mean over tokens varies less,",
      "so a line outside it is not chance, and one inside it may be.",
      "Click a point to choose its layer.",
    ],
    draw: drawEntropy,
    tools: countSwitch,
    click: ({ x }) => choose({ layer: run.routing.layers.map(Number).indexOf(x) }),
  });
