"""How long rows of tokens become: what padding, truncation and max_length mean together, padding of rows, rows as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npbert.errors import InputError, InputTypeError, warn
from npbert.text import checks

PADDINGS = ("longest", "max_length", "do_not_pad")
TRUNCATIONS = ("longest_first", "only_first", "only_second", "do_not_truncate")
LARGE_LENGTH = int(1e20)  # from where on a tokenizer's maximum length is none


class RowLengths(NamedTuple):
    """One of PADDINGS, one of TRUNCATIONS, and the length that they mean where they mean one."""

    padding: str
    truncation: str
    max_length: int | None


def row_lengths(
    padding: Any, truncation: Any, max_length: Any, pad_to_multiple_of: Any, *, model_max_length: int, verbose: bool
) -> RowLengths:
    """What a call's options mean together, in the reference's words."""

    def remark(message: str) -> None:
        if verbose:
            warn(message)

    if max_length is not None:
        max_length = checks.count("max_length", max_length, 0)
    if pad_to_multiple_of is not None:
        checks.count("pad_to_multiple_of", pad_to_multiple_of, 1)
    pad = padding
    if isinstance(padding, bool):
        pad = "longest" if padding else "do_not_pad"
    if pad not in PADDINGS:
        raise InputError(f"padding is True, False or one of {', '.join(PADDINGS)}, got {checks.short(padding)}")
    cut = truncation
    if truncation is None and max_length is not None and padding is False:
        cut = "longest_first"
        remark("max_length was given without truncation: truncating 'longest_first'. Pass truncation=True to say so")
    elif truncation is None or isinstance(truncation, bool):
        cut = "longest_first" if truncation else "do_not_truncate"
    if cut not in TRUNCATIONS:
        raise InputError(f"truncation is True, False, None or one of {', '.join(TRUNCATIONS)}, got {checks.short(truncation)}")
    if padding is True and max_length is not None and cut == "do_not_truncate":
        remark("max_length has no effect with padding=True and no truncation; padding='max_length' pads to it")

    if max_length is None and model_max_length <= LARGE_LENGTH:
        if pad == "max_length" or cut != "do_not_truncate":
            max_length = model_max_length
    elif max_length is None:
        if pad == "max_length":
            pad = "do_not_pad"
            remark("padding='max_length' without max_length, and the tokenizer has no model_max_length: not padding")
        if cut != "do_not_truncate":
            cut = "do_not_truncate"
            remark("truncation without max_length, and the tokenizer has no model_max_length: not truncating")
    both = cut != "do_not_truncate" and pad != "do_not_pad"
    if both and max_length is not None and pad_to_multiple_of is not None and max_length % pad_to_multiple_of:
        multiple = f"a multiple of pad_to_multiple_of={pad_to_multiple_of}"
        raise InputError(f"with truncation and padding, max_length is {multiple}, got {max_length}")
    return RowLengths(pad, cut, max_length)


# --- padding ----------------------------------------------------------------------------------------------------------


def columns_of(encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], bool]:
    """Name to rows, as lists, of what may come as one dictionary per row; and whether there were arrays among them."""
    if isinstance(encoded_inputs, Mapping):
        data = dict(encoded_inputs)
    else:
        rows = list(encoded_inputs)
        if not rows or not all(isinstance(row, Mapping) and row.keys() == rows[0].keys() for row in rows):
            raise InputTypeError("encoded_inputs is a dictionary, or a list of dictionaries with the same keys")
        data = {name: [row[name] for row in rows] for name in rows[0]}
    if "input_ids" not in data:
        raise InputError(f"encoded_inputs has 'input_ids', got {sorted(map(str, data))}")
    arrays = any(
        isinstance(part, np.ndarray) for value in data.values() for part in (value, *(value if isinstance(value, list) else ()))
    )
    if arrays:
        data = {name: _to_lists(value) for name, value in data.items()}
    ids = data["input_ids"]
    if not isinstance(ids, list | tuple):
        raise InputTypeError(f"input_ids is a list of ids or of rows of ids, got {type(ids).__name__} {checks.short(ids)}")
    return data, arrays


def _to_lists(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_to_lists(part) for part in value] if isinstance(value, list | tuple) else value


def pad_columns(
    data: Mapping[str, Any], lengths: RowLengths, multiple: int | None, side: str, fill: Callable[[], Mapping[str, int]]
) -> dict[str, Any]:
    """Pad rows as `lengths` say, rounded up to a multiple. `fill` answers the entries to pad, and with what."""
    ids = data["input_ids"]
    if not isinstance(ids[0], list | tuple):
        batch = pad_columns({name: [row] for name, row in data.items()}, lengths, multiple, side, fill)
        return {name: rows[0] for name, rows in batch.items()}
    for name, rows in data.items():
        if not isinstance(rows, list | tuple) or len(rows) != len(ids):
            raise InputError(f"{name} has as many rows as input_ids: {len(ids)}, got {checks.short(rows)}")
    answer = {name: list(rows) for name, rows in data.items()}
    if lengths.padding == "do_not_pad":
        return answer
    length = lengths.max_length
    if length is None or lengths.padding == "longest":
        length = max(len(row) for row in ids)
    if multiple is not None:
        length = -(-length // multiple) * multiple
    for number, row in enumerate(ids):
        missing = length - len(row)
        if missing > 0:
            for name, value in fill().items():
                if name in answer:
                    old, more = answer[name][number], [value] * missing
                    answer[name][number] = [*old, *more] if side == "right" else [*more, *old]
    return answer


# --- arrays -----------------------------------------------------------------------------------------------------------


def check_return_tensors(value: Any) -> None:
    if value not in (None, "np"):
        raise InputError(f"return_tensors is 'np' or None: npbert makes NumPy arrays or lists, got {checks.short(value)}")


def as_array(name: str, rows: Any) -> np.ndarray[Any, Any]:
    """`rows` as an array; rows of different lengths are refused by their lengths rather than made into an object array."""
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
        raise InputError(f"{name} is no array of numbers: {error}") from error
    if array.dtype == object:
        raise InputError(f"{name} is no array of numbers: it holds {checks.short(rows)}")
    return array.astype(np.int64) if array.size == 0 or array.dtype.kind in "iu" else array
