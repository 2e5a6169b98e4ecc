// A recorded run as numbers: its arrays unpacked, and the means that every picture is made of.
// Axes: g group, l layer, p projection, t token, e expert. Layer -1 stands for the mean over all layers.
const HALVES = { table: null };
const halves = () =>
  (HALVES.table ??= Float32Array.from({ length: 65536 }, (_, bits) => {
    const sign = bits >> 15 ? -1 : 1;
    const power = (bits >> 10) & 31;
    const part = bits & 1023;
    if (power === 31) return part ? NaN : sign * Infinity;
    return sign * (power ? 2 ** (power - 15) * (1 + part / 1024) : part * 2 ** -24);
  }));

// {shape, dtype: "float16", data: base64 of zlib} → Float32Array
const unpack = async ({ shape, data }) => {
  const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const table = halves();
  const values = Float32Array.from(new Uint16Array(await new Response(plain).arrayBuffer()), (bits) => table[bits]);
  if (values.length !== shape.reduce((a, b) => a * b, 1)) throw new Error("an array does not fit its axes");
  return values;
};

const range = (count) => Array.from({ length: count }, (_, i) => i);
const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;

// Some models read a picture whole and once more in tiles: of patches that lie over each other the finest, as places
// among the patches.
const finest = (boxes) => {
  const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
  const inside = ([x, y], [x0, y0, x1, y1]) => x > x0 && x < x1 && y > y0 && y < y1;
  const kept = [];
  for (const i of range(boxes.length).sort((a, b) => area(boxes[a]) - area(boxes[b]))) {
    const [x0, y0, x1, y1] = boxes[i];
    const middle = [(x0 + x1) / 2, (y0 + y1) / 2];
    const [x, y] = [x0 + 0.3 * (x1 - x0), y0 + 0.3 * (y1 - y0)]; // a middle may lie on a border between finer ones
    if (!kept.some((k) => inside(middle, boxes[k]) || inside([x, y], boxes[k]))) kept.push(i);
  }
  return kept.sort((a, b) => a - b);
};

// The routing of a run with its means. Raises Error when an array is damaged.
const readRouting = async (packed) => {
  const names = ["weight", "contribution", "alignment", "base_norm", "boxes", "random_entropy"];
  const unpacked = await Promise.all(names.map((name) => unpack(packed[name])));
  const arrays = Object.fromEntries(names.map((name, i) => [name, unpacked[i]]));
  const [G, L, P, T, E] = packed.weight.shape;
  const { groups, layers, projections, tokens, modality, phase } = packed;
  const at = (g, l, p, t, e) => (((g * L + l) * P + p) * T + t) * E + e;
  const base = (l, p, t) => arrays.base_norm[(l * P + p) * T + t];
  // A layer may lack a projection: its numbers are NaN there and take no part in a mean.
  const wrapped = range(L).map((l) => range(P).filter((p) => range(T).every((t) => !Number.isNaN(base(l, p, t)))));
  const works = {
    visual: modality.map((kind) => kind === 1),
    text: modality.map((kind) => kind === 0),
    multimodal: modality.map(() => true),
  };
  const serves = groups.map((group) => works[group]);
  const serving = range(T).map((t) => range(G).filter((g) => serves[g][t]));

  const total = new Float64Array(L * P * T);
  for (let g = 0; g < G; g += 1)
    for (let i = 0; i < L * P * T; i += 1)
      for (let e = 0; e < E; e += 1) total[i] += arrays.contribution[(g * L * P * T + i) * E + e];

  // Means over the wrapped projections: weight and share (G, L, T, E), entropy of the weights (G, L, T) among the
  // experts that are left, NaN where none is.
  const place = (g, l, t, e) => ((g * L + l) * T + t) * E + e;
  const means = { weight: new Float32Array(G * L * T * E), share: new Float32Array(G * L * T * E) };
  const entropies = new Float32Array(G * L * T);
  const some = new Uint8Array(G * L * T);
  for (let g = 0; g < G; g += 1)
    for (let l = 0; l < L; l += 1)
      for (const p of wrapped[l])
        for (let t = 0; t < T; t += 1) {
          const left = arrays.weight.subarray(at(g, l, p, t, 0), at(g, l, p, t, E)).filter((w) => w > 0);
          const sum = left.reduce((a, b) => a + b, 0);
          for (const w of left) entropies[(g * L + l) * T + t] -= (w / sum) * Math.log(w / sum);
          if (sum > 0) some[(g * L + l) * T + t] += 1;
          for (let e = 0; e < E; e += 1) {
            const i = at(g, l, p, t, e);
            const w = arrays.weight[i];
            const all = total[(l * P + p) * T + t];
            means.weight[place(g, l, t, e)] += w / wrapped[l].length;
            if (all > 0) means.share[place(g, l, t, e)] += arrays.contribution[i] / all / wrapped[l].length;
          }
        }
  for (let i = 0; i < entropies.length; i += 1) entropies[i] /= some[i]; // 0 / 0 is NaN

  const cache = new Map();
  // (G, T, E) of one layer or of the mean over layers
  const values = (measure, layer) => {
    const key = `${measure} ${layer}`;
    if (!cache.has(key)) {
      const picked = layer < 0 ? range(L) : [layer];
      const found = new Float32Array(G * T * E);
      for (let g = 0; g < G; g += 1)
        for (const l of picked)
          for (let i = 0; i < T * E; i += 1)
            found[g * T * E + i] += means[measure][(g * L + l) * T * E + i] / picked.length;
      cache.set(key, found);
    }
    return cache.get(key);
  };
  // One expert on one token
  const value = (measure, layer, g, t, e) => values(measure, layer)[(g * T + t) * E + e];
  const even = (measure, t) => 1 / (E * (measure === "weight" ? 1 : serving[t].length));
  // Mean over tokens: (E,) of a group, and the uniform reference of the same tokens
  const mean = (measure, layer, g, rows) =>
    range(E).map((e) => average(rows.map((t) => value(measure, layer, g, t, e))));
  const evenMean = (measure, rows) => average(rows.map((t) => even(measure, t)));
  const entropy = (g, l, rows) => average(rows.map((t) => entropies[(g * L + l) * T + t]).filter(Number.isFinite));

  // Rows of a phase ("prompt", "answer" or "both") that a group serves
  const inPhase = (wanted, t) => wanted === "both" || (phase[t] === 1) === (wanted === "answer");
  const rowsOf = (g, wanted) => range(T).filter((t) => serves[g][t] && inPhase(wanted, t));
  // The wanted phase if the group has tokens then, else the other
  const servedPhase = (g, wanted) =>
    [wanted, "answer", "prompt"].map((name) => [name, rowsOf(g, name)]).find(([, rows]) => rows.length) ?? [null, []];

  const patches = range(T).filter((t) => modality[t] === 1);
  const box = patches.map((_, i) => Array.from(arrays.boxes.subarray(4 * i, 4 * i + 4)));
  const sheet = finest(box);
  // A prompt's control tokens keep their names; in an answer the only one is its end.
  const control = (t) => (phase[t] ? null : smola.control(tokens[t]));
  const word = (t) => (control(t) ? `‹${control(t)}›` : smola.visible(tokens[t]));
  const label = (t) => (modality[t] === 1 ? `patch ${patches.indexOf(t) + 1}` : word(t));
  const band = (g, l) => [arrays.random_entropy[2 * (g * L + l)], arrays.random_entropy[2 * (g * L + l) + 1]];
  const idle = !arrays.contribution.some((c) => c > 0);
  return {
    ...{
      groups,
      layers,
      projections,
      tokens,
      modality,
      phase,
      G,
      L,
      P,
      T,
      E,
      arrays,
      at,
      base,
      wrapped,
      serves,
      serving,
    },
    ...{ value, even, mean, evenMean, entropy, rowsOf, inPhase, servedPhase, patches, box, sheet, label, band, idle },
  };
};
