"""Choosing the largest of many scores."""

import numpy as np

from npbert.types import Array


def top_k(x: Array, k: int) -> Array:
    """Where the k largest numbers of the last axis stand, the largest first: `[..., k]`. Of equal ones the first comes first.

    Sorting a whole vocabulary to find five words would be wasteful, so `argpartition` picks k candidates and only those are
    sorted. Where several numbers equal the k-th largest it picks any of them; such rows are sorted whole.
    """
    candidates = np.sort(np.argpartition(-x, k - 1, axis=-1)[..., :k], axis=-1)  # [..., k], in order of place
    numbers = np.take_along_axis(x, candidates, axis=-1)
    order = np.argsort(-numbers, axis=-1, kind="stable")
    best = np.take_along_axis(candidates, order, axis=-1)  # [..., k]
    has_ties = np.count_nonzero(x >= numbers.min(axis=-1, keepdims=True), axis=-1) > k  # [...]
    if has_ties.any():
        best[has_ties] = np.argsort(-x[has_ties], axis=-1, kind="stable")[..., :k]
    return best
