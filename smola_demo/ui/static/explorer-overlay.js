// The picture: where on it an expert works, which experts are most peaked, and an expert's top patches and words.
const TOP = 5;
const MULTIPLES = 8;
const overlay = {
  canvas: el("canvas", { "aria-hidden": "true" }),
  marks: svg("svg", {
    viewBox: "0 0 1 1",
    preserveAspectRatio: "none",
    role: "group",
    "aria-label": "Patches of the picture",
  }),
  readout: el("p", { class: "patch-readout", "aria-live": "off" }),
  legend: el("div", { class: "patch-legend" }),
  multiples: el("div", { class: "multiples", role: "group", "aria-label": "Most peaked experts" }),
  tops: el("div", { class: "tops" }),
};
const stage = el("div", { class: "patch-stage" }, overlay.canvas, overlay.marks);
const overlayBody = el(
  "div",
  { class: "overlay" },
  el("div", { class: "overlay-main" }, stage, overlay.readout, overlay.legend, overlay.tops),
  el(
    "div",
    { class: "overlay-side" },
    el("h4", {}, "The eight most peaked experts"),
    el(
      "p",
      { class: "figure-how" },
      "Most peaked: the largest value on one patch over the mean of all patches. Each on its own colour scale.",
    ),
    overlay.multiples,
  ),
);

const strongest = (rows, g, e, count = TOP) => {
  const valued = rows.map((t) => ({ t, value: run.routing.value(state.measure, state.layer, g, t, e) }));
  return valued.sort((a, b) => b.value - a.value).slice(0, count);
};

const readOut = (t) => {
  const r = run.routing;
  const works = t != null && r.modality[t] === 1 && r.serves[state.group][t];
  const value = works ? r.value(state.measure, state.layer, state.group, t, state.expert) : 0;
  overlay.readout.textContent = works
    ? `${capital(r.label(t))}: ${expertName(state.group, state.expert)} has ${digits(value)}, even is ${short(r.even(state.measure, t))}.`
    : "Point at a patch to read its number; click it to see all experts that serve it.";
};

const nextPatch = (from, [dx, dy]) => {
  const middle = ([x0, y0, x1, y1]) => [(x0 + x1) / 2, (y0 + y1) / 2];
  const [x, y] = middle(run.routing.box[from]);
  const { sheet, box: boxes } = run.routing;
  const far = boxes.map((box, i) => {
    const [along, across] = [
      (middle(box)[0] - x) * dx + (middle(box)[1] - y) * dy,
      Math.abs((middle(box)[0] - x) * dy) + Math.abs((middle(box)[1] - y) * dx),
    ];
    return i === from || !sheet.includes(i) || along <= 1e-6 || across > along ? Infinity : along + 3 * across;
  });
  const best = far.indexOf(Math.min(...far));
  return Number.isFinite(far[best]) ? best : from;
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const drawMarks = (values, top) => {
  const r = run.routing;
  if (overlay.marks.children.length !== r.sheet.length) {
    overlay.marks.replaceChildren(...r.sheet.map(() => svg("rect", { class: "patch", role: "button" })));
  }
  const chosen = r.patches.indexOf(state.token);
  const reached = r.sheet.includes(chosen) ? chosen : r.sheet[0];
  r.sheet.forEach((i, at) => {
    const [x0, y0, x1, y1] = r.box[i];
    const node = overlay.marks.children[at];
    const told = {
      "data-index": i,
      x: x0,
      y: y0,
      width: x1 - x0,
      height: y1 - y0,
      "data-value": values ? values[i] : "",
      tabindex: i === reached ? 0 : -1,
    };
    for (const [name, value] of Object.entries(told)) node.setAttribute(name, String(value));
    node.setAttribute("aria-label", `${r.label(r.patches[i])}${values ? `: ${digits(values[i])}` : ""}`);
    node.setAttribute("aria-pressed", String(i === chosen));
    node.classList.toggle("top", top.includes(r.patches[i]));
  });
};

const drawLegend = (values, group) => {
  const { low, high, part } = patchScale(values);
  const difference = state.scale === "difference";
  const even = difference ? 0 : average(run.routing.patches.map((t) => run.routing.even(state.measure, t)));
  const alpha = Math.round(255 * STRENGTH).toString(16); // as on the picture
  const steps = scaleOf(group).map(([at, hex]) => `${hex}${alpha} ${100 * at}%`);
  const bar = el("div", { class: "patch-bar" });
  bar.style.background = `linear-gradient(to right, ${steps.join()})`;
  const inside = even >= low && even <= high;
  const tick = el("i", { class: "patch-even", hidden: !inside });
  tick.style.left = `${100 * part(even)}%`;
  bar.append(tick);
  const where = inside ? "" : even > high ? ", above all patches" : ", below all patches";
  overlay.saidEven = difference ? "line: 0 = even" : `line: even ${short(even)}${where}`;
  overlay.ends = [digits(low), digits(high)];
  const ends = el(
    "div",
    { class: "patch-ends" },
    ...[overlay.ends[0], overlay.saidEven, overlay.ends[1]].map((text) => el("span", {}, text)),
  );
  const flat = high - low < 0.02 * average(run.routing.patches.map((t) => run.routing.even(state.measure, t)));
  const note = flat ? "Nearly the same on all patches: the colours stretch a tiny difference." : "";
  overlay.legend.replaceChildren(bar, ends, el("p", { class: "fine" }, note));
};

const listTop = (title, found, empty) => {
  const buttons = found.map(({ t, value }) => {
    const button = el(
      "button",
      { type: "button", class: "top-choice" },
      el("span", {}, run.routing.label(t)),
      el("small", {}, digits(value)),
    );
    button.addEventListener("click", () => choose({ token: t }));
    return button;
  });
  return el(
    "div",
    {},
    el("h4", {}, title),
    buttons.length ? el("div", { class: "top-list" }, ...buttons) : el("p", { class: "fine" }, empty),
  );
};

const drawOverlay = () => {
  const r = run.routing;
  const { g, e } = { g: state.group, e: state.expert };
  const group = r.groups[g];
  const works = r.patches.length > 0 && group !== "text" && !idle();
  const { width, height } = run.record.picture;
  const shrink = Math.min(1, 640 / Math.max(width, height));
  [overlay.canvas.width, overlay.canvas.height] = [
    Math.max(1, Math.round(width * shrink)),
    Math.max(1, Math.round(height * shrink)),
  ];
  const values = works ? patchValues(g, e) : null;
  const top = works ? strongest(r.patches, g, e) : [];
  paintPatches(overlay.canvas, values ?? [], group);
  drawMarks(
    values,
    top.map(({ t }) => t),
  );
  if (works) drawLegend(values, group);
  else {
    overlay.legend.replaceChildren();
    overlay.ends = null;
  }
  readOut(state.token);

  const order = idle() ? [] : peaked().slice(0, MULTIPLES);
  refill(
    overlay.multiples,
    ...order.map((one) => {
      const canvas = el("canvas", { width: 160, height: Math.max(20, Math.round((160 * height) / width)) });
      paintPatches(canvas, patchValues(one.g, one.e), r.groups[one.g]);
      const name = expertName(one.g, one.e);
      const about = `${name}: max ${short(one.max)}, mean ${short(one.mean)}, ratio ${short(one.peak)}`;
      const button = el(
        "button",
        { type: "button", title: about, "aria-label": about, "aria-pressed": String(one.g === g && one.e === e) },
        canvas,
        el("span", { class: r.groups[one.g] }, name),
        el("small", {}, `× ${one.peak.toFixed(2)}`),
      );
      button.addEventListener("click", () => choose({ group: one.g, expert: one.e }));
      return button;
    }),
  );
  const [, words] = r.servedPhase(g, state.phase);
  const spoken = idle()
    ? []
    : strongest(
        words.filter((t) => r.modality[t] === 0),
        g,
        e,
      );
  const [phase] = r.servedPhase(g, state.phase);
  refill(
    overlay.tops,
    listTop(
      `Patches that ${expertName(g, e)} serves most (outlined)`,
      top,
      "None: text experts do not work on the picture.",
    ),
    listTop(
      `Words it serves most, ${saidPhase[phase] ?? "none"}`,
      spoken,
      "None: visual experts do not work on words.",
    ),
  );
  const table = r.patches.length &&
    works && {
      caption: `${capital(expertName(g, e))} on the patches`,
      head: [
        "patch",
        "x0",
        "y0",
        "x1",
        "y1",
        `${state.measure}${lessEven()}`,
      ],
      rows: r.patches.map((t, i) => [r.label(t), ...r.box[i], values[i]]),
      choose: (i) => choose({ token: r.patches[i] }),
    };
  const why = idle()
    ? IDLE
    : !r.patches.length
      ? "This run has no picture tokens."
      : "Text experts do not work on the picture: choose a visual or multimodal expert above or on the right.";
  return {
    keep: true,
    table,
    message: works ? "" : why,
    said: [
      expertName(g, e),
      `${saidLayers()}, mean over projections`,
      "prompt tokens, as the picture is read only there",
      works ? saidMeasure(r.patches) : "",
      r.sheet.length < r.patches.length
        ? `the ${r.sheet.length} finest of ${r.patches.length} patches, which lie over each other; all are in the table`
        : "",
      `colours run from this expert's ${state.scale === "difference" ? "largest distance below uniform to above it" : "least to its most"}`,
    ].filter(Boolean),
  };
};

const patchAt = (event) => {
  const node = event.target.closest?.(".patch");
  return node ? Number(node.dataset.index) : null;
};
for (const kind of ["pointerover", "focusin"]) {
  overlay.marks.addEventListener(
    kind,
    (event) => patchAt(event) != null && readOut(run.routing.patches[patchAt(event)]),
  );
}
overlay.marks.addEventListener("pointerleave", () => readOut(state.token));
overlay.marks.addEventListener(
  "click",
  (event) => patchAt(event) != null && choose({ token: run.routing.patches[patchAt(event)] }),
);
overlay.marks.addEventListener("keydown", (event) => {
  const index = patchAt(event);
  if (index == null) return;
  if (event.key === "Enter" || event.key === " ") choose({ token: run.routing.patches[index] });
  else if (ARROWS[event.key])
    overlay.marks.children[run.routing.sheet.indexOf(nextPatch(index, ARROWS[event.key]))].focus();
  else return;
  event.preventDefault();
});

const overlayPicture = (made) => {
  const { width, height } = overlay.canvas;
  return headedPicture(made, width, height + 24, (pen, write, top) => {
    pen.drawImage(overlay.canvas, 8, top);
    if (overlay.ends)
      write(
        `${overlay.ends[0]} to ${overlay.ends[1]}; ${overlay.saidEven.replace("line: ", "")}`,
        8,
        top + height + 18,
        11,
      );
  });
};

const overlayFigure = () =>
  figure("overlay", {
    title: "Where on the picture",
    how: [
      "The chosen expert's value on each patch of the picture: darker (lighter on a dark page) is more.",
      "Click a patch (or walk with the arrow keys) for the experts that serve it;",
      "press a small picture for another expert.",
    ],
    draw: drawOverlay,
    own: overlayBody,
    picture: overlayPicture,
  });
