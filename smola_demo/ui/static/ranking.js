// A ranking's life: waiting, how far it has come, the result.
const root = find(".ranking");

find(".ranking-saves").replaceChildren(
  saveButtons("smola-ranking", {
    title: "Which experts matter for this answer",
    plot,
    library: () => Plotly,
    said: () => `${value.asked}: ${value.verdict} ${value.said}`,
    table: sheet,
  }),
);

smola.live(props, watch, (next) => {
  const before = value?.state;
  value = next;
  root.dataset.state = next.state;
  root.hidden = next.state === "idle";
  find(".verdict").textContent = next.verdict || "";
  find(".ranking-message").textContent = next.message || "";
  const bar = find(".ranking-progress");
  bar.hidden = next.state !== "running";
  if (next.total) Object.assign(bar, { max: next.total, value: next.done });
  else bar.removeAttribute("value");
  find(".ranking-body").hidden = next.state !== "done";
  if (next.state !== "done") return;
  if (before !== "done") at = -1;
  sorted.by = null;
  find(".ranking-asked").textContent = `Asked: ${next.asked}`;
  find(".ranking-answer").textContent = `Answer with all experts: ${next.answer || "(nothing)"} (${next.seconds} s for everything)`;
  find(".ranking-said").textContent = next.said;
  find(".ranking-readout").textContent = "";
  plot.setAttribute("aria-label", `Bars of the effect of each removal. ${next.verdict}. Arrow keys walk along the bars, Enter chooses; the table below has the same numbers.`);
  fillTable();
  draw();
});

smola.onTheme(draw);
smola.keepSize(plot, draw);
smola
  .plotly(props.plotly_src)
  .then((library) => {
    Plotly = library;
    draw();
  })
  .catch(() => find(".ranking-table").setAttribute("open", ""));
