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


HIDDEN = 1e30
"""A mask adds the lowest float to the scores that it hides."""


def picture(x: Array, most: tuple[int, int] = (64, 96)) -> dict[str, Any]:
    """Rows and columns of signed numbers. `shape` is that of the whole; blocks of it are one cell where it is larger than
    `most`, the number of largest magnitude. The numbers beside it are those of the whole."""
    finite = _finite(x)
    numbers = [0.0] * 4
    if finite.size:
        rms = np.sqrt(np.mean(np.square(finite, dtype=np.float64)))
        numbers = [finite.min(), finite.max(), finite.mean(dtype=np.float64), rms]
    made = {"shape": x.shape, "numbers": numbers}
    if x.size <= EXACT:
        return made | {"cells": x.shape, "largest": end_of_scale(x), "exact": exact(x)}
    small = pooled(x, most)
    end = end_of_scale(small)  # a byte each: what is larger is told as "or more", so that one large number hides no others
    return made | {"cells": small.shape, "largest": end, "shares": shares(small, end)}


def as_rows(x: Array) -> Array:
    """An array of one text as rows and columns: the last axis goes across, all others down."""
    x = x[0] if x.ndim > 1 and len(x) == 1 else x
    return x.reshape(-1, x.shape[-1]) if x.ndim else x.reshape(1, 1)


def end_of_scale(x: Array) -> float:
    """The magnitude at which the colours of a map end; what a mask hides does not count."""
    seen = np.abs(_finite(x))
    seen = seen[seen < HIDDEN]
    if not seen.size:
        return 1.0
    return float(np.quantile(seen[:: 1 + seen.size // MOST_FOR_SCALE], SHARE_IN_SCALE)) or float(seen.max()) or 1.0


def _finite(x: Array) -> Array:
    return x if np.isfinite(x).all() else x[np.isfinite(x)]
