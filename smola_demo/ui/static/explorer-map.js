// Layer by expert: how much of each expert a group's tokens get, over depth.
const drawMap = () => {
  const r = run.routing;
  const said = [];
  const panels = r.groups.map((group, g) => {
    const [phase, rows] = r.servedPhase(g, state.phase);
    const means = range(r.L).map((l) =>
      rows.length && !idle() ? r.mean(state.measure, l, g, rows) : Array(r.E).fill(null),
    );
    const even = rows.length ? r.evenMean(state.measure, rows) : 1 / r.E;
    const z = range(r.E).map((e) => means.map((row) => (row[e] == null ? null : row[e] - minus(even))));
    const hover = range(r.E).map((e) =>
      range(r.L).map(
        (l) => `<b>${group} ${e}</b>, layer ${r.layers[l]}<br>${digits(means[l][e])}, even ${short(even)}`,
      ),
    );
    const idleThen = phase && phase !== state.phase ? `, none in the ${state.phase}` : "";
    said.push(phase ? `${group}: ${rows.length} ${saidPhase[phase]}${idleThen}` : `${group}: no tokens`);
    return { group, z, hover, x: range(r.L), y: range(r.E), even, rows, phase };
  });
  const all = panels.flatMap(({ rows }) => rows);
  const even = average(panels.map((panel) => panel.even));
  const [row, head, foot] = [14, 26, 40];
  const height = panels.length * (head + row * r.E);
  const at = range(r.L).filter((l) => l % Math.max(1, Math.round(r.L / 8)) === 0);
  const layout = {
    height: height + foot + 42,
    margin: { l: 24, r: 12, t: 0, b: foot + 42 },
    annotations: [],
    shapes: [],
  };
  panels.forEach(({ group, phase }, i) => {
    const top = 1 - (i * (head + row * r.E) + head) / height;
    const last = i === panels.length - 1;
    layout[`xaxis${i ? i + 1 : ""}`] = {
      ...bare,
      anchor: axisName("y", i),
      tickvals: at,
      ticktext: at.map((l) => r.layers[l]),
      showticklabels: last,
      ...(i ? { matches: "x" } : {}),
      ...(last ? { title: { text: "layer", standoff: 2 } } : {}),
      range: [-0.5, r.L - 0.5],
    };
    layout[`yaxis${i ? i + 1 : ""}`] = {
      ...bare,
      anchor: axisName("x", i),
      domain: [Math.max(0, top - (row * r.E) / height), top],
      range: [r.E - 0.5, -0.5],
      fixedrange: true,
      tickvals: range(r.E).filter((e) => e % Math.ceil(r.E / 8) === 0),
    };
    layout.annotations.push(panelTitle(`experts, ${saidPhase[phase] ?? "no tokens"}`, group, 0, top));
  });
  layout.shapes.push(mark(state.group, -0.5, r.L - 0.5, state.expert - 0.5, state.expert + 0.5, 1));
  if (state.layer >= 0)
    layout.shapes.push(
      mark(state.group, state.layer - 0.5, state.layer + 0.5, state.expert - 0.5, state.expert + 0.5, 2.5),
    );
  const table = {
    caption: `${capital(measureName())}${lessEven()}`,
    head: ["group", "phase", "layer", ...range(r.E).map((e) => `expert ${e}`)],
    rows: panels.flatMap(({ group, z, phase }) =>
      range(r.L).map((l) => [group, phase, String(r.layers[l]), ...z.map((line) => line[l])]),
    ),
  };
  return {
    said: [
      `layers ${r.layers[0]} to ${r.layers.at(-1)}, mean over projections and tokens`,
      ...said,
      saidMeasure(all),
    ],
    message: idle() ? IDLE : "",
    data: heatTraces(panels, even, height, foot, mapNode.clientWidth - 70),
    layout,
    table,
    key: `map ${r.L}`,
    zooms: true,
    label: `Heat map of ${r.groups.join(", ")} experts by layer.`,
  };
};

let mapNode = null;
const mapFigure = () =>
  (mapNode = figure("map", {
    title: "Layer by expert",
    how: [
      "Each cell is one expert in one layer, each panel one group;",
      "darker (lighter on a dark page) is more.",
      "Click a cell to choose it everywhere;",
      "drag to zoom, double-click to see all.",
    ],
    draw: drawMap,
    click: ({ curveNumber, x, y }) => choose({ group: curveNumber, expert: y, layer: x }),
  }));
