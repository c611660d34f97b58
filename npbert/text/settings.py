"""The settings of a tokenizer: what each is called, and the function that checks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from npbert.checks import boolean, choice, unicode_text, whole_number
from npbert.errors import InputError, InputTypeError, listed, shown

if TYPE_CHECKING:
    from tokenizers import AddedToken

NO_MAX_LENGTH = int(1e30)
"""The `model_max_length` of a tokenizer without a maximum length."""

# The order decides the ids of special tokens that the vocabulary lacks: they are added at its end, one after the other.
SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
TOKEN_SETTINGS = (*SPECIAL_TOKEN_NAMES, "additional_special_tokens")
NORMALIZER_SETTINGS = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")

END_OF_TEXT = "<|endoftext|>"

SIDES = ("right", "left")
MODEL_INPUT_NAMES = ("input_ids", "token_type_ids", "attention_mask")


def side(name: str, value: object) -> str:
    """Where padding is put, or where a text is cut."""
    return choice(name, value, SIDES)


def special_token(name: str, value: object) -> str | AddedToken | None:
    """A text, an `AddedToken`, or None for "there is none"."""
    if value is None:
        return None
    # The type is compared by its name, because this module must not import tokenizers.
    if not isinstance(value, str) and type(value).__name__ != "AddedToken":
        raise InputTypeError(f"{name}: takes a text or a tokenizers.AddedToken, got {shown(value)}")
    if not unicode_text(name, str(value)):
        raise InputError(f"{name}: takes a token, this one is empty")
    token: Any = value
    return token


def token_list(name: str, value: object) -> list[str | AddedToken]:
    """A list of texts and `AddedToken`s; None is an empty list."""
    if not isinstance(value, list | tuple | None):
        raise InputTypeError(f"{name}: takes a list of tokens, got {shown(value)}")
    tokens = (special_token(f"{name}[{place}]", entry) for place, entry in enumerate(value or ()))
    return [token for token in tokens if token is not None]


def _boolean_or_none(name: str, value: object) -> bool | None:
    return None if value is None else boolean(name, value)


def _max_length(name: str, value: object) -> int:
    if value is None:
        return NO_MAX_LENGTH
    return whole_number(name, int(value) if isinstance(value, float) and value.is_integer() else value)  # files say 1e30


def _words(name: str, value: object) -> list[str]:
    """A word or any collection of words, as a list; None is an empty list."""
    if value is None:
        return []
    words: list[Any] = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    for place, word in enumerate(words):
        if not isinstance(word, str) or not word:
            raise InputTypeError(f"{name}[{place}]: takes a word, got {shown(word)}")
        unicode_text(f"{name}[{place}]", word)
    return words


def _input_names(name: str, value: object) -> list[str]:
    names = _words(name, value)
    if not names or names[0] != "input_ids":
        raise InputError(f"{name}: takes names that begin with 'input_ids', got {listed(names)}")
    return names


# What tokenizer_config.json, the constructor and the overrides of from_pretrained may set, whatever the tokenizer.
_OF_ALL = {
    "model_max_length": _max_length,
    "padding_side": side,
    "truncation_side": side,
    "clean_up_tokenization_spaces": _boolean_or_none,
    "split_special_tokens": boolean,
    "model_input_names": _input_names,
    "additional_special_tokens": token_list,
    **dict.fromkeys(SPECIAL_TOKEN_NAMES, special_token),
}

SETTINGS = {
    "do_lower_case": boolean,
    "tokenize_chinese_chars": boolean,
    "strip_accents": _boolean_or_none,
    "never_split": _words,
    **_OF_ALL,
}

GPT2_SETTINGS = {
    "add_prefix_space": boolean,
    "add_bos_token": boolean,
    **_OF_ALL,
}


class TokenizerKind(NamedTuple):
    """What tells the files of one tokenizer from those of another."""

    name: str  # of the class
    model: str  # of the library: how words are cut
    vocab_files: tuple[str, ...]  # what there is where there is no tokenizer.json
    settings: Mapping[str, Callable[[str, Any], Any]]
    model_input_names: tuple[str, ...]
    default_tokens: Mapping[str, str]  # special tokens where no file names others
    same_algorithm: tuple[str, ...]  # classes of the reference that cut text in the same way, without "Fast"


BERT = TokenizerKind(
    "BertTokenizer",
    "WordPiece",
    ("vocab.txt",),
    SETTINGS,
    MODEL_INPUT_NAMES,
    {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")},
    ("BertTokenizer", "DistilBertTokenizer"),
)
GPT2 = TokenizerKind(
    "GPT2Tokenizer",
    "BPE",
    ("vocab.json", "merges.txt"),
    GPT2_SETTINGS,
    ("input_ids", "attention_mask"),
    dict.fromkeys(("unk_token", "bos_token", "eos_token"), END_OF_TEXT),
    ("GPT2Tokenizer",),
)
