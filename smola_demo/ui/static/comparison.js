// Two answers to one question, without and with an ablation, and what changed between them.
const find = (selector) => element.querySelector(selector);
const root = find(".comparison");
const plot = find(".divergence-plot");
let Plotly = null;
let value = null;

const strip = (list, reach) => {
  const small = list.every(([, change]) => Math.abs(change) < 0.1);
  find(".strip").replaceChildren(
    ...list.map(([text, change]) => {
      const visible = smola.visible(text);
      const node = el("li", { title: `${visible}: ${signed(change, 4)} nats` }, el("span", {}, visible), el("small", {}, signed(change, small ? 4 : 2)));
      node.dataset.sign = change < 0 ? "less" : "more";
      node.style.setProperty("--size", Math.min(1, Math.abs(change) / reach));
      return node;
    }),
  );
};

const chart = () => {
  if (!value?.divergence || value.state !== "done") return;
  const { data, layout } = value.divergence;
  const { x, y } = data[0];
  const head = el("tr", {}, el("th", { scope: "col" }, "layer"), el("th", { scope: "col" }, "nats"));
  const rows = x.map((layer, i) => el("tr", {}, el("th", { scope: "row" }, `${layer}`), el("td", {}, y[i] == null ? "–" : y[i].toPrecision(3))));
  find(".divergence-table .scroll").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
  if (!Plotly) return;
  const line = { ...data[0], line: { ...data[0].line, color: smola.css("--body-text-color") } };
  const styled = smola.themed(layout);
  styled.width = plot.clientWidth || undefined;
  Plotly.react(plot, [line], styled, smola.config);
};

const rowsOf = ({ x, y }) => x.map((layer, i) => [layer, y[i]]);
find(".divergence-saves").replaceChildren(
  saveButtons("smola-divergence", {
    title: "How far the other experts' routing moved",
    plot,
    library: () => Plotly,
    said: () => `${value.asked}, without ${value.spec}. Jensen-Shannon divergence of the remaining routing by layer, nats, prompt and answer tokens.`,
    table: () => ({ head: ["layer", "js_nats"], rows: rowsOf(value.divergence.data[0]) }),
  }),
);

smola.live(props, watch, (next) => {
  value = next;
  root.dataset.state = next.state;
  root.hidden = next.state === "idle";
  find(".verdict").textContent = next.verdict || "";
  find(".comparison-message").textContent = next.message || "";
  find(".comparison-asked").textContent = next.asked ? `Asked: ${next.asked}` : "";
  find(".comparison-body").hidden = next.state !== "done";
  if (next.state !== "done") return;
  find(".ablated-heading").textContent = `Without ${next.spec}`;
  find(".baseline-text").replaceChildren(...smola.marked(next.baseline));
  find(".ablated-text").replaceChildren(...smola.marked(next.ablated));
  find(".comparison-facts").replaceChildren(
    ...next.facts.map(([label, text]) => el("div", {}, el("dt", {}, label), el("dd", {}, text))),
  );
  find(".strip-note").textContent = next.strip_note;
  strip(next.tokens, next.reach);
  find(".divergence").hidden = !next.divergence;
  find(".divergence-none").textContent = next.divergence ? "" : next.divergence_said;
  plot.setAttribute("aria-label", next.divergence_said);
  chart();
});

smola.onTheme(chart);
smola.keepSize(plot, chart);
smola
  .plotly(props.plotly_src)
  .then((library) => {
    Plotly = library;
    chart();
  })
  .catch(() => find(".divergence-table").setAttribute("open", ""));
