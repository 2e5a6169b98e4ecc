// The Atlas tab: what is chosen, and everything that follows it.
const showAll = () => {
  showCards();
  repaint();
};

const fill = () => {
  find(".atlas-task").replaceChildren(
    el("option", { value: "" }, `all ${atlas.rows}`),
    ...Object.entries(atlas.tasks).map(([task, n]) => el("option", { value: task }, `${task}, ${n}`)),
  );
  const groups = ["", ...atlas.groups].map((group) =>
    el("label", {}, el("input", { type: "radio", name: "atlas-group", value: group, checked: group === "" }), el("span", {}, group || "all groups")),
  );
  find(".atlas-groups").append(...groups);
};

element.addEventListener("change", ({ target }) => {
  if (target.matches(".atlas-sort")) view.sort = target.value;
  else if (target.matches(".atlas-task")) view.task = target.value;
  else if (target.name === "atlas-group") view.group = target.value;
  else return;
  showAll();
});
find(".atlas-csv").addEventListener("click", saveTable);

offline(find(".offline-body"), find(".offline-note"), (shown) => {
  atlas = shown;
  figuresOf(shown);
  find(".atlas-made").textContent = shown.made;
  fill();
  find(".figures").replaceChildren(glanceFigure());
  figures[0].section.classList.add("figure-wide");
  watchSight();
  showTable();
  showAll();
}, () => {
  cards.clear();
  find(".atlas-cards").replaceChildren();
  figures.length = 0;
  for (const label of find(".atlas-groups").querySelectorAll("label")) label.remove();
  Object.assign(view, { task: "", group: "" });
  Object.assign(order, { column: 0, down: false }); // another atlas may have fewer columns
});
smola.onTheme(() => run && repaint());
plotting(find(".offline-note"));
