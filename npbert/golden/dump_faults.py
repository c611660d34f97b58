"""A dump that is wrong although the computation is right: a later tensor is right that this one would have made wrong."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from npbert.golden.divergence import Divergence
from npbert.golden.likeness import what_it_is
from npbert.golden.replay import propagated
from npbert.golden.suspects import Evidence, Suspect

MOVED = 10.0
"""A tensor counts as moved when it is off by this many tolerances."""


def dump_fault(divergence: Divergence, ok: Collection[str]) -> Suspect | None:
    """The suspect that says so, where the first tensor that differs cannot be what the port went on with.

    `ok` are the names that the comparison found right. The right pass is run with what the port holds under the first name that
    differs: where that moves a later tensor that the port has right, the port computed it from something else.
    """
    moved = [
        name
        for name, deviation in propagated(divergence).items()
        if divergence.reported(name) in ok and not divergence.is_within(name, deviation, MOVED)
    ]
    if not moved:
        return None
    name, last = divergence.first, moved[-1]
    seen = divergence.value(name)
    told = what_it_is(divergence, name)
    if seen is not None and not np.isfinite(seen[divergence.counts(name)]).all():
        told = "It holds NaN or infinity, which nothing was computed from."
    if not told and divergence.pack[name].ndim > 1:
        told = _order(divergence, name)
    explanation = (
        f"The dump is wrong, not the computation: {last} is right, and would not be if the port had gone on with this. "
        f"{told or 'What was dumped is another tensor, or was changed before it was written.'}"
    )
    evidence = Evidence(name, divergence.row.rms, math.inf, divergence.row.rms_tolerance)
    return Suspect("dump-not-computation", name, explanation, evidence)


def _order(divergence: Divergence, name: str) -> str:
    seen, truth = divergence.value(name), divergence.pack[name].astype(np.float64)
    assert seen is not None
    bound = divergence.pack.tolerances[name][divergence.precision].max_abs
    if np.isfinite(seen).all() and np.abs(np.sort(seen, axis=None) - np.sort(truth, axis=None)).max() <= 2 * bound:
        return "All the right numbers are there in another order: the layout is another."
    return ""
