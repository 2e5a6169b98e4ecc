// Save a drawing as PNG with its heading, and its numbers as CSV.
const fileOf = (address, name) => el("a", { href: address, download: name }).click();

const csvOf = ({ head, rows }) => {
  const field = (v) => {
    if (v == null) return "";
    if (typeof v === "number") return String(Number(v.toPrecision(7)));
    const safe = /^[=+\-@\t\r]/.test(v) ? `'${v}` : v; // a spreadsheet would run it
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [head, ...rows].map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
};

const wrapped = (text, width) => {
  const found = [""];
  for (const word of text.split(" ")) {
    if ((found.at(-1) + word).length > width) found.push("");
    found[found.length - 1] += `${word} `;
  }
  // Plotly reads tags in text: what a model or a person wrote must not be one.
  return found.map((line) => line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;"));
};

// The plot with its heading and what is said about it, on the page's ground.
const pngOf = (library, plot, title, said) => {
  const lines = wrapped(said, Math.max(40, plot.clientWidth / 6));
  const more = 34 + 15 * lines.length;
  const { layout } = plot;
  const top = { text: `<b>${title}</b><br>${lines.join("<br>")}`, x: 0.01, xanchor: "left", y: 1, yref: "container", yanchor: "top", pad: { t: 10 }, font: { size: 11 } };
  const margin = { ...layout.margin, t: layout.margin.t + more };
  const titled = { ...layout, paper_bgcolor: smola.css("--block-background-fill"), title: top, margin, height: layout.height + more };
  return library.toImage({ data: plot.data, layout: titled }, { format: "png", scale: 2, width: plot.clientWidth, height: titled.height });
};

// Two buttons for one drawing. library(), said() and table() are asked when a button is pressed.
const saveButtons = (name, { title, plot, library, said, table }) => {
  const button = (kind, press) => {
    const made = el("button", { type: "button", "aria-label": `${title}: save as ${kind}` }, kind);
    made.addEventListener("click", press);
    return made;
  };
  const png = button("PNG", async () => library() && fileOf(await pngOf(library(), plot, title, said()), `${name}.png`));
  const csv = button("CSV", () => {
    const address = URL.createObjectURL(new Blob([csvOf(table())], { type: "text/csv" }));
    fileOf(address, `${name}.csv`);
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
  return el("div", { class: "saves" }, png, csv);
};
