// The explorer: what is chosen, its switches, and a new run taken in. Every picture follows `state`.
const find = (selector) => element.querySelector(selector);
const SWITCHES = ["measure", "phase", "scale", "shade", "count"];
const slider = find(".pick-layer");
const groupPicker = find(".pick-group");
const expertPicker = find(".pick-expert");

const options = (select, names, chosen) =>
  select.replaceChildren(...names.map((name, i) => el("option", { value: i, selected: i === chosen }, name)));

const showChoice = () => {
  const { layers, E } = run.routing;
  slider.max = layers.length - 1;
  slider.value = state.layer;
  const said = state.layer < 0 ? `all ${layers.length}, mean` : `${layers[state.layer]}`;
  slider.setAttribute("aria-valuetext", said);
  find(".layer-said").textContent = said;
  groupPicker.value = state.group;
  if (expertPicker.options.length !== E) options(expertPicker, range(E).map(String), state.expert);
  expertPicker.value = state.expert;
  find(".explorer-choice").textContent =
    `Chosen: ${expertName(state.group, state.expert)}, ${state.layer < 0 ? "all layers" : `layer ${layers[state.layer]}`}` +
    (state.token == null ? "." : `, token ${run.routing.label(state.token)}.`);
  find(".take-out").textContent = `Take ${expertName(state.group, state.expert)} out →`;
};

// The one way to change what is shown.
const choose = (changes) => {
  Object.assign(state, changes);
  showChoice();
  repaint();
};

element.addEventListener("change", ({ target }) => {
  const name = target.name?.replace("explorer-", "");
  if (SWITCHES.includes(name)) choose({ [name]: target.value, ...(name === "phase" ? { first: 0 } : {}) });
});
slider.addEventListener("input", () => choose({ layer: Number(slider.value) }));
find(".every-layer").addEventListener("click", () => choose({ layer: -1 }));
groupPicker.addEventListener("change", () => choose({ group: Number(groupPicker.value) }));
expertPicker.addEventListener("change", () => choose({ expert: Number(expertPicker.value) }));

find(".take-out").addEventListener("click", () => {
  const { groups, layers } = run.routing;
  const layer = state.layer < 0 ? null : layers[state.layer];
  trigger("select", { group: groups[state.group], expert: state.expert, layer });
});

find(".figures").append(
  wordsFigure(),
  overlayFigure(),
  servedFigure(),
  tokensFigure(),
  mapFigure(),
  entropyFigure(),
  groupsFigure(),
  anatomyFigure(),
);
watchSight();
smola.onTheme(() => run?.routing && repaint());

// Keep the visitor's choices where the new run has them.
const keepChoice = (before) => {
  const r = run.routing;
  const same =
    before &&
    String(before.groups) === String(r.groups) &&
    String(before.layers) === String(r.layers) &&
    before.E === r.E;
  const token = range(r.T).find((t) => r.phase[t] === 1) ?? r.patches[0] ?? null;
  Object.assign(state, { first: 0, token });
  if (!same) {
    Object.assign(state, { layer: -1, projection: 0 });
    const serving = r.serving[token] ?? []; // an expert that cannot serve the token would open on an empty panel
    const first = peaked().find(({ g }) => serving.includes(g));
    Object.assign(state, { group: first?.g ?? serving[0] ?? 0, expert: first?.e ?? 0 });
  }
  options(groupPicker, r.groups, state.group);
};

const picture = async ({ data }) => {
  const image = new Image();
  image.src = data;
  try {
    await image.decode();
    return image;
  } catch {
    return null; // the patches are drawn without it
  }
};

const asked = ({ task, question, ablation, answer }) => {
  const parts = [
    props.tasks[task] ?? task,
    question && `question "${question}"`,
    ablation && `without ${ablation}`,
    `answer "${answer.text}"`,
  ];
  return parts.filter(Boolean).join(" · ");
};

// For links: the layer by its number (null for all), the expert by group and number. What a run lacks is left out.
Object.defineProperty(smola, "explorerState", {
  configurable: true,
  get: () =>
    run?.routing && {
      layer: state.layer < 0 ? null : run.routing.layers[state.layer],
      group: run.routing.groups[state.group],
      expert: state.expert,
    },
});
const linked = () => {
  const { layer, group, expert } = smola.linked ?? {};
  if (!run?.routing) return {};
  smola.linked = null;
  const found = {};
  if (run.routing.layers.includes(layer)) found.layer = run.routing.layers.indexOf(layer);
  if (run.routing.groups.includes(group) && expert < run.routing.E)
    Object.assign(found, { group: run.routing.groups.indexOf(group), expert });
  return found;
};
smola.setExplorerState = (wanted) => {
  smola.linked = wanted;
  if (run?.routing) choose(linked());
};

// The Ask tab's words open here. The last one was never read back: the one before it stands for it.
let wordAsked = null;
const askedWord = () => {
  if (wordAsked == null || !run?.routing) return {};
  const rows = answerWords().slice(0, wordAsked + 1).map(({ row }) => row);
  wordAsked = null;
  const token = rows.findLast((row) => row != null);
  return token == null ? {} : { token };
};
let reading = false; // a newer run is on its way: what is asked for is of that one
smola.openWord = (index) => {
  wordAsked = index;
  if (run?.routing && !reading) choose(askedWord());
};

let ticket = 0;
smola.live(props, watch, async (record) => {
  ticket += 1;
  const mine = ticket;
  reading = true;
  const empty = !record.format;
  find(".explorer-empty").hidden = !empty;
  find(".explorer-asked").hidden = empty;
  const clear = (notice) => {
    run = wordAsked = null;
    reading = false;
    find(".explorer-notice").textContent = notice;
    find(".explorer-panel").hidden = find(".figures").hidden = true;
    find(".explorer").dataset.runs = ticket;
  };
  if (empty) return clear("");
  find(".explorer-asked").textContent = asked(record);
  if (!record.routing?.groups.length)
    return clear(
      `This run has no routing: ${record.engine.experts_state === "lora" ? "a LoRA without a mixture of experts" : "no experts were loaded, so the plain backbone"} answered. Load a mixture of experts and ask again.`,
    );
  try {
    const [routing, image] = await Promise.all([readRouting(record.routing), picture(record.picture)]);
    if (mine !== ticket) return;
    const before = run?.routing;
    run = { record, routing, image };
    reading = false;
    find(".explorer-notice").textContent = routing.idle
      ? "The experts of this run contribute nothing: they are untrained, or all were taken out. Weights can be looked at; contributions are all zero."
      : "";
    find(".explorer-panel").hidden = find(".figures").hidden = false;
    keepChoice(before);
    choose({ ...linked(), ...askedWord() });
    find(".explorer").dataset.runs = ticket;
  } catch (error) {
    if (mine === ticket) clear(`This run cannot be shown (${error.message}): ask again.`);
  }
});

smola
  .plotly(props.plotly_src)
  .then((library) => {
    Plotly = library;
    repaint();
  })
  .catch((error) => {
    find(".explorer-notice").textContent =
      `The plots cannot be drawn (${error.message}); words, picture and tables work.`;
  });
