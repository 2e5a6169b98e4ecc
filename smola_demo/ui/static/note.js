// One line that is there only when there is something to say.
const line = element.querySelector(".note");
smola.live(props, watch, (next) => {
  line.textContent = next.text || "";
  line.dataset.kind = next.kind || "info";
  line.hidden = !next.text;
});
