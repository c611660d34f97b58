"""Which of some arrays are the weights that a model expects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from npbert import checks
from npbert.errors import InputTypeError
from npbert.types import Array
from npbert.weights import Parameters


class Fit(NamedTuple):
    """What `fit` makes of some arrays."""

    arrays: dict[str, Array]  # the model's weights, in the model's order, each under its first name
    missing: list[str]
    unexpected: list[str]
    mismatched: dict[str, tuple[int, ...]]  # names of arrays in another shape than the model's -> the model's


def fit(expected: Parameters, tied: Mapping[str, str], found: Mapping[str, Any], *, where: str = "weights") -> Fit:
    """The weights among the found arrays. One that stands under its tied name alone is taken from there.

    `where` begins the message of the error that an array of other than floats ends in.
    """
    if not isinstance(found, Mapping):
        raise InputTypeError(f"{where}: takes a mapping from names to arrays, got {type(found).__name__}")
    given = {name: found[alias] for alias, name in tied.items() if alias in found} | {**found}
    arrays = {name: checks.floats(f"{where}: {name}", given[name]) for name in expected if name in given}
    return Fit(
        arrays,
        missing=[name for name in expected if name not in arrays],
        unexpected=[name for name in given if name not in expected and name not in tied],
        mismatched={name: expected[name].shape for name, x in arrays.items() if x.shape != expected[name].shape},
    )


def common_type(arrays: Iterable[Array]) -> np.dtype[Any]:
    """What a model with these weights computes in: float64 if one of them is, else float32."""
    return float_type(np.result_type(np.float32, *(array.dtype for array in arrays)))


def float_type(dtype: DTypeLike) -> np.dtype[Any]:
    """The type that a model computes in."""
    if str(dtype).startswith("torch."):  # what the reference's users hand in
        dtype = str(dtype).removeprefix("torch.")
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise InputTypeError(f"dtype: takes float32 or float64, got {dtype!r}") from None
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputTypeError(f"dtype: takes float32 or float64, got {found}")
    return found
