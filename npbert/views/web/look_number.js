// One number: the arithmetic behind one weight of one head, with the numbers of the pass.

const drawNumber = () => redrawnOn(["kind", "layer", "head", "from", "to"], numberNow);

function numberNow() {
  const kind = kindOf(), attention = DATA.attention[kind], numbers = DATA.number[kind];
  const there = Object.keys(numbers.heads);
  if (!there.length) return [say(`No head's numbers fit on this page, which stays below ${DATA.limit / 1e6} MB; `, code("--layers"), " chooses the layers that they are of.")];
  const wanted = `${selection.layer ?? 0}.${selection.head ?? 0}`;
  const key = there.includes(wanted) ? wanted : there[0];
  const [layer, head] = key.split(".").map(Number);
  const [rows, cols] = tokensOf(kind, "here");
  const entry = numbers.heads[key], keys = entry.key.shape[0], from = chosen("from", rows.length, Math.min(1, rows.length - 1)), to = chosen("to", keys, Math.min(2, keys - 1));
  const keyLabels = keys === cols.length ? cols : range(keys).map(String);
  const named = (texts) => texts.map((text, i) => [i, `${i} ${text}`]);
  return [
    el("div", { class: "controls" },
      DATA.attention.length > 1 ? choose("attention", DATA.attention.map(({ title }, i) => [i, title]), kind, (value) => select({ kind: value, layer: null, head: null, to: null, from: null })) : null,
      choose("layer and head", there.map((one) => [one, `layer ${one.replace(".", ", head ")}`]), key, (one) => select({ layer: one.split(".")[0], head: one.split(".")[1] })),
      choose("from (who asks)", named(rows), from, (value) => select({ from: value })),
      choose("to (who is looked at)", named(keyLabels), to, (value) => select({ to: value }))),
    there.length < numbers.of ? el("p", { class: "quiet limit" }, `So that this page stays below ${DATA.limit / 1e6} MB, it has the numbers of ${there.length} of ${numbers.of} heads; `, code("--layers"), " chooses the layers that they are of.") : null,
    wanted !== key ? el("p", { class: "quiet" }, `Layer ${wanted.replace(".", ", head ")} is not among them.`) : null,
    arithmetic(attention.layers[layer].path, entry, numbers, { layer, head, from, to, keyLabels, asks: rows[from] }),
  ];
}

// All steps from query and key to the context, in float64 on the float32 numbers of the pass.
function computed(entry, mask, divisor, { from, to }) {
  const size = entry.query.shape[1], keys = entry.key.shape[0];
  const line = (array, i) => Array.from(array.data.subarray(i * size, (i + 1) * size));
  const q = line(entry.query, from), k = line(entry.key, to), v = line(entry.value, to);
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  const scores = range(keys).map((j) => dot(q, line(entry.key, j)));
  const relative = range(keys).map((j) => (entry.relative_scores ? entry.relative_scores.data[from * keys + j] : 0));
  const scaled = scores.map((score, j) => (score + relative[j]) / divisor);
  const masked = scaled.map((x, j) => x + (mask ? mask.data[from * keys + j] : 0));
  const largest = Math.max(...masked), powers = masked.map((x) => Math.exp(x - largest));
  const total = powers.reduce((sum, x) => sum + x, 0), probs = powers.map((x) => x / total);
  const context = range(size).map((c) => probs.reduce((sum, p, j) => sum + p * entry.value.data[j * size + c], 0));
  return { size, q, k, v, products: q.map((x, i) => x * k[i]), scores, relative, scaled, masked, largest, powers, total, probs, context, added: mask ? mask.data[from * keys + to] : 0 };
}

function arithmetic(path, entry, numbers, { layer, head, from, to, keyLabels, asks }) {
  const divisor = numbers.divisors[layer];
  const c = computed(entry, numbers.masks[String(layer)], divisor, { from, to });
  const features = range(c.size).map(String), p = c.probs[to];
  const about = (values) => Math.max(...values.map(Math.abs), 1e-12);
  const line = (values, label, largest = about(values), more = {}) => strip({ label, cols: features, colAxis: "feature", value: (i) => values[i], scale: "diverging", largest, format: (x) => num(x, 6), ...more });
  const step = (title, formula, computedBy, name, ...content) => el("li", {}, el("b", {}, title), " ", code(formula), el("div", { class: "quiet" }, "computed by ", code(computedBy), " · in the trace ", code(name)), content);
  const sum = (id, ...words) => el("p", { class: "sum", "data-number": id }, words);
  const shared = about([...c.q, ...c.k]);
  return el("ol", { class: "steps" },
    step("The question", "q = x W_q^T + b_q, the part of this head", "ops.linear, ops.split_heads", `${path}:query [${head}, ${from}]`, line(c.q, `query of ${quoted(asks)}`, shared)),
    step("The answer's label", "k = x W_k^T + b_k", "ops.linear, ops.split_heads", `${path}:key [${head}, ${to}]`, line(c.k, `key of ${quoted(keyLabels[to])}`, shared)),
    step("How well they fit", "score = sum of q_i k_i", "ops.scaled_dot_product_attention", `${path}:scores [${head}, ${from}, ${to}]`, line(c.products, "products, feature by feature"),
      sum("score", `${c.q.slice(0, 2).map((x, i) => `${num(x, 4)} × ${num(c.k[i], 4)}`).join(" + ")} + … = ${num(c.scores[to], 7)}`)),
    entry.relative_scores ? step("What the distance adds", "score + relative score", "bert.attention.relative_scores", `${path}:relative_scores [${head}, ${from}, ${to}]`, sum("relative", `${num(c.scores[to], 6)} + ${num(c.relative[to], 6)} = ${num(c.scores[to] + c.relative[to], 7)}`)) : null,
    step("The scale", divisor === Math.sqrt(c.size) ? `score / sqrt(${c.size})` : `score / ${num(divisor)}`, "ops.scaled_dot_product_attention", `${path}:masked_scores [${head}, ${from}, ${to}], before the mask`, sum("scaled", `${num(c.scores[to] + c.relative[to], 6)} / ${num(divisor, 6)} = ${num(c.scaled[to], 7)}`)),
    step("The mask", "scaled score + mask", "ops.masks", `${path}:masked_scores [${head}, ${from}, ${to}]`, sum("masked", `${num(c.scaled[to], 6)} + ${num(c.added, 6)} = ${num(c.masked[to], 7)}${c.added ? " (hidden)" : " (nothing is hidden here)"}`)),
    step("Softmax over the row", "exp(masked) / sum of exp(masked)", "ops.softmax", `${path}:probs [${head}, ${from}, ${to}]`,
      strip({ id: "softmax", label: `the row of ${quoted(asks)}: where it looks; the framed weight is that of ${quoted(keyLabels[to])}`, cols: keyLabels, colAxis: "key", value: (j) => c.probs[j], largest: 1, shade: Math.sqrt, legend: "weight (colour by its square root)", cellMost: 30, outlined: (i, j) => j === to, at: [0, to], onFocus: (i, j) => select({ to: j }), format: (x) => num(x, 6) }),
      sum("probability", `exp(${num(c.masked[to], 6)} − ${num(c.largest, 6)}) / ${num(c.total, 6)} = ${num(c.powers[to], 6)} / ${num(c.total, 6)} = ${num(p, 7)}`)),
    step("Times the value", "p v", "ops.scaled_dot_product_attention", `${path}:value [${head}, ${to}]`, line(c.v, `value of ${quoted(keyLabels[to])}`), line(c.v.map((x) => p * x), `what ${quoted(keyLabels[to])} hands to ${quoted(asks)}: ${num(p, 4)} times its value`, about(c.v))),
    step("Into the context", "sum over all keys of p_j v_j", "ops.scaled_dot_product_attention, ops.merge_heads", `${path}${numbers.context} [${from}, ${head * c.size}:${(head + 1) * c.size}]`, line(c.context, `context of ${quoted(asks)} from this head`),
      sum("context", `first three: ${c.context.slice(0, 3).map((x) => num(x, 6)).join(", ")}`)),
  );
}
