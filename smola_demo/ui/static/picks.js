// Buttons to click on, with or without a picture: examples, suggested questions.
const row = element.querySelector(".picks");
smola.live(props, watch, (next) => {
  row.setAttribute("aria-label", next.label);
  row.dataset.pictures = next.items.some((item) => item.image) ? "yes" : "no";
  row.replaceChildren(
    ...next.items.map((item, index) => {
      const picture = item.image
        ? el("img", { src: new URL(item.image, document.baseURI).href, alt: "", loading: "lazy", draggable: "false" })
        : null;
      const button = el("button", { type: "button", title: item.title }, picture, el("span", {}, item.text));
      button.addEventListener("click", () => trigger("select", { index }));
      return button;
    }),
  );
  row.hidden = !next.items.length;
});
