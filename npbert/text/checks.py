"""What a tokenizer takes: its settings, texts and ids, each with what checks it and says what came instead.

The Rust library takes some of what is refused here, and then loses it silently or stops the program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from npbert.errors import FileError, InputError, InputTypeError, NpbertError
from npbert.types import StrPath

if TYPE_CHECKING:
    from tokenizers import AddedToken

NO_MAX_LENGTH = int(1e30)  # what a tokenizer without a maximum length says of itself

# The order decides the ids of special tokens that the vocabulary lacks: they are added at its end, one after the other.
SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
TOKEN_SETTINGS = (*SPECIAL_TOKEN_NAMES, "additional_special_tokens")


# --- saying what is wrong ---------------------------------------------------------------------------------------------


def short(value: Any) -> str:
    """`value` as it may stand in a message."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@contextmanager
def library_errors(kind: type[NpbertError], what: str) -> Iterator[None]:
    """Turn what the Rust library throws into `kind`.

    It raises bare `Exception` for most things, and for a failed assertion a `PanicException`, which is no `Exception` and
    cannot be imported: it is known by its name alone. Everything else that is no `Exception` (Ctrl-C) passes.
    """
    try:
        yield
    except NpbertError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(f"{what}: {error}") from error


@contextmanager
def naming(path: StrPath) -> Iterator[None]:
    """An unfit value inside is the fault of the file at `path`."""
    try:
        yield
    except FileError:
        raise
    except (InputError, InputTypeError) as error:
        raise FileError(f"{path}: {error}") from error


# --- settings ---------------------------------------------------------------------------------------------------------


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InputTypeError(f"{name} is True or False, got {short(value)}")
    return bool(value)


def flag_or_none(name: str, value: Any) -> bool | None:
    return None if value is None else flag(name, value)


def count(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputTypeError(f"{name} is a whole number, got {short(value)}")
    if value < least:
        raise InputError(f"{name} is at least {least}, got {value}")
    return int(value)


def length_or_none(name: str, value: Any) -> int:
    if value is None:
        return NO_MAX_LENGTH
    return count(name, int(value) if isinstance(value, float) and value.is_integer() else value, 0)


def side(name: str, value: Any) -> str:
    if value not in ("right", "left"):
        raise InputError(f"{name} is 'right' or 'left', got {short(value)}")
    return str(value)


def words(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    answer = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    for word in answer:
        if not isinstance(word, str) or not word:
            raise InputTypeError(f"{name} is a list of words, got {short(word)} in it")
    refuse_surrogates(name, answer)
    return answer


def input_names(name: str, value: Any) -> list[str]:
    names = words(name, value)
    if not names or names[0] != "input_ids":
        raise InputError(f"{name} begins with 'input_ids', got {short(value)}")
    return names


def token(name: str, value: Any) -> str | AddedToken | None:
    """A special token: text, an `AddedToken`, or None for "there is none"."""
    if value is None:
        return None
    if not isinstance(value, str) and type(value).__name__ != "AddedToken":  # by name: this must not import tokenizers
        raise InputTypeError(f"{name} is a string or a tokenizers.AddedToken, got {short(value)}")
    if not str(value):
        raise InputError(f"{name} is empty")
    refuse_surrogates(name, [str(value)])
    return value


def tokens(name: str, value: Any) -> list[str | AddedToken]:
    if not isinstance(value, list | tuple | None):
        raise InputTypeError(f"{name} is a list of tokens, got {short(value)}")
    return [entry for entry in (token(name, entry) for entry in value or ()) if entry is not None]


# What tokenizer_config.json, the constructor and from_pretrained's overrides may set, each with what checks it.
SETTINGS = {
    "do_lower_case": flag,
    "tokenize_chinese_chars": flag,
    "strip_accents": flag_or_none,
    "never_split": words,
    "model_max_length": length_or_none,
    "padding_side": side,
    "truncation_side": side,
    "clean_up_tokenization_spaces": flag_or_none,
    "split_special_tokens": flag,
    "model_input_names": input_names,
    "additional_special_tokens": tokens,
    **dict.fromkeys(SPECIAL_TOKEN_NAMES, token),
}


# --- texts and ids ----------------------------------------------------------------------------------------------------


def _not_text(name: str, value: Any, taken: str) -> NoReturn:
    hint = "; a list of words needs is_split_into_words=True" if isinstance(value, list | tuple) else ""
    raise InputTypeError(f"{name} is {taken}, got {type(value).__name__} {short(value)}{hint}")


def one_text(name: str, value: Any, is_split_into_words: bool) -> str | list[str]:
    """`value` as the library takes it: a string, or with `is_split_into_words` a list of strings."""
    if not is_split_into_words:
        return value if isinstance(value, str) else _not_text(name, value, "a string")
    if not isinstance(value, list | tuple):
        raise InputTypeError(
            f"{name} is a list of words when is_split_into_words=True, got {type(value).__name__} {short(value)}"
        )
    for place, word in enumerate(value):
        if not isinstance(word, str):
            raise InputTypeError(f"{name}[{place}] is a word (a string), got {type(word).__name__} {short(word)}")
    return list(value)


def one_item(name: str, value: Any, is_split_into_words: bool) -> Any:
    """A text, or a (text, text) pair, of a batch."""
    pair_of: Any = (list, tuple) if is_split_into_words else str
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(part, pair_of) for part in value):
        return tuple(one_text(f"{name}[{place}]", part, is_split_into_words) for place, part in enumerate(value))
    return one_text(name, value, is_split_into_words)


def batch_items(batch: Any, is_split_into_words: bool) -> list[Any]:
    """The texts, or (text, text) pairs, of a batch."""
    if not isinstance(batch, list | tuple):
        raise InputTypeError(f"a batch is a list of texts or of pairs, got {type(batch).__name__} {short(batch)}")
    if not batch:
        raise InputError("the batch is empty: there must be at least one text")
    return [one_item(f"text[{place}]", item, is_split_into_words) for place, item in enumerate(batch)]


def items_of(text: Any, text_pair: Any, is_split_into_words: bool) -> tuple[list[Any], bool]:
    """What a call gives to the library, and whether it is a batch."""

    def one(name: str, value: Any) -> Any:
        return one_text(name, value, is_split_into_words)

    is_batch = isinstance(text, list | tuple)
    if is_split_into_words:
        is_batch = is_batch and len(text) > 0 and isinstance(text[0], list | tuple)
    if not is_batch:
        item = one("text", text)
        # An empty second text is no second text here, as in the reference; in a batch it is one.
        second = None if text_pair is None else one("text_pair", text_pair)
        return [(item, second) if second else item], False
    if text_pair is None:
        return batch_items(text, is_split_into_words), True
    if not isinstance(text_pair, list | tuple):
        raise InputTypeError(f"text_pair is a list like text, got {type(text_pair).__name__} {short(text_pair)}")
    if len(text) != len(text_pair):
        raise InputError(f"text_pair has as many items as text: {len(text)}, got {len(text_pair)}")
    pairs = [
        (one(f"text[{place}]", first), one(f"text_pair[{place}]", second))
        for place, (first, second) in enumerate(zip(text, text_pair, strict=True))
    ]
    return batch_items(pairs, is_split_into_words), True


def refuse_surrogates(name: str, items: Sequence[Any]) -> None:
    """Half of a UTF-16 pair is no character and has no UTF-8 form: some versions of the library lose it silently."""

    def walk(where: str, value: Any) -> None:
        if isinstance(value, str):
            try:
                value.isascii() or value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise InputError(
                    f"{where} holds a lone surrogate, {value[error.start]!r} at index {error.start}, which is no character; "
                    f"text.encode('utf-8', 'replace').decode('utf-8') puts a '?' in its place"
                ) from error
        else:
            for place, part in enumerate(value):
                walk(f"{where}[{place}]", part)

    for place, item in enumerate(items):
        which = f"[{place}]" if len(items) > 1 else ""
        if isinstance(item, tuple):
            walk(f"{name}{which}", item[0])
            walk(f"{name}_pair{which}", item[1])
        else:
            walk(f"{name}{which}", item)


def id_list(name: str, value: Any) -> list[int]:
    """A row of ids as a list: from a list, a 1-D array or a single id."""
    ids = [value] if isinstance(value, int | np.integer) else value
    if isinstance(ids, np.ndarray):
        if ids.ndim > 1:
            raise InputError(f"{name} is one row of ids, got an array of shape {ids.shape}; batch_decode takes several rows")
        ids = np.atleast_1d(ids).tolist()
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise InputTypeError(f"{name} is a list or an array of ids, got {type(value).__name__} {short(value)}")
    ids = list(ids)
    for place, number in enumerate(ids):
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise InputTypeError(f"{name}[{place}] is a token id, got {type(number).__name__} {short(number)}")
    return [int(number) for number in ids]
