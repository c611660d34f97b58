"""A log as a picture: the loss of every step, and below it what the evaluations found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 680, 220, 64, 180, 26, 34  # of one panel, in pixels
COLORS = ("#3b6fb6", "#c05a2b", "#4a8f4a", "#8a5aa8")  # told apart on white and on black
POINTS = 300  # of a line at most: a pixel or two each
STYLE = """
text { font: 12px sans-serif; fill: #333 } .axis { stroke: #999 } .grid { stroke: #ddd } .paper { fill: #fff }
@media (prefers-color-scheme: dark) {
text { fill: #ccc } .axis { stroke: #777 } .grid { stroke: #333 } .paper { fill: #111 } }
"""

Points = list[tuple[float, float]]


def curve_svg(log: Sequence[dict[str, Any]]) -> str:
    """The lines of a log as an SVG, for light and dark surroundings: the losses, and the other figures of the evaluations."""
    steps = [line for line in log if "lr" in line]
    evaluations = [line for line in log if "lr" not in line]
    names = sorted({name for line in evaluations for name in line if name.startswith("eval_")})
    losses = {"loss": smoothed([(line["step"], line["loss"]) for line in steps])}
    scores: dict[str, Points] = {}
    for name in names:
        points = [(line["step"], line[name]) for line in evaluations if name in line]
        (losses if name == "eval_loss" else scores)[name.removeprefix("eval_") if name != "eval_loss" else "held out"] = points
    panels = [("loss", losses), *([("held out", scores)] if scores else [])]
    last = max((line["step"] for line in log), default=1)
    height = HEIGHT * len(panels)
    body = "".join(_panel(title, lines, last, HEIGHT * number) for number, (title, lines) in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f"<title>Training</title><style>{STYLE}</style>"
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>{body}</svg>\n'
    )


def smoothed(points: Points) -> Points:
    """At most so many points: neighbours become their mean, at the last one's place."""
    size = math.ceil(len(points) / POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _panel(title: str, lines: dict[str, Points], last: float, top: float) -> str:
    values = [y for points in lines.values() for _, y in points] or [0.0]
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(x: float) -> float:
        return LEFT + inner_width * x / last

    def y_of(y: float) -> float:
        return top + TOP + inner_height * (high - y) / (high - low)

    bottom = y_of(low)
    parts = [f'<text x="{LEFT}" y="{top + 16:.0f}">{escape(title)}</text>']
    for y in ticks(low, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(y):.1f}" y2="{y_of(y):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y_of(y) + 4:.1f}" text-anchor="end">{y:.4g}</text>')
    for x in [tick for tick in ticks(0, last) if tick == int(tick)]:
        parts.append(f'<line class="axis" x1="{x_of(x):.1f}" x2="{x_of(x):.1f}" y1="{bottom:.1f}" y2="{bottom + 4:.1f}"/>')
        parts.append(f'<text x="{x_of(x):.1f}" y="{bottom + 17:.1f}" text-anchor="middle">{x:.0f}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom:.1f}" y2="{bottom:.1f}"/>')
    parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{bottom + 17:.1f}">step</text>')
    for number, (name, points) in enumerate(lines.items()):
        color = COLORS[number % len(COLORS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{path}"/>')
        if len(points) <= 60:
            parts += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.5" fill="{color}"/>' for x, y in points]
        at = top + TOP + 12 + 18 * number
        left = WIDTH - RIGHT + 8
        parts.append(
            f'<line x1="{left}" x2="{left + 16}" y1="{at - 4:.0f}" y2="{at - 4:.0f}" stroke="{color}" stroke-width="3"/>'
        )
        parts.append(f'<text x="{left + 22}" y="{at:.0f}">{escape(name.replace("_", " "))}</text>')
    return "".join(parts)
