"""The texts and ids that a tokenizer takes.

The Rust library takes some of what is refused here, and then loses it silently or stops the program.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from npbert.checks import text_list, unicode_text
from npbert.errors import InputError, InputTypeError, shown


def one_text(name: str, value: object, is_split_into_words: bool) -> str | list[str]:
    """A text as the library takes it: a string, or with `is_split_into_words` a list of strings."""
    if is_split_into_words:
        return text_list(name, value, "a list of words, because is_split_into_words=True")
    if isinstance(value, list | tuple):
        raise InputTypeError(f"{name}: takes a text, got {shown(value)}; a list of words needs is_split_into_words=True")
    return unicode_text(name, value)


def _text_or_pair(name: str, value: object, is_split_into_words: bool) -> Any:
    """An entry of a batch: a text, or a (text, text) pair."""
    text_types: Any = (list, tuple) if is_split_into_words else str
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(text, text_types) for text in value):
        return tuple(one_text(f"{name}[{place}]", text, is_split_into_words) for place, text in enumerate(value))
    return one_text(name, value, is_split_into_words)


def check_batch(value: object) -> list[Any]:
    """A batch that is a list with something in it."""
    if not isinstance(value, list | tuple):
        raise InputTypeError(f"text: takes a list of texts or of pairs for a batch, got {shown(value)}")
    if not value:
        raise InputError("text: takes a batch of one text or more, got an empty one")
    return list(value)


def _pairs(firsts: list[Any], seconds: object, is_split_into_words: bool) -> list[Any]:
    """The pairs of a batch whose second texts come in a list of their own."""
    if not isinstance(seconds, list | tuple):
        raise InputTypeError(f"text_pair: takes a list where text is a list, got {shown(seconds)}")
    if len(firsts) != len(seconds):
        raise InputError(f"text_pair: takes as many texts as text has, {len(firsts)}, got {len(seconds)}")
    return [
        (
            one_text(f"text[{place}]", first, is_split_into_words),
            one_text(f"text_pair[{place}]", second, is_split_into_words),
        )
        for place, (first, second) in enumerate(zip(firsts, seconds, strict=True))
    ]


def texts_and_pairs(text: Any, text_pair: Any, is_split_into_words: bool) -> tuple[list[Any], bool]:
    """The texts and (text, text) pairs that a call hands to the library, and whether the call was for a batch."""
    is_batch = isinstance(text, list | tuple)
    if is_split_into_words:
        is_batch = is_batch and len(text) > 0 and isinstance(text[0], list | tuple)
    if not is_batch:
        first = one_text("text", text, is_split_into_words)
        second = None if text_pair is None else one_text("text_pair", text_pair, is_split_into_words)
        # For a single text an empty second text counts as none, in a batch it counts, as in the reference.
        return [(first, second) if second else first], False
    batch = check_batch(text)
    if text_pair is not None:
        return _pairs(batch, text_pair, is_split_into_words), True
    return [_text_or_pair(f"text[{place}]", value, is_split_into_words) for place, value in enumerate(batch)], True


def row_of_ids(name: str, value: object) -> list[int]:
    """A row of ids as a list: from a list, a 1-D array or a single id."""
    ids: Any = [value] if isinstance(value, int | np.integer) else value
    if isinstance(ids, np.ndarray):
        if ids.ndim > 1:
            raise InputError(f"{name}: takes one row of ids, got shape {list(ids.shape)}; batch_decode takes several rows")
        ids = np.atleast_1d(ids).tolist()
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise InputTypeError(f"{name}: takes a list or an array of ids, got {shown(value)}")
    ids = list(ids)
    for place, number in enumerate(ids):
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise InputTypeError(f"{name}[{place}]: takes a token id, got {shown(number)}")
    return [int(number) for number in ids]
