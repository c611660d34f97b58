"""Lines over a common axis as an SVG, chart below chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TypeAlias

from npbert.checks import choice
from npbert.views.svg import INK, LINE, PAGE, QUIET, printable

Line: TypeAlias = Sequence[tuple[float, float]]
"""Points (x, y), such as (step, loss)."""

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 680, 220, 64, 180, 26, 34  # of one chart, in pixels
COLORS = ("#3b6fb6", "#c05a2b", "#4a8f4a", "#8a5aa8")  # told apart on white and on black
FEW = 60  # points that each get a dot


def charts_svg(title: str, charts: Mapping[str, Mapping[str, Line]], *, x_axis: str = "step", theme: str | None = None) -> str:
    """Charts below each other, each with its lines by name. Without a `theme` they are as light or dark as what is around them.

    Points that are not finite are left out.
    """
    finite = {
        label: {name: [point for point in line if all(map(math.isfinite, point))] for name, line in lines.items()}
        for label, lines in charts.items()
    }
    places = [x for lines in finite.values() for line in lines.values() for x, _ in line] or [0.0, 1.0]
    height = HEIGHT * len(charts)
    body = "".join(
        _chart(label, lines, (min(0.0, *places), max(places)), x_axis, HEIGHT * number)
        for number, (label, lines) in enumerate(finite.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">'
        f"<title>{escape(printable(title))}</title><style>{_style(theme)}</style>"
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>{body}</svg>\n'
    )


def _style(theme: str | None) -> str:
    def rules(name: str) -> str:
        return (
            f"text {{ font: 12px system-ui, sans-serif; fill: {INK[name]} }} .axis {{ stroke: {QUIET[name]} }} "
            f".grid {{ stroke: {LINE[name]} }} .paper {{ fill: {PAGE[name]} }}"
        )

    if theme is not None:
        return rules(choice("theme", theme, ("light", "dark")))
    return f"{rules('light')} @media (prefers-color-scheme: dark) {{ {rules('dark')} }}"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _chart(label: str, lines: Mapping[str, Line], ends: tuple[float, float], x_axis: str, top: float) -> str:
    values = [y for line in lines.values() for _, y in line] or [0.0]
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(abs(high), 1.0):
        low, high = low - 0.5, high + 0.5
    first, last = ends if ends[1] > ends[0] else (ends[0], ends[0] + 1)
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(x: float) -> float:
        return LEFT + inner_width * (x - first) / (last - first)

    def y_of(y: float) -> float:
        return top + TOP + inner_height * (high - y) / (high - low)

    bottom = y_of(low)
    parts = [f'<text x="{LEFT}" y="{top + 16:.0f}">{escape(printable(label))}</text>']
    for y in ticks(low, high):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(y):.1f}" y2="{y_of(y):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y_of(y) + 4:.1f}" text-anchor="end">{y:.4g}</text>')
    for x in [tick for tick in ticks(first, last) if tick == int(tick)]:
        parts.append(f'<line class="axis" x1="{x_of(x):.1f}" x2="{x_of(x):.1f}" y1="{bottom:.1f}" y2="{bottom + 4:.1f}"/>')
        parts.append(f'<text x="{x_of(x):.1f}" y="{bottom + 17:.1f}" text-anchor="middle">{x:.0f}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom:.1f}" y2="{bottom:.1f}"/>')
    parts.append(f'<text x="{WIDTH - RIGHT + 20}" y="{bottom + 17:.1f}">{escape(printable(x_axis))}</text>')
    for number, (name, points) in enumerate(lines.items()):
        color = COLORS[number % len(COLORS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{path}"/>')
        if len(points) <= FEW:
            parts += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2.5" fill="{color}"/>' for x, y in points]
        at = top + TOP + 12 + 18 * number
        left = WIDTH - RIGHT + 8
        parts.append(
            f'<line x1="{left}" x2="{left + 16}" y1="{at - 4:.0f}" y2="{at - 4:.0f}" stroke="{color}" stroke-width="3"/>'
        )
        parts.append(f'<text x="{left + 22}" y="{at:.0f}">{escape(printable(name.replace("_", " ")))}</text>')
    return "".join(parts)
