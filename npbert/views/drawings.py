"""The pictures that a page's `svg` makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from npbert.types import Array
from npbert.views import colours
from npbert.views.model_map import Section
from npbert.views.svg import LETTER, LINE, TONES, WRONG, Drawing, longest

CELL = 20.0
MOST_NAMED = 64  # rows
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


class Matrix(NamedTuple):
    """A map of numbers as it is to be drawn."""

    title: str
    rows: Sequence[str]
    cols: Sequence[str]
    x: Array  # [rows, cols]
    what: str  # the numbers are
    signed: bool = False
    largest: float | None = None  # the end of the scale; without it the largest number
    by_root: bool = False  # colour goes by the square root


def matrices(title: str, maps: Sequence[Matrix], theme: str) -> str:
    """Maps of numbers below each other, each with its axes and its legend."""
    drawing, y = Drawing(theme), 12.0
    if len(maps) > 1:
        drawing.text(0, y, title, font_weight="bold")
        y += 26
    for one in maps:
        y = _matrix(drawing, y, one) + 34
    return drawing.finished(title)


def _matrix(drawing: Drawing, y: float, one: Matrix) -> float:
    """Draw a map at this height; returns how far down it goes."""
    size = float(np.clip(620 / max(len(one.cols), 1), 1, 24))
    high = max(size, 14.0) if len(one.rows) <= MOST_NAMED else size
    drawing.text(0, y, one.title, font_weight="bold")
    left = longest(one.rows) + 8 if high >= 10 else 4.0
    top = y + 8 + (longest(one.cols) + 4 if size >= 10 else 0.0)
    if high >= 10:
        for number, label in enumerate(one.rows):
            drawing.text(left - 5, top + (number + 0.5) * high + 4, label, text_anchor="end")
    if size >= 10:
        for number, label in enumerate(one.cols):
            at = left + (number + 0.5) * size + 4
            drawing.text(at, top - 5, label, transform=f"rotate(-90 {at:.6g} {top - 5:.6g})")
    largest = one.largest or float(np.nanmax(np.abs(one.x), initial=0)) or 1.0
    share = one.x / largest
    share = np.sign(share) * np.sqrt(np.abs(share)) if one.by_root else share
    paint = colours.signed if one.signed else colours.magnitude
    drawing.map(left, top, paint(share, 1.0, drawing.theme), size, high)
    for row, line in enumerate(np.isnan(one.x)):
        for start, stop in _runs(line):
            drawing.hatched(left + start * size, top + row * high, (stop - start) * size, high)
    bottom = top + len(one.rows) * high + 10
    scale = colours.scale("diverging" if one.signed else "sequential", drawing.theme)
    what = f"{one.what} (colour by its square root)" if one.by_root else one.what
    more = " and more" if np.nanmax(np.abs(one.x), initial=0) > largest * 1.001 else ""
    drawing.legend(left, bottom, scale, f"{-largest:.3g}" if one.signed else "0", f"{largest:.3g}{more}", what)
    return bottom + 12


def _runs(line: Array) -> list[tuple[int, int]]:
    """Where the true values of a row stand together: starts and ends."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]]))).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def grid(
    title: str,
    maps: Sequence[Sequence[Array]],
    rows: Sequence[str],
    cols: Sequence[str],
    what: str,
    theme: str,
    signed: bool,
) -> str:
    """Many small maps side by side, each from 0 (or -1) to 1 with the square root of its values as colour."""
    drawing = Drawing(theme)
    side, low, name = 44.0, "-1" if signed else "0", "diverging" if signed else "sequential"
    paint = colours.signed if signed else colours.magnitude
    left, top = longest(rows) + 8, 40.0
    drawing.text(0, 12, title, font_weight="bold")
    for column, label in enumerate(cols):
        drawing.text(left + (column + 0.5) * (side + 4), top - 6, label, text_anchor="middle", quiet=True)
    for row, line in enumerate(maps):
        drawing.text(left - 6, top + row * (side + 4) + side / 2 + 4, rows[row], text_anchor="end", quiet=True)
        for column, x in enumerate(line):
            painted = paint(np.sign(x) * np.sqrt(np.abs(x)), 1.0, theme)
            drawing.map(left + column * (side + 4), top + row * (side + 4), painted, side / max(x.shape))
    drawing.legend(left, top + len(maps) * (side + 4) + 8, colours.scale(name, theme), low, "1", what)
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
