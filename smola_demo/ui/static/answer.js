// The answer while it is written: text, tokens with their probability, and the figures of the run.
const find = (selector) => element.querySelector(selector);
const root = find(".answer");
let shown = []; // tokens on screen, so that an update only appends

const facts = (list, entries) =>
  list.replaceChildren(...entries.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value))));

// A token leads to its place in the Routing tab, once the whole run is there.
const chip = ([text, probability], index) => {
  const percent = `${Math.round(probability * 100)} %`;
  const visible = smola.visible(text);
  const button = el("button", { type: "button", title: `${visible}: ${percent}; see its experts` });
  button.append(el("span", {}, visible), el("small", {}, percent));
  button.addEventListener("click", () => {
    smola.openWord?.(index);
    trigger("select", { index });
  });
  const node = el("li", {}, button);
  node.style.setProperty("--p", probability);
  return node;
};

const tokens = (next) => {
  const list = find(".answer-tokens");
  const same = shown.length <= next.length && shown.every(([text, p], i) => text === next[i][0] && p === next[i][1]);
  if (!same) list.replaceChildren();
  const first = same ? shown.length : 0;
  next.slice(first).forEach((token, i) => list.append(chip(token, first + i)));
  shown = next;
  list.hidden = !next.length;
};

smola.live(props, watch, (next) => {
  root.dataset.state = next.state;
  if (next.state !== "done") smola.runs?.left();
  root.dataset.origin = next.origin || "";
  const spot = find(".answer-text");
  spot.setAttribute("aria-busy", next.state === "writing" || next.state === "waiting");
  spot.textContent = next.text;
  spot.dataset.empty = next.text ? "no" : "yes";
  spot.dataset.hint = next.hint || "";
  find(".answer-message").textContent = next.message || "";
  tokens(next.tokens || []);
  for (const button of find(".answer-tokens").querySelectorAll("button")) button.disabled = next.state !== "done";
  facts(find(".run-facts"), next.run || []);
  facts(find(".engine-facts"), next.engine || []);
  find(".answer-notice").textContent = next.notice || "";
});
