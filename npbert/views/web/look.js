// A pass to look into: its tabs, and what they share.

function drawPage() {
  const [here, other] = DATA.passes;
  return [
    el("h1", {}, "npbert look"),
    el("p", { class: "subject" }, el("bdi", {}, visible(here.text))),
    other ? el("p", { class: "subject quiet" }, "compared with: ", el("bdi", {}, visible(other.text)), ` (${other.model})`) : null,
    tabs(VIEWS),
    el("footer", {}, DATA.passes.map((pass, i) => el("div", {}, `${i ? "compared with " : ""}${pass.model}${pass.from ? ` from ${pass.from}` : ""} · ${pass.parameters.toLocaleString("en")} parameters, ${pass.dtype} · weights sha256 ${pass.digest}`)), el("div", {}, `page by npbert ${DATA.npbert}`)),
  ];
}

const VIEWS = [
  { id: "pieces", title: "Pieces", draw: () => drawPieces(),
    sees: "The text as the model reads it: cut into pieces of its vocabulary, each with an id, and three rows of tables that are added up for it.",
    careful: "a piece is not a word, and the colours of single features mean nothing by themselves." },
  { id: "heads", title: "All heads", draw: () => drawHeads(),
    sees: "Every head of every layer as a small map: each token asks (down) and spreads a weight of 1 over the tokens (across).",
    careful: "attention is not by itself an explanation of what the model does, and in BERT's middle layers over half of it goes to [SEP], which mostly means: nothing to find here." },
  { id: "number", title: "One number", draw: () => drawNumber(),
    sees: "The arithmetic behind one weight of one head, line by line with the real numbers: who asks, who answers, and how the answer counts.",
    careful: "one weight is one of thousands, and what a head hands on also depends on how long its values are." },
  { id: "walk", title: "Step through", draw: () => drawWalk(),
    sees: "The whole pass in the order of computation: every value under its name, with its shape and what computes it, and the gradient beside it where there is one.",
    careful: "large numbers are not important ones; a few features are large in every text." },
  { id: "stream", title: "The stream", draw: () => drawStream(),
    sees: "Each block adds something to each token's state: how much, and in which direction; and how alike the tokens become.",
    careful: "LayerNorm scales the sum afterwards, so a large addition also makes what was there smaller." },
  { id: "lens", title: "What it would say now", draw: () => drawLens(),
    sees: "The head of the model, applied to the state after each layer instead of the last: the best answers it would give there.",
    careful: "the head was trained on the last layer alone, so this is noisy in early layers; a word that is not there may still be in the state." },
  { id: "mattered", title: "What mattered", draw: () => drawMattered(),
    sees: "How much each piece moved one logit away from a baseline, as bars that add up: baseline + pieces + unexplained rest = the logit.",
    careful: "another baseline gives other bars, and a bar says what moved this logit, not why a person would give the same answer." },
];

// The rows of an array of one text: its tokens, or its heads with the tokens of each.
function rowNames(shape, count) {
  const texts = DATA.passes[0].sides.map(({ tokens }) => labels(tokens));
  const heads = shape.length === 4 && shape[1] * shape[2] === count ? shape[1] : 1;
  const tokens = texts.find((candidate) => candidate.length * heads === count);
  if (!tokens) return null;
  return heads === 1 ? tokens : range(heads).flatMap((head) => tokens.map((text) => `${head}: ${text}`));
}

const side = (number) => DATA.passes[0].sides[number];
const labels = (tokens) => tokens.map((text) => visible(text));

// Rows and columns of numbers as Python made them: as they are, or smaller and a byte each.
function pictureOf(picture, options) {
  const [rows, cols] = picture.cells, [allRows, allCols] = picture.shape;
  const value = picture.exact ? (i, j) => picture.exact.data[i * cols + j] : (i, j) => shareOf(picture.shares, i * cols + j);
  const block = (i, kept, all) => {
    const from = Math.floor((i * all) / kept), to = Math.floor(((i + 1) * all) / kept) - 1;
    return to > from ? `${from}–${to}` : String(from);
  };
  const [low, high, mean, rms] = picture.numbers;
  const isCut = (x) => Math.max(high, -low) > picture.shares.largest && Math.abs(x) >= picture.shares.largest;
  const isWhole = rows === allRows && cols === allCols;
  return numberMap({
    rows: options.rowLabels?.length === rows ? options.rowLabels : range(rows).map((i) => block(i, rows, allRows)),
    cols: range(cols).map((j) => block(j, cols, allCols)),
    rowAxis: "row", colAxis: "feature", scale: "diverging", largest: picture.largest, clipped: Math.max(high, -low) > picture.largest,
    value, tall: 14, cellMost: 18, format: (x) => (picture.exact ? num(x, 6) : isCut(x) ? `${num(x, 3)} or ${x > 0 ? "more" : "less"}` : `about ${num(x, 2)}`),
    note: `smallest ${num(low)}, largest ${num(high)}, mean ${num(mean)}, rms ${num(rms)}` +
      (isWhole ? "" : `; ${allRows} by ${allCols} numbers, made smaller: each cell is the one of largest magnitude in its block`) +
      (picture.exact ? "" : "; a byte for each number, so they are about right"),
    ...options,
  });
}
