// The answer's words: who serves them, or how sure the model was.
const wordList = el("div", { class: "words", role: "group", "aria-label": "Words of the answer" });

// The expert furthest above an even share on one token; null where no group serves it.
const leader = (t) => {
  const r = run.routing;
  if (!r.serving[t].length) return null;
  const even = r.even(state.measure, t);
  const all = r.serving[t].flatMap((g) =>
    range(r.E).map((e) => ({ g, e, value: r.value(state.measure, state.layer, g, t, e) })),
  );
  const best = all.reduce((a, b) => (b.value > a.value ? b : a));
  return { ...best, even, above: best.value - even };
};

// Words of the answer with the row that read them; the last word was never read back.
const answerWords = () => {
  const r = run.routing;
  const read = range(r.T).filter((t) => r.phase[t] === 1);
  return run.record.answer.tokens.map((token, i) => ({
    ...token,
    row: read[i] ?? null,
    label: smola.visible(token.text),
  }));
};

const drawWords = () => {
  const words = answerWords().map((word) => ({ ...word, top: word.row == null || idle() ? null : leader(word.row) }));
  const byExpert = state.shade === "expert";
  const reach = Math.max(1e-9, ...words.map(({ top }) => top?.above ?? 0));
  const made = words.map(({ label, logprob, row, top }) => {
    const chance = `${Math.round(100 * Math.exp(logprob))} %`;
    const about = top
      ? `${expertName(top.g, top.e)}: ${digits(top.value)}, ${digits(top.above)} above ${short(top.even)}`
      : row == null
        ? "no routing: the last token was never read back"
        : "no expert serves it";
    const small = byExpert ? (top ? expertName(top.g, top.e) : "–") : chance;
    const button = el(
      "button",
      {
        type: "button",
        class: "word",
        title: `${label}. ${about}. Probability ${chance}`,
        "aria-pressed": String(row != null && row === state.token),
      },
      el("span", {}, label),
      el("small", {}, small),
    );
    const tone = byExpert ? (top ? colour(run.routing.groups[top.g]) : "transparent") : smola.css("--more");
    const strength = byExpert ? (top ? top.above / reach : 0) : 1 - Math.exp(logprob);
    button.style.setProperty("--tone", tone);
    button.style.setProperty("--strength", strength.toFixed(3));
    button.disabled = row == null;
    if (row != null)
      button.addEventListener("click", () =>
        choose({ token: row, ...(top && byExpert ? { group: top.g, expert: top.e } : {}) }),
      );
    return button;
  });
  refill(wordList, ...made);
  const rows = words.map(({ label, logprob, row, top }, i) => [
    `${i + 1}`,
    label,
    top ? expertName(top.g, top.e) : null,
    top?.value ?? null,
    top?.even ?? null,
    top?.above ?? null,
    logprob,
  ]);
  const read = words.filter(({ row }) => row != null && run.routing.serving[row].length).map(({ row }) => row);
  return {
    keep: true,
    message: byExpert && idle() ? IDLE : words.length ? "" : "The answer is empty.",
    said: byExpert
      ? [
          `${saidLayers()}, mean over projections`,
          "answer tokens, each while the model reads it",
          saidMeasure(read).replace("minus uniform", "uniform is"),
          `the deepest colour is ${digits(reach)} above uniform`,
        ]
      : [
          "answer tokens",
          "the model's own log-probability of each, in nats",
          "the deeper, the less sure",
          "no uniform reference applies",
        ],
    table: {
      caption: "Words of the answer",
      head: ["number", "word", "top expert", state.measure, "uniform", "above uniform", "log-probability"],
      rows,
    },
  };
};

// The words as a picture of their own.
const wordsPicture = (made) => {
  const ground = wordList.getBoundingClientRect();
  return headedPicture(made, ground.width, ground.height, (pen, write, top) => {
    for (const button of wordList.children) {
      const box = button.getBoundingClientRect();
      const [x, y] = [box.left - ground.left + 8, box.top - ground.top + top];
      pen.globalAlpha = 0.6 * Number(button.style.getPropertyValue("--strength"));
      pen.fillStyle = button.style.getPropertyValue("--tone");
      pen.fillRect(x, y, box.width, box.height);
      pen.globalAlpha = 1;
      write(button.firstChild.textContent, x + 6, y + 18, 14);
      write(button.lastChild.textContent, x + 6, y + box.height - 7, 10);
    }
  });
};
const shadeSwitch = choiceSwitch("shade", "Coloured by", { expert: "Leading expert", logprob: "Probability" });

const wordsFigure = () =>
  figure("words", {
    title: "The answer, word by word",
    how: [
      "A word takes the colour of the group whose expert is furthest above an even share, named below it;",
      "the deeper, the further.",
      "Press a word to choose it and that expert.",
    ],
    draw: drawWords,
    tools: shadeSwitch,
    own: wordList,
    picture: wordsPicture,
  });
