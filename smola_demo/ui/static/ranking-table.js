// The same numbers as rows that can be sorted and chosen.
const COLUMNS = [
  ["name", "place"], ["delta", "Δ log-probability, nats"], ["outside", "outside random range"], ["weight", "weight"], ["share", "contribution"],
  ["js", "others' routing moved, nats"], ["changed", "answer"], ["answer", "answer without it"],
];
const sorted = { by: null, down: false };

const shownAs = (row, key) => {
  if (key === "delta") return signed(row.delta, digitsOf(value.rows.map((r) => r.delta)));
  if (key === "weight" || key === "share") return row[key].toFixed(4);
  if (key === "js") return row.js.toFixed(6);
  if (key === "outside") return row.outside ? "yes" : "no";
  if (key === "changed") return row.changed ? "changed" : "same";
  return row[key];
};

const ordered = () => {
  const rows = value.rows.map((row, i) => [row, i]);
  if (!sorted.by) return rows;
  const sign = sorted.down ? -1 : 1;
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
  return rows.sort(([a], [b]) => sign * compare(a[sorted.by], b[sorted.by]));
};

const fillTable = () => {
  if (!find(".ranking-table").open || value?.state !== "done") return;
  const head = COLUMNS.map(([key, title]) => {
    const mine = sorted.by === key;
    const button = el("button", { type: "button", class: "sort", "data-sort": key }, title, mine ? (sorted.down ? " ▾" : " ▴") : null);
    button.addEventListener("click", () => {
      Object.assign(sorted, { by: key, down: mine && !sorted.down });
      fillTable();
    });
    return el("th", { scope: "col", "aria-sort": mine ? (sorted.down ? "descending" : "ascending") : "none" }, button);
  });
  const body = ordered().map(([row, i]) => {
    const button = el("button", { type: "button", class: "row-choice", title: `Put ${row.spec} into the ablation` }, row.name);
    button.addEventListener("click", () => choose(i));
    const cells = COLUMNS.slice(1).map(([key]) => el("td", key === "answer" ? { class: "without-it" } : {}, shownAs(row, key)));
    return el("tr", {}, el("th", { scope: "row" }, button), ...cells);
  });
  const chance = value.random.map((delta, i) =>
    el("tr", { class: "chance" }, el("th", { scope: "row" }, `random ${i + 1}`), el("td", {}, signed(delta, digitsOf(value.rows.map((r) => r.delta)))), ...COLUMNS.slice(2).map(() => el("td", {}, ""))),
  );
  const table = el("table", {}, el("caption", {}, `Baseline answer: ${value.answer}`), el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...body, ...chance));
  refill(find(".ranking-table .scroll"), table);
};

const sheet = () => ({
  head: ["place", "spec", "delta_logprob_nats", "outside_random_range", "weight", "contribution", "js_nats", "answer_changed", "answer"],
  rows: [
    ...value.rows.map((r) => [r.name, r.spec, r.delta, String(r.outside), r.weight, r.share, r.js, String(r.changed), r.answer]),
    ...value.random.map((delta, i) => [`random ${i + 1}`, "", delta]),
  ],
});
find(".ranking-table").addEventListener("toggle", fillTable);
