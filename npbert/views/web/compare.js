// A comparison: the model as a map, the errors along the pass, and what one tensor holds.

// The colours of the map go from 10**-10 of what is allowed over the bound itself to a thousand times it. What is right stays pale.
const RIGHT_DECADES = 10, WRONG_DECADES = 3;

function shadeOf(share) {
  if (share === 0) return 0;
  const logarithm = Math.log10(share);
  return clamp(logarithm < 0 ? (0.4 * logarithm) / RIGHT_DECADES - 0.06 : logarithm / WRONG_DECADES, -1, 1);
}

function drawPage() {
  const panel = el("section", { id: "detail", "aria-live": "polite" });
  const show = () => {
    const number = chosen("cell", DATA.cells.length, DATA.first ?? DATA.cells.findIndex((cell) => cell.detail));
    document.querySelectorAll(".model button").forEach((button) => button.setAttribute("aria-pressed", Number(button.dataset.cell) === number));
    panel.replaceChildren(...(DATA.cells[number] ? detailOf(DATA.cells[number]) : []));
  };
  listeners.add(show);
  queueMicrotask(show);
  return [
    el("h1", {}, DATA.file),
    el("p", { class: `verdict ${DATA.ok ? "ok" : "bad"}` }, DATA.ok ? "✓ right" : "✕ differs", ` as ${DATA.precision}`),
    el("ul", { class: "glance" }, DATA.glance.map((sentence) => el("li", {}, sentence))),
    say(DATA.text.trim().split("\n").find((line) => /^(ok:|first divergence|not ok)/.test(line)) ?? ""),
    DATA.hidden ? say("Not compared, since the mask hides it: ", DATA.hidden, ". Only what counts decides.") : null,
    ...diagnosis(),
    ...maps(),
    el("h2", {}, "Along the pass"),
    alongThePass(),
    el("h2", {}, "Inside one tensor"),
    panel,
    el("details", {}, el("summary", {}, "the report as text"), el("pre", { class: "scroll mono" }, DATA.text)),
    el("footer", {}, `${DATA.architecture} · weights sha256 ${DATA.digest} · pack written by npbert ${DATA.written_by} · page by npbert ${DATA.npbert}`),
  ];
}

// ------------------------------------------------------------------------------------------------------------ diagnosis

const SUSPECTS_MOST = 3;

function diagnosis() {
  if (DATA.remark) return [el("p", { class: "careful" }, "No diagnosis: ", DATA.remark)];
  if (!DATA.suspects.length) return [];
  const boxes = DATA.suspects.map((suspect) => el("div", { class: "sum" },
    el("b", {}, suspect.mistake), " at ", cellLink(suspect.where), el("p", {}, suspect.explanation), el("p", { class: "quiet" }, "evidence: ", suspect.text)));
  const [first, more] = [boxes.slice(0, SUSPECTS_MOST), boxes.slice(SUSPECTS_MOST)];
  return [el("h2", {}, "What is the mistake?"), first, more.length ? el("details", {}, el("summary", {}, `and ${more.length} more`), more) : null];
}

function cellLink(name) {
  const number = DATA.cells.findIndex((cell) => cell.names.includes(name));
  return number < 0 ? code(name) : el("button", { click: () => { select({ cell: number }); document.getElementById("detail").scrollIntoView({ behavior: "smooth" }); } }, code(name));
}

// ----------------------------------------------------------------------------------------------------------------- maps

function maps() {
  const dumped = modelMap("share", "As dumped: each tensor against the pack's");
  const own = DATA.on_own_inputs ? modelMap("own_share", "Each step on the port's own inputs: an error that was there before is not blamed on it") : null;
  return [el("h2", {}, "The model as a map"), say("Layers go down, named steps go across in the order of computation. Colour is the logarithm of the error over what is allowed."), signs(), dumped, own];
}

function signs() {
  return el("div", { class: "signs" },
    legend("diverging", 1, "times what is allowed: blue is right, orange is wrong", false, ["less", "1000 or more"]),
    el("p", {}, [["·", "right"], ["=", "exactly equal"], ["7", "wrong: so many times what is allowed"], ["k", "thousands"],
      ["∞", "NaN or infinite (hatched)"], ["!", "cannot be compared"], ["dashed", "not dumped"], ["red frame", "the first divergence"]].flatMap(([sign, means], place) => [place ? "; " : "", el("b", {}, sign), ` ${means}`])));
}

function modelMap(key, title) {
  const figure = el("figure", { class: "modelmap" }, el("figcaption", {}, title));
  for (const section of DATA.sections) {
    const numbers = section.rows.flatMap(([, cells]) => cells).filter((cell) => cell != null);
    if (numbers.every((number) => DATA.cells[number].state === "open")) {
      figure.append(el("p", { class: "quiet" }, `${section.title}: nothing was dumped`));
      continue;
    }
    figure.append(el("div", { class: "scroll" }, el("table", { class: "model", keydown: moveInTable },
      el("caption", {}, section.title),
      el("thead", {}, el("tr", {}, el("td", {}), section.columns.map((step) => el("th", { scope: "col" }, el("div", {}, step))))),
      el("tbody", {}, section.rows.map(([label, cells]) => el("tr", {}, el("th", { scope: "row" }, label),
        cells.map((number) => el("td", {}, number == null ? el("span", { class: "none" }) : mapCell(number, key)))))))));
  }
  return figure;
}

function mapCell(number, key) {
  const cell = DATA.cells[number], share = toNumber(cell[key]);
  const isOwn = key === "own_share";
  const isWrong = isOwn ? share > 1 : ["wrong", "nan", "problem"].includes(cell.state);
  const button = el("button", {
    "data-cell": number, "aria-pressed": "false", click: () => select({ cell: number }),
    class: [cell.state === "open" || share == null ? "open" : "", (isOwn ? share === Infinity : cell.state === "nan") ? "nan" : "", cell.is_first ? "first" : ""].join(" "),
    title: `${cell.names.join(" = ")}\n${inWords(cell, share)}`, "aria-label": `${cell.name}: ${inWords(cell, share)}`,
  }, cell.state === "open" || share == null ? "" : cell.state === "problem" ? "!" : isWrong ? times(share) : share === 0 ? "=" : "·");
  const paint = () => {
    if (cell.state === "open" || share == null || !Number.isFinite(share)) return;
    button.style.background = colour("diverging", shadeOf(share), 1);
    button.style.color = ink("diverging", shadeOf(share), 1);
  };
  paint();
  redraws.add(paint);
  return button;
}

function inWords(cell, share) {
  if (cell.state === "open") return "not dumped";
  if (cell.state === "problem") return `cannot be compared: ${cell.row.problem}`;
  if (share == null) return "not judged";
  return `${num(share, 3)} times what is allowed: ${share > 1 ? "wrong" : "right"}`;
}

function times(share) {
  if (!Number.isFinite(share)) return "∞";
  if (share >= 9.5e5) return `e${Math.floor(Math.log10(share))}`;
  if (share >= 950) return `${Math.round(share / 1000)}k`;
  return share < 9.5 ? share.toFixed(0) === "1" ? "1+" : share.toFixed(0) : String(Math.round(share));
}

function moveInTable(event) {
  const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  const here = event.target.closest("td");
  if (!move || !here) return;
  event.preventDefault();
  let row = here.parentElement, column = here.cellIndex;
  for (;;) {
    row = move[0] < 0 ? row.previousElementSibling : move[0] > 0 ? row.nextElementSibling : row;
    column += move[1];
    const button = row?.cells[column]?.querySelector("button");
    if (!row || !row.cells[column]) return;
    if (button) return button.focus();
  }
}

// ----------------------------------------------------------------------------------------------------------- along the pass

function alongThePass() {
  const { cells, rms, allowed } = DATA.lines;
  const along = (values) => values.map((y, x) => [x, toNumber(y)]).filter(([, y]) => y > 0);
  const series = [{ name: "the port's error (rms)", kind: "line", points: along(rms) },
    ...Object.entries(allowed).map(([precision, values]) => ({ name: `allowed in ${precision}`, kind: "dashed", points: along(values) }))];
  const first = cells.indexOf(DATA.first);
  return el("div", {}, say("Rounding alone rises smoothly along the line of its precision; a mistake leaves the line with a step."),
    chart({ label: "Error of each tensor that was dumped, in the order of computation", series, xAxis: "number of the tensor", yAxis: "rms of the error, logarithmic", logY: true, height: 280,
      xName: (x) => DATA.cells[cells[x]].name, marks: first < 0 ? [] : [{ x: first, name: "first divergence" }] }));
}

// --------------------------------------------------------------------------------------------------------- inside a tensor

function detailOf(cell) {
  const parts = [heading(cell.name), say(cell.meaning, cell.axes ? ` [${cell.axes.replaceAll(" ", ", ")}]` : "")];
  if (cell.names.length > 1) parts.push(say("The same array is called ", cell.names.slice(1).flatMap((name, i) => [i ? ", " : "", code(name)]), "."));
  if (cell.state === "open") return [...parts, say("The port did not dump it.")];
  const { row, detail } = cell;
  if (cell.dumped_as[0] !== cell.dumped_as[1]) parts.push(say("In the port: ", code(cell.dumped_as[1]), row.assumed ? ` (${row.assumed})` : ""));
  parts.push(el("div", { class: "scroll" }, el("table", {}, el("caption", {}, "numbers"), el("tbody", {}, numbersOf(cell).map(([name, ...values]) =>
    el("tr", {}, el("th", { scope: "row" }, name), values.map((value) => el("td", {}, value))))))));
  if (!detail) return [...parts, say(row.problem ? `Cannot be compared: ${row.problem}` : "The page keeps the inside of the first tensors alone.")];
  if (detail.where.length) parts.push(el("p", { class: "verdict bad" }, "Everything wrong lies in ", detail.where.join("; "), "."));
  if (detail.uncounted) parts.push(say(`${detail.uncounted} numbers do not count (padding, or hidden by the mask)` +
    (detail.uncounted_differs ? `; ${detail.uncounted_differs} of them differ, which is allowed and decides nothing.` : ".")));
  if (detail.permutation) parts.push(...permutationOf(detail.permutation));
  const pictures = detail.planes.map(planeOf);
  pictures.push(histogramOf(detail.histogram));
  if (detail.curve?.x.length > 1) pictures.push(curveOf(cell, detail));
  if (detail.quantiles?.truth.length) pictures.push(sortedOf(detail.quantiles));
  return [...parts, el("div", { class: "row" }, pictures)];
}

function numbersOf({ row, share, own_share, state }) {
  const numbers = [
    ["shape", `[${row.shape.join(", ")}]`, ""],
    ["", "port", "allowed"],
    ["largest error", num(row.max_abs), num(row.tolerance)],
    ["rms of the error", num(row.rms), num(row.rms_tolerance)],
    ["error over allowed", num(share, 3), "1"],
  ];
  if (DATA.on_own_inputs && own_share != null) numbers.push(["the same, on the port's own inputs", num(own_share, 3), "1"]);
  numbers.push(["cosine", num(row.cosine, 8), ""], ["numbers compared", String(row.compared), ""]);
  if (state === "nan") numbers.push(["NaN or infinite", String(row.not_finite), row.first_not_finite]);
  return numbers;
}

function planeOf(plane) {
  const at = (i, j) => shareOf(plane.values, i * plane.cols.length + j);
  const pooledNote = plane.rows.length * plane.cols.length < plane.shape[0] * plane.shape[1]
    ? `${plane.shape[0]} by ${plane.shape[1]} numbers, made smaller: each cell is the largest of its block.` : "";
  const wrong = plane.values.data.filter((share) => share > 0).length;
  return numberMap({
    label: `Where: ${plane.title}`, rows: plane.rows, cols: plane.cols, rowAxis: plane.row_axis, colAxis: plane.col_axis, value: at,
    scale: "diverging", largest: 3, clipped: true, legend: "times what is allowed, on a scale of logarithms; the page's own colour is the bound", ends: ["1/1000 and less", "1000 and more"], hatchedMeans: "does not count",
    format: (x) => (Number.isNaN(x) ? "does not count" : x >= 3.999 ? "10,000 times what is allowed or more, or NaN" : x <= -3.999 ? "0.0001 times what is allowed or less" : `${num(10 ** x, 3)} times what is allowed`), note: pooledNote, cellMost: 22,
    tall: 12,
    outlined: wrong <= 50 ? (i, j) => at(i, j) > 0 : null,
  });
}

function histogramOf({ middles, counts, exact }) {
  return chart({ label: `How many numbers have which error (${exact} have none)`, logX: true, xAxis: "error over allowed", yAxis: "numbers",
    series: [{ name: "numbers", kind: "bars", points: middles.map((x, i) => [x, counts[i]]) }], marks: [{ x: 1, name: "allowed" }] });
}

function curveOf(cell, { curve, input }) {
  const self = input === cell.name;
  return chart({ label: self ? "Error against the right value" : `Error against the value that went in, ${input}`,
    xAxis: self ? "right value" : "value that went in", yAxis: "port minus right",
    series: [{ name: "single numbers", kind: "dots", points: curve.dots }, { name: "mean", kind: "line", points: curve.x.map((x, i) => [x, curve.mean[i]]) }] });
}

function sortedOf({ truth, port }) {
  const at = truth.map((_, i) => i / (truth.length - 1));
  return chart({ label: "All values sorted: where both lines agree, the right numbers are there, perhaps in other places", xAxis: "share of the numbers", yAxis: "value",
    series: [{ name: "right", kind: "line", points: at.map((x, i) => [x, truth[i]]) }, { name: "port", kind: "dashed", points: at.map((x, i) => [x, port[i]]) }] });
}

function permutationOf({ axis, order }) {
  const moved = order.map((from, to) => [to, from]).filter(([to, from]) => to !== from);
  return [el("p", { class: "verdict bad" }, `The numbers are right, and their ${axis} stand in another order.`),
    chart({ label: `Where the port holds what belongs at each place (${moved.length} of ${order.length} ${axis} moved)`, xAxis: `right place among the ${axis}`, yAxis: "place in the port",
      series: [{ name: "place", kind: "dots", points: order.map((from, to) => [to, from]) }] })];
}
