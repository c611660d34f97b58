// Pieces: the text as the model reads it.

function drawPieces() {
  return el("div", {}, DATA.pieces.map((part) => [
    DATA.pieces.length > 1 ? heading(part.title) : null,
    el("div", { class: "scroll" }, el("table", { class: "pieces" }, el("caption", {}, `${part.tokens.length} pieces`),
      el("thead", {}, el("tr", {}, ["position", "piece", "id", "type"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, part.tokens.map((text, i) => el("tr", {}, el("th", { scope: "row" }, String(part.positions[i])),
        el("td", { class: "text" }, token(text)), el("td", {}, String(part.ids[i])), el("td", {}, String(part.types[i]))))))),
    heading("The embeddings"),
    say("Each piece picks a row of the word table, one of the type table and one of the position table; ", code(":sum"), " is their sum, and LayerNorm makes ", code("embeddings"), " of it, which the first layer reads."),
    part.strips.map(({ name, picture }) => pictureOf(picture, { label: name, rowLabels: labels(part.tokens), rowAxis: "piece" })),
  ]));
}
