// Keep and share. Runs of this visit live here, in the browser's memory, as the values of the views they fill.
const find = (selector) => element.querySelector(selector);
const MOST = 10;
let value = null;
let past = []; // newest first: {values: [answer, map, run, note], record, label}
let current = null;
let wanted = null;

const say = (text) => (find(".runs-said").textContent = text);
const offer = (blob, name) => {
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
};
const fileName = (ending) => `smola-${current.record.when.replace(/\D/g, "").slice(0, 14)}.${ending}`;

const labelOf = (record, name) => {
  const clock = new Date(record.when).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const without = record.ablation ? ` without ${record.ablation}` : "";
  return `${name} · ${value.tasks[record.task] ?? record.task}${without} · ${clock}`;
};

const show = () => {
  find(".save-run").disabled = find(".save-card").disabled = !current;
  find(".save-film").hidden = !canFilm();
  find(".save-film").disabled = !current?.record.routing?.groups.length;
  find(".runs-past").hidden = !past.length;
  refill(
    find(".past-list"),
    ...past.map((entry) => {
      const button = el("button", { type: "button", title: entry.record.answer.text, "aria-current": entry === current ? "true" : null }, entry.label);
      button.addEventListener("click", () => {
        wanted = entry;
        trigger("select", { index: past.indexOf(entry) });
      });
      return el("li", {}, button);
    }),
  );
};

// After anything that may have shown a run: keep it. Returns the note above the explorer.
const remember = (answer, map, run, note) => {
  const shown = JSON.parse(answer || "{}");
  const record = JSON.parse(run || "{}");
  if (shown.state !== "done" || !record.format) return note;
  const origin = shown.origin ?? "";
  const values = [answer, map, run, origin ? note : "{}"];
  current = past.find((entry) => entry.values[2] === run && entry.origin === origin);
  if (!current) {
    current = { values, record, origin, label: labelOf(record, origin || shown.picture || "picture") };
    past = [current, ...past].slice(0, MOST);
  }
  say("");
  show();
  return values[3];
};

// No run is on screen: one is on its way, was stopped, failed, or the model has changed.
const left = () => {
  if (!current) return;
  current = null;
  show();
};

// The values of the run that was picked from the list.
const chosen = () => {
  current = wanted ?? current;
  show();
  say("Shown here and in the Routing tab.");
  return current.values;
};

const copyLink = async (...asked) => {
  const link = linkOf(value, asked, smola.explorerState);
  const box = find(".link-text");
  box.hidden = !link;
  if (!link) return say("Links are for the examples: a picture of your own stays private, so no link leads to it.");
  box.value = link;
  try {
    await navigator.clipboard.writeText(link);
    say("Link copied: it opens this example with what is chosen here.");
  } catch {
    box.select();
    say("Copy the link below: it opens this example with what is chosen here.");
  }
};

const busy = async (button, make, name) => {
  button.disabled = true;
  try {
    offer(await make(), name);
  } catch (error) {
    say(`This could not be made (${error.message}).`);
  }
  show();
};

// Packed, as recorded runs are: of a model with many visual tokens a run would be too large to open again.
const packed = (text) => new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
find(".save-run").addEventListener("click", ({ target }) => busy(target, () => packed(current.values[2]), fileName("json.gz")));
find(".save-card").addEventListener("click", ({ target }) => busy(target, () => cardOf(current.record), fileName("png")));
find(".save-film").addEventListener("click", ({ target }) => {
  const step = (k, n) => say(k < n ? `Recording the film, token ${k} of ${n} …` : "The film is ready in a moment.");
  busy(target, () => filmOf(current.record, step), fileName("webm"));
});
find(".copy-link").addEventListener("click", () => trigger("copy", {}));

smola.live(props, watch, (next) => {
  value = next;
  find(".runs-recorded").hidden = !next.recorded.length;
  find(".recorded-list").replaceChildren(
    ...next.recorded.map((title, index) => {
      const button = el("button", { type: "button" }, title);
      button.addEventListener("click", () => trigger("submit", { index }));
      return el("li", {}, button);
    }),
  );
  show();
});
smola.runs = { remember, left, chosen, copyLink };
smola.linked = linkedChoice(location.search);
