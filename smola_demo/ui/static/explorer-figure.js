// One picture of the explorer: heading, how to read it, what exactly is drawn, the drawing, downloads, its table.
const figures = [];
let Plotly = null;
let run = null; // {record, routing, image}
const state = {
  measure: "weight", phase: "answer", scale: "value", layer: -1,
  group: 0, expert: 0, token: null, first: 0, shade: "expert", count: "entropy", projection: 0,
};

// Plotly reads tags in text: what a model or a person wrote must not be one.
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const digits = (v) => {
  if (typeof v !== "number") return v ?? "–";
  if (Number.isNaN(v)) return "–";
  return v !== 0 && Math.abs(v) < 0.001 ? v.toExponential(1) : v.toFixed(Math.abs(v) >= 100 ? 1 : 4);
};
const short = (v) => String(Number(v.toPrecision(3)));
const capital = (text) => text[0].toUpperCase() + text.slice(1);

const colour = (group) => props.scales.colour[group][smola.mode()];
const scaleOf = (group) =>
  state.scale === "difference" ? props.scales.diverging[smola.mode()] : props.scales.sequential[group][smola.mode()];
const minus = (even) => (state.scale === "difference" ? even : 0);
const expertName = (g, e) => `${run.routing.groups[g]} ${e}`;

// Half sentences that every state line is made of.
const saidLayers = () => {
  const { layers } = run.routing;
  if (state.layer >= 0) return `layer ${layers[state.layer]}`;
  return layers.length > 1 ? `mean of layers ${layers[0]} to ${layers.at(-1)}` : `layer ${layers[0]}`;
};
const saidEven = (measure, rows) => {
  const { E, even, serving } = run.routing;
  const counts = [...new Set(rows.map((t) => (measure === "weight" ? E : E * serving[t].length)))];
  return counts.length === 1 ? `1/${counts[0]} = ${short(even(measure, rows[0]))}` : short(run.routing.evenMean(measure, rows));
};
const saidMeasure = (rows, measure = state.measure) => {
  const what =
    measure === "weight"
      ? "routing weight, a group's experts sum to 1 per token"
      : "contribution ‖w·B·A·x‖ as a share of all experts' at the same linear and token";
  if (!rows.length) return what;
  return `${what}, ${state.scale === "difference" ? "minus uniform" : "uniform is"} ${saidEven(measure, rows)}`;
};
const saidPhase = { prompt: "prompt tokens", answer: "answer tokens", both: "prompt and answer tokens" };
const IDLE = "These experts contribute nothing: their output is zero, as before training. Choose Weight to see the routing itself.";
const idle = () => run.routing.idle && state.measure === "share";

const cell = (v, column) => el(column ? "td" : "th", column ? {} : { scope: "row" }, digits(v));
const fillTable = (figure) => {
  if (!figure.details.open || !figure.table) return;
  const { caption, head, rows, choose } = figure.table;
  const body = rows.map((row, i) => {
    const line = el("tr", {}, ...row.map(cell));
    if (choose) {
      const button = el("button", { type: "button", class: "row-choice" }, ...line.firstChild.childNodes);
      button.addEventListener("click", () => choose(i));
      line.firstChild.replaceChildren(button);
    }
    return line;
  });
  const top = el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)));
  const table = el("table", {}, el("caption", {}, caption), el("thead", {}, top), el("tbody", {}, ...body));
  figure.box.replaceChildren(table);
};

const csv = ({ head, rows }) => {
  const field = (v) => {
    if (v == null || Number.isNaN(v)) return "";
    if (typeof v === "number") return String(Number(v.toPrecision(7)));
    const safe = /^[=+\-@\t\r]/.test(v) ? `'${v}` : v; // a spreadsheet would run it
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [head, ...rows].map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
};

const download = (address, name) => {
  const link = el("a", { href: address, download: name });
  link.click();
};

const lines = (text, width) => {
  const found = [""];
  for (const word of text.split(" ")) {
    if ((found.at(-1) + word).length > width) found.push("");
    found[found.length - 1] += `${word} `;
  }
  return found;
};

// The drawing with its heading and state line, on the page's ground.
const plotPicture = ({ plot, title, said }) => {
  const said_ = lines(said, Math.max(40, plot.clientWidth / 6)).map(plain);
  const more = 34 + 15 * said_.length;
  const { layout } = plot;
  const text = `<b>${plain(title)}</b><br>${said_.join("<br>")}`;
  const titled = {
    ...layout,
    paper_bgcolor: smola.css("--block-background-fill"),
    title: { text, x: 0.01, xanchor: "left", y: 1, yref: "container", yanchor: "top", pad: { t: 10 }, font: { size: 11 } },
    margin: { ...layout.margin, t: layout.margin.t + more },
    height: layout.height + more,
  };
  const size = { format: "png", scale: 2, width: plot.clientWidth, height: titled.height };
  return Plotly.toImage({ data: plot.data, layout: titled }, size);
};

// draw() paints `own` or returns {data, layout}; with it said, table, and message when there is nothing to draw.
const figure = (name, { title, how, draw, click, tools, own, picture }) => {
  const id = `explorer-${name}`;
  const plot = own ?? el("div", { class: "figure-plot", role: "img", "aria-label": title });
  const said = el("p", { class: "figure-said" });
  const message = el("p", { class: "figure-message" });
  const box = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${title}, table` });
  const details = el("details", {}, el("summary", {}, "The numbers as a table"), box);
  const png = el("button", { type: "button" }, "PNG");
  const sheet = el("button", { type: "button" }, "CSV");
  png.setAttribute("aria-label", `${title}: save as PNG`);
  sheet.setAttribute("aria-label", `${title}: save as CSV`);
  const saves = el("div", { class: "figure-saves" }, png, sheet);
  const section = el(
    "section", { class: "figure", id, "aria-labelledby": `${id}-title` },
    el("h3", { id: `${id}-title` }, title), el("p", { class: "figure-how" }, how), tools, said, message, plot, saves, details,
  );
  const made = { name, title, draw, click, plot, own, section, details, box, saves, seen: false, dirty: true, table: null, said: "" };
  details.addEventListener("toggle", () => fillTable(made));
  const file = () => `smola-${name}-${state.measure}`;
  png.addEventListener("click", async () => download(await (picture ? picture(made) : plotPicture(made)), `${file()}.png`));
  sheet.addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([csv(made.table)], { type: "text/csv" }));
    download(address, `${file()}.csv`);
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
  made.show = (drawn) => {
    said.textContent = made.said = drawn.said ? `${capital(drawn.said)}.` : "";
    message.textContent = drawn.message ?? "";
    plot.hidden = saves.hidden = details.hidden = Boolean(drawn.message) && !drawn.keep;
    made.table = drawn.table ?? null;
    details.hidden ||= !made.table;
    fillTable(made);
  };
  figures.push(made);
  return section;
};

const paint = async (made) => {
  if (!run?.routing || !made.seen || !made.dirty) return;
  made.dirty = false;
  const drawn = made.draw();
  made.show(drawn);
  if (drawn.data && !made.plot.hidden) {
    if (!Plotly) {
      made.dirty = true;
      return;
    }
    const layout = { ...smola.themed(drawn.layout), width: made.plot.clientWidth || undefined, uirevision: drawn.key };
    layout.dragmode = smola.touch() || !drawn.zooms ? false : "zoom";
    if (drawn.label) made.plot.setAttribute("aria-label", `${made.title}. ${drawn.label} The table below has the same numbers.`);
    await Plotly.react(made.plot, drawn.data, layout, { ...smola.config, doubleClick: "reset" });
    if (!made.wired && made.click) made.plot.on("plotly_click", ({ points: [point] }) => made.click(point));
    made.wired = true;
  }
  if (!made.dirty) made.section.dataset.current = "yes";
};

let planned = false;
const repaint = () => {
  for (const made of figures) {
    made.dirty = true;
    made.section.dataset.current = "no";
  }
  if (planned) return;
  planned = true;
  requestAnimationFrame(() => {
    planned = false;
    figures.forEach(paint);
  });
};

// Pictures out of sight wait until they are scrolled to: a switch stays quick however many there are.
const watchSight = () => {
  const sight = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        const made = figures.find(({ section }) => section === target);
        made.seen = isIntersecting;
        paint(made);
      }
    },
    { rootMargin: "200px" },
  );
  for (const made of figures) {
    sight.observe(made.section);
    let width = 0;
    new ResizeObserver(() => {
      const now = made.section.clientWidth;
      if (!now || now === width) return;
      width = now;
      made.dirty = true;
      requestAnimationFrame(() => paint(made));
    }).observe(made.section);
  }
};
