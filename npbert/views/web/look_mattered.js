// What mattered: each piece's share of one logit, as bars that add up.

const drawMattered = () => redrawnOn(["target", "method", "aside"], matteredNow);

function matteredNow() {
  const data = DATA.mattered;
  if (!data) return [say("There is nothing to explain: this model has no logits, or gradients were not asked for.")];
  const number = chosen("target", data.targets.length), target = data.targets[number];
  const isIntegrated = selection.method !== "times_input", shares = isIntegrated ? target.integrated : target.times_input;
  const aside = selection.aside === "yes", shown = range(shares.length).filter((i) => !(aside && data.special[i]));
  const largest = Math.max(...shown.map((i) => Math.abs(shares[i])), 1e-12);
  const hidden = range(shares.length).filter((i) => !shown.includes(i)).reduce((sum, i) => sum + shares[i], 0);
  return [
    el("div", { class: "controls" },
      choose("logit", data.targets.map(({ label }, i) => [i, visible(label)]), number, (value) => select({ target: value })),
      choose("method", [["integrated", "integrated gradients"], ["times_input", "gradient times input"]], isIntegrated ? "integrated" : "times_input", (value) => select({ method: value })),
      el("label", {}, el("input", { type: "checkbox", id: "aside", checked: aside, change: (event) => select({ aside: event.target.checked ? "yes" : null }) }), " set special tokens aside")),
    isIntegrated ? say(`Integrated gradients with ${data.steps} steps. Baseline: ${data.baseline}.`) : say("The gradient of the logit by each word vector times the word vector: a first guess, which does not add up to anything."),
    el("p", { class: "marked" }, shares.map((share, i) => {
      const word = el("bdi", { title: `${num(share, 4)}` }, visible(data.tokens[i]));
      const isAside = aside && data.special[i];
      const paint = () => { word.style.background = isAside ? "" : colour("diverging", share, largest); word.style.color = isAside ? "" : ink("diverging", share, largest); };
      if (isAside) word.style.opacity = "0.45";
      paint();
      keepDrawn(word, paint);
      return word;
    })),
    legend("diverging", largest, `share of the logit: orange raised it, blue lowered it${aside ? "; special tokens are pale, set aside" : ""}`),
    heading("As bars"),
    barsOf([
      isIntegrated ? ["the logit of the baseline", target.baseline, "baseline"] : null,
      ...shown.map((i) => [`${i} ${visible(data.tokens[i])}`, shares[i], ""]),
      aside ? ["special tokens, together", hidden, ""] : null,
      ...(isIntegrated ? [["unexplained rest", target.rest, "rest"], ["= the logit", target.output, "output"]] : []),
    ].filter(Boolean)),
  ];
}

function barsOf(lines) {
  const largest = Math.max(...lines.map(([, value]) => Math.abs(value)), 1e-12);
  return el("div", { class: "bars", role: "table", "aria-label": "bars" }, lines.map(([name, value, id]) => {
    const fill = el("i", { class: value < 0 ? "minus" : "plus" });
    const width = (50 * Math.abs(value)) / largest;
    fill.style.width = `${width}%`;
    fill.style.left = `${value < 0 ? 50 - width : 50}%`;
    return el("div", { role: "row", class: "contents" }, el("bdi", { role: "rowheader" }, name), el("div", { class: "bar", "aria-hidden": "true" }, fill), el("span", { role: "cell", "data-number": id || false }, num(value, 5)));
  }));
}
