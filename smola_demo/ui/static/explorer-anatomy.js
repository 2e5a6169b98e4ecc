// One token at one linear: every term of y = W x + Σ w·B·A·x with its own numbers.
const projectionPicker = el("select", { "aria-label": "Projection" });
const anatomyTools = el("div", { class: "figure-tools" }, el("label", {}, "Projection ", projectionPicker));
const story = el("p", { class: "anatomy-story" });

// The chosen layer, or with all layers the one where experts add most to this token, relative to W x.
const anatomyPlace = (t) => {
  const r = run.routing;
  const added = (l, p) => {
    let sum = 0;
    for (const g of r.serving[t]) for (let e = 0; e < r.E; e += 1) sum += r.arrays.contribution[r.at(g, l, p, t, e)];
    return r.base(l, p, t) > 0 ? sum / r.base(l, p, t) : 0;
  };
  const layers = range(r.L).filter((l) => r.wrapped[l].length);
  const wanted = (l) => (r.wrapped[l].includes(state.projection) ? state.projection : r.wrapped[l][0]);
  const layer =
    state.layer >= 0 && r.wrapped[state.layer].length
      ? state.layer
      : layers.reduce((a, b) => (added(b, wanted(b)) > added(a, wanted(a)) ? b : a));
  return { l: layer, p: wanted(layer) };
};

const terms = (t, l, p) => {
  const r = run.routing;
  return r.serving[t].flatMap((g) =>
    range(r.E).map((e) => {
      const i = r.at(g, l, p, t, e);
      return { g, e, weight: r.arrays.weight[i], norm: r.arrays.contribution[i], cosine: r.arrays.alignment[i] };
    }),
  );
};

const leaning = (cosine) =>
  Math.abs(cosine) < 0.1
    ? "nearly at a right angle to it: a new direction"
    : cosine > 0
      ? "towards it: more of the same"
      : "against it: it takes something back";

const tell = (t, l, p, found) => {
  const r = run.routing;
  const base = r.base(l, p, t);
  const sum = found.reduce((all, { norm }) => all + norm, 0);
  const groups = r.serving[t].map((g) => r.groups[g]).join(" and ");
  const start = [
    `The model reads "${r.label(t)}".`,
    `In layer ${r.layers[l]}, ${r.projections[p]}, the frozen matrix W turns it into a vector of length ${short(base)}.`,
    `The ${groups} experts ${pools() ? "read slots pooled over the prompt instead" : "see the same input"},`,
    "and each adds a small vector of its own, multiplied by its weight.",
    "The weights of a group sum to 1 and the router switches none off:",
    "nothing is chosen and nothing is dropped. That is a softly mixed residual.",
  ].join(" ");
  if (!(sum > 0)) return `${start} Here every expert adds exactly nothing: the output is that of the frozen model.`;
  const top = found.reduce((a, b) => (b.norm > a.norm ? b : a));
  return [
    start,
    `The largest addition is by ${expertName(top.g, top.e)}: weight ${short(top.weight)}`,
    `(an even share is ${short(1 / r.E)}), length ${short(top.norm)},`,
    `which is ${short((100 * top.norm) / base)} % of W x.`,
    `Its cosine with W x is ${top.cosine.toFixed(2)}, ${leaning(top.cosine)}.`,
    `All additions together are at most ${short((100 * sum) / base)} % of W x (lengths added; directions may cancel).`,
  ].join(" ");
};

const drawAnatomy = () => {
  const r = run.routing;
  const t = state.token;
  if (t == null) return { message: "Choose a patch or a word: its equation stands here." };
  if (!r.serving[t].length) return { message: NOBODY };
  const { l, p } = anatomyPlace(t);
  projectionPicker.replaceChildren(
    ...r.wrapped[l].map((q) => el("option", { value: q, selected: q === p }, r.projections[q])),
  );
  const found = terms(t, l, p);
  story.textContent = tell(t, l, p, found);
  const base = r.base(l, p, t);
  const shares = found.reduce((all, { norm }) => all + norm, 0);
  const ink = smola.css("--body-text-color");
  const narrow = anatomyFigureNode.clientWidth < 560;
  const y = range(found.length);
  const columns = [
    { name: "weight w", values: found.map(({ weight }) => weight), even: 1 / r.E },
    { name: `length ‖${addition()}‖`, values: found.map(({ norm }) => norm), even: shares / found.length },
    { name: "cosine with W x", values: found.map(({ cosine }) => cosine), even: 0 },
  ];
  const reach = Math.max(0.1, ...found.map(({ cosine }) => 1.05 * Math.abs(cosine)));
  const against = found.map(({ cosine }) => (cosine < 0 ? "/" : ""));
  const height = (narrow ? 3 : 1) * (15 * found.length + 50);
  const layout = {
    height: height + 24,
    margin: { l: 92, r: 12, t: 20, b: 4 },
    bargap: 0.25,
    showlegend: false,
    annotations: [],
    shapes: [],
  };
  const data = columns.map(({ name, values, even }, i) => {
    const part = (15 * found.length) / height;
    const topEdge = narrow ? 1 - i / 3 : 1;
    const domain = narrow ? [0, 1] : [i / 3 + (i ? 0.02 : 0), (i + 1) / 3 - (i < 2 ? 0.02 : 0)];
    layout[`xaxis${i ? i + 1 : ""}`] = {
      anchor: axisName("y", i),
      domain,
      fixedrange: true,
      zeroline: true,
      zerolinecolor: ink,
      nticks: 4,
      ...(i === 2 ? { range: [-reach, reach] } : { rangemode: "tozero" }),
    };
    layout[`yaxis${i ? i + 1 : ""}`] = {
      ...bare,
      anchor: axisName("x", i),
      domain: [topEdge - part, topEdge],
      range: [found.length - 0.5, -0.5],
      fixedrange: true,
      tickvals: y,
      ticktext: found.map(({ g, e }) => expertName(g, e)),
      showticklabels: narrow || i === 0,
    };
    layout.annotations.push({
      text: `<b>${name}</b>`,
      x: domain[0],
      y: topEdge,
      xref: "paper",
      yref: "paper",
      xanchor: "left",
      yanchor: "bottom",
      showarrow: false,
      font: { size: 11, color: ink },
    });
    layout.shapes.push({
      type: "line",
      xref: axisName("x", i),
      yref: `${axisName("y", i)} domain`,
      x0: even,
      x1: even,
      y0: 0,
      y1: 1,
      line: { color: ink, width: 1.5, dash: "dot" },
    });
    return {
      type: "bar",
      orientation: "h",
      name,
      x: values,
      y,
      xaxis: axisName("x", i),
      yaxis: axisName("y", i),
      marker: {
        color: found.map(({ g }) => colour(r.groups[g])),
        pattern: { shape: against, size: 5 },
        line: { color: ink, width: found.map(({ g, e }) => (g === state.group && e === state.expert ? 2 : 0)) },
      },
      customdata: found.map(({ g, e }) => expertName(g, e)),
      hovertemplate: `%{customdata}, ${name}: %{x:.4f}<extra></extra>`,
    };
  });
  const chosen = state.layer >= 0 ? "" : " (all layers are chosen: this is where experts add most to this token)";
  return {
    said: [
      `y = W x + Σ ${addition()}`,
      saidToken(t),
      `layer ${r.layers[l]}${chosen}, ${r.projections[p]} alone`,
      `‖W x‖ = ${short(base)}`,
      "plain values whatever is chosen above",
      `dotted: even weight 1/${r.E}, even length, right angle`,
      "hatched: against W x",
    ],
    data,
    layout,
    key: "anatomy",
    label: story.textContent,
    table: {
      caption: `y = W x + Σ ${addition()} for ${r.label(t)}, layer ${r.layers[l]}, ${r.projections[p]}`,
      head: ["term", "weight", "length", "% of W x", "cosine with W x", "direction"],
      rows: [
        ["W x", null, base, 100, 1, "itself"],
        ...found.map(({ g, e, weight, norm, cosine }) => [
          expertName(g, e),
          weight,
          norm,
          (100 * norm) / base,
          cosine,
          norm > 0 ? (cosine < 0 ? "against" : "towards") : "none",
        ]),
      ],
    },
  };
};

projectionPicker.addEventListener("change", () => choose({ projection: Number(projectionPicker.value) }));
let anatomyFigureNode = null;
const anatomyFigure = () => {
  const tools = el("div", {}, anatomyTools, story);
  anatomyFigureNode = figure("anatomy", {
    title: "Anatomy of one token",
    how: [
      "Three numbers for every expert that serves the token: how much of it is used,",
      "how long the vector is that it adds, and whether that points along W x or against it.",
    ],
    draw: drawAnatomy,
    tools,
    click: ({ y }) => {
      const { l, p } = anatomyPlace(state.token);
      const { g, e } = terms(state.token, l, p)[y];
      choose({ group: g, expert: e });
    },
  });
  return anatomyFigureNode;
};
