"""Tables, linear maps, dropout, and work cut into chunks, each with its gradient below it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npbert.errors import InputError
from npbert.ops.blocks import in_blocks
from npbert.ops.shares import product
from npbert.types import Array


def embedding(ids: Array, table: Array) -> Array:
    """Look rows up: `table[ids]`. Ids `[...]` and table `[V, D]` give `[..., D]`.

    NumPy would read a negative id from the table's end; here it is out of range like one past the end.
    """
    if ids.size and not 0 <= ids.min() <= ids.max() < len(table):
        raise InputError(f"ids: got {ids.min()} to {ids.max()}, the table takes 0 to {len(table) - 1}")
    return table[ids]  # [..., D]


def embedding_backward(dy: Array, ids: Array, num_rows: int, *, padding_idx: int | None = None) -> Array:
    """The gradient by the table, `[V, D]`: row v is the sum of dy over all places where id v was looked up.

    An id that occurs twice contributes twice: `dtable[ids] = dy` would keep one of the two. The row `padding_idx` gets no
    gradient. Equal ids are brought together by sorting, so that each row is one sum.
    """
    dtable = np.zeros((num_rows, dy.shape[-1]), dy.dtype)  # [V, D]
    flat, rows = ids.reshape(-1), dy.reshape(-1, dy.shape[-1])  # [n], [n, D]
    if flat.size:
        order = np.argsort(flat, kind="stable")
        used, starts = np.unique(flat[order], return_index=True)
        dtable[used] = np.add.reduceat(rows[order], starts, axis=0)
    if padding_idx is not None:
        dtable[padding_idx] = 0
    return dtable


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """`x @ weight.T + bias`: x `[..., in]`, weight `[out, in]`, bias `[out]`, result `[..., out]`."""
    y = product(x, weight.T)  # [..., out]
    if bias is not None:
        y += bias
    return y


def linear_backward(dy: Array, weight: Array) -> Array:
    """The gradient by x, `dy @ weight`: y_o is the sum of w_oi x_i, so each x_i gets w_oi dy_o from every o."""
    return linear(dy, weight.T)  # [..., in]


def linear_weight_backward(dy: Array, x: Array) -> tuple[Array, Array]:
    """The gradients by the weight, `dy^T x` `[out, in]`, and by the bias, the sum of dy `[out]`, over all positions.

    Apart from the gradient by x, because frozen weights do not need them.
    """
    dy_rows, x_rows = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])  # [rows, out], [rows, in]
    return dy_rows.T @ x_rows, dy_rows.sum(axis=0)


def dropout(x: Array, probability: float, rng: np.random.Generator | None) -> Array:
    """Zero each element with the given probability and divide the others by `1 - probability`; without rng, x itself."""
    if rng is None or probability == 0:
        return x
    return apply_dropout(x, dropout_mask(x.shape, probability, rng), probability)


def dropout_mask(shape: tuple[int, ...], probability: float, rng: np.random.Generator) -> Array:
    """Which elements stay: False with the given probability."""
    if probability == 1:
        return np.zeros(shape, np.bool_)
    return rng.random(shape, dtype=np.float32) >= probability


def apply_dropout(x: Array, mask: Array, probability: float) -> Array:
    """`x * mask / (1 - probability)`: what is left has the same expected size."""
    if probability == 1:
        return np.zeros_like(x)
    return _masked_and_scaled(x, mask, divisor=x.dtype.type(1 - probability))


@in_blocks
def _masked_and_scaled(x: Array, mask: Array, *, divisor: Any) -> Array:
    y: Array = x * mask
    y /= divisor
    return y


def dropout_backward(dy: Array, mask: Array, probability: float) -> Array:
    """The gradient by x: dropout only multiplies, so dy goes through the same mask and the same scale."""
    return apply_dropout(dy, mask, probability)


def apply_in_chunks(function: Callable[[Array], Array], x: Array, size: int, *, axis: int) -> Array:
    """`function(x)` computed over pieces of `size` along one axis; 0 means all at once, and the last piece may be shorter.

    For a function that treats the positions of that axis separately the result is the same, and what it needs in between
    exists for one piece at a time.
    """
    if size == 0 or size >= x.shape[axis]:
        return function(x)
    pieces = np.split(x, range(size, x.shape[axis], size), axis=axis)
    return np.concatenate([function(piece) for piece in pieces], axis=axis)
