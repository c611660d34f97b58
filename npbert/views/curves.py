"""Curves as a page: how a training went."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from npbert.errors import InputError
from npbert.views.charts import Line, charts_svg
from npbert.views.page import View, page


def curves(title: str, charts: Mapping[str, Mapping[str, Line]], *, x_axis: str = "step") -> View:
    """Charts below each other, each with its lines: `{"loss": {"training": [(0, 2.3), ...], "validation": [...]}}`.

    `svg("curve")` is all of them, `svg("curve", chart="loss")` one.
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
    title: str, charts: Mapping[str, Mapping[str, Line]], x_axis: str, chart: str | None = None, theme: str | None = None
) -> str:
    if chart is not None and chart not in charts:
        raise InputError(f"chart: takes {', '.join(charts)}, got {chart!r}")
    return charts_svg(title, charts if chart is None else {chart: charts[chart]}, x_axis=x_axis, theme=theme)
