"""The pictures of a comparison as SVG: the map, the errors along the pass, and the inside of one tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from npbert.errors import InputError, MissingNameError
from npbert.views import drawings
from npbert.views.blobs import unpacked_shares
from npbert.views.charts import charts_svg
from npbert.views.drawings import Matrix
from npbert.views.model_map import Section

SHOWN_DECADES = 3.0
SORTED = {"right": "truth", "port": "port"}


def of_comparison(
    tables: Sequence[Section], cells: Sequence[dict[str, Any]], data: dict[str, Any]
) -> dict[str, Callable[..., str]]:
    """Name to picture."""
    return {
        "map": lambda theme="light", own_inputs=False: drawings.model_map(tables, cells, own_inputs, theme),
        "along": partial(_along, data["lines"]),
        "where": partial(_where, cells, data["first"]),
        "histogram": partial(_histogram, cells, data["first"]),
        "curve": partial(_curve, cells, data["first"]),
        "sorted": partial(_sorted, cells, data["first"]),
    }


def _along(lines: dict[str, Any], theme: str = "light") -> str:
    """The error of each tensor beside what each precision allows, as logarithms."""
    series = {"the port": lines["rms"], **{f"allowed in {kind}": values for kind, values in lines["allowed"].items()}}
    drawn = {name: [(x, math.log10(y)) for x, y in enumerate(values) if y > 0] for name, values in series.items()}
    label = "rms of the error of each tensor, in the order of computation (logarithm, base 10)"
    return charts_svg("errors along the pass", {label: drawn}, x_axis="tensor", theme=theme)


def _where(cells: Sequence[dict[str, Any]], first: int | None, theme: str = "light", name: str | None = None) -> str:
    """The maps of one tensor."""
    cell = _opened(cells, first, name)
    maps = [
        Matrix(
            f"{plane['title']} ({plane['row_axis'] or 'row'} down, {plane['col_axis']} across)",
            plane["rows"],
            plane["cols"],
            unpacked_shares(plane["values"]),
            "logarithm (base 10) of error over allowed; hatched does not count",
            signed=True,
            largest=SHOWN_DECADES,
        )
        for plane in cell["detail"]["planes"]
    ]
    return drawings.matrices(f"errors of {cell['name']}", maps, theme)


def _histogram(cells: Sequence[dict[str, Any]], first: int | None, theme: str = "light", name: str | None = None) -> str:
    """How many numbers of one tensor have which error."""
    cell = _opened(cells, first, name)
    found = cell["detail"]["histogram"]
    points = [(math.log10(x), float(count)) for x, count in zip(found["middles"], found["counts"], strict=True)]
    label = f"{cell['name']}: how many numbers have which error; {found['exact']} have none"
    return charts_svg(label, {label: {"numbers": points}}, x_axis="log10 of error/allowed", theme=theme)


def _curve(cells: Sequence[dict[str, Any]], first: int | None, theme: str = "light", name: str | None = None) -> str:
    """The error of one tensor against the value that went in: a wrong activation draws its own curve."""
    cell = _opened(cells, first, name, "curve")
    curve = cell["detail"]["curve"]
    label = f"{cell['name']}: port minus right, over {cell['detail']['input']}"
    points = list(zip(curve["x"], curve["mean"], strict=True))
    return charts_svg(label, {label: {"mean error": points}}, x_axis="value that went in", theme=theme)


def _sorted(cells: Sequence[dict[str, Any]], first: int | None, theme: str = "light", name: str | None = None) -> str:
    """Both tensors' values in the order of their size."""
    cell = _opened(cells, first, name, "quantiles")
    both = cell["detail"]["quantiles"]
    lines = {which: [(100 * i / 60, float(x)) for i, x in enumerate(both[part])] for which, part in SORTED.items()}
    label = f"{cell['name']}: all values sorted"
    return charts_svg(label, {label: lines}, x_axis="percent", theme=theme)


def _opened(cells: Sequence[dict[str, Any]], first: int | None, name: str | None, part: str = "planes") -> dict[str, Any]:
    """The cell of this name, which the page must have opened; without a name the first divergence, or the first tensor."""
    if name is None:
        there = [cell for cell in cells if "detail" in cell]
        found = cells[first] if first is not None else there[0] if there else None
    else:
        found = next((cell for cell in cells if name in cell["names"]), None)
    if found is None:
        raise MissingNameError(f"name: no {name!r} in the pack")
    if part not in found.get("detail", {}):
        raise InputError(
            f"name: there is no such picture of {found['name']}: it is {found['state']}, or the page has it closed"
        )
    return found
