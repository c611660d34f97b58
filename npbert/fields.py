"""What the fields of a configuration may hold: as plain values, each of the kind that its annotation says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from npbert.errors import InputError, InputTypeError, shown


def plain(value: Any) -> Any:
    """A copy made of what JSON knows: NumPy's numbers and arrays compute just as well, and could not be saved."""
    if type(value) in (str, int, float, bool):  # most values are: configurations may name 100,000 labels
        return value
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def is_whole_number(value: object) -> bool:
    """Whether a value is a whole number; True is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_list_of(value: object, kind: type) -> bool:
    """Whether a value is a list whose items all are of a kind."""
    return isinstance(value, list) and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


KINDS: dict[str, Callable[[object], bool]] = {
    "int": is_whole_number,
    "int | None": lambda value: value is None or is_whole_number(value),
    "float": _is_number,
    "float | None": lambda value: value is None or _is_number(value),
    "bool": lambda value: isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
    "list[str] | None": lambda value: value is None or is_list_of(value, str),
    "int | list[int] | None": lambda value: value is None or is_whole_number(value) or is_list_of(value, int),
    "dict[int, str]": lambda value: isinstance(value, dict),
    "dict[str, int]": lambda value: isinstance(value, dict),
}
"""What a field of each annotated type accepts; fields of other types are checked by their own class."""


def check_number_of_labels(number: Any) -> None:
    if not is_whole_number(number) or number < 0:
        raise InputTypeError(f"num_labels: takes a number of labels, got {shown(number)}")


def label(index: int, label: Any) -> str:
    """The name of a label as a text; files have numbers and null too."""
    if isinstance(label, Mapping | list):
        raise InputTypeError(f"config: id2label takes texts, got {shown(label)} for {index}")
    return f"LABEL_{index}" if label is None else str(label)


def integer_keys(name: str, mapping: Any) -> dict[int, Any]:
    """JSON has no integer keys; give them back."""
    if mapping is not None and not isinstance(mapping, Mapping):
        raise InputTypeError(f"config: {name} takes a mapping from numbers, got {shown(mapping)}")
    result: dict[int, Any] = {}
    for key, value in (mapping or {}).items():
        if not is_whole_number(key) and not (isinstance(key, str) and re.fullmatch(r"-?\d{1,18}", key, re.ASCII)):
            raise InputTypeError(f"config: {name} takes a mapping from numbers, got the key {shown(key)}")
        if int(key) in result:
            raise InputError(f"config: {name} has the key {int(key)} twice")
        result[int(key)] = value
    return result
