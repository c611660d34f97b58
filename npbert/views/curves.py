"""Curves as a page: how a training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeAlias

from npbert.errors import InputError
from npbert.views import drawings
from npbert.views.page import View, page

Line: TypeAlias = "Sequence[tuple[float, float]]"
"""Points (x, y), such as (step, loss)."""


def curves(title: str, charts: Mapping[str, Mapping[str, Line]], *, x_axis: str = "step") -> View:
    """Charts below each other, each with its lines: `{"loss": {"training": [(0, 2.3), ...], "validation": [...]}}`.

    `svg("curve", chart="loss")` is one of them.
    """
    if not charts:
        raise InputError("charts: takes one chart or more, got none")
    data = {
        "kind": "curves",
        "x_axis": x_axis,
        "charts": [{"label": label, "series": lines} for label, lines in charts.items()],
    }
    summary = ", ".join(f"{label}: {' and '.join(lines)}" for label, lines in charts.items())
    return View(title, summary, page(title, data, ["curves.js"]), {"curve": partial(_drawn, title, charts, x_axis)})


def _drawn(
    title: str, charts: Mapping[str, Mapping[str, Line]], x_axis: str, chart: str | None = None, theme: str = "light"
) -> str:
    label = next(iter(charts)) if chart is None else chart
    if label not in charts:
        raise InputError(f"chart: takes {', '.join(charts)}, got {label!r}")
    return drawings.curves(title, charts[label], x_axis, label, theme)
