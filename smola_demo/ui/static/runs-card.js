// A run drawn on a canvas: picture, question, answer, and a small map of the routing.
const SCALES = props.scales; // read at once: later values come without it
const CARD = { width: 1200, height: 675, pad: 40, left: 400 };

const inks = () => ({
  ground: smola.css("--block-background-fill") || "#ffffff",
  text: smola.css("--body-text-color") || "#1b232d",
  soft: smola.css("--body-text-color-subdued") || "#566170",
  font: "ui-sans-serif, system-ui, sans-serif",
});

const fitted = (pen, text, width, most) => {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (pen.measureText(longer).width <= width || !lines.at(-1)) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  const kept = lines.slice(0, most);
  if (lines.length > most) kept[most - 1] += " …";
  return kept;
};

const write = (pen, text, x, y, { size, weight = 400, colour, width, most = 1 }) => {
  pen.font = `${weight} ${size}px ${inks().font}`;
  pen.fillStyle = colour;
  for (const line of fitted(pen, text, width, most)) {
    y += size * 1.32;
    pen.fillText(line, x, y, width);
  }
  return y;
};

// One map for each group: mean weight minus uniform, (L, E), over the rows each group served; null without any.
const mapsOf = (routing, rowsOf) =>
  range(routing.G).map((g) => {
    const [said, rows] = rowsOf(g);
    const even = 1 / routing.E;
    const cells = range(routing.L).map((l) => routing.mean("weight", l, g, rows).map((w) => w - even));
    return { group: routing.groups[g], said, cells: rows.length ? cells : null };
  });
const reachOf = (maps) => Math.max(1e-6, ...maps.flatMap(({ cells }) => (cells ?? []).flat().map(Math.abs)));

const drawMaps = (pen, maps, reach, x, y, width, height) => {
  const { text, soft } = inks();
  const mode = smola.mode();
  const gap = 26;
  const each = (width - gap * (maps.length - 1)) / maps.length;
  maps.forEach(({ group, said, cells }, i) => {
    const left = x + i * (each + gap);
    write(pen, `${group} · ${said ?? "idle"}`, left, y - 4, { size: 16, weight: 700, colour: SCALES.colour[group]?.[mode] ?? text, width: each });
    if (!cells) return write(pen, "no tokens", left, y + 30, { size: 15, colour: soft, width: each });
    const wide = each / cells.length;
    const high = (height - 26) / cells[0].length;
    cells.forEach((experts, l) =>
      experts.forEach((v, e) => {
        pen.fillStyle = `rgb(${smola.mix(SCALES.diverging[mode], 0.5 + v / (2 * reach))})`;
        pen.fillRect(left + l * wide, y + 26 + e * high, Math.ceil(wide), Math.ceil(high));
      }),
    );
  });
};

const dated = (when) => new Date(when).toISOString().slice(0, 16).replace("T", " ") + " UTC";

// What answered beside the backbone, in a few words.
const expertsOf = ({ experts, experts_state: state, experts_steps: steps }) =>
  ({ none: "no experts", untrained: "untrained experts" })[state] ?? `${state === "lora" ? "the LoRA" : "experts"} ${experts} after ${steps} steps`;

// Draw a run. text: the answer so far; maps and reach: see mapsOf, absent without routing.
const drawCard = (pen, { record, image }, text, maps, reach) => {
  const { ground, text: ink, soft } = inks();
  const { width, height, pad, left } = CARD;
  pen.fillStyle = ground;
  pen.fillRect(0, 0, width, height);
  const scale = Math.min(left / image.width, (height - 2 * pad - 60) / image.height);
  pen.drawImage(image, pad, pad, image.width * scale, image.height * scale);
  const x = pad + left + 40;
  const wide = width - x - pad;
  const task = value?.tasks?.[record.task] ?? record.task;
  let y = write(pen, record.ablation ? `${task}, without ${record.ablation}` : task, x, pad - 8, { size: 19, colour: soft, width: wide });
  if (record.question) y = write(pen, record.question, x, y + 4, { size: 25, weight: 700, colour: ink, width: wide, most: 2 });
  write(pen, text || "(nothing)", x, y + 10, { size: 34, colour: ink, width: wide, most: 5 });
  if (maps) {
    drawMaps(pen, maps, reach, x, 375, wide, 170);
    const { layers, experts } = record.routing;
    const said = `Routing weight of ${experts} experts (rows) in layers ${layers[0]} to ${layers.at(-1)} (columns), minus uniform 1/${experts}; amber above, purple below, up to ±${reach.toPrecision(2)}.`;
    write(pen, said, x, 552, { size: 15, colour: soft, width: wide, most: 2 });
  }
  write(pen, `${record.engine.backbone_name}, ${expertsOf(record.engine)} · ${dated(record.when)} · smola_demo`, pad, height - pad - 18, { size: 15, colour: soft, width: width - 2 * pad });
};

// What a card needs, made ready once per run: {record, image, routing or null}
const ready = async (record) => {
  const image = new Image();
  image.src = record.picture.data;
  await image.decode();
  return { record, image, routing: record.routing?.groups.length ? await readRouting(record.routing) : null };
};

const canvasOf = () => Object.assign(document.createElement("canvas"), { width: CARD.width, height: CARD.height });

// The whole run on one card, as a PNG Blob.
const cardOf = async (record) => {
  const made = await ready(record);
  const canvas = canvasOf();
  const maps = made.routing && mapsOf(made.routing, (g) => made.routing.servedPhase(g, "answer"));
  drawCard(canvas.getContext("2d"), made, record.answer.text, maps, maps && reachOf(maps));
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
};
