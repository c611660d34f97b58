"""The arithmetic behind one attention weight as a drawing: from query and key to the context, line by line."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbert.types import Array
from npbert.views import colours
from npbert.views.heads import Attention
from npbert.views.one_number import divisor_of, mask_of
from npbert.views.one_pass import OnePass
from npbert.views.svg import WRONG, Drawing, longest

WIDE, HIGH = 620.0, 18.0
"""The room for a strip of numbers, in pixels."""


def number_picture(done: OnePass, attention: Attention, layer: int, head: int, query: int, key: int, theme: str) -> str:
    """Query, key, their products, the sum, the scale, the mask, the row of the softmax, times the value, into the context."""
    path, names = attention.paths[layer], (done.sides[attention.rows].tokens, done.sides[attention.cols].tokens)
    asks, answers = names[0][query], names[1][key]
    q, k, v = (done.values[f"{path}:{part}"][0, head, at] for part, at in (("query", query), ("key", key), ("value", key)))
    weights, masked = (done.values[f"{path}:{part}"][0, head, query] for part in ("probs", "masked_scores"))
    score, divisor = float(done.values[f"{path}:scores"][0, head, query, key]), divisor_of(done, path)
    context = done.values[path + done.sides[attention.rows].names.context][0, query]
    shared = max(np.abs(q).max(), np.abs(k).max())

    drawn = _Lines(theme, f"{path}, head {head}: “{asks}” asks “{answers}”")
    drawn.strip(f"query of “{asks}”: q = x W_q^T + b_q", q, shared)
    drawn.strip(f"key of “{answers}”: k = x W_k^T + b_k", k, shared)
    drawn.strip("products, feature by feature: q_i k_i", q * k)
    drawn.line(f"their sum, the score: {score:.6g}")
    if f"{path}:relative_scores" in done.values:
        relative = float(done.values[f"{path}:relative_scores"][0, head, query, key])
        drawn.line(f"what the distance adds: {score:.6g} + {relative:.6g} = {score + relative:.6g}")
        score += relative
    by = f"sqrt({len(q)})" if divisor == len(q) ** 0.5 else f"{divisor:.6g}"
    drawn.line(f"the scale: {score:.6g} / {by} = {score / divisor:.6g}")
    added = float(mask_of(done, path)[query, key])
    hidden = "hidden" if added else "nothing is hidden here"
    drawn.line(f"the mask: {score / divisor:.6g} + {added:.6g} = {float(masked[key]):.6g} ({hidden})")
    weight = float(weights[key])
    drawn.row(f"softmax over the row: where “{asks}” looks; its weight for “{answers}” is {weight:.6g}", weights, names[1], key)
    drawn.strip(f"value of “{answers}”: v = x W_v^T + b_v", v)
    drawn.strip(f"times the weight: {weight:.4g} v", weight * v, float(np.abs(v).max()))
    drawn.strip(f"the context of “{asks}” from this head: the sum of p_j v_j over all keys", context.reshape(-1, len(q))[head])
    return drawn.finished()


class _Lines:
    """A drawing that grows downwards."""

    def __init__(self, theme: str, title: str) -> None:
        self.drawing, self.title, self.y, self.number = Drawing(theme), title, 34.0, 0
        self.drawing.text(0, 12, title, font_weight="bold")

    def line(self, words: str) -> None:
        """A numbered line of words."""
        self.number += 1
        self.drawing.text(0, self.y, f"{self.number}. {words}")
        self.y += 24

    def strip(self, words: str, x: Array, largest: float | None = None) -> None:
        """A line with signed numbers below it, and what the colours mean beside them."""
        self.line(words)
        largest = float(np.abs(x).max()) if largest is None else float(largest)
        size = float(np.clip(WIDE / len(x), 1, HIGH))
        self.drawing.map(14, self.y - 16, colours.signed(x[None], largest, self.drawing.theme), size, HIGH)
        scale = colours.scale("diverging", self.drawing.theme)
        self.drawing.legend(14 + len(x) * size + 12, self.y - 13, scale, f"{-largest:.3g}", f"{largest:.3g}", "")
        self.y += HIGH + 12

    def row(self, words: str, x: Array, names: list[str], marked: int) -> None:
        """A line with weights below it: each key's name over its weight, one of them framed."""
        self.line(words)
        size = float(np.clip(WIDE / len(x), 1, 26))
        names = names if len(names) == len(x) else [str(number) for number in range(len(x))]
        if size >= 10:
            self.y += longest(names)
            for number, name in enumerate(names):
                at = 14 + (number + 0.7) * size
                self.drawing.text(at, self.y - 20, name, transform=f"rotate(-90 {at:.6g} {self.y - 20:.6g})")
        painted = colours.magnitude(np.sqrt(x[None]), 1.0, self.drawing.theme)
        self.drawing.map(14, self.y - 16, painted, size, HIGH)
        frame: dict[str, Any] = {"fill": "none", "stroke": WRONG[self.drawing.theme], "stroke_width": 2}
        self.drawing.add("rect", x=14 + marked * size, y=self.y - 16, width=max(size, 3.0), height=HIGH, **frame)
        scale = colours.scale("sequential", self.drawing.theme)
        self.drawing.legend(14 + len(x) * size + 12, self.y - 13, scale, "0", "1", "weight (colour by its square root)")
        self.y += HIGH + 12

    def finished(self) -> str:
        """The whole drawing."""
        self.drawing.reach(14 + WIDE, self.y)
        return self.drawing.finished(self.title)
