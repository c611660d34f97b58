"""Finding the order in which a port holds right numbers in wrong places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npbert.golden.report import Row
from npbert.types import Array

MOST = 4096
"""Longer axes are not tried: every place is compared with every other."""

WORDS = {"B": "texts", "N": "heads", "S": "tokens", "T": "keys", "E": "keys"}


def permutation(truth: Array, seen: Array, counts: Array, axes: Sequence[str], row: Row) -> dict[str, Any] | None:
    """The axis along which another order makes the port right, with that order: at each place, where the port holds it.

    None where no order of one axis does.
    """
    if not np.isfinite(seen[counts]).all() or not counts.all(where=counts.any(axis=-1, keepdims=True)):
        return None
    truth, seen = np.where(counts, truth, 0.0), np.where(counts, seen, 0.0)
    for axis in reversed(range(truth.ndim)):
        size = truth.shape[axis]
        if not 1 < size <= MOST:
            continue
        right = np.moveaxis(truth, axis, 0).reshape(size, -1)
        port = np.moveaxis(seen, axis, 0).reshape(size, -1)
        order = _nearest(right, port)
        if len(set(order.tolist())) < size or np.array_equal(order, np.arange(size)):
            continue
        wrong = port[order] - right
        if np.abs(wrong).max() <= row.tolerance and np.sqrt(np.mean(wrong**2)) <= row.rms_tolerance:
            return {"axis": WORDS.get(axes[axis], "features"), "order": order}
    return None


def _nearest(right: Array, port: Array) -> Array:
    """For each row of `right` the row of `port` that is nearest to it."""
    squares = (port**2).sum(axis=1)  # |r - p|^2 = |r|^2 - 2 r p + |p|^2, and |r|^2 is the same for all p
    return np.asarray((squares[None] - 2 * right @ port.T).argmin(axis=1))
