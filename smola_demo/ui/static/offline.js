// A view of results made offline: it asks for them once, when it is first seen, and says what is missing.
const find = (selector) => element.querySelector(selector);

// A sentence, and the commands that would make what is missing.
const missing = ({ message, commands = [] }) => {
  const nodes = [el("p", { class: "offline-message", role: "status" }, message)];
  if (commands.length) nodes.push(el("pre", { class: "offline-command", tabindex: "0", "aria-label": "Commands to run" }, commands.join("\n")));
  return nodes;
};

// show(value) is called with the value that has everything; before another model's, forget() clears what it made.
const offline = (body, note, show, forget) => {
  let state = "loading";
  let seen = false;
  let engine = null; // whose results were asked for
  const ask = () => {
    if (!seen || state !== "ask") return;
    state = "asked";
    note.replaceChildren(...missing({ message: "Reading the file …" }));
    trigger("expand", {});
  };
  new IntersectionObserver((entries) => {
    seen = entries.at(-1).isIntersecting;
    if (!seen && state === "asked") state = "ask"; // the answer never came: ask again at the next visit
    ask();
  }).observe(element);
  smola.live(props, watch, (value) => {
    const another = value.state === "ask" && value.engine !== engine;
    if (state === "shown" && !another) return;
    if (value.state === "ask" && state === "asked" && !another) return;
    if (another) engine = value.engine;
    if (state === "shown") {
      forget();
      body.hidden = true;
    }
    state = value.state;
    if (state === "ask") return ask();
    const done = state === "shown";
    body.hidden = !done;
    note.replaceChildren(...(done ? [] : missing({ message: "The model is still loading: this opens when its experts are there.", ...value })));
    if (done) show(value);
    element.dataset.state = state;
  });
};

// Draw with the plot library, or say that the tables have to do.
const plotting = (note) =>
  smola
    .plotly(props.plotly_src)
    .then((library) => {
      Plotly = library;
      repaint();
    })
    .catch((error) => note.append(...missing({ message: `The plots cannot be drawn (${error.message}); the tables work.` })));

// The figures of explorer-figure.js wait for a run; here the file is all there is. Downloads carry its name.
const figuresOf = (value) => {
  run = { routing: {} };
  state.measure = value.name;
};
