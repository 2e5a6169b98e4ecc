// One card per expert: its numbers, its tasks, where its weight varies most with the patches and words on top.
const cards = new Map();
const cardOf = (entry) => cards.get(named(entry));
const BARS = { weight: "Weight", contribution: "Contribution share", effect: "Effect, nats per answer token" };

// What a card's bars show, and where they begin: at even, or at no effect.
const barMeasure = () => (view.sort in BARS ? view.sort : "effect");
const start = (measure, group) => (measure === "effect" ? 0 : measure === "weight" ? atlas.uniform : atlas.even_share[group] ?? 0);
const told = (measure, v) => (measure === "effect" ? signed(v) : digits(v));

const fact = (name, value, beside) => el("div", {}, el("dt", {}, name), el("dd", {}, value, " ", beside ? el("small", {}, beside) : null));
const facts = (entry) => {
  const { weight, contribution, effect } = use(entry);
  const even = atlas.even_share[entry.group];
  return [
    fact("weight", digits(weight), `even ${short(atlas.uniform)}`),
    fact("contribution share", digits(contribution), even ? `even ${short(even)}` : ""),
    fact("effect, nats per token", signed(effect)),
  ];
};

const reachOf = (measure) =>
  Math.max(1e-9, ...inGroup().flatMap((e) => Object.values(e.tasks).map((t) => Math.abs(t[measure] - start(measure, e.group)))));

const taskBars = (entry) => {
  const measure = barMeasure();
  const reach = reachOf(measure);
  const rows = Object.entries(entry.tasks).map(([task, numbers]) => {
    const off = (numbers[measure] - start(measure, entry.group)) / reach;
    const bar = el("i", { style: `left:${off < 0 ? 50 + 50 * off : 50}%;width:${Math.abs(50 * off)}%` });
    return el("li", { "data-now": task === view.task ? "yes" : "no" }, el("span", {}, task), el("span", { class: "task-bar", "aria-hidden": "true" }, bar), el("span", {}, told(measure, numbers[measure])));
  });
  const from = measure === "effect" ? "0" : "even";
  return [el("h4", {}, `${BARS[measure]} by task, bars from ${from}, same scale on all cards`), el("ul", { class: "task-bars" }, ...rows)];
};

const thumbnail = ({ image, inner, weight, row, task }) => {
  const [x0, y0, x1, y1] = inner.map((v) => 100 * v);
  const frame = el("i", { style: `left:${x0}%;top:${y0}%;width:${x1 - x0}%;height:${y1 - y0}%`, "aria-hidden": "true" });
  const picture = el("img", { src: image, width: "64", height: "64", alt: `patch of ${row}, task ${task}`, title: `${row}, task ${task}` });
  return el("figure", { class: "thumb" }, el("div", {}, picture, frame), el("figcaption", {}, digits(weight)));
};

const inContext = ({ before, text, after, weight, task }) =>
  el("li", { title: `task ${task}` }, el("span", {}, before.replaceAll("\n", "⏎"), el("b", {}, text), after.replaceAll("\n", "⏎")), el("small", {}, digits(weight)));

const layerPart = ({ layer, spread, patches, words }, i) =>
  el(
    "details", { class: "atlas-layer", open: i === 0 },
    el("summary", {}, `Layer ${layer}: spread ${digits(spread)}`),
    patches.length ? el("div", { class: "thumbs" }, ...patches.map(thumbnail)) : null,
    words.length ? el("ul", { class: "atlas-words" }, ...words.map(inContext)) : null,
  );

const makeCard = (entry) => {
  const name = named(entry);
  const out = el("button", { type: "button", class: "offline-button" }, "Take it out");
  out.setAttribute("aria-label", `Take ${name} out, on the Ablate tab`);
  out.addEventListener("click", () => trigger("select", { group: entry.group, expert: entry.expert }));
  const head = el("header", {}, el("h3", { class: entry.group }, name), out);
  const card = el(
    "article", { class: "atlas-card", tabindex: "-1", "data-expert": `${entry.group}:${entry.expert}`, "aria-label": `Expert ${name}` },
    head, el("dl", { class: "atlas-facts" }), el("div", { class: "atlas-tasks" }),
    el("p", { class: "fine" }, "Where its weight varies most over tokens (standard deviation, all rows); the numbers below are its weight there:"),
    ...entry.layers.map(layerPart),
  );
  cards.set(name, card);
  return card;
};

// Cards are made once; sorting moves them.
const showCards = () => {
  if (!cards.size) atlas.entries.forEach(makeCard);
  const shown = sorted();
  for (const entry of shown) {
    const card = cardOf(entry);
    card.querySelector(".atlas-facts").replaceChildren(...facts(entry));
    card.querySelector(".atlas-tasks").replaceChildren(...taskBars(entry));
  }
  find(".atlas-cards").replaceChildren(...shown.map(cardOf));
  find(".atlas-count").textContent = `${shown.length} of ${atlas.entries.length} experts, numbers over ${saidRows()}, mean over all layers, prompt and answer tokens.`;
};
