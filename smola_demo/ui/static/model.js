// A model before it is loaded: its name, whether it fits, and its figures.
const find = (selector) => element.querySelector(selector);

smola.live(props, watch, (next) => {
  element.dataset.state = next.state;
  find("h3").textContent = next.name || "";
  find("h3").hidden = !next.name;
  const said = find(".model-fit");
  said.textContent = next.fit || "";
  said.dataset.fits = next.fits ? "yes" : "no";
  const entries = next.facts || [];
  find(".model-facts").replaceChildren(...entries.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value))));
});
