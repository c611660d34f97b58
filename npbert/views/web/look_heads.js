// All heads: small maps, one opened, some pinned, and the difference to another pass.

const LINES_MOST = 32;

// One head of a pass: its size, and value(i, j). `which` is "here", "other" or "difference"; `size` is "whole", where the page
// has it, or "small". Null where there is no such head, or nothing to take a difference of.
function headOf(kind, layer, head, which, size = "whole") {
  if (which === "difference") {
    const a = headOf(kind, layer, head, "here", size), b = headOf(kind, layer, head, "other", size);
    if (!a || !b || !areAlike(kind)) return null;
    return { ...a, value: (i, j) => a.value(i, j) - b.value(i, j) };
  }
  const entry = (which === "other" ? DATA.other.attention : DATA.attention)[kind]?.layers[layer];
  if (!entry || head >= entry.heads) return null;
  const isWhole = Boolean(entry.whole) && (size === "whole" || !entry.small), packed = isWhole ? entry.whole : entry.small;
  const [, rows, cols] = packed.shape, start = head * rows * cols;
  return { rows, cols, isWhole, path: entry.path, bytes: packed.data.subarray(start, start + rows * cols),
    value: (i, j) => probability(packed.data[start + i * cols + j]) };
}

// Whether the texts of both passes have as many pieces: only then do their maps have the same places.
function areAlike(kind) {
  const [here, other] = ["here", "other"].map((which) => tokensOf(kind, which).map((tokens) => tokens.length).join());
  return here === other;
}

// The largest difference of any head: where the colours of all of them end. Looked for once.
const largestDifferences = {};
function largestDifference(kind) {
  return (largestDifferences[kind] ??= Math.max(1e-6, ...DATA.attention[kind].layers.flatMap((entry, layer) => range(entry.heads).map((head) => {
    const map = headOf(kind, layer, head, "difference", "small");
    let largest = 0;
    for (let i = 0; map && i < map.rows; i++) for (let j = 0; j < map.cols; j++) largest = Math.max(largest, Math.abs(map.value(i, j)));
    return largest;
  }))));
}
const endOf = (kind, which) => (which === "difference" ? Math.sqrt(largestDifference(kind)) : 1); // of what `shade` makes
const shadeOfDifference = (x) => Math.sign(x) * Math.sqrt(Math.abs(x));
const whichPass = () => (DATA.other && ["other", "difference"].includes(selection.pass) ? selection.pass : "here");
const kindOf = () => chosen("kind", DATA.attention.length);
const attentionOf = (kind, which) => (which === "other" && DATA.other.attention[kind]) || DATA.attention[kind];

const drawHeads = () => redrawnOn(["kind", "pass", "layer", "head", "pins"], headsNow);

function headsNow() {
  const kind = kindOf(), which = whichPass(), attention = attentionOf(kind, which);
  const layer = chosen("layer", attention.layers.length), head = chosen("head", attention.layers[layer].heads);
  const pins = (selection.pins ?? "").split("_").filter((pin) => /^\d+\.\d+$/.test(pin)).map((pin) => pin.split(".").map(Number))
    .filter(([l, h]) => l < attention.layers.length && h < attention.layers[l].heads);
  return [
    attention.uniform ? el("p", { class: "warning" }, "Nearly every row is even: every head looks everywhere alike, as in a model that has learned nothing. Was the checkpoint loaded?") : null,
    el("div", { class: "controls" },
      DATA.attention.length > 1 ? choose("attention", DATA.attention.map(({ title }, i) => [i, title]), kind, (value) => select({ kind: value, layer: null, head: null, pins: null })) : null,
      DATA.other ? choose("show", [["here", "this pass"], ["other", "the other pass"], ["difference", "the difference"]], which, (value) => select({ pass: value })) : null),
    gridOfHeads(attention, kind, which, layer, head),
    legend(which === "difference" ? "diverging" : "sequential", which === "difference" ? largestDifference(kind) : 1, which === "difference" ? "difference of weights, this pass minus the other (colour by the square root)" : "weight (colour by its square root)"),
    statedLimit(attention),
    openedHead(kind, which, layer, head, pins),
    pins.length ? heading("Pinned") : null,
    el("div", { class: "row" }, pins.map(([l, h]) => el("div", {}, matrixOf(kind, which, l, h),
      el("button", { click: () => select({ pins: pins.filter(([a, b]) => a !== l || b !== h).map((pin) => pin.join(".")).join("_") || null }) }, "unpin")))),
    heading("How much goes to special tokens"),
    specialShares(attention),
  ];
}

// What is not whole on this page, and how to get it.
function statedLimit(attention) {
  const whole = attention.layers.flatMap((entry, i) => (entry.whole ? [i] : []));
  if (whole.length === attention.layers.length) return null;
  const least = attention.layers.find((entry) => entry.small).small.shape;
  return el("p", { class: "quiet limit" }, `With every map whole this page would be larger than ${DATA.limit / 1e6} MB. `
    + (whole.length ? `Whole are the layers ${whole.join(", ")}; ` : "No layer is whole; ")
    + `the others are ${least[1]} by ${least[2]} cells, each the largest weight of its block of tokens. `, code("--layers"), " chooses other layers.");
}

function gridOfHeads(attention, kind, which, layer, head) {
  const most = Math.max(...attention.layers.map(({ heads }) => heads));
  const grid = el("div", { class: "heads", role: "group", "aria-label": `${attention.title}: layers down, heads across`, keydown: (event) => {
    const at = event.target.dataset?.at?.split(".").map(Number);
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!at || !move) return;
    event.preventDefault();
    grid.querySelector(`[data-at="${at[0] + move[0]}.${at[1] + move[1]}"]`)?.focus();
  } });
  grid.style.gridTemplateColumns = `auto repeat(${most}, minmax(0, 76px))`;
  grid.append(el("span", { class: "side" }, "layer"), ...range(most).map((h) => el("span", { class: "side" }, String(h))));
  attention.layers.forEach((entry, l) => {
    grid.append(el("span", { class: "side" }, String(l)));
    for (const h of range(most)) {
      if (h >= entry.heads) { grid.append(el("span", {})); continue; }
      grid.append(el("button", { id: `head-${l}.${h}`, "data-at": `${l}.${h}`, "aria-pressed": l === layer && h === head, "aria-label": `layer ${l}, head ${h}`, title: `layer ${l}, head ${h}`,
        click: () => select({ layer: l, head: h }) }, thumb(kind, l, h, which)));
    }
  });
  return grid;
}

function thumb(kind, layer, head, which) {
  const map = headOf(kind, layer, head, which, "small");
  const canvas = el("canvas", { "aria-hidden": "true" });
  if (!map) return canvas;
  canvas.width = map.cols;
  canvas.height = map.rows;
  const draw = () => {
    const context = canvas.getContext("2d"), image = context.createImageData(map.cols, map.rows);
    const isDifference = which === "difference", colours = palette(isDifference ? "diverging" : "sequential"), pixels = image.data;
    for (let at = 0; at < map.rows * map.cols; at++) {
      const from = 3 * (isDifference ? step("diverging", shadeOfDifference(map.value(Math.floor(at / map.cols), at % map.cols)), endOf(kind, which)) : map.bytes[at]);
      for (let part = 0; part < 3; part++) pixels[4 * at + part] = colours[from + part];
      pixels[4 * at + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  };
  draw();
  keepDrawn(canvas, draw);
  return canvas;
}

// What the rows and the columns of a map are called. A difference has two texts: where they differ, both words.
function tokensOf(kind, which) {
  if (which === "difference") {
    const [here, other] = ["here", "other"].map((one) => tokensOf(kind, one));
    return here.map((tokens, axis) => tokens.map((text, i) => (text === other[axis][i] ? text : `${text} / ${other[axis][i]}`)));
  }
  const { sides } = DATA.passes[which === "other" ? 1 : 0], { rows, cols } = attentionOf(kind, which);
  return [rows, cols].map((side) => labels(sides[side].tokens));
}

function matrixOf(kind, which, layer, head) {
  const map = headOf(kind, layer, head, which);
  if (!map) {
    return el("p", { class: "warning" }, areAlike(kind) ? "The other model has no such head, so there is no difference to show."
      : "The two texts have different numbers of pieces, so there is no difference to show: look at one and at the other.");
  }
  const [rows, cols] = tokensOf(kind, which), isDifference = which === "difference";
  // Keys may begin with what a cache held: then there are more of them than tokens.
  const fit = (texts, count) => {
    if (map.isWhole) return texts.length === count ? texts : range(count).map(String);
    const first = (i) => Math.floor((i * texts.length) / count);
    return range(count).map((i) => (first(i + 1) - first(i) > 1 ? `${first(i)}–${first(i + 1) - 1} ${texts[first(i)]} …` : texts[first(i)]));
  };
  return numberMap({
    label: `layer ${layer}, head ${head}${{ here: "", other: ", the other pass", difference: ", this pass minus the other" }[which]}`,
    rows: fit(rows, map.rows), cols: fit(cols, map.cols), rowAxis: "query", colAxis: "key", value: map.value,
    scale: isDifference ? "diverging" : "sequential", largest: endOf(kind, which), shade: isDifference ? shadeOfDifference : Math.sqrt,
    ends: isDifference ? [num(-largestDifference(kind), 3), num(largestDifference(kind), 3)] : null,
    legend: `${isDifference ? "difference of weights" : "weight"}, ${map.path}:probs; colour by the square root, a byte for each number`, format: (x) => (isDifference ? `${x > 0 ? "+" : ""}${x.toFixed(3)}` : `about ${x.toFixed(3)}`),
    note: map.isWhole ? "" : `Made smaller: each cell is the largest weight of its block of tokens${isDifference ? ", and the difference is of these" : ""}.`, at: [0, 0],
  });
}

function openedHead(kind, which, layer, head, pins) {
  const pin = `${layer}.${head}`, pinned = pins.some((one) => one.join(".") === pin);
  const map = headOf(kind, layer, head, which);
  return el("div", { id: "opened" }, heading(`Layer ${layer}, head ${head}`),
    el("div", { class: "controls" },
      el("button", { id: "pin", "aria-pressed": pinned, click: () => select({ pins: (pinned ? pins.filter((one) => one.join(".") !== pin) : [...pins, [layer, head]]).map((one) => one.join(".")).join("_") || null }) }, pinned ? "unpin" : "pin this head to compare it"),
      el("button", { click: () => select({ tab: "number", layer, head }) }, "the arithmetic behind a number")),
    el("div", { class: "row" }, matrixOf(kind, which, layer, head),
      map && map.isWhole && which !== "difference" && map.rows <= LINES_MOST && map.cols <= LINES_MOST ? linesOf(kind, map, which) : null));
}

// Short texts: a line from each token that asks to each that it looks at.
function linesOf(kind, map, which) {
  const [rows, cols] = tokensOf(kind, which);
  const high = 22, height = high * Math.max(rows.length, cols.length) + 14, width = 420;
  const root = svg("svg", { class: "lines", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "lines from each token to those that it looks at; the table of the map has the numbers" });
  const y = (i) => 18 + i * high;
  const draw = (only) => {
    root.replaceChildren();
    for (let i = 0; i < map.rows; i++) for (let j = 0; j < map.cols; j++) {
      const weight = map.value(i, j);
      if (weight < 0.02 || (only !== null && i !== only)) continue;
      root.append(svg("line", { x1: 130, x2: width - 130, y1: y(i) - 4, y2: y(j) - 4, stroke: "var(--tone-0)", "stroke-width": 1 + 4 * weight, opacity: Math.min(1, 0.12 + weight) }));
    }
    rows.forEach((text, i) => {
      const label = svg("text", { x: 122, y: y(i), "text-anchor": "end" }, isolated(text));
      label.addEventListener("pointerenter", () => draw(i));
      root.append(label);
    });
    cols.forEach((text, j) => root.append(svg("text", { x: width - 122, y: y(j) }, isolated(text))));
  };
  draw(null);
  root.addEventListener("pointerleave", () => draw(null));
  return el("figure", {}, el("figcaption", {}, "The same as lines ", el("span", { class: "quiet" }, "— left asks, right is looked at; weights below 0.02 are left out")), root);
}

function specialShares(attention) {
  const table = attention.to_special.map((line) => line.map(toNumber));
  return numberMap({ label: "Share of each head's weight that goes to special tokens", rows: table.map((_, l) => String(l)), cols: table[0].map((_, h) => String(h)), rowAxis: "layer", colAxis: "head",
    value: (i, j) => table[i][j], largest: 1, legend: "share", hatchedMeans: table.flat().some(Number.isNaN) ? "pruned" : null, cellMost: 30, tall: 16, format: (x) => x.toFixed(3) });
}
