// A map of numbers on canvas, with everything that belongs to it: axes, legend, arrow keys, a readout, a table.

const HATCH = 6;
const TABLE_MOST = 64;

/* options: label, rows, cols (texts), rowAxis, colAxis, value(i, j), scale, largest, legend, and where they are wanted:
   clipped, ends (what the legend's ends are called), hatched(i, j) with hatchedMeans, outlined(i, j), id, at ([row, column] in focus), onFocus(i, j), note, cellMost,
   format(value), shade(value), tall (the least height of a row) */
function numberMap(options) {
  const { rows, cols, scale = "sequential" } = options;
  const format = options.format ?? ((x) => num(x));
  const shade = options.shade ?? ((x) => x); // what of a value decides its colour
  const hatched = options.hatched ?? (() => false);
  const isHatched = (i, j) => hatched(i, j) || !Number.isFinite(options.value(i, j));
  let [row, col] = options.at ?? [0, 0];
  const canvas = el("canvas", {
    id: options.id, tabindex: "0", role: "img", class: "map",
    "aria-label": `${options.label}: ${rows.length} rows by ${cols.length} columns; arrow keys move, the text below tells the value`,
  });
  const readout = el("output", { "aria-live": "polite", class: "readout" });
  const box = el("div", { class: "scroll" }, canvas);
  let size = 0, tall = 0, left = 0, top = 0, image = null; // a cell is `size` wide and `tall` high

  function paintCells() {
    image = document.createElement("canvas");
    image.width = Math.max(cols.length, 1);
    image.height = Math.max(rows.length, 1);
    const context = image.getContext("2d");
    const pixels = context.createImageData(image.width, image.height);
    const colours = palette(scale);
    for (let i = 0; i < rows.length; i++) {
      for (let j = 0; j < cols.length; j++) {
        const from = 3 * step(scale, shade(options.value(i, j)), options.largest), to = 4 * (i * cols.length + j);
        const none = isHatched(i, j);
        for (let part = 0; part < 3; part++) pixels.data[to + part] = none ? 128 : colours[from + part];
        pixels.data[to + 3] = none ? 40 : 255;
      }
    }
    context.putImageData(pixels, 0, 0);
  }

  function draw() {
    const context = canvas.getContext("2d");
    context.font = "12px system-ui, sans-serif";
    const longest = (texts) => Math.min(Math.max(0, ...texts.map((text) => context.measureText(text).width)), 110);
    const room = Math.max(box.clientWidth, 120);
    left = Math.ceil(longest(rows)) + 8;
    const fitting = (room - left - 2) / Math.max(cols.length, 1);
    size = cols.length > 200 && fitting < 1 ? Math.max(fitting, 0.25) : clamp(Math.floor(fitting), cols.length > 200 ? 1 : 3, options.cellMost ?? 30);
    tall = Math.max(size, rows.length <= 64 ? options.tall ?? 0 : 0);
    const named = size >= 11;
    if (rows.length > 1 && tall < 9) left = 8;
    const isUpright = named && longest(cols) <= size - 2;
    top = isUpright ? 18 : named ? Math.ceil(longest(cols)) + 8 : 4;
    const width = left + cols.length * size + 1, height = top + rows.length * tall + 1;
    const sharp = Math.min(devicePixelRatio || 1, 4096 / Math.max(width, height, 1));
    canvas.width = width * sharp;
    canvas.height = height * sharp;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    context.setTransform(sharp, 0, 0, sharp, 0, 0);
    context.imageSmoothingEnabled = size < 1;
    if (!image) paintCells();
    context.drawImage(image, left, top, cols.length * size, rows.length * tall);
    context.font = `${clamp(Math.max(size, tall), 9, 12)}px system-ui, sans-serif`;
    context.fillStyle = cssColour("--ink");
    context.strokeStyle = cssColour("--quiet");
    if (size >= 3) hatchCells(context);
    context.textBaseline = "middle";
    if (left > 8) rows.forEach((text, i) => { context.textAlign = "right"; context.fillText(isolated(text), left - 5, top + (i + 0.5) * tall, left - 6); });
    if (named) cols.forEach((text, j) => {
      context.save();
      context.translate(left + (j + 0.5) * size, isUpright ? top - 9 : top - 5);
      context.textAlign = isUpright ? "center" : "left";
      if (!isUpright) context.rotate(-Math.PI / 2);
      context.fillText(isolated(text), 0, 0, isUpright ? size : top - 6);
      context.restore();
    });
    if (options.outlined) eachCell((i, j) => options.outlined(i, j) && outline(context, i, j, "--wrong"));
    context.strokeStyle = cssColour("--quiet");
    context.lineWidth = 1;
    context.strokeRect(left - 0.5, top - 0.5, cols.length * size + 1, rows.length * tall + 1);
    if (document.activeElement === canvas || options.at) outline(context, row, col, "--focus");
  }

  const eachCell = (act) => { for (let i = 0; i < rows.length; i++) for (let j = 0; j < cols.length; j++) act(i, j); };

  function hatchCells(context) {
    context.lineWidth = 1;
    eachCell((i, j) => {
      if (!isHatched(i, j)) return;
      const x = left + j * size, y = top + i * tall;
      context.beginPath();
      context.save();
      context.rect(x, y, size, tall);
      context.clip();
      context.beginPath();
      for (let at = 0; at < size + tall; at += HATCH) {
        context.moveTo(x + at, y);
        context.lineTo(x + at - tall, y + tall);
      }
      context.stroke();
      context.restore();
    });
  }

  function outline(context, i, j, colourName) {
    context.strokeStyle = cssColour(colourName);
    context.lineWidth = 2;
    context.strokeRect(left + j * size, top + i * tall, Math.max(size, 3), Math.max(tall, 3));
  }

  function tell() {
    if (!rows.length || !cols.length) return;
    const value = options.value(row, col);
    const what = hatched(row, col) ? options.hatchedMeans ?? "hatched" : format(value);
    const where = rows.length > 1 || rows[0] ? [`${options.rowAxis ?? "row"} `, el("bdi", {}, rows[row]), " · "] : [];
    readout.replaceChildren(...where, `${options.colAxis ?? "column"} `,
      el("bdi", {}, cols[col]), ` · `, el("b", {}, what));
  }

  function focus(i, j, picked = true) {
    row = clamp(i, 0, rows.length - 1);
    col = clamp(j, 0, cols.length - 1);
    tell();
    draw();
    if (table.open) fill();
    if (picked) options.onFocus?.(row, col);
  }

  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -col], End: [0, cols.length] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    focus(row + move[0], col + move[1]);
  });
  const place = (event) => {
    const bounds = canvas.getBoundingClientRect();
    return [Math.floor((event.clientY - bounds.top - top) / tall), Math.floor((event.clientX - bounds.left - left) / size)];
  };
  const inside = ([i, j]) => i >= 0 && j >= 0 && i < rows.length && j < cols.length;
  canvas.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (inside(at) && (at[0] !== row || at[1] !== col) && !options.onFocus) focus(...at, false);
    else if (inside(at)) canvas.title = `${rows[at[0]]} · ${cols[at[1]]} · ${format(options.value(...at))}`;
  });
  canvas.addEventListener("click", (event) => { const at = place(event); if (inside(at)) focus(...at); });
  canvas.addEventListener("focus", draw);
  canvas.addEventListener("blur", draw);

  function fill() {
    const window_ = (count, at) => range(Math.min(count, TABLE_MOST)).map((i) => i + clamp(at - TABLE_MOST / 2, 0, Math.max(0, count - TABLE_MOST)));
    const down = window_(rows.length, row), across = window_(cols.length, col);
    const all = down.length === rows.length && across.length === cols.length;
    table.replaceChildren(table.firstChild, el("div", { class: "scroll" }, el("table", {},
      el("caption", {}, options.label + (all ? "" : ` (${down.length} of ${rows.length} rows and ${across.length} of ${cols.length} columns, around what is in focus)`)),
      el("thead", {}, el("tr", {}, el("th", {}), across.map((j) => el("th", { scope: "col" }, el("bdi", {}, cols[j]))))),
      el("tbody", {}, down.map((i) => el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, rows[i])),
        across.map((j) => el("td", {}, hatched(i, j) ? options.hatchedMeans ?? "" : format(options.value(i, j))))))))));
  }
  const table = el("details", { class: "table", toggle: () => table.open && fill() }, el("summary", {}, "as a table"));

  tell();
  const figure = el("figure", {},
    el("figcaption", {}, options.label, options.rowAxis && options.colAxis && rows.length > 1
      ? el("span", { class: "quiet" }, ` — ${options.rowAxis} down, ${options.colAxis} across`) : null),
    box, readout,
    legend(scale, options.largest, (options.legend ?? "") + (options.hatchedMeans ? `; hatched: ${options.hatchedMeans}` : ""), options.clipped, options.ends),
    options.note ? el("p", { class: "quiet" }, options.note) : null, table);
  let width = -1;
  new ResizeObserver(() => { if (box.clientWidth !== width) { width = box.clientWidth; draw(); } }).observe(box);
  keepDrawn(canvas, () => { image = null; draw(); });
  figure.focusCell = (i, j) => focus(i, j, false);
  return figure;
}

// One row of numbers.
const strip = (options) => numberMap({ rows: [""], rowAxis: "", cellMost: 14, tall: 16, ...options, value: (i, j) => options.value(j) });
