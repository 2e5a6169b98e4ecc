// What is chosen, and the words for it: every picture says layers, phase, measure and reference the same way.
const SCALES = props.scales;
let run = null; // {record, routing, image}
const state = {
  measure: "weight",
  phase: "answer",
  scale: "value",
  layer: -1,
  group: 0,
  expert: 0,
  token: null,
  first: 0,
  shade: "expert",
  count: "entropy",
  projection: 0,
};

const digits = (v) => {
  if (typeof v !== "number") return v ?? "–";
  if (Number.isNaN(v)) return "–";
  return v !== 0 && Math.abs(v) < 0.001 ? v.toExponential(1) : v.toFixed(Math.abs(v) >= 100 ? 1 : 4);
};
const short = (v) => String(Number(v.toPrecision(3)));
const capital = (text) => text[0].toUpperCase() + text.slice(1);

const colour = (group) => SCALES.colour[group][smola.mode()];
const scaleOf = (group) =>
  state.scale === "difference" ? SCALES.diverging[smola.mode()] : SCALES.sequential[group][smola.mode()];
const minus = (even) => (state.scale === "difference" ? even : 0);
const measureName = () => (state.measure === "weight" ? "routing weight" : "contribution share");
const lessEven = () => (state.scale === "difference" ? " minus uniform" : "");
const expertName = (g, e) => `${run.routing.groups[g]} ${e}`;

// What experts read: the token's own x or, with prefix routing, slots pooled over the prompt.
const pools = () => run.record.engine?.routing === "prefix";
const addition = () => `w·B·A·${pools() ? "slot" : "x"}`;

// Half sentences that every state line is made of.
const saidLayers = () => {
  const { layers } = run.routing;
  if (state.layer >= 0) return `layer ${layers[state.layer]}`;
  return layers.length > 1 ? `mean of layers ${layers[0]} to ${layers.at(-1)}` : `layer ${layers[0]}`;
};
const saidEven = (measure, rows) => {
  const { E, even, serving } = run.routing;
  const counts = [...new Set(rows.map((t) => (measure === "weight" ? E : E * serving[t].length)))];
  return counts.length === 1
    ? `1/${counts[0]} = ${short(even(measure, rows[0]))}`
    : short(run.routing.evenMean(measure, rows));
};
const saidMeasure = (rows, measure = state.measure) => {
  const what =
    measure === "weight"
      ? "routing weight, a group's experts sum to 1 per token"
      : `contribution ‖${addition()}‖ as a share of all experts' at the same linear and token`;
  if (!rows.length) return what;
  return `${what}, ${state.scale === "difference" ? "minus uniform" : "uniform is"} ${saidEven(measure, rows)}`;
};
const saidToken = (t) =>
  `token ${t + 1} of the run, "${run.routing.label(t)}", in the ${run.routing.phase[t] ? "answer" : "prompt"}`;
const saidPhase = { prompt: "prompt tokens", answer: "answer tokens", both: "prompt and answer tokens" };
const IDLE =
  "These experts contribute nothing: their output is zero, as before training. Choose Weight to see the routing itself.";
const NOBODY = "No expert serves this token: choose another.";
const idle = () => run.routing.idle && state.measure === "share";
