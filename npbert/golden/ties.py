"""Mistakes that reproduce a dump equally well: which of them are the same, and which tensor would tell the others apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from npbert.golden.divergence import Divergence
from npbert.golden.replay import Replay
from npbert.types import Array

TELLING = 1e-3
"""A tensor tells two mistakes apart when they differ in it by this much, in relation to its size."""

THE_SAME = 1e-6
"""Two passes are the same when no number differs by more than this, in relation to the size of its tensor: one may take from
the pack, in float32, what the other computes."""

T = TypeVar("T")


def without_the_same(passes: Iterable[tuple[T, Replay | None]]) -> list[tuple[T, Replay]]:
    """Mistakes, each with its pass that has kept all its values, without those that compute what another computes everywhere:
    they are one mistake under several names, of which the first stays."""
    different: list[tuple[T, Replay]] = []
    for mistake, result in passes:
        if result is not None and not any(_are_the_same(result, other) for _, other in different):
            different.append((mistake, result))
    return different


def what_tells(divergence: Divergence, order: Sequence[str], values: Sequence[Mapping[str, Array]]) -> str:
    """A sentence on the first tensor in which passes differ; nothing where there is a single one. `values` are those of each
    pass that the port did not dump."""
    if len(values) < 2:
        return ""
    for name in order:
        seen = [known[name] for known in values if name in known]
        if len(seen) == len(values) and any(_differ(divergence, name, seen[0], x) for x in seen[1:]):
            return f"This dump cannot tell these mistakes apart. {name} would: dump it as well."
    return "No other tensor of this pack can tell these mistakes apart: with these inputs they make all others alike."


def _differ(divergence: Divergence, name: str, x: Array, y: Array) -> bool:
    counts = divergence.counts(name) if name in divergence.pack else np.ones(x.shape, np.bool_)
    size = np.abs(x[counts]).max(initial=0)
    return bool(np.abs(x - y)[counts].max(initial=0) > TELLING * size)


def _are_the_same(one: Replay, other: Replay) -> bool:
    """Whether two passes have the same values, also where nothing counts."""
    if one.where != other.where or one.kept.keys() != other.kept.keys() or one.deviations.keys() != other.deviations.keys():
        return False
    return all(
        np.allclose(x, other.deviations[name], rtol=1e-5, atol=THE_SAME * x.size) for name, x in one.deviations.items()
    ) and all(_are_equal(x, other.kept[name]) for name, x in one.kept.items())


def _are_equal(x: Array, y: Array) -> bool:
    size = np.abs(x[np.isfinite(x)]).max(initial=0)
    return np.allclose(x, y, rtol=0, atol=THE_SAME * size, equal_nan=True)
