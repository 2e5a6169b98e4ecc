// A picture with numbers laid over its patches, on a canvas.

// One expert's numbers on the patches, less the reference where that is asked for.
const patchValues = (g, e) => {
  const r = run.routing;
  return r.patches.map((t) => r.value(state.measure, state.layer, g, t, e) - minus(r.even(state.measure, t)));
};

// Where a number lies on the colour scale of its own expert: least to most, or around uniform.
const patchScale = (values) => {
  const reach = Math.max(1e-9, ...values.map(Math.abs));
  const [low, high] = state.scale === "difference" ? [-reach, reach] : [Math.min(...values), Math.max(...values)];
  return { low, high, part: (v) => (high > low ? (v - low) / (high - low) : 0.5) };
};

// One strength for all values, so that lightness alone orders them, whatever the picture's own.
const VEIL = 0.35;
const STRENGTH = 0.65;

const paintPatches = (canvas, values, group) => {
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  pen.globalAlpha = 1;
  pen.filter = "grayscale(1)";
  if (run.image) pen.drawImage(run.image, 0, 0, width, height);
  pen.filter = "none";
  if (!values.length) return;
  pen.globalAlpha = VEIL;
  pen.fillStyle = smola.css("--block-background-fill");
  pen.fillRect(0, 0, width, height);
  pen.globalAlpha = STRENGTH;
  const { part } = patchScale(values);
  const stops = scaleOf(group);
  for (const i of run.routing.sheet) {
    const [x0, y0, x1, y1] = run.routing.box[i];
    pen.fillStyle = `rgb(${smola.mix(stops, part(values[i])).join()})`;
    const [left, top] = [Math.round(x0 * width), Math.round(y0 * height)];
    pen.fillRect(left, top, Math.round(x1 * width) - left, Math.round(y1 * height) - top);
  }
};

// Experts that work on patches, the most peaked first: largest value on a patch over the mean of all patches.
const peaked = () => {
  const r = run.routing;
  const found = r.groups.flatMap((group, g) => {
    if (!r.patches.length || group === "text") return [];
    return range(r.E).map((e) => {
      const values = r.patches.map((t) => r.value(state.measure, state.layer, g, t, e));
      const mean = average(values);
      return { g, e, mean, max: Math.max(...values), peak: mean > 0 ? Math.max(...values) / mean : 0 };
    });
  });
  return found.sort((a, b) => b.peak - a.peak);
};

const svg = (tag, attributes) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  return node;
};
