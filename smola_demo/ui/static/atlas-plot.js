// All experts at a glance: how much each is weighted against what the answer loses without it.
const range = (n) => Array.from({ length: n }, (_, i) => i);
const SYMBOLS = { visual: "circle", text: "square", multimodal: "diamond" };
const view = { sort: "effect", task: "", group: "" };
let atlas = null;

// An entry's numbers over the chosen rows. The spread is over all rows, whatever is chosen.
const use = (entry) => (view.task ? entry.tasks[view.task] : entry);
const widest = (entry) => Math.max(...entry.layers.map(({ spread }) => spread));
const named = ({ group, expert }) => `${group} ${expert}`;
const saidRows = () => (view.task ? `${atlas.tasks[view.task]} rows of the task ${view.task}` : `all ${atlas.rows} rows`);
const inGroup = () => atlas.entries.filter(({ group }) => !view.group || group === view.group);

const ORDER = {
  effect: (a, b) => use(a).effect - use(b).effect,
  weight: (a, b) => use(b).weight - use(a).weight,
  contribution: (a, b) => use(b).contribution - use(a).contribution,
  spread: (a, b) => widest(b) - widest(a),
  number: () => 0,
};
const sorted = () => inGroup().sort(ORDER[view.sort]);

// Where each point's number stands: above it, unless another point or number is there already.
const SPOTS = [["top center", 0, -12], ["bottom center", 0, 12], ["middle right", 12, 0], ["middle left", -12, 0]];
const GLANCE = { height: 340, margin: { l: 62, r: 14, t: 24, b: 74 } };
const spotsOf = (entries, width) => {
  const spread = (values, size) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return values.map((v) => ((v - low) / (high - low || 1)) * size);
  };
  const { height, margin } = GLANCE;
  // nine tenths: the plot leaves room around its points
  const xs = spread(entries.map((e) => use(e).weight), 0.9 * (width - margin.l - margin.r));
  const ys = spread(entries.map((e) => -use(e).effect), 0.9 * (height - margin.t - margin.b));
  const taken = entries.map((_, i) => [xs[i], ys[i]]);
  return entries.map((_, i) => {
    const free = ([, dx, dy]) => taken.every(([x, y], k) => k === i || Math.abs(x - xs[i] - dx) > 10 || Math.abs(y - ys[i] - dy) > 10);
    const [name, dx, dy] = SPOTS.find(free) ?? SPOTS[0];
    taken.push([xs[i] + dx, ys[i] + dy]);
    return name;
  });
};

const glanceFigure = () => {
  const go = (entry) => cardOf(entry)?.focus();
  const draw = () => {
    const entries = inGroup();
    const spots = spotsOf(entries, section.clientWidth);
    const shown = atlas.groups.filter((group) => !view.group || view.group === group);
    const data = shown.map((group) => {
      const own = entries.filter((entry) => entry.group === group);
      return {
        type: "scatter", mode: "markers+text", name: group, x: own.map((e) => use(e).weight), y: own.map((e) => use(e).effect),
        text: own.map(({ expert }) => `${expert}`), textposition: own.map((e) => spots[entries.indexOf(e)]), textfont: { size: 10, color: colour(group) },
        marker: { size: 10, color: colour(group), symbol: SYMBOLS[group] ?? "cross" },
        customdata: own.map((e) => `${named(e)}<br>weight ${digits(use(e).weight)}, even ${short(atlas.uniform)}<br>effect ${signed(use(e).effect)} nats per answer token`),
        hovertemplate: "%{customdata}<extra></extra>",
      };
    });
    const ink = smola.css("--body-text-color-subdued");
    const line = (at) => ({ type: "line", line: { color: ink, width: 1.5, dash: "dash" }, ...at });
    const layout = {
      ...GLANCE, legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top" },
      xaxis: { title: { text: "mean weight", standoff: 6 }, zeroline: false },
      yaxis: { title: { text: "effect, nats per answer token" }, zeroline: false },
      shapes: [
        line({ xref: "x", yref: "paper", x0: atlas.uniform, x1: atlas.uniform, y0: 0, y1: 1 }),
        line({ xref: "paper", yref: "y", x0: 0, x1: 1, y0: 0, y1: 0 }),
      ],
      annotations: [{ text: `even 1/${atlas.experts}`, x: atlas.uniform, y: 1, xref: "x", yref: "paper", yanchor: "bottom", showarrow: false, font: { size: 11 } }],
    };
    return {
      data, layout, key: `${view.task}/${view.group}`, zooms: true,
      said: [
        `${saidRows()}, mean over all layers and projections, prompt and answer tokens`,
        `weight: a group's experts sum to 1 per token, even is 1/${atlas.experts} = ${short(atlas.uniform)}`,
        "effect: Δ log-prob of the model's own answer without the expert",
      ],
      label: `${entries.length} experts.`,
      table: {
        caption: "Weight and effect of each expert", head: ["expert", "mean weight", "effect, nats per answer token"],
        rows: entries.map((e) => [named(e), use(e).weight, use(e).effect]), choose: (i) => go(entries[i]),
      },
    };
  };
  const section = figure("atlas-glance", {
    title: "Weight against effect",
    how: [
      "Each point is one expert: right of the dashed line it is weighted more than evenly, below zero the answer",
      "needs it. If weight foretold effect, points further right would lie lower.",
    ],
    draw,
    click: ({ customdata, data, pointIndex }) => customdata && go(inGroup().filter(({ group }) => group === data.name)[pointIndex]),
  });
  return section;
};
