// The live layer by expert map. Numbers come from Python; here they are drawn, and views of them switched.
const plot = element.querySelector(".routing-plot");
const find = (selector) => element.querySelector(selector);
let value = null;
let Plotly = null;
let picked = null; // {group, expert, layer} as indices
let pending = false;
let zoom = null; // the visitor's range of layers; kept here, since a redraw with given ranges forgets it
let held = false; // a zoom is being dragged: drawing now would break it off

const choice = (name) => find(`input[name="routing-${name}"]:checked`).value;

// The phase a panel shows: the wanted one if its group had tokens then, else the other, else none.
const phaseOf = (g) => {
  const wanted = choice("phase");
  const order = wanted === "prompt" ? ["prompt", "answer"] : ["answer", "prompt"];
  return order.find((phase) => value.frames[phase]?.served[g]) ?? null;
};

const shift = () => (choice("scale") === "difference" ? value.uniform : 0);
const transpose = (rows) => rows[0].map((_, e) => rows.map((row) => row[e]));
const text = (number, digits) => (number == null ? "none" : number.toFixed(digits));

const bounds = () => {
  const measure = choice("measure");
  const reach = value.reach[measure];
  return choice("scale") === "difference" ? [-reach, reach] : [0, value.range[measure]];
};

const colours = (group) =>
  choice("scale") === "difference" ? value.scales.diverging[smola.mode()] : value.scales.sequential[group][smola.mode()];

const panel = (trace, group, g) => {
  const phase = phaseOf(g);
  const [zmin, zmax] = bounds();
  const shown = { ...trace, zmin, zmax, colorscale: colours(group) };
  const layers = value.layers.length;
  if (!phase) return { ...shown, z: Array.from({ length: value.experts }, () => Array(layers).fill(null)) };
  const frame = value.frames[phase];
  const minus = shift();
  const z = frame[choice("measure")][g].map((row) => row.map((v) => (v == null ? null : v - minus)));
  const hover = frame.weight[g].map((row, l) =>
    row.map((w, e) => [value.layers[l], text(w, 4), text(frame.share[g][l][e], 4), frame.norm[g][l][e] ?? "none"]),
  );
  return { ...shown, z: transpose(z), customdata: transpose(hover) };
};

const legend = (trace, groups) => {
  const [zmin, zmax] = bounds();
  const steps = 60;
  const x = Array.from({ length: steps }, (_, i) => zmin + ((i + 0.5) * (zmax - zmin)) / steps);
  return groups.map((group, g) => ({
    ...trace,
    x,
    y: [g],
    z: [x],
    zmin,
    zmax,
    colorscale: colours(group),
  }));
};

const number = (v) => String(Number(v.toPrecision(2)));

const decorate = (layout, groups) => {
  const [zmin, zmax] = bounds();
  const difference = choice("scale") === "difference";
  const last = groups.length + 1;
  const at = difference ? 0 : value.uniform;
  const side = 0.12 * (zmax - zmin);
  const name = difference ? "0 = uniform" : `uniform = 1/${value.experts}`;
  const ticks = [zmin, zmax].filter((v) => Math.abs(v - at) > side).map((v) => [v, number(v)]);
  ticks.push([at, name]);
  layout[`xaxis${last > 1 ? last : ""}`] = {
    ...layout[`xaxis${last > 1 ? last : ""}`],
    range: [zmin, zmax],
    tickvals: ticks.map(([v]) => v),
    ticktext: ticks.map(([, text]) => text),
  };
  if (zoom && zoom[1] > value.layers.length) zoom = null;
  find(".all-layers").hidden = !zoom;
  if (zoom) groups.forEach((_, g) => (layout[`xaxis${g ? g + 1 : ""}`].range = [...zoom]));
  const ink = smola.css("--body-text-color");
  layout.annotations = layout.annotations.map((note, g) => {
    const phase = phaseOf(g);
    const said = phase ? value.frames[phase].note : "not used yet";
    const colour = value.scales.colour[groups[g]][smola.mode()];
    return {
      ...note,
      text: `<b>${groups[g]} experts</b> · ${said}`,
      xref: "paper", yref: "paper", xanchor: "left", yanchor: "bottom", align: "left",
      showarrow: false, font: { size: 12, color: colour },
    };
  });
  const axis = last > 1 ? last : "";
  layout.shapes = [
    { type: "line", xref: `x${axis}`, yref: `y${axis}`, x0: at, x1: at, y0: -0.5, y1: groups.length - 0.5, line: { color: ink, width: 2 } },
  ];
  const g = picked ? groups.indexOf(picked.group) : -1;
  if (g >= 0) {
    const ref = g ? String(g + 1) : "";
    const box = (x0, x1, width) => ({
      type: "rect", xref: `x${ref}`, yref: `y${ref}`, x0, x1, y0: picked.expert - 0.5, y1: picked.expert + 0.5,
      line: { color: ink, width }, fillcolor: "rgba(0,0,0,0)",
    });
    layout.shapes.push(box(-0.5, value.layers.length - 0.5, 1));
    if (picked.layer >= 0) layout.shapes.push(box(picked.layer - 0.5, picked.layer + 0.5, 2.5));
  }
  return layout;
};

const draw = () => {
  pending = false;
  if (!value) return;
  const groups = value.groups;
  find(".routing-title").textContent = value.titles[`${choice("measure")}/${choice("scale")}`];
  find(".routing-empty").textContent = value.notice || "";
  find(".routing-summary").textContent = value.summary;
  plot.hidden = !groups.length;
  plot.setAttribute("aria-label", `Heat map, ${groups.join(", ")} experts by layer. ${value.summary} The table below has the same numbers.`);
  fillTables();
  if (!Plotly || !groups.length) return;
  const { data, layout } = value.figure;
  const traces = groups.map((group, g) => panel(data[g], group, g)).concat(legend(data[groups.length], groups));
  const styled = decorate(smola.themed(layout), groups);
  styled.dragmode = smola.touch() ? false : "zoom";
  styled.width = plot.clientWidth || undefined;
  Plotly.react(plot, traces, styled, smola.config).then(wire);
};

// At most one drawing per animation frame, however fast values come.
const redraw = () => {
  if (pending || held) return;
  pending = true;
  requestAnimationFrame(draw);
};

const fillTables = () => {
  const details = find(".routing-table");
  if (!details.open) return;
  const measure = choice("measure");
  const minus = shift();
  const tables = value.groups.map((group, g) => {
    const phase = phaseOf(g);
    const said = phase ? value.frames[phase].note : "not used yet";
    const table = el("table", {}, el("caption", {}, `${group} experts, ${measure === "weight" ? "weight" : "share of its group's contribution"}, ${said}`));
    const head = el("tr", {}, el("th", { scope: "col" }, "layer"));
    for (let e = 0; e < value.experts; e += 1) head.append(el("th", { scope: "col" }, `${e}`));
    table.append(el("thead", {}, head));
    const body = el("tbody");
    if (phase) {
      value.frames[phase][measure][g].forEach((row, l) => {
        const line = el("tr", {}, el("th", { scope: "row" }, value.layers[l]));
        row.forEach((v) => line.append(el("td", {}, v == null ? "–" : (v - minus).toFixed(3))));
        body.append(line);
      });
    }
    table.append(body);
    return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${group} experts` }, table);
  });
  find(".tables").replaceChildren(...tables);
};

// The ablation controls mark their expert here; layers is text: one layer, a range or empty.
smola.pick = (group, expert, layers) => {
  picked = { group, expert, layer: value ? value.layers.indexOf(String(layers ?? "").trim()) : -1 };
  redraw();
};

element.addEventListener("change", redraw);
find(".all-layers").addEventListener("click", () => allLayers());
find(".routing-table").addEventListener("toggle", fillTables);
smola.onTheme(redraw);
smola.keepSize(plot, redraw);
smola.live(props, watch, (next) => {
  value = next;
  redraw();
});

const allLayers = () => {
  zoom = null;
  redraw();
};

// Listeners live on the plot itself, so they wait for its first drawing and then stay.
const wire = () => {
  if (plot.dataset.ready) return;
  plot.dataset.ready = "yes";
  plot.on("plotly_relayout", (changes) => {
    if (!Object.keys(changes).some((key) => /^xaxis\d*\.(range|autorange)/.test(key))) return;
    zoom = [...plot._fullLayout.xaxis.range];
    find(".all-layers").hidden = false;
  });
  plot.on("plotly_doubleclick", allLayers);
  plot.addEventListener("pointerdown", () => (held = true));
  for (const end of ["pointerup", "pointercancel"]) {
    window.addEventListener(end, () => {
      if (!held) return;
      held = false;
      redraw();
    });
  }
  plot.on("plotly_click", ({ points: [point] }) => {
    const group = value.groups[point.curveNumber];
    if (!group) return;
    picked = { group, expert: point.y, layer: point.x };
    redraw();
    trigger("select", { group, expert: point.y, layer: value.layers[point.x] });
  });
};

smola
  .plotly(props.plotly_src)
  .then((library) => {
    Plotly = library;
    redraw();
  })
  .catch((error) => {
    find(".routing-empty").textContent = `The picture cannot be drawn (${error.message}); the table below works.`;
  });
