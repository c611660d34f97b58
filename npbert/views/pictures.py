"""Values as pictures: a map of at most so many cells, with the numbers of the whole beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbert.types import Array
from npbert.views.blobs import exact, pooled, shares

EXACT = 4096
"""So many numbers are carried as they are; of more a byte each."""

SHARE_IN_SCALE, MOST_FOR_SCALE = 0.995, 100_000
"""Colours end at the magnitude that so large a share of the numbers (of so many of them) stays below. What is cut is told."""


def picture(x: Array, most: tuple[int, int] = (64, 96)) -> dict[str, Any]:
    """Rows and columns of signed numbers. `shape` is that of the whole; blocks of it are one cell where it is larger than
    `most`, the number of largest magnitude. The numbers beside it are those of the whole."""
    finite = _finite(x)
    numbers, end = [0.0] * 4, 1.0
    if finite.size:
        rms = np.sqrt(np.mean(np.square(finite, dtype=np.float64)))
        numbers = [finite.min(), finite.max(), finite.mean(dtype=np.float64), rms]
        end = float(max(-numbers[0], numbers[1]))
    largest = end_of_scale(x)
    made = {"shape": x.shape, "numbers": numbers, "largest": largest}
    if x.size <= EXACT:
        return made | {"cells": x.shape, "exact": exact(x)}
    small = pooled(x, most)
    return made | {"cells": small.shape, "shares": shares(small, end)}


def as_rows(x: Array) -> Array:
    """An array of one text as rows and columns: the last axis goes across, all others down."""
    x = x[0] if x.ndim > 1 and len(x) == 1 else x
    return x.reshape(-1, x.shape[-1]) if x.ndim else x.reshape(1, 1)


def end_of_scale(x: Array) -> float:
    """The magnitude at which the colours of a map end."""
    finite = _finite(x)
    if not finite.size:
        return 1.0
    some = np.abs(finite.reshape(-1)[:: 1 + finite.size // MOST_FOR_SCALE])
    return float(np.quantile(some, SHARE_IN_SCALE)) or float(np.abs(finite).max()) or 1.0


def _finite(x: Array) -> Array:
    return x if np.isfinite(x).all() else x[np.isfinite(x)]
