"""Checking what users hand in: one function for each kind of value.

Every function takes the argument's name and its value, and returns the value in one agreed form or raises an error that
names the argument, says what it takes and what it got. The code behind a check need not look again. NumPy would read a
negative id from the end of a table, stretch a mask that is too short and cut 1.7 down to 1; here each of these is an error.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from npbert.errors import InputError, InputTypeError, shown
from npbert.types import Array

IGNORED = -100
"""The label of a position that counts in no loss."""

Choice = TypeVar("Choice")


def as_array(name: str, value: object) -> Array:
    """The value as an array; lists must not be ragged."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: takes an array or evenly nested lists ({error})") from None


def integers(name: str, value: object, rank: int | tuple[int, ...]) -> Array:
    """Whole numbers of a given rank, as int64."""
    x = as_array(name, value)
    if x.dtype.kind not in "iu" and x.size:
        raise InputTypeError(f"{name}: takes whole numbers, got {_kind(x)}")
    ranks = (rank,) if isinstance(rank, int) else rank
    if x.ndim not in ranks:
        raise InputError(f"{name}: takes {' or '.join(map(str, ranks))} dimensions, got shape {list(x.shape)}")
    if x.dtype == np.uint64 and x.size and x.max() > np.iinfo(np.int64).max:
        raise InputError(f"{name}: {x.max()} is too large for an id")
    return x.astype(np.int64, copy=False)


def ids(name: str, value: object, upper: int, rank: int = 2) -> Array:
    """Indices into a table of `upper` rows."""
    x = integers(name, value, rank)
    if x.size and not 0 <= x.min() <= x.max() < upper:
        wrong = x[(x < 0) | (x >= upper)][0]
        raise InputError(f"{name}: {wrong} is out of range, it takes 0 to {upper - 1}")
    return x


def labels(name: str, value: object, upper: int, shape: tuple[int, ...]) -> Array:
    """Class labels of a given shape, 0 to `upper - 1` or -100."""
    x = with_shape(name, integers(name, value, len(shape)), shape)
    wrong = x[((x < 0) | (x >= upper)) & (x != IGNORED)]
    if wrong.size:
        raise InputError(f"{name}: {wrong[0]} is out of range, it takes 0 to {upper - 1}, or {IGNORED} for what does not count")
    return x


def numbers(name: str, value: object, dtype: DTypeLike | None = None) -> Array:
    """Numbers of any kind, as the given type or as they come."""
    x = as_array(name, value)
    if x.dtype.kind not in "biuf":
        raise InputTypeError(f"{name}: takes numbers, got {_kind(x)}")
    return x if dtype is None else x.astype(dtype, copy=False)


def floats(name: str, value: object) -> Array:
    """Weights. Whole numbers are refused: they are quantized, or of something else, and NumPy would make them float64."""
    x = as_array(name, value)
    if x.dtype.kind != "f":
        raise InputTypeError(f"{name} takes floats, got {_kind(x)}")
    return x


def flag(name: str, value: object, default: bool) -> bool:
    """Yes or no; None is the default. A string would count as yes whatever it says."""
    if value is None:
        return default
    if not isinstance(value, int | np.bool_):
        raise InputTypeError(f"{name}: takes True, False or None, got {value!r}")
    return bool(value)


def generator(name: str, value: object) -> None:
    """Refuse what is neither None nor a generator: a seed, say."""
    if value is not None and not isinstance(value, np.random.Generator):
        raise InputTypeError(f"{name}: takes a numpy.random.Generator, got {type(value).__name__}")


def mask(name: str, value: object, *shapes: tuple[int, ...]) -> Array:
    """Ones and zeros (or numbers between them) in one of the given shapes; bool and every kind of number will do."""
    x = as_array(name, value)
    if x.dtype.kind not in "biuf":
        raise InputTypeError(f"{name}: takes 0 and 1, got {_kind(x)}")
    if x.shape not in shapes:
        raise InputError(f"{name}: takes shape {' or '.join(str(list(shape)) for shape in shapes)}, got {list(x.shape)}")
    wrong = x[~((x >= 0) & (x <= 1))]  # nan among them
    if wrong.size:
        raise InputError(f"{name}: takes 0 and 1, got {wrong[0]}")
    return x


def with_shape(name: str, x: Array, shape: tuple[int, ...]) -> Array:
    """x, if it has the shape."""
    if x.shape != shape:
        raise InputError(f"{name}: takes shape {list(shape)}, got {list(x.shape)}")
    return x


def known(function: str, given: Mapping[str, Any], taken: Sequence[str]) -> None:
    """Refuse arguments that the function does not know."""
    for name in given:
        if name not in taken:
            raise InputTypeError(f"{function}: unknown argument {name!r}; it takes {', '.join(taken)}")


def whole_number(name: str, value: object, *, least: int = 0, most: int | None = None) -> int:
    """One whole number within bounds; True and 1.0 are none."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise InputTypeError(f"{name}: takes a whole number, got {shown(value)}")
    if value < least or (most is not None and value > most):
        raise InputError(f"{name}: takes {least} {'or more' if most is None else f'to {most}'}, got {value}")
    return int(value)


def number(
    name: str, value: object, *, above: float | None = None, least: float | None = None, most: float | None = None
) -> None:
    """Refuse what is not one finite number within bounds. True is not a number, nor is the string "1"."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise InputTypeError(f"{name}: takes a number, got {shown(value)}")
    inside = (above is None or value > above) and (least is None or value >= least) and (most is None or value <= most)
    if not inside or not abs(value) < np.inf:
        limits = (("above", above), ("from", least), ("to", most))
        bounds = "".join(f" {word} {limit}" for word, limit in limits if limit is not None)
        raise InputError(f"{name}: takes a finite number{bounds}, got {value}")


def text(name: str, value: object) -> str:
    """One text."""
    if not isinstance(value, str):
        raise InputTypeError(f"{name}: takes a text, got {shown(value)}")
    return value


def unicode_text(name: str, value: object) -> str:
    """One text that can be written as UTF-8. Half of a UTF-16 pair (a lone surrogate) cannot, and some libraries drop it."""
    checked = text(name, value)
    if not checked.isascii():
        try:
            checked.encode("utf-8")
        except UnicodeEncodeError as error:
            surrogate = f"{checked[error.start]!r} at index {error.start}"
            raise InputError(f"{name}: holds a lone surrogate, {surrogate}, which cannot be written as UTF-8") from None
    return checked


def path(name: str, value: object) -> str:
    """The path of a file or a directory. A number would be a file that is open already, and no system takes a 0 character."""
    if not isinstance(value, str | os.PathLike) or not isinstance(found := os.fspath(value), str):
        raise InputTypeError(f"{name}: takes a path, got {shown(value)}")
    try:
        os.fsencode(found)
    except UnicodeEncodeError:
        raise InputError(f"{name}: takes a path, got {shown(found)}, which holds a lone surrogate") from None
    if not found or "\0" in found:
        raise InputError(f"{name}: takes a path, got {shown(found)}")
    return found


def text_list(name: str, value: object, takes: str = "a list of texts") -> list[str]:
    """A list or tuple of texts that can be written as UTF-8. `takes` says in the message what the list holds."""
    if not isinstance(value, list | tuple):
        raise InputTypeError(f"{name}: takes {takes}, got {shown(value)}")
    return [unicode_text(f"{name}[{place}]", entry) for place, entry in enumerate(value)]


def one_or_more_texts(name: str, value: object) -> list[str]:
    """A text, or a list of texts, as a list."""
    return [unicode_text(name, value)] if isinstance(value, str) else text_list(name, value, "a text or a list of texts")


def boolean(name: str, value: object) -> bool:
    """True or False; unlike `flag`, neither None nor 0 and 1."""
    if not isinstance(value, bool | np.bool_):
        raise InputTypeError(f"{name}: takes True or False, got {shown(value)}")
    return bool(value)


def choice(name: str, value: object, choices: Sequence[Choice]) -> Choice:
    """The one of the choices (words, True, False, None) that equals the value. 1 is not True."""
    for known_choice in choices:
        if isinstance(value, type(known_choice)) and value == known_choice:
            return known_choice
    *first, last = map(repr, choices)
    raise InputError(f"{name}: takes {', '.join(first)} or {last}, got {shown(value)}")


def _kind(x: Array) -> str:
    return {"f": "floats", "U": "strings", "S": "bytes", "b": "bool", "c": "complex numbers", "O": "objects"}.get(
        x.dtype.kind, str(x.dtype)
    )
