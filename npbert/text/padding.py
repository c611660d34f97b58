"""Rows that were encoded before: padded to one length, and made arrays.

Rows come and go in columns: {"input_ids": [row, row, ...], "attention_mask": [row, row, ...], ...}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from npbert.errors import InputError, InputTypeError, listed, shown
from npbert.text.lengths import RowLengths
from npbert.types import Array


def columns_of(encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], bool]:
    """Columns of lists, from columns or from one dictionary a row; and whether there were arrays among them."""
    if isinstance(encoded_inputs, Mapping):
        columns = dict(encoded_inputs)
    else:
        rows = list(encoded_inputs)
        if not rows or not all(isinstance(row, Mapping) and row.keys() == rows[0].keys() for row in rows):
            raise InputTypeError("encoded_inputs: takes a dictionary, or a list of dictionaries with the same keys")
        columns = {name: [row[name] for row in rows] for name in rows[0]}
    if "input_ids" not in columns:
        raise InputError(f"encoded_inputs: takes 'input_ids' among its names, got {listed(columns)}")
    has_arrays = any(
        isinstance(part, np.ndarray)
        for value in columns.values()
        for part in (value, *(value if isinstance(value, list) else ()))
    )
    if has_arrays:
        columns = {name: _to_lists(value) for name, value in columns.items()}
    ids = columns["input_ids"]
    if not isinstance(ids, list | tuple):
        raise InputTypeError(f"input_ids: takes a list of ids or of rows of ids, got {shown(ids)}")
    return columns, has_arrays


def _to_lists(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_to_lists(part) for part in value] if isinstance(value, list | tuple) else value


def pad_columns(
    columns: Mapping[str, Any], lengths: RowLengths, multiple: int | None, side: str, fills: Callable[[], Mapping[str, int]]
) -> dict[str, Any]:
    """Pad rows as `lengths` say, rounded up to a multiple. `fills` gives the columns to pad, and what each is padded with."""
    ids = columns["input_ids"]
    if not isinstance(ids[0], list | tuple):
        batch = pad_columns({name: [row] for name, row in columns.items()}, lengths, multiple, side, fills)
        return {name: rows[0] for name, rows in batch.items()}
    for name, rows in columns.items():
        if not isinstance(rows, list | tuple) or len(rows) != len(ids):
            got = f"{len(rows)} rows" if isinstance(rows, list | tuple) else shown(rows)
            raise InputError(f"{name}: takes as many rows as input_ids, {len(ids)}, got {got}")
    padded = {name: list(rows) for name, rows in columns.items()}
    if lengths.padding == "do_not_pad":
        return padded
    length = lengths.max_length
    if length is None or lengths.padding == "longest":
        length = max(len(row) for row in ids)
    if multiple is not None:
        length = -(-length // multiple) * multiple
    for number, row in enumerate(ids):
        missing = length - len(row)
        if missing > 0:
            for name, fill in fills().items():
                if name in padded:
                    old, more = padded[name][number], [fill] * missing
                    padded[name][number] = [*old, *more] if side == "right" else [*more, *old]
    return padded


def to_arrays(columns: Mapping[str, Any]) -> dict[str, Array]:
    """Columns as arrays; whole numbers become int64."""
    return {name: _to_array(name, rows) for name, rows in columns.items()}


def _to_array(name: str, rows: Any) -> Array:
    """NumPy would make an array of objects of rows whose lengths differ; the error names the lengths instead."""
    if isinstance(rows, list) and rows and isinstance(rows[0], list | tuple):
        lengths = {len(row) for row in rows}
        if len(lengths) > 1:
            raise InputError(
                f"return_tensors='np' needs rows of one length, those of {name} have {min(lengths)} to {max(lengths)} entries: "
                f"pass padding=True (and truncation=True), or leave return_tensors out and get lists"
            )
    try:
        array = np.asarray(rows)
    except ValueError as error:
        raise InputError(f"{name}: takes numbers for an array: {error}") from error
    if array.dtype == object:
        raise InputError(f"{name}: takes numbers for an array, got {shown(rows)}")
    return array.astype(np.int64) if array.size == 0 or array.dtype.kind in "iu" else array
