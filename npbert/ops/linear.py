"""Linear maps, tables, dropout, and work cut into chunks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from npbert.errors import InputError
from npbert.types import Array


def embedding(ids: Array, table: Array) -> Array:
    """Look rows up: `table[ids]`. Ids `[...]` and table `[V, D]` give `[..., D]`.

    NumPy would read a negative id from the table's end; here it is out of range like one past the end.
    """
    if ids.size and not 0 <= ids.min() <= ids.max() < len(table):
        raise InputError(f"ids: got {ids.min()} to {ids.max()}, the table takes 0 to {len(table) - 1}")
    return table[ids]  # [..., D]


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """`x @ weight.T + bias`: x `[..., in]`, weight `[out, in]`, bias `[out]`, result `[..., out]`."""
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # one large product is faster than one for each sequence
    y = rows @ weight.T  # [rows, out]
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], len(weight))  # [..., out]


def dropout(x: Array, probability: float, rng: np.random.Generator | None) -> Array:
    """Zero each element with the given probability and divide the others by `1 - probability`; without rng, x itself."""
    if rng is None or probability == 0:
        return x
    if probability == 1:
        return np.zeros_like(x)
    kept = rng.random(x.shape, dtype=np.float32) >= probability
    return x * kept / x.dtype.type(1 - probability)


def apply_in_chunks(function: Callable[[Array], Array], x: Array, size: int, *, axis: int) -> Array:
    """`function(x)` computed over pieces of `size` along one axis; 0 means all at once, and the last piece may be shorter.

    For a function that treats the positions of that axis separately the result is the same, and what it needs in between
    exists for one piece at a time.
    """
    if size == 0 or size >= x.shape[axis]:
        return function(x)
    pieces = np.split(x, range(size, x.shape[axis], size), axis=axis)
    return np.concatenate([function(piece) for piece in pieces], axis=axis)
