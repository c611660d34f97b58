"""The pictures that a page's `svg` makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from npbert.types import Array
from npbert.views import colours
from npbert.views.model_map import Section
from npbert.views.svg import LETTER, LINE, TONES, WRONG, Drawing, longest

CELL = 20.0
RIGHT_DECADES, WRONG_DECADES = 10.0, 3.0
"""The colours of a comparison go from 10**-10 of what is allowed to a thousand times it; what is right stays pale."""


def model_map(sections: Sequence[Section], cells: Sequence[dict[str, Any]], own_inputs: bool, theme: str) -> str:
    """A comparison's map: as dumped, or each step on the port's own inputs."""
    drawing, y = Drawing(theme), 14.0
    for section in sections:
        shown = [cell for _, row in section.rows for cell in row if cell is not None]
        if section.title == "inputs" or all(cells[cell]["state"] == "open" for cell in shown):
            continue
        left, top = longest([label for label, _ in section.rows]) + 8, longest(section.columns) + 8
        drawing.text(0, y, section.title, font_weight="bold")
        for column, step in enumerate(section.columns):
            x = left + (column + 0.65) * CELL
            drawing.text(x, y + top, step, transform=f"rotate(-90 {x:.6g} {y + top:.6g})")
        y += top + 6
        for label, row in section.rows:
            drawing.text(left - 6, y + 14, label, text_anchor="end")
            for column, cell in enumerate(row):
                if cell is not None:
                    _model_cell(drawing, left + column * CELL, y, cells[cell], own_inputs)
            y += CELL
        y += 24
    drawing.legend(
        0, y, colours.scale("diverging", theme), "less", "1000", "times what is allowed: blue is right, orange is wrong"
    )
    return drawing.finished("errors of a port: " + ("each step on its own inputs" if own_inputs else "as dumped"))


def _model_cell(drawing: Drawing, x: float, y: float, cell: dict[str, Any], own_inputs: bool) -> None:
    share = cell.get("own_share" if own_inputs else "share")
    box: dict[str, Any] = {"x": x + 1, "y": y + 1, "width": CELL - 2, "height": CELL - 2, "rx": 2}
    if cell["state"] == "open" or share is None:
        drawing.add("rect", **box, fill="none", stroke=LINE[drawing.theme], stroke_dasharray="2 2")
    elif not math.isfinite(share):
        drawing.add("rect", **box, fill="none", stroke=WRONG[drawing.theme])
        drawing.text(x + 6, y + 14, "∞")
    else:
        red, green, blue = colours.signed(np.array(_shade(share)), 1.0, drawing.theme)
        drawing.add("rect", **box, fill=f"rgb({red},{green},{blue})", stroke=LINE[drawing.theme])
        if share > 1:
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 140
            drawing.add("path", d=f"M{x + 6:.6g} {y + 6:.6g}l8 8m0 -8l-8 8", stroke="#000" if light else "#fff")
    if cell["is_first"]:
        drawing.add("rect", **box, fill="none", stroke=WRONG[drawing.theme], stroke_width=3)
    drawing.reach(x + CELL, y + CELL)


def _shade(share: float) -> float:
    """Where on the scale of colours, -1 to 1, an error stands that is so many times what is allowed."""
    if not share:
        return 0.0
    logarithm = math.log10(share)
    return 0.4 * logarithm / RIGHT_DECADES - 0.06 if logarithm < 0 else logarithm / WRONG_DECADES


def matrix(
    title: str, rows: Sequence[str], cols: Sequence[str], x: Array, what: str, theme: str, *, signed: bool = False
) -> str:
    """A map of numbers with its axes and its legend."""
    drawing = Drawing(theme)
    size = float(np.clip(560 / max(len(cols), 1), 1, 24))
    named = size >= 10
    left, top = (longest(rows) + 8, longest(cols) + 8) if named else (4.0, 4.0)
    drawing.text(0, 12, title, font_weight="bold")
    top += 20
    largest = float(np.abs(x).max(initial=0)) or 1.0
    paint = colours.signed if signed else colours.magnitude
    drawing.map(left, top, paint(x, largest, theme), size)
    if named:
        for number, label in enumerate(rows):
            drawing.text(left - 5, top + (number + 0.7) * size, label, text_anchor="end")
        for number, label in enumerate(cols):
            at = left + (number + 0.7) * size
            drawing.text(at, top - 5, label, transform=f"rotate(-90 {at:.6g} {top - 5:.6g})")
    low = f"{-largest:.3g}" if signed else "0"
    scale = colours.scale("diverging" if signed else "sequential", theme)
    drawing.legend(left, top + len(rows) * size + 10, scale, low, f"{largest:.3g}", what)
    return drawing.finished(title)


def grid(title: str, maps: Sequence[Sequence[Array]], rows: Sequence[str], cols: Sequence[str], what: str, theme: str) -> str:
    """Many small maps side by side, each from 0 to 1 with the square root of its values as colour."""
    drawing = Drawing(theme)
    side = 44.0
    left, top = longest(rows) + 8, 40.0
    drawing.text(0, 12, title, font_weight="bold")
    for column, label in enumerate(cols):
        drawing.text(left + (column + 0.5) * (side + 4), top - 6, label, text_anchor="middle", quiet=True)
    for row, line in enumerate(maps):
        drawing.text(left - 6, top + row * (side + 4) + side / 2 + 4, rows[row], text_anchor="end", quiet=True)
        for column, x in enumerate(line):
            painted = colours.magnitude(np.sqrt(x), 1.0, theme)
            drawing.map(left + column * (side + 4), top + row * (side + 4), painted, side / max(x.shape))
    drawing.legend(left, top + len(maps) * (side + 4) + 8, colours.scale("sequential", theme), "0", "1", what)
    return drawing.finished(title)


def answers(title: str, layers: Sequence[Sequence[tuple[str, float]]], theme: str) -> str:
    """The best answers of each layer with their probabilities, the last layer at the top."""
    drawing = Drawing(theme)
    drawing.text(0, 12, title, font_weight="bold")
    for line, best in enumerate(reversed(layers)):
        y = 36.0 + 22 * line
        number = len(layers) - 1 - line
        drawing.text(0, y, f"layer {number - 1}" if number else "embeddings", quiet=True)
        x = 90.0
        for word, probability in best:
            red, green, blue = colours.magnitude(np.array(probability), 1.0, theme)
            written = f"{word} {probability:.2f}"
            width = LETTER * len(written) + 12
            drawing.add(
                "rect", x=x, y=y - 13, width=width, height=18, rx=3, fill=f"rgb({red},{green},{blue})", stroke=LINE[theme]
            )
            drawing.text(x + 6, y, written, fill="#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff")
            x += width + 6
    return drawing.finished(title)


def bars(title: str, parts: Sequence[tuple[str, float]], theme: str) -> str:
    """Signed numbers as bars to both sides of 0."""
    drawing = Drawing(theme)
    drawing.text(0, 12, title, font_weight="bold")
    left = longest([name for name, _ in parts]) + 12
    largest = max((abs(float(x)) for _, x in parts if np.isfinite(x)), default=0.0) or 1.0
    zero = left + 170.0
    for line, (name, x) in enumerate(parts):
        y = 30.0 + 18 * line
        drawing.text(left - 6, y + 11, name, text_anchor="end")
        if np.isfinite(x):  # what is not a number is written, and has no length
            width = 160 * abs(float(x)) / largest
            start, tone = (zero, TONES[theme][1]) if x > 0 else (zero - width, TONES[theme][0])
            drawing.add("rect", x=start, y=y, width=width, height=13, fill=tone)
        drawing.text(zero + 176, y + 11, f"{float(x):+.4g}")
        drawing.reach(zero + 240, y + 16)
    drawing.add("line", x1=zero, x2=zero, y1=26, y2=30.0 + 18 * len(parts), stroke=LINE[theme])
    return drawing.finished(title)
