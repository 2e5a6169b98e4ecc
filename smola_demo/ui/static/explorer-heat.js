// Heat maps with a panel per group: colour range, colour bars with the uniform reference, the marks of what is chosen.
// The colour range of all panels, z being their numbers with gaps (null) left out.
const colourRange = (panels, even) => {
  const found = panels.flatMap(({ z }) => z.flat()).filter((v) => v != null);
  if (state.scale === "difference") {
    const reach = Math.max(1e-4, ...found.map(Math.abs));
    return [-reach, reach];
  }
  return [0, Math.max(2 * even, ...found)];
};

// panel: {group, z [y][x], x, y, hover [y][x], even where it has one of its own}; bars stand side by side below, `below` px under a plot of `height` px
const heatTraces = (panels, even, height, below, width) => {
  const [zmin, zmax] = colourRange(panels, even);
  const difference = state.scale === "difference";
  const named = (own) => (difference || width / panels.length < 150 ? "even" : `even ${short(own)}`);
  const end = (v) =>
    v === 0
      ? "0"
      : v
          .toFixed(Math.abs(v) < 0.01 ? 3 : 2)
          .replace("0.", ".")
          .replace("-", "−");
  return panels.map(({ group, z, x, y, hover, even: own = even }, i) => ({
    type: "heatmap",
    name: group,
    z,
    x,
    y,
    customdata: hover,
    hovertemplate: "%{customdata}<extra></extra>",
    hoverongaps: false,
    xaxis: axisName("x", i),
    yaxis: axisName("y", i),
    xgap: 1,
    ygap: 1,
    zmin,
    zmax,
    colorscale: scaleOf(group),
    showscale: z.some((row) => row.some((v) => v != null)),
    colorbar: {
      orientation: "h",
      thickness: 9,
      outlinewidth: 0,
      lenmode: "fraction",
      len: 1 / panels.length - 0.04,
      xpad: 0,
      ypad: 0,
      x: (i + 0.5) / panels.length,
      xanchor: "center",
      y: -below / height,
      yanchor: "top",
      ticks: "outside",
      ticklen: 3,
      tickvals: [zmin, difference ? 0 : own, zmax],
      ticktext: [end(zmin), named(own), end(zmax)],
      tickangle: 0,
      tickfont: { size: 10, color: smola.css("--body-text-color-subdued") },
    },
  }));
};

const mark = (i, x0, x1, y0, y1, width) => ({
  type: "rect",
  xref: axisName("x", i),
  yref: axisName("y", i),
  x0,
  x1,
  y0,
  y1,
  line: { color: smola.css("--body-text-color"), width },
  fillcolor: "rgba(0,0,0,0)",
});
