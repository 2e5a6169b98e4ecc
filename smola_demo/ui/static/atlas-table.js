// Everything as one table: sortable by any column, saved as it stands.
const order = { column: 0, down: false };

const columns = () => {
  const tasks = Object.keys(atlas.tasks);
  const of = (numbers) => [numbers.weight, numbers.contribution, numbers.effect];
  const names = ["weight", "contribution", "effect"];
  return {
    head: ["expert", ...names, "spread", "layer", ...tasks.flatMap((task) => names.map((name) => `${task} ${name}`)), "words weighted most"],
    rows: atlas.entries.map((e) => {
      const top = e.layers.reduce((a, b) => (b.spread > a.spread ? b : a));
      return [named(e), ...of(e), top.spread, top.layer, ...tasks.flatMap((task) => of(e.tasks[task])), top.words.map(({ text }) => text.trim()).join(" · ")];
    }),
  };
};

const tableNow = () => {
  const { head, rows } = columns();
  const { column, down } = order;
  const less = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  if (column || down) rows.sort((a, b) => less(a[column], b[column]) * (down ? -1 : 1));
  return { head, rows };
};

// A layer's number is a name, not a measurement.
const shownCell = (v, column) => (column === 5 ? el("td", {}, `${v}`) : cell(v, column));

const showTable = () => {
  const { head, rows } = tableNow();
  const heads = head.map((name, i) => {
    const button = el("button", { type: "button", class: "row-choice" }, name, order.column === i ? (order.down ? " ↓" : " ↑") : "");
    button.addEventListener("click", () => {
      Object.assign(order, { column: i, down: order.column === i ? !order.down : i > 0 });
      showTable();
    });
    return el("th", { scope: "col", "aria-sort": order.column === i ? (order.down ? "descending" : "ascending") : "none" }, button);
  });
  const body = rows.map((row) => el("tr", {}, ...row.map(shownCell)));
  const caption = `Means over all layers and projections, prompt and answer tokens, ${atlas.rows} rows; even weight is 1/${atlas.experts} = ${short(atlas.uniform)}.`;
  const table = el("table", {}, el("caption", {}, caption), el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...body));
  refill(find(".atlas-all .scroll"), table);
};

const saveTable = () => downloadCsv(tableNow(), `smola-atlas-${atlas.name}`);
