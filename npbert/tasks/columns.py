"""Tables of texts: a dictionary of columns goes in, and comes back with the answers as further columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any

import numpy as np

from npbert.errors import InputError, listed


def is_table(inputs: object) -> bool:
    """Whether the inputs are a dictionary of columns: lists, arrays, or the columns of Arrow and pandas."""
    columns = list(inputs.values()) if isinstance(inputs, Mapping) else []
    return bool(columns) and all(isinstance(column, Sized) and not isinstance(column, str | Mapping) for column in columns)


def rows_of(table: Mapping[str, Any], columns: Sequence[str]) -> list[Any]:
    """The inputs of a task: the column that it reads, or where it reads two of them a dictionary for each row."""
    if columns[0] not in table:
        raise InputError(f"inputs: takes a table with the column {columns[0]!r}, got {listed(table)}")
    found = {name: _values(table[name]) for name in columns if name in table}
    if len(found) == 1:
        return found[columns[0]]
    lengths = {name: len(values) for name, values in found.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"inputs: takes columns of one length, got {lengths}")
    return [dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True)]


def with_answers(table: Mapping[str, Any], answers: Any, name: str) -> dict[str, Any]:
    """The table with the answers: an array or list as one column, dictionaries of the same names as a column for each."""
    if (
        isinstance(answers, list)
        and answers
        and all(isinstance(one, dict) and one.keys() == answers[0].keys() for one in answers)
    ):
        added = {key: np.array([one[key] for one in answers]) for key in answers[0] if not isinstance(answers[0][key], list)}
        if len(added) == len(answers[0]):
            return {**table, **added}
    return {**table, name: answers}


def _values(column: Any) -> list[Any]:
    """A column as a list of Python's own values."""
    for convert in ("to_pylist", "tolist"):  # of Arrow; of NumPy and pandas
        if hasattr(column, convert):
            values: list[Any] = getattr(column, convert)()
            return values
    return list(column)
