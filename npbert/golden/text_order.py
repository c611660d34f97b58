"""A dump whose texts stand in another order than the pack's, as of a port that sorts them by length."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from npbert.golden.compare import compare_matched
from npbert.golden.matching import MatchedDump
from npbert.golden.names import axes_of
from npbert.golden.report import Report
from npbert.golden.suspects import Evidence, Suspect
from npbert.types import Array

HEADLINE = "the dump, not the computation: every tensor is right with the texts in another order"


def right_in_another_order(dump: MatchedDump, report: Report) -> Suspect | None:
    """The suspect that says so, where every tensor of the dump is right once its texts are put in the pack's order."""
    row = next((row for row in report.rows if not row.ok and row.name in dump.pack and not row.problem), None)
    places = None if row is None else _places(dump, row.name, report.precision)
    if row is None or places is None or sorted(places) == places:
        return None
    reordered = _taking(dump, np.argsort(places))
    if compare_matched(reordered, report.precision).first_divergence is not None:
        return None
    told = ", ".join(f"its text {own} is text {place} of the pack" for own, place in enumerate(places[:3]))
    explanation = f"The port's texts are in another order, counted from 0: {told}{' and so on' * (len(places) > 3)}."
    evidence = Evidence(row.name, row.rms, math.inf, row.rms_tolerance)
    return Suspect("dump-not-computation", row.name, explanation, evidence, HEADLINE)


def _places(dump: MatchedDump, name: str, precision: str) -> list[int] | None:
    """For each text of the port which text of the pack it is, told from one tensor; None where nobody can tell."""
    truth, seen, counts = dump.truth(name), dump.value(name), dump.pack.counted(name)
    axes = axes_of(name, truth.ndim)
    if "B" not in axes or axes.index("B") != 0:
        return None
    bound = dump.pack.tolerances[name][precision].max_abs
    counts = np.broadcast_to(counts, truth.shape)
    places: list[int] = []
    for own in seen:
        near = (i for i in range(len(truth)) if i not in places and _are_near(own, truth[i], counts[i], bound))
        place = next(near, None)
        if place is None:
            return None
        places.append(place)
    return places


def _are_near(own: Array, truth: Array, counts: Array, bound: float) -> bool:
    return bool((np.abs(own.astype(np.float64) - truth)[counts] <= bound).all())


def _taking(dump: MatchedDump, order: Array) -> MatchedDump:
    """The dump with its texts in this order."""
    arrays: dict[str, Callable[[], Array]] = {name: partial(_reordered, name, dump.value(name), order) for name in dump.arrays}
    readings = {name: [first._replace(read=lambda x: x)] for name, (first, *_) in dump.readings.items()}
    return dump._replace(arrays=arrays, readings=readings)


def _reordered(name: str, x: Array, order: Array) -> Array:
    axes = axes_of(name, x.ndim)
    return x.take(order, axes.index("B")) if "B" in axes and x.shape[axes.index("B")] == len(order) else x
