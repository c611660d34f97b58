"""Choosing the largest of many scores."""

import numpy as np

from npbert.types import Array


def top_k(x: Array, k: int) -> Array:
    """Where the k largest numbers of the last axis stand, the largest first: `[..., k]`. Of equal ones the first comes first.

    Sorting a whole vocabulary to find five words would be wasteful, so `argpartition` picks the k candidates and only those
    are sorted.
    """
    candidates = np.sort(np.argpartition(-x, k - 1, axis=-1)[..., :k], axis=-1)  # [..., k], in order of place
    order = np.argsort(-np.take_along_axis(x, candidates, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(candidates, order, axis=-1)
