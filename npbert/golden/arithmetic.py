"""Arrays whose products and sums are computed as a port's hardware might, so that one forward pass runs in many arithmetics.

A pass over such arrays is npbert's own pass; only matrix products and sums go through an `Arithmetic`. Two things happen there.

**The operands of a product may be shortened**, where a precision computes with shorter numbers than it stores. All of these add
up in float32 and store float32:

    tf32                 10 bits of fraction, as NVIDIA's tensor cores read float32
    bfloat16-products    bfloat16, as other matrix units do
    int8                 linear maps in whole numbers: weights from -127 to 127 in steps of one size for the whole matrix, the
                         input in 255 steps from its smallest to its largest value, which are found as the pass goes ("dynamic")
    int8-per-row         the same with steps of a size of their own for each row of a weight
    int8-tables          as int8, and the tables of the embeddings hold whole numbers too, in steps of one size for each table

**A result may be off by its spread**: by what it would be off by in another honest port. npbert's own error is one of many
draws, and where one element is larger than all others, that draw may happen to be nothing. So every result is moved up or
down, by a fixed sequence of chances, by exactly its spread, and the pass goes on with that. With y for the result, q^2 for the
sum of the squares of its n terms, and ROUNDING for the standard deviation of one rounding in units of EPSILON, the spread is

    float32              u * sqrt(n / 3 * (y^2 + q^2)), u = 2^-24. A plain loop rounds n times, each time by a share of what is
                         added up so far. In any order of the terms that is about a part of y and, besides, of q
    float16, bfloat16    ROUNDING * EPSILON * |y|: ports that round once more
    tf32 and products    EPSILON * sqrt(y^2 / 2 + 2 ROUNDING^2 q^2): ports that cut off the last bits of both operands, which
                         also makes every result smaller
    int8                 ROUNDING times a step for each operand of each term: ports with other steps, as from other ranges
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from npbert.golden.precision import EPSILON, STORED_IN, to_bfloat16, to_tf32
from npbert.types import Array

UNIT = 2.0**-24
ROUNDING = 0.3
SHORT_OPERANDS: dict[str, tuple[Callable[[Array], Array], float]] = {
    "tf32": (to_tf32, 2.0**-10),
    "bfloat16-products": (to_bfloat16, EPSILON["bfloat16"]),
}
"""How these precisions shorten the operands of a product, and the EPSILON of what they shorten them to."""

Multiply: TypeAlias = Callable[[Array, Array], Array]


class Arithmetic:
    """How products and sums are computed in one pass."""

    def __init__(self, precision: str, *, spread: bool, draw: int = 0) -> None:
        self._precision = precision
        self._chances = np.random.default_rng(draw) if spread else None
        self._last: Array | None = None  # the spread of the product that was computed last

    def array(self, x: Array) -> Array:
        """x as an array that computes like this."""
        watched: WatchedArray = x.view(WatchedArray)
        watched.arithmetic = self
        return watched

    def spread_of(self, x: Array) -> Array | None:
        """By how much the elements of x were moved, where x is the product that was computed last (and perhaps a bias)."""
        spread, self._last = self._last, None
        fits = spread is not None and spread.size == x.size and spread.shape[-1:] == x.shape[-1:]
        return spread.reshape(x.shape) if spread is not None and fits else None

    def product(self, x: Array, y: Array, multiply: Multiply = np.matmul) -> Array:
        """x @ y, or another product over the last axis of x."""
        is_linear_map = y.ndim == 2  # y is a weight, [in, out]
        if self._precision.startswith("int8") and is_linear_map:
            return self._whole_numbers_product(x, y)
        if self._precision in SHORT_OPERANDS:
            shorten, _ = SHORT_OPERANDS[self._precision]
            x, y = shorten(x), shorten(y)
        result = multiply(x, y)
        if self._chances is not None:
            self._last = self._spread(result, lambda: multiply(np.square(x), np.square(y)), x.shape[-1])
            self._move(result, self._last)
        return result

    def sum(self, x: Array, **options: Any) -> Array:
        """The sum of x over one axis."""
        result = np.asarray(np.add.reduce(x, **options))
        self._last = None
        if self._chances is not None and self._precision not in SHORT_OPERANDS:
            terms = x.size // max(result.size, 1)
            self._move(result, self._spread(result, lambda: np.add.reduce(np.square(x), **options), terms))
        return result

    def _whole_numbers_product(self, x: Array, y: Array) -> Array:
        x_step, y_step = step_of_255(x), step_of_127(y, axis=0 if self._precision == "int8-per-row" else None)
        result: Array = (np.rint(x / x_step) * x_step) @ (np.rint(y / y_step) * y_step)
        if self._chances is not None:
            by_x = np.square(x_step) * np.square(y).sum(axis=0)  # [out]
            by_y = np.square(x).sum(axis=-1, keepdims=True) * np.square(y_step)  # [..., 1] or [..., out]
            self._last = np.sqrt(by_x + by_y) * np.float32(ROUNDING)
            self._move(result, self._last)
        return result

    def _spread(self, result: Array, squares: Callable[[], Array], terms: int) -> Array:
        """The spread of a result; `squares` sums up the squares of its terms."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            if self._precision in SHORT_OPERANDS:
                _, epsilon = SHORT_OPERANDS[self._precision]
                return np.sqrt(np.square(result) / 2 + squares() * np.float32(2 * ROUNDING**2)) * np.float32(epsilon)
            if STORED_IN[self._precision] == "float32":
                return np.sqrt((np.square(result) + squares()) * np.float32(UNIT**2 * terms / 3))
            return np.abs(result) * np.float32(ROUNDING * EPSILON[self._precision])

    def _move(self, result: Array, spread: Array) -> None:
        """Each element up or down."""
        assert self._chances is not None
        signs = self._chances.integers(0, 2, result.shape, np.int8)
        with np.errstate(over="ignore", invalid="ignore"):
            result += spread * (2 * signs - 1)


class WatchedArray(np.ndarray[Any, Any]):
    """An array whose products and sums are left to its arithmetic. What is computed from it is of this kind too."""

    arithmetic: Arithmetic

    def __array_finalize__(self, parent: Any) -> None:
        if isinstance(parent, WatchedArray):
            self.arithmetic = parent.arithmetic

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        arithmetic = next(x.arithmetic for x in (*inputs, *options.get("out", ())) if isinstance(x, WatchedArray))
        plain = [_plain(x) for x in inputs]
        out = options.get("out")
        if out is not None:
            options["out"] = tuple(map(_plain, out))
        if ufunc is np.matmul and out is None:
            left, right = plain
            if right.ndim == 2 and not isinstance(inputs[0], WatchedArray):  # a linear map of few rows: the weight stands left
                return arithmetic.array(arithmetic.product(right.T, left.T, _weight_on_the_left).T)
            return arithmetic.array(arithmetic.product(left, right))
        if ufunc is np.add and method == "reduce" and options.get("out") in (None, (None,)):
            return arithmetic.array(arithmetic.sum(*plain, **{**options, "out": None}))
        result = getattr(ufunc, method)(*plain, **options)
        if out is not None and isinstance(result, np.ndarray):
            return out[0]
        return arithmetic.array(result) if isinstance(result, np.ndarray) else result

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        if function is np.einsum and len(arguments) == 3:
            subscripts, x, y = arguments
            multiply = partial(np.einsum, subscripts, optimize=True)
            return self.arithmetic.array(self.arithmetic.product(_plain(x), _plain(y), multiply))
        return super().__array_function__(function, types, arguments, options)


def _weight_on_the_left(x: Array, weight: Array) -> Array:
    """`x @ weight`, computed as `ops.linear` does for few rows."""
    y: Array = (weight.T @ x.T).T
    return y


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, WatchedArray) else x


def step_of_127(x: Array, *, axis: int | None) -> Array:
    """The number, for all of x or for each place but those along `axis`, whose multiples -127 to 127 cover all values."""
    largest = x.max(axis=axis, keepdims=True, initial=0)
    step: Array = np.maximum(largest, -x.min(axis=axis, keepdims=True, initial=0)) / np.float32(127)
    step[step == 0] = 1
    return step


def step_of_255(x: Array) -> np.float32:
    """The number of which 255 multiples reach from the smallest value, or 0, to the largest, or 0."""
    return np.float32((float(x.max(initial=0)) - float(x.min(initial=0))) / 255 or 1)
