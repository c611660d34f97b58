"""Which tensor would tell mistakes apart that reproduce a dump equally well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from npbert.golden.attempts import Attempt
from npbert.golden.divergence import Divergence
from npbert.golden.replay import Replay, replay
from npbert.types import Array

TELLING = 1e-3
"""A tensor tells two mistakes apart when they differ in it by this much, in relation to its size."""


def what_would_tell(divergence: Divergence, right: Replay, attempts: Sequence[Attempt]) -> str:
    """A sentence for several mistakes that fit equally well; nothing for one."""
    if len(attempts) < 2:
        return ""
    results = [replay(divergence, attempt.hypothesis, attempt.modules, right, keep=True) for attempt in attempts]
    return what_tells(divergence, right.order, [result.kept for result in results if result is not None])


def what_tells(divergence: Divergence, order: Sequence[str], kept: Sequence[Mapping[str, Array]]) -> str:
    """A sentence on the first tensor in which passes differ; `kept` are the values of each that the port did not dump."""
    for name in order:
        values = [values[name] for values in kept if name in values]
        if len(values) == len(kept) and any(_differ(divergence, name, values[0], x) for x in values[1:]):
            return f"This dump cannot tell these mistakes apart. {name} would: dump it as well."
    return "No tensor of this pack can tell these mistakes apart: they compute the same on these inputs."


def _differ(divergence: Divergence, name: str, x: Array, y: Array) -> bool:
    counts = divergence.counts(name) if name in divergence.pack else np.ones(x.shape, np.bool_)
    size = np.abs(x[counts]).max(initial=0)
    return bool(np.abs(x - y)[counts].max(initial=0) > TELLING * size)
