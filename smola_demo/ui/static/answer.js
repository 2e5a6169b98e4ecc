// The answer while it is written: text, tokens with their probability, and the figures of the run.
const find = (selector) => element.querySelector(selector);
const root = find(".answer");
let shown = []; // tokens on screen, so that an update only appends

const facts = (list, entries) =>
  list.replaceChildren(...entries.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value))));

const chip = ([text, probability]) => {
  const percent = `${Math.round(probability * 100)} %`;
  const visible = smola.visible(text);
  const node = el("li", { title: `${visible}: ${percent}` }, el("span", {}, visible), el("small", {}, percent));
  node.style.setProperty("--p", probability);
  return node;
};

const tokens = (next) => {
  const list = find(".answer-tokens");
  const same = shown.length <= next.length && shown.every(([text, p], i) => text === next[i][0] && p === next[i][1]);
  if (!same) list.replaceChildren();
  next.slice(same ? shown.length : 0).forEach((token) => list.append(chip(token)));
  shown = next;
  list.hidden = !next.length;
};

smola.live(props, watch, (next) => {
  root.dataset.state = next.state;
  root.dataset.origin = next.origin || "";
  const spot = find(".answer-text");
  spot.setAttribute("aria-busy", next.state === "writing" || next.state === "waiting");
  spot.textContent = next.text;
  spot.dataset.empty = next.text ? "no" : "yes";
  spot.dataset.hint = next.hint || "";
  find(".answer-message").textContent = next.message || "";
  tokens(next.tokens || []);
  facts(find(".run-facts"), next.run || []);
  facts(find(".engine-facts"), next.engine || []);
  find(".answer-notice").textContent = next.notice || "";
});
