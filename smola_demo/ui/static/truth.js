// The tab "Is it true?": one figure per section that is there, a sentence and a command for what is not.
const range = (n) => Array.from({ length: n }, (_, i) => i);
const WIDE = ["tasks", "routers"];
let value = null;

const sectionFigure = (section) => {
  const drawn = section.name === "routers" ? routersDrawn : intervalsDrawn;
  const { title, how } = section;
  const made = figure(`truth-${section.name}`, { title, how: [how], tools: verdicts(section), draw: () => drawn(section, figures.find(({ title: t }) => t === title).plot) });
  if (WIDE.includes(section.name)) made.classList.add("figure-wide");
  if (section.name === "tasks") made.querySelector("details").open = true;
  return made;
};

const gap = (section) => el("div", { class: "truth-gap", "data-section": section.name }, ...missing(section));

offline(find(".offline-body"), find(".offline-note"), (shown) => {
  value = shown;
  figuresOf(shown);
  find(".truth-made").textContent = shown.made;
  find(".truth-note").textContent = shown.note;
  const there = shown.sections.filter((section) => section.state === "shown");
  find(".figures").replaceChildren(...there.map(sectionFigure));
  const commands = shown.commands.length ? missing({ message: "To compute what is missing:", commands: shown.commands }) : [];
  find(".truth-gaps").replaceChildren(...shown.sections.filter((section) => section.state !== "shown").map(gap), ...commands);
  watchSight();
  repaint();
}, () => {
  figures.length = 0;
});
smola.onTheme(() => run && repaint());
plotting(find(".offline-note"));
