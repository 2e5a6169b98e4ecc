// One picture of the explorer: heading, how to read it, what exactly is drawn, the drawing, downloads, its table.
const figures = [];
let Plotly = null;

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
  refill(figure.box, table);
};

// Radio buttons of one picture; the choice lands in state[name].
const choiceSwitch = (name, legend, entries) => {
  const options = Object.entries(entries).map(([value, text]) =>
    el(
      "label",
      {},
      el("input", { type: "radio", name: `explorer-${name}`, value, checked: value === state[name] }),
      el("span", {}, text),
    ),
  );
  return el("div", { class: "switches" }, el("fieldset", {}, el("legend", {}, legend), ...options));
};

// For pictures of several panels: an axis's name, axes without lines, a panel's title.
const axisName = (letter, i) => `${letter}${i ? i + 1 : ""}`;
const bare = { zeroline: false, showgrid: false, automargin: false };
const panelTitle = (text, group, x, y) => ({
  text: `<b>${plain(group)}</b> ${text}`,
  x,
  y,
  xref: "paper",
  yref: "paper",
  xanchor: "left",
  yanchor: "bottom",
  showarrow: false,
  font: { size: 12, color: colour(group) },
});

// draw() paints `own` or returns {data, layout}; with it said (half sentences), table, and message when there is
// nothing to draw.
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
    "section",
    { class: "figure", id, "aria-labelledby": `${id}-title` },
    el("h3", { id: `${id}-title` }, title),
    el("p", { class: "figure-how" }, how.join(" ")),
    tools,
    said,
    message,
    plot,
    saves,
    details,
  );
  const made = {
    name,
    title,
    draw,
    click,
    plot,
    own,
    section,
    details,
    box,
    saves,
    seen: false,
    dirty: true,
    table: null,
    said: "",
  };
  details.addEventListener("toggle", () => fillTable(made));
  const file = () => `smola-${name}-${state.measure}${lessEven().replaceAll(" ", "-")}`;
  png.addEventListener("click", async () => {
    try {
      download(await (picture ? picture(made) : plotPicture(Plotly, made)), `${file()}.png`);
    } catch (error) {
      message.textContent = `The picture cannot be saved (${error.message}).`;
    }
  });
  sheet.addEventListener("click", () => downloadCsv(made.table, file()));
  made.show = (drawn) => {
    said.textContent = made.said = drawn.said ? `${capital(drawn.said.join("; "))}.` : "";
    message.textContent = drawn.message ?? "";
    plot.hidden = saves.hidden = details.hidden = Boolean(drawn.message) && !drawn.keep;
    made.table = drawn.table || null;
    sheet.disabled = !made.table;
    details.hidden ||= !made.table;
    fillTable(made);
  };
  figures.push(made);
  return section;
};

const paint = async (made) => {
  if (!run?.routing || !made.seen || !made.dirty) return;
  made.dirty = false;
  try {
    await redraw(made);
  } catch (error) {
    console.error(error);
    made.show({ message: `This picture cannot be drawn (${error.message}).` });
  }
};

const redraw = async (made) => {
  const drawn = made.draw();
  made.show(drawn);
  if (drawn.data && !made.plot.hidden) {
    if (!Plotly) {
      made.dirty = true;
      return;
    }
    const layout = {
      ...smola.themed(drawn.layout),
      width: made.plot.clientWidth || undefined,
      uirevision: drawn.key,
    };
    layout.dragmode = smola.touch() || !drawn.zooms ? false : "zoom";
    if (drawn.label)
      made.plot.setAttribute("aria-label", `${made.title}. ${drawn.label} The table below has the same numbers.`);
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
        if (!made) continue; // of a model that is no longer there
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
