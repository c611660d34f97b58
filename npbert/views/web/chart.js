// Curves, dots and bars with axes, as SVG; with a table behind.

const MARGIN = { left: 58, right: 14, top: 14, bottom: 24 };

/* options: label, series [{name, points [[x, y], ...], kind "line" | "dots" | "bars" | "dashed"}], xAxis, yAxis, logX, logY,
   marks [{y or x, name}], height */
function chart(options) {
  const box = el("div", { class: "chart" });
  const all = options.series.flatMap(({ points }) => points);
  const scaleX = options.logX ? Math.log10 : (x) => x, scaleY = options.logY ? Math.log10 : (y) => y;
  const drawn = ([x, y]) => Number.isFinite(scaleX(x)) && Number.isFinite(scaleY(y));

  function bounds(values, isLog) {
    const finite = values.filter(Number.isFinite);
    let low = Math.min(...finite), high = Math.max(...finite);
    if (!finite.length) [low, high] = [0, 1];
    if (!isLog && options.series.some(({ kind }) => kind === "bars")) low = Math.min(low, 0);
    return low === high ? [low - 0.5, high + 0.5] : [low - (isLog ? 0.1 : 0), high + (isLog ? 0.1 : 0)];
  }

  function draw() {
    const width = Math.max(box.clientWidth, 260), height = options.height ?? 240;
    const marks = options.marks ?? [];
    const xs = bounds(all.map(([x]) => scaleX(x)).concat(marks.filter((m) => m.x != null).map((m) => scaleX(m.x))), options.logX);
    const ys = bounds(all.map(([, y]) => scaleY(y)).concat(marks.filter((m) => m.y != null).map((m) => scaleY(m.y))), options.logY);
    const px = (x) => MARGIN.left + ((scaleX(x) - xs[0]) / (xs[1] - xs[0])) * (width - MARGIN.left - MARGIN.right);
    const py = (y) => height - MARGIN.bottom - ((scaleY(y) - ys[0]) / (ys[1] - ys[0])) * (height - MARGIN.top - MARGIN.bottom);
    const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": options.label });
    for (const y of ticks(ys, options.logY, 5)) {
      root.append(svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: py(y), y2: py(y) }),
        svg("text", { x: MARGIN.left - 6, y: py(y) + 4, "text-anchor": "end" }, num(y, 3)));
    }
    for (const x of ticks(xs, options.logX, Math.max(2, Math.floor(width / 90)))) {
      root.append(svg("text", { x: px(x), y: height - MARGIN.bottom + 16, "text-anchor": "middle" }, num(x, 3)));
    }
    options.series.forEach(({ points, kind = "line" }, number) => {
      const shown = points.filter(drawn);
      const tone = `series-${number % 6}`;
      if (kind === "bars") {
        const thick = Math.max(1, (width - MARGIN.left - MARGIN.right) / Math.max(shown.length, 1) - 1);
        const floor = height - MARGIN.bottom;
        for (const [x, y] of shown) root.append(svg("rect", { class: tone, x: px(x) - thick / 2, width: thick, y: py(y), height: Math.max(0, floor - py(y)) }));
      } else if (kind === "dots") {
        for (const [x, y] of shown) root.append(svg("circle", { class: tone, cx: px(x), cy: py(y), r: 2 }));
      } else {
        root.append(svg("polyline", { class: `${tone} ${kind}`, points: shown.map(([x, y]) => `${px(x)},${py(y)}`).join(" ") }));
      }
    });
    for (const mark of marks) {
      const [x1, x2] = mark.x == null ? [MARGIN.left, width - MARGIN.right] : [px(mark.x), px(mark.x)];
      const [y1, y2] = mark.y == null ? [MARGIN.top, height - MARGIN.bottom] : [py(mark.y), py(mark.y)];
      const nearRight = x1 > width - 130;
      root.append(svg("line", { class: "mark", x1, x2, y1, y2 }),
        svg("text", mark.x == null ? { x: x2, y: y1 - 4, "text-anchor": "end" } : { x: x1 + (nearRight ? -4 : 4), y: MARGIN.top + 10, "text-anchor": nearRight ? "end" : "start" }, mark.name));
    }
    box.replaceChildren(root);
  }

  const key = el("p", { class: "key" }, options.series.map(({ name, kind = "line" }, number) =>
    el("span", { class: `key-${number % 6} ${kind}` }, name)));
  const table = el("details", { class: "table", toggle: () => {
    if (!table.open) return;
    const rows = options.series.flatMap(({ name, points }) => points.map(([x, y]) => [name, x, y]));
    table.replaceChildren(table.firstChild, el("div", { class: "scroll" }, el("table", {},
      el("caption", {}, options.label + (rows.length > 400 ? ` (400 of ${rows.length} points)` : "")),
      el("thead", {}, el("tr", {}, ["", options.xAxis, options.yAxis].map((text) => el("th", { scope: "col" }, text)))),
      el("tbody", {}, rows.slice(0, 400).map(([name, x, y]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, options.xName?.(x) ?? num(x)), el("td", {}, num(y))))))));
  } }, el("summary", {}, "as a table"));
  let width = -1;
  new ResizeObserver(() => { if (box.clientWidth !== width) { width = box.clientWidth; draw(); } }).observe(box);
  keepDrawn(box, draw);
  return el("figure", {}, el("figcaption", {}, options.label), box,
    el("p", { class: "quiet axes" }, `across: ${options.xAxis}; up: ${options.yAxis}`), options.series.length > 1 ? key : null, table);
}

// Round numbers between two bounds, which are logarithms where the axis is logarithmic.
function ticks([low, high], isLog, most) {
  if (isLog) {
    const first = Math.ceil(low), last = Math.floor(high);
    const by = Math.max(1, Math.ceil((last - first + 1) / most));
    const powers = range(Math.max(0, last - first + 1)).filter((i) => i % by === 0).map((i) => 10 ** (first + i));
    return powers.length ? powers : [10 ** ((low + high) / 2)];
  }
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const by = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const first = Math.ceil(low / by);
  return range(Math.floor(high / by) - first + 1).map((i) => Number(((first + i) * by).toPrecision(12)));
}
