// Shared by every view: theme, text, the plot library. Loaded once; later copies find it there.
window.smola ??= (() => {
  const css = (name) => getComputedStyle(document.body).getPropertyValue(name).trim();
  const dark = () => document.body.classList.contains("dark");
  const mode = () => (dark() ? "dark" : "light");

  // element("p", {class: "x"}, "text", child, …): strings become text nodes, never markup
  const element = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) node.setAttribute(name, "");
      else if (value !== false && value != null) node.setAttribute(name, String(value));
    }
    node.append(...children.filter((child) => child != null));
    return node;
  };

  // The name of a control token, as the tokenizers of the families write them; null for any other.
  const control = (text) =>
    /^<\|(.+)\|>$/.exec(text)?.[1] ?? /^<(\/?s|[be]os|pad|(?:start|end)_of_(?:turn|image|utterance))>$/.exec(text)?.[1] ?? null;

  // A token as it may stand on screen: blanks and control tokens get a sign.
  const visible = (text) => (control(text) ? "(end)" : text.replaceAll("\n", "⏎").trim() || "␣");

  // A number with its sign, a minus as wide as the plus.
  const signed = (v, digits = 4) => (v == null ? "–" : (v > 0 ? "+" : v < 0 ? "−" : "") + Math.abs(v).toFixed(digits));

  // What stands in a box, made anew: the keyboard stays on the button at its place.
  const refill = (box, ...nodes) => {
    const buttons = () => [...box.querySelectorAll("button")];
    const focused = buttons().indexOf(document.activeElement);
    box.replaceChildren(...nodes);
    if (focused >= 0) buttons()[focused]?.focus({ preventScroll: true });
  };

  // A text's words against another's: [kind, text] with kind "same", "gone" or "new".
  const marked = (words) =>
    words.flatMap(([kind, text]) => [element({ gone: "del", new: "ins" }[kind] ?? "span", {}, text), " "]);

  // A colour of a scale at 0 to 1, as [red, green, blue].
  const mix = (stops, part) => {
    const at = Math.min(1, Math.max(0, part));
    const next = Math.max(1, stops.findIndex(([edge]) => edge >= at));
    const [[a, low], [b, high]] = [stops[next - 1], stops[next]];
    const bytes = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
    const [from, to] = [bytes(low), bytes(high)];
    return from.map((v, i) => Math.round(v + ((to[i] - v) * (at - a)) / (b - a)));
  };

  // Plotly reads tags in text: what a model or a person wrote must not be one.
  const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  let library = null;
  const plotly = (source) => {
    library ??= new Promise((resolve, reject) => {
      const before = window.Plotly;
      const script = document.createElement("script");
      script.src = new URL(source, document.baseURI).href;
      script.onload = () => {
        const ours = window.Plotly;
        if (before) window.Plotly = before;
        ours ? resolve(ours) : reject(new Error("the plot library came empty"));
      };
      script.onerror = () => reject(new Error("the plot library could not be fetched"));
      document.head.append(script);
    });
    return library;
  };

  const watchers = new Set();
  new MutationObserver(() => watchers.forEach((call) => call())).observe(document.body, { attributeFilter: ["class"] });
  const onTheme = (call) => watchers.add(call);

  // A copy of a layout in the page's own colours and fonts.
  const themed = (layout) => {
    const text = css("--body-text-color-subdued") || "#666";
    const grid = css("--border-color-primary") || "#ddd";
    const styled = {
      ...layout,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("--font") || "sans-serif", size: 11, color: text },
      hoverlabel: {
        bgcolor: css("--background-fill-primary"),
        bordercolor: grid,
        font: { family: css("--font"), size: 12, color: css("--body-text-color") },
      },
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis/.test(key)) styled[key] = { gridcolor: grid, linecolor: grid, tickcolor: grid, ...layout[key] };
    }
    return styled;
  };

  const config = { responsive: false, displaylogo: false, displayModeBar: false, doubleClick: false, scrollZoom: false };
  const touch = () => window.matchMedia("(pointer: coarse)").matches;

  // A node that was hidden has no width, so coming back counts as another one: what it missed is drawn then.
  const keepSize = (node, redraw) => {
    let width = 0;
    new ResizeObserver(() => {
      if (node.clientWidth === width) return;
      width = node.clientWidth;
      if (width) requestAnimationFrame(redraw);
    }).observe(node);
  };

  // A sentence beside the page, for some seconds.
  const tell = (text) => {
    document.querySelector(".aside")?.remove();
    const told = element("p", { class: "aside", role: "alert" }, text);
    document.querySelector(".gradio-container").append(told);
    setTimeout(() => told.remove(), 8000);
  };

  // A view's life: parse the value now and at each update, show what went wrong instead of nothing.
  const live = (props, watch, draw) => {
    const run = () => {
      let value;
      try {
        value = JSON.parse(props.value || "null");
      } catch {
        return;
      }
      if (value?.aside) tell(value.aside);
      else if (value) draw(value);
    };
    watch("value", run);
    run();
  };

  return { css, dark, mode, element, refill, control, visible, signed, marked, mix, plain, plotly, onTheme, themed, config, touch, keepSize, live };
})();
const { element: el, plain, refill, signed } = window.smola;
