// Chips to choose experts with. They write the spec's text; the text, read on the server, sets the chips.
const find = (selector) => element.querySelector(selector);
let value = null;
let state = null; // {picked: {group: Set}, first, last, at: Set, kind}
let written = ""; // the text that the chips stand for

const ranges = (numbers) => {
  const parts = [];
  for (const n of [...numbers].sort((a, b) => a - b)) {
    if (parts.length && n === parts.at(-1)[1] + 1) parts.at(-1)[1] = n;
    else parts.push([n, n]);
  }
  return parts.map(([a, b]) => (a === b ? a : `${a}-${b}`)).join(",");
};

const specText = () => {
  const { layers, groups, experts } = value;
  const all = state.first === layers[0] && state.last === layers.at(-1);
  const where = state.at.size ? `/${value.where.filter((name) => state.at.has(name)).join(",")}` : "";
  const within = layers.filter((layer) => layer >= state.first && layer <= state.last); // not all need have experts
  const tail = `${all ? "" : `@${ranges(within)}`}${where}`;
  const named = groups.filter((group) => state.picked[group].size);
  if (!named.length) return "";
  const full = (group) => state.picked[group].size === experts;
  const terms = groups.every(full) ? ["*:*"] : named.map((group) => `${group}:${full(group) ? "*" : ranges(state.picked[group])}`);
  return `${state.kind === "zero" ? "" : `${state.kind}!`}${terms.map((term) => term + tail).join(";")}`;
};

const write = () => {
  written = specText();
  smola.spec = written;
  paint();
  trigger("select", { spec: written });
};

const pressed = (button, on) => button.setAttribute("aria-pressed", on ? "true" : "false");
const chip = (text, label, press, attributes = {}) => {
  const button = el("button", { type: "button", class: "chip", "aria-label": label, ...attributes }, text);
  button.addEventListener("click", press);
  return button;
};

const everything = (group) => new Set(Array.from({ length: value.experts }, (_, e) => e));
const onlyThese = (kept) => {
  for (const group of value.groups) state.picked[group] = kept.includes(group) ? new Set() : everything(group);
  write();
};

const toggle = (set, item) => (set.has(item) ? set.delete(item) : set.add(item));

// Arrow keys walk along the chips of one row.
const walk = (row) =>
  row.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const chips = [...row.querySelectorAll("button")];
    const next = chips[chips.indexOf(document.activeElement) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });

const build = () => {
  const presets = [
    ["All experts in", "Take nothing out", value.groups],
    ["No experts", "Take every expert out: what is left is the plain backbone", []],
    ...value.groups.map((group) => [`Only ${group}`, `Take all groups but ${group} out`, [group]]),
  ];
  find(".picker-presets").replaceChildren(
    ...presets.map(([text, title, kept]) => {
      const button = el("button", { type: "button", class: "preset", title }, text);
      button.addEventListener("click", () => onlyThese(kept));
      return button;
    }),
  );
  find(".picker-groups").replaceChildren(
    ...value.groups.map((group) => {
      const whole = chip("all", `all ${group} experts`, () => {
        state.picked[group] = state.picked[group].size === value.experts ? new Set() : everything(group);
        write();
      }, { "data-whole": group });
      const chips = [...everything(group)].map((e) =>
        chip(`${e}`, `${group} expert ${e}`, () => {
          toggle(state.picked[group], e);
          write();
        }, { "data-group": group, "data-expert": e }),
      );
      const row = el("div", { class: "picker-group", role: "group", "aria-label": `${group} experts` }, el("b", {}, group), el("div", { class: "chips" }, ...chips, whole));
      walk(row);
      return row;
    }),
  );
  const ends = [["first", ".picker-first"], ["last", ".picker-last"]];
  for (const [name, at] of ends) {
    find(at).replaceChildren(...value.layers.map((layer) => el("option", { value: layer }, `${layer}`)));
    find(at).onchange = () => {
      state[name] = Number(find(at).value);
      if (state.first > state.last) state[name === "first" ? "last" : "first"] = state[name];
      write();
    };
  }
  const every = chip("all projections", "all projections", () => (state.at.clear(), write()), { "data-where": "" });
  const places = value.where.map((name) => chip(name, `only ${name}`, () => (toggle(state.at, name), write()), { "data-where": name }));
  find(".picker-where").replaceChildren(every, ...places);
  walk(find(".picker-where"));
  find(".picker-kinds").replaceChildren(
    el("legend", {}, "How"),
    ...value.kinds.map(([kind, name, meaning]) => {
      const input = el("input", { type: "radio", name: "picker-kind", value: kind });
      input.addEventListener("change", () => ((state.kind = kind), write()));
      return el("label", {}, input, el("span", {}, el("b", {}, name), ` ${meaning}`));
    }),
  );
};

const paint = () => {
  element.querySelectorAll("[data-expert]").forEach((b) => pressed(b, state.picked[b.dataset.group].has(Number(b.dataset.expert))));
  element.querySelectorAll("[data-whole]").forEach((b) => pressed(b, state.picked[b.dataset.whole].size === value.experts));
  element.querySelectorAll("[data-where]").forEach((b) => pressed(b, b.dataset.where ? state.at.has(b.dataset.where) : !state.at.size));
  find(".picker-first").value = state.first;
  find(".picker-last").value = state.last;
  element.querySelectorAll("[name=picker-kind]").forEach((input) => (input.checked = input.value === state.kind));
  find(".picker-note").textContent = written === value.spec ? value.note : "";
  find(".picker-note").dataset.kind = value.wrong ? "error" : "info";
  const chosen = value.groups.flatMap((group) => [...state.picked[group]].map((e) => [group, e]));
  const at = state.first === state.last ? `${state.first}` : "";
  smola.pick?.(...(chosen.length === 1 ? [...chosen[0], at] : [null, -1, ""]));
};

let shape = "";
smola.live(props, watch, (next) => {
  const typed = document.querySelector("#spec :is(input, textarea)")?.value.trim();
  if (value && !next.given && typed !== next.spec) return; // read too late: the text has changed since
  value = next;
  written = smola.spec = next.spec;
  state = {
    picked: Object.fromEntries(next.groups.map((group) => [group, new Set(next.picked[group])])),
    first: next.first ?? next.layers[0],
    last: next.last ?? next.layers.at(-1),
    at: new Set(next.at),
    kind: next.kind,
  };
  const now = JSON.stringify([next.groups, next.experts, next.layers, next.where]);
  for (const part of element.querySelectorAll(".picker > :not(h2):not(.picker-note)")) part.hidden = !next.groups.length;
  if (now !== shape) build();
  shape = now;
  paint();
});
