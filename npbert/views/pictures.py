"""Values as pictures: a map of at most so many cells, with the numbers of the whole beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbert.types import Array
from npbert.views.blobs import exact, pooled, shares

EXACT = 4096
"""So many numbers are carried as they are; of more a byte each."""


def picture(x: Array, most: tuple[int, int] = (64, 96)) -> dict[str, Any]:
    """Rows and columns of signed numbers. `shape` is that of the whole; blocks of it are one cell where it is larger than
    `most`, the number of largest magnitude. The numbers beside it are those of the whole."""
    x = np.asarray(x, np.float64)
    finite = x[np.isfinite(x)]
    if finite.size:
        numbers = [finite.min(), finite.max(), finite.mean(), np.sqrt(np.mean(finite**2))]
        largest = float(np.quantile(np.abs(finite), 0.995)) or float(np.abs(finite).max())
    else:
        numbers, largest = [0.0] * 4, 1.0
    made = {"shape": x.shape, "numbers": numbers, "largest": largest}
    if x.size <= EXACT:
        return made | {"cells": x.shape, "exact": exact(x)}
    small = pooled(x, most)
    return made | {"cells": small.shape, "shares": shares(small, float(np.abs(finite).max()) if finite.size else 1.0)}


def as_rows(x: Array) -> Array:
    """An array of one text as rows and columns: the last axis goes across, all others down."""
    x = x[0] if x.ndim > 1 and len(x) == 1 else x
    return x.reshape(-1, x.shape[-1]) if x.ndim else x.reshape(1, 1)


class Budget:
    """How many bytes a page may still take."""

    def __init__(self, size: int) -> None:
        self.left = size

    def allows(self, size: int) -> bool:
        """Whether so many bytes fit, which are then taken."""
        if size > self.left:
            return False
        self.left -= size
        return True
