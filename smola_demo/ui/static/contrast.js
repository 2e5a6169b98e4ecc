// Two runs: their answers while they come, then what differs.
const root = find(".contrast");

const sides = (next) => {
  const names = ["A", "B"];
  const boxes = names.map((name, i) => {
    const side = next.sides?.[i];
    const words = side ? smola.marked(side.words) : [next.texts?.[i] ?? ""];
    const facts = (side?.facts ?? []).map(([label, text]) => el("div", {}, el("dt", {}, label), el("dd", {}, text)));
    const heading = el("h3", {}, side ? `${name}: ${side.asked}` : name);
    return el("article", { class: "side" }, heading, el("p", {}, ...words), el("dl", { class: "facts" }, ...facts));
  });
  find(".sides").replaceChildren(...boxes);
};

smola.live(props, watch, (next) => {
  value = next;
  root.dataset.state = next.state;
  root.hidden = next.state === "idle";
  find(".verdict").textContent = next.verdict || "";
  find(".contrast-message").textContent = next.message || "";
  find(".sides").hidden = !next.sides && !next.texts;
  find(".contrast-routing").hidden = !next.routing;
  find(".contrast-none").textContent = next.no_routing || "";
  sides(next);
  draw();
});

element.addEventListener("change", draw);
smola.onTheme(draw);
smola.keepSize(map, draw);
smola
  .plotly(props.plotly_src)
  .then((library) => {
    Plotly = library;
    draw();
  })
  .catch(() => element.querySelectorAll("details").forEach((details) => details.setAttribute("open", "")));
