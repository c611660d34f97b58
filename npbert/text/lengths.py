"""How long rows of tokens become: what padding, truncation and max_length mean together."""

from __future__ import annotations

from typing import Any, NamedTuple

from npbert.checkpoints.limits import MAX_PADDED
from npbert.checks import choice, whole_number
from npbert.errors import InputError, warn

PADDINGS = ("longest", "max_length", "do_not_pad")
TRUNCATIONS = ("longest_first", "only_first", "only_second", "do_not_truncate")
LARGE_LENGTH = int(1e20)
"""A `model_max_length` above this means that there is no maximum."""


class RowLengths(NamedTuple):
    """One of PADDINGS, one of TRUNCATIONS, and the length to pad and cut to, if there is one."""

    padding: str
    truncation: str
    max_length: int | None


def row_lengths(
    padding: Any, truncation: Any, max_length: Any, pad_to_multiple_of: Any, *, model_max_length: int, verbose: bool
) -> RowLengths:
    """What a call's options mean together, as in the reference."""

    def remark(message: str) -> None:
        if verbose:
            warn(message)

    if max_length is not None:
        max_length = whole_number("max_length", max_length)
    if pad_to_multiple_of is not None:
        whole_number("pad_to_multiple_of", pad_to_multiple_of, least=1, most=MAX_PADDED)
    padding = choice("padding", padding, (True, False, *PADDINGS))
    truncation = choice("truncation", truncation, (True, False, None, *TRUNCATIONS))
    pad = padding if isinstance(padding, str) else "longest" if padding else "do_not_pad"
    cut = truncation if isinstance(truncation, str) else "longest_first" if truncation else "do_not_truncate"
    if truncation is None and max_length is not None and padding is False:
        cut = "longest_first"
        remark("max_length was given without truncation: truncating 'longest_first'. Pass truncation=True to say so")
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
    if pad == "max_length" and max_length is not None and max_length > MAX_PADDED:
        raise InputError(f"max_length: rows are padded to {MAX_PADDED} tokens at most, got {max_length}")
    pads_and_cuts = cut != "do_not_truncate" and pad != "do_not_pad"
    if pads_and_cuts and max_length is not None and pad_to_multiple_of is not None and max_length % pad_to_multiple_of:
        multiple = f"a multiple of pad_to_multiple_of={pad_to_multiple_of}"
        raise InputError(f"max_length: with truncation and padding takes {multiple}, got {max_length}")
    return RowLengths(pad, cut, max_length)
