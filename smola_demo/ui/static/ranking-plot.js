// Bars of effect, and beside them weight and contribution where there is room.
const find = (selector) => element.querySelector(selector);
const plot = find(".ranking-plot");
const ROW = 21;
let value = null;
let at = -1; // the bar that the keyboard stands on
let Plotly = null;

const digitsOf = (values) => (Math.max(...values.map(Math.abs)) < 0.1 ? 5 : 3);
const wide = () => plot.clientWidth >= 620;
const labelOf = (row) => `${row.name}${row.changed ? " ≠" : ""}`;
const names = () => value.rows.map(labelOf);
const spread = () => (value.random.length ? [Math.min(...value.random), Math.max(...value.random)] : null);

const hover = (row) => {
  const answer = row.changed ? "<br>changes the answer" : "";
  return `<b>${row.name}</b><br>Δ log-probability ${signed(row.delta, 4)} nats<br>weight ${row.weight.toFixed(4)}<br>contribution ${row.share.toFixed(4)}<br>routing of the others moved by ${row.js.toFixed(6)} nats${answer}<extra></extra>`;
};

const panels = () => {
  const full = [["delta", "Δ log-probability, nats", [0, wide() ? 0.52 : 1]]];
  if (!wide()) return full;
  return [...full, ["weight", "weight", [0.56, 0.76]], ["share", "contribution, share", [0.8, 1]]];
};

const bars = () => {
  const y = value.rows.map((_, i) => i);
  const colour = value.rows.map((row) => value.colours[row.group][smola.mode()]);
  return panels().map(([measure], p) => ({
    type: "bar", orientation: "h", y, x: value.rows.map((row) => row[measure]), xaxis: `x${p ? p + 1 : ""}`, name: measure,
    marker: { color: colour, opacity: measure === "delta" ? value.rows.map((row) => (row.outside ? 1 : 0.55)) : 0.8 },
    hovertemplate: value.rows.map(hover), width: 0.72, showlegend: false,
  }));
};

// The random removals, one dot each, on a row of their own below the bars.
const dots = () => ({
  type: "scatter", mode: "markers", x: value.random, y: value.random.map(() => value.rows.length), name: "random", showlegend: false,
  marker: { symbol: "line-ns-open", size: 11, color: smola.css("--body-text-color"), line: { width: 1.5 } },
  hovertemplate: "random pieces: %{x:.4f} nats<extra></extra>",
});

const line = (x, ref, dash, rows) => ({
  type: "line", xref: ref, yref: "y", x0: x, x1: x, y0: rows ? rows[0] - 0.5 : -0.5, y1: rows ? rows[1] + 0.5 : value.rows.length - 0.5,
  line: { color: smola.css("--body-text-color"), width: 1.2, dash },
});

const shapes = () => {
  const found = [line(0, "x", "solid")];
  const band = spread();
  if (band) {
    const fill = smola.dark() ? "rgba(164,175,188,.26)" : "rgba(86,97,112,.18)";
    found.push({ type: "rect", xref: "x", yref: "paper", x0: band[0], x1: band[1], y0: 0, y1: 1, line: { width: 0 }, fillcolor: fill, layer: "below" });
  }
  if (at >= 0) {
    found.push({ type: "rect", xref: "paper", yref: "y", x0: 0, x1: 1, y0: at - 0.48, y1: at + 0.48, line: { color: smola.css("--body-text-color"), width: 1.5 }, fillcolor: "rgba(0,0,0,0)" });
  }
  if (wide()) {
    found.push(line(value.uniform.weight, "x2", "dot"));
    value.rows.forEach((row, i) => value.uniform.share[row.group] && found.push(line(value.uniform.share[row.group], "x3", "dot", [i, i])));
  }
  return found;
};

const layoutOf = () => {
  const rows = value.rows.length + (value.random.length ? 1 : 0);
  const layout = {
    height: rows * ROW + 78, margin: { l: value.by === "projection" ? 110 : 108, r: 10, t: 26, b: 46 }, showlegend: false, bargap: 0, annotations: [],
    yaxis: {
      range: [rows - 0.5, -0.5], fixedrange: true, zeroline: false, showgrid: false,
      tickvals: Array.from({ length: rows }, (_, i) => i), ticktext: [...names(), ...(value.random.length ? ["random"] : [])],
    },
    shapes: shapes(),
  };
  panels().forEach(([measure, title, domain], p) => {
    layout[`xaxis${p ? p + 1 : ""}`] = { domain, anchor: "y", title: { text: title, standoff: 4 }, zeroline: false, nticks: p ? 4 : 7, fixedrange: true, rangemode: p ? "tozero" : "normal" };
    const note = { delta: value.random.length ? "grey: random" : "", weight: `dotted: uniform ${value.uniform.weight.toFixed(3)}`, share: "dotted: even share" }[measure];
    if (note) layout.annotations.push({ xref: "paper", yref: "paper", x: domain[0], y: 1, xanchor: "left", yanchor: "bottom", text: note, showarrow: false, font: { size: 11 } });
  });
  return layout;
};

const choose = (i) => {
  const { group, expert, spec } = value.rows[i];
  at = i;
  draw();
  find(".ranking-readout").textContent = `${value.rows[i].name} is in the ablation above now: ${spec}.`;
  trigger("select", { group, expert, spec });
};

const draw = async () => {
  if (!Plotly || value?.state !== "done" || !value.rows.length || !plot.clientWidth) return;
  const layout = { ...smola.themed(layoutOf()), width: plot.clientWidth };
  await Plotly.react(plot, value.random.length ? [...bars(), dots()] : bars(), layout, smola.config);
  if (plot.dataset.ready) return;
  plot.dataset.ready = "yes";
  plot.on("plotly_click", ({ points: [point] }) => point.data.type === "bar" && choose(point.pointNumber));
};

plot.addEventListener("keydown", (event) => {
  if (!value?.rows?.length) return;
  const last = value.rows.length - 1;
  const to = { ArrowDown: Math.min(last, at + 1), ArrowUp: Math.max(0, at - 1), Home: 0, End: last }[event.key];
  if (to === undefined && !(["Enter", " "].includes(event.key) && at >= 0)) return;
  event.preventDefault();
  if (to === undefined) return choose(at);
  at = to;
  const row = value.rows[at];
  find(".ranking-readout").textContent = `${row.name}: ${signed(row.delta, 4)} nats${row.changed ? ", changes the answer" : ""}. Enter puts it into the ablation.`;
  draw();
});
