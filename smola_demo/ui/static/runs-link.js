// A link to what is asked now. It names an example, never a picture of the visitor's own.
const linkOf = ({ examples, asks }, [image, task, question, spec], chosen) => {
  const example = examples.find(({ path }) => path === image?.path);
  if (!example) return null;
  const words = { example: example.name, task };
  if (asks.includes(task) && question?.trim()) words.question = question.trim();
  if (spec?.trim()) words.ablation = spec.trim();
  if (chosen?.layer != null) words.layer = chosen.layer;
  if (chosen?.group) words.expert = `${chosen.group}:${chosen.expert}`;
  return `${location.origin}${location.pathname}?${new URLSearchParams(words)}`;
};

// What a link says about the explorer, {layer, group, expert}; null when it says nothing readable.
const linkedChoice = (query) => {
  const words = new URLSearchParams(query);
  const found = {};
  if (/^\d{1,4}$/.test(words.get("layer") ?? "")) found.layer = Number(words.get("layer"));
  const [, group, expert] = /^([a-z]+):(\d{1,4})$/.exec(words.get("expert") ?? "") ?? [];
  if (group) Object.assign(found, { group, expert: Number(expert) });
  return Object.keys(found).length ? found : null;
};
