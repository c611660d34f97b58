// Step through, the stream, and what the model would say after each layer.

// ------------------------------------------------------------------------------------------------------------ step through

const drawWalk = () => redrawnOn(["step"], walkNow);

function walkNow() {
  const at = chosen("step", DATA.walk.length), step = DATA.walk[at];
  const rowLabels = rowNames(step.shape, step.picture.shape[0]);
  const axes = { rowLabels, rowAxis: rowLabels ? (step.shape.length === 4 ? "head and token" : "token") : "row", colAxis: /scores|probs|self\.dropout/.test(step.names[0]) ? "key" : "feature" };
  const move = (by) => select({ step: clamp(at + by, 0, DATA.walk.length - 1) });
  return [
    el("div", { class: "controls" },
      el("button", { id: "back", click: () => move(-1) }, "← before"),
      el("button", { id: "next", click: () => move(1) }, "next →"),
      choose("value", DATA.walk.map(({ names }, i) => [i, `${i + 1}. ${names[0]}`]), at, (value) => select({ step: value }))),
    heading(step.names[0]),
    step.names.length > 1 ? say("The same array is called ", step.names.slice(1).flatMap((name, i) => [i ? ", " : "", code(name)]), ".") : null,
    say(step.meaning ? `${step.meaning}. ` : "", `Shape [${step.shape.join(", ")}]`, step.axes ? ` = [${step.axes.replaceAll(" ", ", ")}]` : "", step.function ? [", computed by ", code(step.function)] : null),
    el("div", { class: "row" }, pictureOf(step.picture, { label: step.names[0], ...axes }),
      step.gradient ? pictureOf(step.gradient, { label: `grad:${step.names[0]}`, ...axes }) : null),
    step.gradient ? el("p", { class: "quiet" }, `The gradient is of the logit of ${visible(DATA.explains)}.`) : el("p", { class: "quiet" }, DATA.explains ? "No gradient flows through here." : "There are no gradients: this model has no head, or they were not asked for."),
  ];
}

// -------------------------------------------------------------------------------------------------------------- the stream

const drawStream = () => redrawnOn(["state", "side"], streamNow);

function streamNow() {
  const number = chosen("side", DATA.stream.length, DATA.stream.length - 1), part = DATA.stream[number];
  const tokens = labels(side(number).tokens), rows = part.blocks.map(({ label }) => label);
  const state = chosen("state", part.similar.length, part.similar.length - 1), similar = part.similar[state], [down, across] = similar.shape;
  const map = (packed, options) => numberMap({ rows, cols: tokens, rowAxis: "block", colAxis: "token", tall: 14, value: (i, j) => packed.data[i * tokens.length + j], ...options });
  const largest = Math.max(...part.norm.data);
  const few = (count) => (count === tokens.length ? tokens : range(count).map((i) => tokens[Math.floor((i * tokens.length) / count)]));
  return [
    DATA.stream.length > 1 ? choose("side", DATA.stream.map(({ title }, i) => [i, title]), number, (value) => select({ side: value, state: null })) : null,
    el("div", { class: "row" },
      map(part.norm, { label: "How much each block adds: the length of what it adds over the length of the state", largest, legend: "ratio of lengths" }),
      map(part.direction, { label: "In which direction: the cosine between what is added and the state", scale: "diverging", largest: 1, legend: "cosine; 1 makes the state longer, 0 turns it, −1 takes away" }),
      map(part.kept, { label: "What is left of the state afterwards: the cosine between the states before and after", scale: "diverging", largest: 1, legend: "cosine" })),
    heading("How alike the tokens are"),
    el("div", { class: "controls" }, choose("after", part.similar.map((_, i) => [i, i ? `layer ${i - 1}` : "the embeddings"]), state, (value) => select({ state: value }))),
    numberMap({ label: "Cosine between the states of every two tokens", rows: few(down), cols: few(across), rowAxis: "token", colAxis: "token", value: (i, j) => shareOf(similar, i * across + j), scale: "diverging", largest: 1, legend: "cosine",
      format: (x) => `about ${x.toFixed(2)}`, note: down < tokens.length ? `${tokens.length} tokens, made smaller: each cell is the mean of its block.` : "" }),
  ];
}

// --------------------------------------------------------------------------------------------------- what it would say now

const drawLens = () => redrawnOn(["position", "output"], lensNow);

function lensNow() {
  if (!DATA.lens.length) return [say("This checkpoint has no head that says anything: it only has hidden states.")];
  const number = chosen("output", DATA.lens.length), lens = DATA.lens[number], [layers, places, most] = lens.ids.shape;
  const speaker = DATA.passes[0].sides.length - 1, tokens = labels(side(speaker).tokens);
  const masked = side(speaker).tokens.indexOf("[MASK]");
  const position = lens.per_position ? chosen("position", places, lens.causal ? places - 1 : Math.max(masked, 0) || Math.min(1, places - 1)) : 0;
  const rows = range(layers).reverse();
  return [
    el("div", { class: "controls" },
      DATA.lens.length > 1 ? choose("output", DATA.lens.map(({ name }, i) => [i, name]), number, (value) => select({ output: value })) : null,
      lens.per_position ? choose("position", tokens.map((text, i) => [i, `${i} ${text}`]), position, (value) => select({ position: value })) : null),
    lens.causal ? say("Each position says the token that comes next.") : null,
    el("div", { class: "scroll" }, el("table", { class: "lens" }, el("caption", {}, `The best ${most} answers (${lens.name}) after each layer, with probability and logit; the last layer is on top`),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "after"), range(most).map((k) => el("th", { scope: "col" }, String(k + 1))))),
      el("tbody", {}, rows.map((layer) => el("tr", {}, el("th", { scope: "row" }, layer ? `layer ${layer - 1}` : "embeddings"), range(most).map((k) => {
        const at = (layer * places + position) * most + k, p = lens.probs.data[at];
        const cell = el("td", { class: "text" }, el("bdi", {}, visible(lens.words[lens.ids.data[at]])), " ", el("small", {}, `${num(p, 2)} (${num(lens.logits.data[at], 3)})`));
        const paint = () => { cell.style.background = colour("sequential", Math.sqrt(p), 1); cell.style.color = ink("sequential", Math.sqrt(p), 1); };
        paint();
        keepDrawn(cell, paint);
        return cell;
      })))))),
    legend("sequential", 1, "probability (colour by its square root)"),
  ];
}
