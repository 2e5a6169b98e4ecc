// What a picture can be taken away as: its table as CSV, the drawing as PNG with heading and state line.
const csv = ({ head, rows }) => {
  const field = (v) => {
    if (v == null || Number.isNaN(v)) return "";
    if (typeof v === "number") return String(Number(v.toPrecision(7)));
    const safe = /^[=+\-@\t\r]/.test(v) ? `'${v}` : v; // a spreadsheet would run it
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [head, ...rows].map((row) => row.map(field).join(",")).join("\r\n") + "\r\n";
};

const download = (address, name) => el("a", { href: address, download: name }).click();

const downloadCsv = (table, name) => {
  const address = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
  download(address, `${name}.csv`);
  setTimeout(() => URL.revokeObjectURL(address), 1000);
};

const wrapped = (text, width) => {
  const found = [""];
  for (const word of text.split(" ")) {
    if ((found.at(-1) + word).length > width) found.push("");
    found[found.length - 1] += `${word} `;
  }
  return found;
};

// The drawing with its heading and state line, on the page's ground.
const plotPicture = (library, { plot, title, said }) => {
  const said_ = wrapped(said, Math.max(40, plot.clientWidth / 6)).map(plain);
  const more = 40 + 15 * said_.length;
  const { layout } = plot;
  const text = `<b>${plain(title)}</b><br>${said_.join("<br>")}`;
  const titled = {
    ...layout,
    paper_bgcolor: smola.css("--block-background-fill"),
    title: {
      text,
      x: 0.01,
      xanchor: "left",
      y: 1,
      yref: "container",
      yanchor: "top",
      pad: { t: 20 },
      font: { size: 11 },
    },
    margin: { ...layout.margin, t: layout.margin.t + more },
    height: layout.height + more,
  };
  const size = { format: "png", scale: 2, width: plot.clientWidth, height: titled.height };
  return library.toImage({ data: plot.data, layout: titled }, size);
};

// A canvas picture with heading and state line above; draw(pen, top) adds the rest, `height` px high.
const headedPicture = ({ title, said }, width, height, draw) => {
  const head = wrapped(said, width / 6);
  const top = 34 + 15 * head.length;
  const canvas = el("canvas", { width: 2 * Math.ceil(width + 16), height: 2 * Math.ceil(height + top + 12) });
  const pen = canvas.getContext("2d");
  pen.scale(2, 2);
  pen.fillStyle = smola.css("--block-background-fill");
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const write = (text, x, y, size, weight = 400) => {
    pen.fillStyle = smola.css("--body-text-color");
    pen.font = `${weight} ${size}px ${smola.css("--font") || "sans-serif"}`;
    pen.fillText(text, x, y);
  };
  write(title, 8, 20, 13, 700);
  head.forEach((line, i) => write(line, 8, 38 + 15 * i, 11));
  draw(pen, write, top);
  return canvas.toDataURL("image/png");
};

// Two buttons for one drawing. library(), said() and table() are asked when a button is pressed.
const saveButtons = (name, { title, plot, library, said, table }) => {
  const button = (kind, press) => {
    const made = el("button", { type: "button", "aria-label": `${title}: save as ${kind}` }, kind);
    made.addEventListener("click", press);
    return made;
  };
  const png = button("PNG", async () => {
    if (library()) download(await plotPicture(library(), { plot, title, said: said() }), `${name}.png`);
  });
  const csv = button("CSV", () => downloadCsv(table(), name));
  return el("div", { class: "saves" }, png, csv);
};
