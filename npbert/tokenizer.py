"""Text to token ids and back: BERT's WordPiece tokenizer, on the Rust library `tokenizers`.

A text goes through four steps (Devlin et al. 2018, and Wu et al. 2016 for WordPiece):

1. *normalize*: control characters go, every white space becomes a blank, Chinese characters get blanks around them;
   an uncased vocabulary also lower-cases and strips accents,
2. *split* at blanks and around punctuation: "best-selling" is three words,
3. *WordPiece*: each word is cut greedily into the longest pieces that the vocabulary has, and every piece but the first
   carries "##": unheard -> un ##heard. A word that cannot be cut is one `[UNK]`,
4. *frame*: `[CLS] a [SEP]`, or `[CLS] a [SEP] b [SEP]` for a pair, token type 0 up to the first `[SEP]` and 1 after it.

The library does these steps; this file reads and writes the files that configure them, and gives them the interface of the
reference's `BertTokenizerFast`. `tokenizers` is imported when the first tokenizer is made, not with this module.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings
from collections import UserDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from npbert.checkpoints.writing import replacing
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError, NpbertError

if TYPE_CHECKING:
    from tokenizers import AddedToken, Encoding, Tokenizer

# What a tokenizer without a maximum length says of itself, and from where on a length counts as "no maximum".
NO_MAX_LENGTH = int(1e30)
LARGE_LENGTH = int(1e20)

# The order decides the ids of special tokens that the vocabulary lacks: they are added at its end, one after the other.
SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

PADDINGS = ("longest", "max_length", "do_not_pad")
TRUNCATIONS = ("longest_first", "only_first", "only_second", "do_not_truncate")
MODEL_INPUT_NAMES = ("input_ids", "token_type_ids", "attention_mask")

# Entries of a tokenizer_config.json that speak of files or classes, not of how text is cut.
_NOT_SETTINGS = (
    *("tokenizer_class", "vocab_file", "tokenizer_file", "special_tokens_map_file", "added_tokens_decoder", "name_or_path"),
    *("init_inputs", "auto_map", "processor_class", "device_map", "extra_special_tokens"),
)

# The slow and the fast form of a class cut text in the same way, so the names are compared without "Fast".
_SAME_ALGORITHM = ("BertTokenizer", "DistilBertTokenizer", "PreTrainedTokenizer")


class CharSpan(NamedTuple):
    """Characters `start` to `end - 1` of the text."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens `start` to `end - 1` of an encoded text."""

    start: int
    end: int


class BatchEncoding(UserDict[str, Any]):
    """What a tokenizer answers: a dictionary of model inputs that also knows which token came from which characters.

    `model(**encoding)` works, `encoding["input_ids"]` and `encoding.input_ids` are the same, `encoding[0]` is the first row's
    `tokenizers.Encoding`. The methods between tokens, words and characters take `(index)` for the first row or
    `(row, index)`, as in the reference.
    """

    def __init__(self, data: Mapping[str, Any] | None = None, encodings: Sequence[Encoding] | None = None) -> None:
        super().__init__(data or {})
        self.encodings = None if encodings is None else list(encodings)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self.data[key]
        if isinstance(key, slice):
            return {name: value[key] for name, value in self.data.items()}
        return self._rows()[key]

    def __getattr__(self, name: str) -> Any:
        # Copying and unpickling look for methods before `data` is there: going on would ask for it for ever.
        if name != "data" and name in self.__dict__.get("data", ()):
            return self.data[name]
        raise AttributeError(
            f"{type(self).__name__} has no attribute or entry {name!r}; it has {sorted(self.__dict__.get('data', ()))}"
        )

    def _rows(self) -> list[Encoding]:
        if self.encodings is None:
            raise InputError("this BatchEncoding does not know where its tokens came from: pad() made it, or somebody by hand")
        return self.encodings

    def _row_and_index(self, row_or_index: int, index: int | None) -> tuple[Encoding, int]:
        row, index = (0, row_or_index) if index is None else (row_or_index, index)
        return self._rows()[row], index

    def _row_and_token(self, row_or_token: int, token: int | None) -> tuple[Encoding, int]:
        row, token = self._row_and_index(row_or_token, token)
        return row, token + len(row.ids) if token < 0 else token

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row, `[CLS]`, `[SEP]` and `[PAD]` among them."""
        return list(self._rows()[batch_index].tokens)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For every token of a row the number of its word in its sequence, None for special tokens."""
        return list(self._rows()[batch_index].word_ids)

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """For every token of a row 0 (first text), 1 (second text) or None (special tokens)."""
        return list(self._rows()[batch_index].sequence_ids)

    def token_to_sequence(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """0 or 1: the text of the pair that the token belongs to; None for special tokens."""
        row, token = self._row_and_token(batch_or_token_index, token_index)
        return row.token_to_sequence(token)

    def token_to_word(self, batch_or_token_index: int, token_index: int | None = None) -> int | None:
        """The number of the word that the token is a piece of; None for special tokens."""
        row, token = self._row_and_token(batch_or_token_index, token_index)
        # The library answers (sequence, word) for a pair's second text, where the reference hands on whatever comes.
        answer: Any = row.token_to_word(token)
        return answer

    def token_to_chars(self, batch_or_token_index: int, token_index: int | None = None) -> CharSpan | None:
        """The characters that the token stands for; None for special tokens."""
        row, token = self._row_and_token(batch_or_token_index, token_index)
        span: Any = row.token_to_chars(token)
        return None if span is None else CharSpan(*span)

    def char_to_token(self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0) -> int | None:
        """The token that the character went into; None for white space and for what truncation cut off."""
        row, char = self._row_and_index(batch_or_char_index, char_index)
        return row.char_to_token(char, sequence_index)

    def char_to_word(self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0) -> int | None:
        """The number of the word that holds the character; None between words."""
        row, char = self._row_and_index(batch_or_char_index, char_index)
        return row.char_to_word(char, sequence_index)

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens that the word was cut into; None when there is no such word."""
        row, word = self._row_and_index(batch_or_word_index, word_index)
        span: Any = row.word_to_tokens(word, sequence_index)
        return None if span is None else TokenSpan(*span)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of the word; None when there is no such word."""
        row, word = self._row_and_index(batch_or_word_index, word_index)
        span: Any = row.word_to_chars(word, sequence_index)
        return None if span is None else CharSpan(*span)


# --- what the library must not do to its caller -----------------------------------------------------------------------


@contextmanager
def _library_errors(kind: type[NpbertError], what: str) -> Iterator[None]:
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


# --- reading files ----------------------------------------------------------------------------------------------------


def _read_json_object(path: Path) -> dict[str, Any]:
    # The checkpoints' own reader takes no number past 64 bits, but "no maximum length" is written as 10**30.
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise FileError(f"{path}: a JSON object is taken, got {type(answer).__name__}")
    return answer


def load_vocab(path: str | os.PathLike[str]) -> dict[str, int]:
    """Read a `vocab.txt`: one token a line, UTF-8, the line's number (from 0) is the token's id.

    A token that stands on two lines has the later line's id, and the earlier id stands for nothing, as in the reference.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return {line.rstrip("\n"): number for number, line in enumerate(file)}
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: a vocabulary is UTF-8 text, one token a line: {error}") from error
    except OSError as error:
        raise MissingFileError(f"{path}: cannot read the vocabulary: {error.strerror}") from error


def _from_tokenizer_json(path: str | os.PathLike[str]) -> Tokenizer:
    from tokenizers import Tokenizer, models

    if not os.path.isfile(path):
        raise MissingFileError(f"{path}: no such tokenizer file")
    with _library_errors(FileError, f"{path}: not a tokenizer.json"):
        backend = Tokenizer.from_file(os.fspath(path))
    if not isinstance(backend.model, models.WordPiece):
        raise FileError(f"{path}: BertTokenizer takes a WordPiece model, got {type(backend.model).__name__}")
    return backend


def _from_vocab(path: str | os.PathLike[str], unk_token: str) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = load_vocab(path)
    with _library_errors(FileError, f"{path}: not a WordPiece vocabulary"):
        backend = Tokenizer(models.WordPiece(vocab, unk_token=unk_token))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    return backend


def _added_token(entry: Any, *, special: bool | None = None) -> AddedToken:
    """An `AddedToken` from its JSON form: {"content": "[E]", "lstrip": false, ...}."""
    from tokenizers import AddedToken

    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str) or not entry["content"]:
        raise InputTypeError(f"an added token is an object with the text 'content', got {_short(entry)}")
    _refuse_surrogates("content", [entry["content"]])
    flags = {name: value for name, value in entry.items() if name not in ("content", "__type")}
    if special is not None:
        flags["special"] = special
    for name, value in flags.items():
        if name not in ("single_word", "lstrip", "rstrip", "normalized", "special") or not isinstance(value, bool):
            raise InputTypeError(f"added token {entry['content']!r}: {name!r} is {_short(value)}, taken are true and false")
    return AddedToken(entry["content"], **flags)


def _legacy_tokens(
    settings: dict[str, Any], overrides: Mapping[str, Any], special_tokens_map: Path | None, added_tokens: Path | None
) -> dict[int, AddedToken]:
    """Special and added tokens of checkpoints from before `tokenizer_config.json` held them: two files of their own.

    Special tokens go into `settings`, and win over those of `tokenizer_config.json`, as in the reference.
    """
    from tokenizers import AddedToken

    if special_tokens_map is not None:
        for name, value in _read_json_object(special_tokens_map).items():
            if (name not in SPECIAL_TOKEN_NAMES and name != "additional_special_tokens") or overrides.get(name):
                continue
            with _naming(special_tokens_map):
                if name == "additional_special_tokens":
                    known = list(settings.get(name) or [])
                    tokens = [_added_token(token, special=True) if isinstance(token, dict) else token for token in value or []]
                    settings[name] = _tokens(name, known + [token for token in tokens if token not in known])
                else:
                    settings[name] = _token(name, _added_token(value, special=True) if isinstance(value, dict) else value)
    decoder: dict[int, AddedToken] = {}
    if added_tokens is not None:
        specials = {str(settings[name]) for name in SPECIAL_TOKEN_NAMES if settings.get(name) is not None}
        specials.update(str(token) for token in settings.get("additional_special_tokens") or [])
        for content, number in _read_json_object(added_tokens).items():
            if not content or not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise FileError(f"{added_tokens}: a token and its id are taken, got {content!r}: {_short(number)}")
            special = content in specials
            with _naming(added_tokens):
                _refuse_surrogates("a token", [content])
            decoder[number] = AddedToken(content, normalized=not special, special=special)
    return decoder


# --- checking values --------------------------------------------------------------------------------------------------


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An unfit value inside is the fault of the file at `path`."""
    try:
        yield
    except FileError:
        raise
    except (InputError, InputTypeError) as error:
        raise FileError(f"{path}: {error}") from error


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InputTypeError(f"{name} is True or False, got {_short(value)}")
    return bool(value)


def _flag_or_none(name: str, value: Any) -> bool | None:
    return None if value is None else _flag(name, value)


def _count(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputTypeError(f"{name} is a whole number, got {_short(value)}")
    if value < least:
        raise InputError(f"{name} is at least {least}, got {value}")
    return int(value)


def _max_length(name: str, value: Any) -> int:
    if value is None:
        return NO_MAX_LENGTH
    return _count(name, int(value) if isinstance(value, float) and value.is_integer() else value, 0)


def _side(name: str, value: Any) -> str:
    if value not in ("right", "left"):
        raise InputError(f"{name} is 'right' or 'left', got {_short(value)}")
    return str(value)


def _words(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    words = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    for word in words:
        if not isinstance(word, str) or not word:
            raise InputTypeError(f"{name} is a list of words, got {_short(word)} in it")
    _refuse_surrogates(name, words)
    return words


def _input_names(name: str, value: Any) -> list[str]:
    names = _words(name, value)
    if not names or names[0] != "input_ids":
        raise InputError(f"{name} begins with 'input_ids', got {_short(value)}")
    return names


def _token(name: str, value: Any) -> str | AddedToken | None:
    """A special token: text, an `AddedToken`, or None for "there is none"."""
    if value is None:
        return None
    if not isinstance(value, str) and type(value).__name__ != "AddedToken":  # by name: this must not import tokenizers
        raise InputTypeError(f"{name} is a string or a tokenizers.AddedToken, got {_short(value)}")
    if not str(value):
        raise InputError(f"{name} is empty")
    _refuse_surrogates(name, [str(value)])
    return value


def _tokens(name: str, value: Any) -> list[str | AddedToken]:
    if not isinstance(value, list | tuple | None):
        raise InputTypeError(f"{name} is a list of tokens, got {_short(value)}")
    return [token for token in (_token(name, token) for token in value or ()) if token is not None]


# What tokenizer_config.json, the constructor and from_pretrained's overrides may set, each with what checks it.
_SETTINGS = {
    "do_lower_case": _flag,
    "tokenize_chinese_chars": _flag,
    "strip_accents": _flag_or_none,
    "never_split": _words,
    "model_max_length": _max_length,
    "padding_side": _side,
    "truncation_side": _side,
    "clean_up_tokenization_spaces": _flag_or_none,
    "split_special_tokens": _flag,
    "model_input_names": _input_names,
    "additional_special_tokens": _tokens,
    **dict.fromkeys(SPECIAL_TOKEN_NAMES, _token),
}


def _not_text(name: str, value: Any, taken: str) -> NoReturn:
    hint = "; a list of words needs is_split_into_words=True" if isinstance(value, list | tuple) else ""
    raise InputTypeError(f"{name} is {taken}, got {type(value).__name__} {_short(value)}{hint}")


def _one_text(name: str, value: Any, is_split_into_words: bool) -> str | list[str]:
    """`value` as the library takes it: a string, or with `is_split_into_words` a list of strings."""
    if not is_split_into_words:
        return value if isinstance(value, str) else _not_text(name, value, "a string")
    if not isinstance(value, list | tuple):
        raise InputTypeError(
            f"{name} is a list of words when is_split_into_words=True, got {type(value).__name__} {_short(value)}"
        )
    for place, word in enumerate(value):
        if not isinstance(word, str):
            raise InputTypeError(f"{name}[{place}] is a word (a string), got {type(word).__name__} {_short(word)}")
    return list(value)


def _one_item(name: str, value: Any, is_split_into_words: bool) -> Any:
    """A text, or a (text, text) pair, of a batch."""
    pair_of: Any = (list, tuple) if is_split_into_words else str
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(part, pair_of) for part in value):
        return tuple(_one_text(f"{name}[{place}]", part, is_split_into_words) for place, part in enumerate(value))
    return _one_text(name, value, is_split_into_words)


def _refuse_surrogates(name: str, items: Sequence[Any]) -> None:
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


def _as_array(name: str, rows: Any) -> np.ndarray[Any, Any]:
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
        raise InputError(f"{name} is no array of numbers: it holds {_short(rows)}")
    return array.astype(np.int64) if array.size == 0 or array.dtype.kind in "iu" else array


# --- special tokens as attributes -------------------------------------------------------------------------------------


def _token_attribute(name: str) -> property:
    def get(self: BertTokenizer) -> str | None:
        token = self._special_tokens[name]
        return None if token is None else str(token)

    def set_(self: BertTokenizer, value: str | AddedToken | None) -> None:
        self._special_tokens[name] = _token(name, value)

    return property(get, set_, doc=f"The {name.replace('_', ' ')}, or None. Setting it adds nothing to the vocabulary.")


def _token_id_attribute(name: str) -> property:
    def get(self: BertTokenizer) -> int | None:
        token = getattr(self, name)
        return None if token is None else self.convert_tokens_to_ids(token)

    def set_(self: BertTokenizer, value: int | None) -> None:
        setattr(self, name, None if value is None else self.convert_ids_to_tokens(value))

    return property(get, set_, doc=f"The id of the {name.replace('_', ' ')}, or None.")


class BertTokenizer:
    """Text to BERT's token ids and back, with the ids and the interface of the reference's `BertTokenizerFast`.

        tok = BertTokenizer.from_pretrained("bert-base-uncased")     # or BertTokenizer("vocab.txt", do_lower_case=False)
        tok(["a text", "another, longer one"], padding=True, return_tensors="np")

    - `vocab_file`: a `vocab.txt`, one token a line. `tokenizer_file`: a `tokenizer.json`, which wins when both are given.
    - `do_lower_case`, `strip_accents` (None: as `do_lower_case`), `tokenize_chinese_chars`: the normalizer. They are applied to
      a `tokenizer.json` too, whatever it says itself, as in the reference.
    - `never_split`: words of the vocabulary that stay whole and keep their case when they stand alone.
    - `model_max_length`: where `truncation=True` and `padding="max_length"` end when a call gives no `max_length`.
    - `padding_side`, `truncation_side`: "right" or "left". `model_input_names`: which arrays a call answers.
    - `clean_up_tokenization_spaces`: whether `decode` draws punctuation to the word before it.
    - `split_special_tokens`: cut special tokens in a text as if they were words.

    A call sets the library's padding and truncation for itself alone, under a lock: no call changes the next one, and a
    tokenizer may be shared between threads.
    """

    bos_token = _token_attribute("bos_token")
    eos_token = _token_attribute("eos_token")
    unk_token = _token_attribute("unk_token")
    sep_token = _token_attribute("sep_token")
    pad_token = _token_attribute("pad_token")
    cls_token = _token_attribute("cls_token")
    mask_token = _token_attribute("mask_token")
    bos_token_id = _token_id_attribute("bos_token")
    eos_token_id = _token_id_attribute("eos_token")
    unk_token_id = _token_id_attribute("unk_token")
    sep_token_id = _token_id_attribute("sep_token")
    pad_token_id = _token_id_attribute("pad_token")
    cls_token_id = _token_id_attribute("cls_token")
    mask_token_id = _token_id_attribute("mask_token")

    pad_token_type_id = 0

    def __init__(
        self,
        vocab_file: str | os.PathLike[str] | None = None,
        *,
        tokenizer_file: str | os.PathLike[str] | None = None,
        do_lower_case: bool = True,
        unk_token: str | AddedToken = "[UNK]",
        sep_token: str | AddedToken = "[SEP]",
        pad_token: str | AddedToken = "[PAD]",
        cls_token: str | AddedToken = "[CLS]",
        mask_token: str | AddedToken = "[MASK]",
        tokenize_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        never_split: Iterable[str] | None = None,
        bos_token: str | AddedToken | None = None,
        eos_token: str | AddedToken | None = None,
        additional_special_tokens: Sequence[str | AddedToken] = (),
        model_max_length: int | None = None,
        padding_side: str | None = None,
        truncation_side: str | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        split_special_tokens: bool = False,
        model_input_names: Sequence[str] = MODEL_INPUT_NAMES,
        added_tokens_decoder: Mapping[int, AddedToken] | None = None,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name in _SETTINGS}
        self._configure(vocab_file, tokenizer_file, settings, dict(added_tokens_decoder or {}))

    def _configure(
        self,
        vocab_file: str | os.PathLike[str] | None,
        tokenizer_file: str | os.PathLike[str] | None,
        settings: Mapping[str, Any],
        added_tokens: dict[int, AddedToken],
        *,
        tokens_of_file_win: bool = False,
        other_settings: Mapping[str, Any] | None = None,
        name_or_path: str = "",
    ) -> None:
        """Everything that a constructor does. `tokens_of_file_win`: see `from_pretrained`."""
        unset = {"padding_side": None, "truncation_side": None, "clean_up_tokenization_spaces": None}
        given = {name: value for name, value in settings.items() if value is not None or name not in unset}
        checked: dict[str, Any] = {name: check(name, given[name]) for name, check in _SETTINGS.items() if name in given}
        self._special_tokens: dict[str, str | AddedToken | None] = {
            **dict.fromkeys(SPECIAL_TOKEN_NAMES),
            **{f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")},
            **{name: checked[name] for name in SPECIAL_TOKEN_NAMES if name in checked},
        }
        self._additional_special_tokens: list[str | AddedToken] = checked.get("additional_special_tokens", [])

        file = tokenizer_file if tokenizer_file is not None else vocab_file
        if file is None:
            raise InputError("BertTokenizer takes a vocab_file (vocab.txt) or a tokenizer_file (tokenizer.json), got neither")
        from_vocab = tokenizer_file is None
        backend = _from_vocab(file, str(self.unk_token)) if from_vocab else _from_tokenizer_json(file)
        truncation, padding = backend.truncation, backend.padding
        backend.no_truncation()
        backend.no_padding()

        self._backend = backend
        self._lock = threading.Lock()
        self._other_settings = dict(other_settings or {})
        self.name_or_path = name_or_path
        self.do_lower_case: bool = checked.get("do_lower_case", True)
        self.strip_accents: bool | None = checked.get("strip_accents")
        self.tokenize_chinese_chars: bool = checked.get("tokenize_chinese_chars", True)
        self.never_split: list[str] = checked.get("never_split", [])
        self.model_max_length: int = checked.get("model_max_length", NO_MAX_LENGTH)
        self.padding_side: str = checked.get("padding_side", padding["direction"] if padding else "right")
        self.truncation_side: str = checked.get("truncation_side", truncation["direction"] if truncation else "right")
        # The reference's two ways of making a fast tokenizer have two defaults.
        self.clean_up_tokenization_spaces: bool = checked.get("clean_up_tokenization_spaces", from_vocab)
        self.split_special_tokens: bool = checked.get("split_special_tokens", False)
        self.model_input_names: list[str] = checked.get("model_input_names", list(MODEL_INPUT_NAMES))

        if from_vocab:
            from tokenizers import normalizers

            backend.normalizer = normalizers.BertNormalizer(
                clean_text=True,
                handle_chinese_chars=self.tokenize_chinese_chars,
                strip_accents=self.strip_accents,
                lowercase=self.do_lower_case,
            )
        if tokens_of_file_win:
            added_tokens = {**added_tokens, **backend.get_added_tokens_decoder()}
        with _naming(Path(file)), _library_errors(FileError, f"{file}: cannot add the special tokens"):
            self._add_missing_tokens(added_tokens)
            if from_vocab:
                self._frame_with_special_tokens()
            self._set_normalizer()
        self._keep_whole(self.never_split, file)
        self._check_vocabulary(file)

    def _add_missing_tokens(self, added_tokens: Mapping[int, AddedToken]) -> None:
        """Give the library the added and special tokens that its own file lacks; those it has take the flags given here."""
        from tokenizers import AddedToken

        by_content = {str(token): token for token in added_tokens.values()}
        for name, token in self._special_tokens.items():
            if token is not None:
                self._special_tokens[name] = by_content.get(str(token), token)
        missing: list[Any] = [token for _, token in sorted(added_tokens.items())]
        known = {str(token) for token in (*self._backend.get_added_tokens_decoder().values(), *missing)}
        # A special token given as a string takes the flags that the file gives it; an AddedToken brings its own.
        missing += [t for t in self._all_special_tokens() if (t not in known if isinstance(t, str) else t not in missing)]
        specials = set(self.all_special_tokens)
        tokens = []
        for token in missing:
            if isinstance(token, str):
                token = AddedToken(token, special=token in specials)
            token.special = token.special or str(token) in specials
            tokens.append(token)
        if tokens:
            self._add(tokens)

    def _frame_with_special_tokens(self) -> None:
        from tokenizers import processors

        if self.cls_token is None or self.sep_token is None:
            raise InputError("cls_token and sep_token frame every text, got None")
        cls, sep = (self.cls_token, self.cls_token_id), (self.sep_token, self.sep_token_id)
        self._backend.post_processor = processors.TemplateProcessing(
            single=[f"{cls[0]}:0", "$A:0", f"{sep[0]}:0"],
            pair=[f"{cls[0]}:0", "$A:0", f"{sep[0]}:0", "$B:1", f"{sep[0]}:1"],
            special_tokens=[cls, sep],
        )

    def _set_normalizer(self) -> None:
        """Lay the constructor's three switches over a tokenizer.json's normalizer; its `clean_text` stays."""
        from tokenizers import normalizers

        old = self._backend.normalizer
        if not isinstance(old, normalizers.BertNormalizer):
            return  # a normalizer of another kind has no such switches: it says what it does by being there
        switches = (self.tokenize_chinese_chars, self.strip_accents, self.do_lower_case)
        if (old.handle_chinese_chars, old.strip_accents, old.lowercase) != switches:
            self._backend.normalizer = normalizers.BertNormalizer(old.clean_text, *switches)

    def _keep_whole(self, words: Iterable[str], file: str | os.PathLike[str]) -> None:
        from tokenizers import AddedToken

        added = {str(token) for token in self._backend.get_added_tokens_decoder().values()}
        for word in words:
            if self._backend.token_to_id(word) is None:
                raise InputError(
                    f"never_split: {word!r} is not in the vocabulary {file}: whole it would be unknown. add_tokens adds it"
                )
            if word not in added:
                self._backend.add_tokens([AddedToken(word, single_word=True, normalized=False)])

    def _check_vocabulary(self, file: str | os.PathLike[str]) -> None:
        """Find now what would else be found at the first unknown word, or by the model as an id out of range."""
        unknown = self._backend.model.unk_token
        if self._backend.model.token_to_id(unknown) is None:
            raise FileError(f"{file}: the vocabulary has no {unknown!r} for unknown words")
        for number, token in self.added_tokens_decoder.items():
            word = self._backend.model.id_to_token(number)
            if word not in (None, str(token)):
                raise FileError(f"{file}: the id {number} is that of the added token {str(token)!r} and of {word!r}")
        for pair in ((), ("",)):
            with _library_errors(FileError, f"{file}: cannot frame a text with special tokens"):
                frame = self._backend.encode("", *pair)
            framed = [self._backend.id_to_token(number) for number in frame.ids]
            if framed != frame.tokens:
                raise FileError(f"{file}: texts are framed with {frame.tokens}, but the ids {frame.ids} stand for {framed}")

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        **overrides: Any,
    ) -> BertTokenizer:
        """Read a checkpoint's tokenizer, from a directory or the hub: `tokenizer.json`, or else `vocab.txt`.

        The path of such a file itself is taken too, and what stands beside it counts as for a directory.
        `tokenizer_config.json` adds the settings, and where they differ from `tokenizer.json` they win; `overrides` (the
        constructor's keywords) win over both. Special and added tokens come from `tokenizer_config.json`; where it does not
        list them (`added_tokens_decoder`), from `special_tokens_map.json`, `added_tokens.json` and `tokenizer.json`.
        """
        if unknown := sorted(overrides.keys() - _SETTINGS.keys()):
            raise InputTypeError(f"from_pretrained does not take {', '.join(unknown)}; it takes {', '.join(_SETTINGS)}")
        from npbert.checkpoints.hub import find_file

        def find(filename: str) -> Path | None:
            return find_file(
                path_or_id,
                filename,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                token=token,
            )

        config_file = find("tokenizer_config.json")
        named = Path(path_or_id) if os.path.isfile(path_or_id) else None
        tokenizer_file = vocab_file = None
        if named is not None and named.suffix == ".txt":
            vocab_file = named
        elif named is not None and named.suffix == ".json" and not named.name.endswith(".index.json"):
            tokenizer_file = named
        else:
            tokenizer_file = find("tokenizer.json")
            vocab_file = find("vocab.txt") if tokenizer_file is None else None
        if tokenizer_file is None and vocab_file is None:
            raise MissingFileError(f"{os.fspath(path_or_id)}: there is no tokenizer: looked for tokenizer.json and vocab.txt")

        config = {} if config_file is None else _read_json_object(config_file)
        settings = {name: value for name, value in config.items() if name not in _NOT_SETTINGS}
        added_tokens: dict[int, AddedToken] = {}
        if config_file is not None:
            with _naming(config_file):
                settings = _checked_settings(settings, config)
                added_tokens = _added_tokens_decoder(config.get("added_tokens_decoder", {}))
        listed = "added_tokens_decoder" in config
        if not listed:
            added_tokens = _legacy_tokens(settings, overrides, find("special_tokens_map.json"), find("added_tokens.json"))
        if "model_input_names" not in settings:
            settings["model_input_names"] = _input_names_of(config.get("tokenizer_class"), find)
        settings.update(overrides)

        self = cls.__new__(cls)
        self._configure(
            vocab_file,
            tokenizer_file,
            {name: value for name, value in settings.items() if name in _SETTINGS},
            added_tokens,
            tokens_of_file_win=tokenizer_file is not None and not listed,
            other_settings={name: value for name, value in settings.items() if name not in _SETTINGS},
            name_or_path=os.fspath(path_or_id),
        )
        return self

    # --- text to ids --------------------------------------------------------------------------------------------------

    def __call__(
        self,
        text: str | Sequence[Any],
        text_pair: str | Sequence[Any] | None = None,
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Encode a text, or a list of texts; `text_pair` is the second text of each pair.

        - `text`: a string, or a list of strings for a batch (of (text, text) tuples for a batch of pairs); with
          `is_split_into_words` a list of words, or a list of such lists for a batch.
        - `add_special_tokens=True`: frame with `[CLS]` and `[SEP]`.
        - `padding=False`: True or "longest" pads to the longest of the batch, "max_length" to `max_length`, False or
          "do_not_pad" not at all. `pad_to_multiple_of` rounds that length up; `padding_side` overrides the tokenizer's.
        - `truncation=None`: True or "longest_first" cuts to `max_length`, token by token from the longer text of a pair;
          "only_first" and "only_second" cut one of them; False or "do_not_truncate" cuts nothing. None is False, except that
          `max_length` without padding then means "longest_first", with a warning.
        - `max_length=None`: the tokenizer's `model_max_length`.
        - `return_overflowing_tokens`: what is cut off comes as further rows that overlap by `stride` tokens, and
          `overflow_to_sample_mapping` says which text each row came from.
        - `return_token_type_ids`, `return_attention_mask` (None: as `model_input_names` says), `return_special_tokens_mask`,
          `return_offsets_mapping` (first and past-the-last character of each token), `return_length`: further entries.
        - `return_tensors`: "np" answers int64 arrays, None lists. A single text is a batch of one as arrays, and has no batch
          axis as lists.
        - `split_special_tokens`: overrides the tokenizer's. `verbose=False`: no warnings.
        """
        options = {name: value for name, value in locals().items() if name not in ("self", "text", "text_pair")}
        is_batch = isinstance(text, list | tuple)
        if is_split_into_words:
            is_batch = is_batch and len(text) > 0 and isinstance(text[0], list | tuple)
        if not is_batch:
            return self.encode_plus(text, text_pair, **options)
        if text_pair is None:
            return self.batch_encode_plus(text, **options)
        if not isinstance(text_pair, list | tuple):
            raise InputTypeError(f"text_pair is a list like text, got {type(text_pair).__name__} {_short(text_pair)}")
        if len(text) != len(text_pair):
            raise InputError(f"text_pair has as many items as text: {len(text)}, got {len(text_pair)}")
        pairs = [
            (
                _one_text(f"text[{place}]", first, is_split_into_words),
                _one_text(f"text_pair[{place}]", second, is_split_into_words),
            )
            for place, (first, second) in enumerate(zip(text, text_pair, strict=True))
        ]
        return self.batch_encode_plus(pairs, **options)

    def encode(self, text: str | Sequence[str], text_pair: str | Sequence[str] | None = None, **options: Any) -> Any:
        """The `input_ids` of one text or pair; `options` as for a call."""
        return self.encode_plus(text, text_pair, **options)["input_ids"]

    def encode_plus(
        self,
        text: str | Sequence[str],
        text_pair: str | Sequence[str] | None = None,
        *,
        is_split_into_words: bool = False,
        **options: Any,
    ) -> BatchEncoding:
        """Encode one text or pair; `options` as for a call."""
        item: Any = _one_text("text", text, is_split_into_words)
        # An empty second text is no second text here, as in the reference; in a batch it is one.
        if text_pair is not None and (second := _one_text("text_pair", text_pair, is_split_into_words)):
            item = (item, second)
        return self._encode([item], is_single=True, is_split_into_words=is_split_into_words, **options)

    def batch_encode_plus(
        self, batch_text_or_text_pairs: Sequence[Any], *, is_split_into_words: bool = False, **options: Any
    ) -> BatchEncoding:
        """Encode a list of texts, or of (text, text) pairs; `options` as for a call."""
        batch = batch_text_or_text_pairs
        if not isinstance(batch, list | tuple):
            raise InputTypeError(f"a batch is a list of texts or of pairs, got {type(batch).__name__} {_short(batch)}")
        if not batch:
            raise InputError("the batch is empty: there must be at least one text")
        items = [_one_item(f"text[{place}]", item, is_split_into_words) for place, item in enumerate(batch)]
        return self._encode(items, is_single=False, is_split_into_words=is_split_into_words, **options)

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any) -> list[str]:
        """The tokens of a text as strings."""
        return self.encode_plus(text, pair, add_special_tokens=add_special_tokens, **options).tokens()

    def _encode(
        self,
        items: Sequence[Any],
        *,
        is_single: bool,
        is_split_into_words: bool,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        split_special_tokens: bool | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        _check_return_tensors(return_tensors)
        _refuse_surrogates("text", items)
        stride = _count("stride", stride, 0)
        padding, truncation, max_length = self._strategies(padding, truncation, max_length, pad_to_multiple_of, verbose)
        pad_to = None if padding == "do_not_pad" else self._padding(padding, max_length, pad_to_multiple_of, padding_side)
        cut_to = None if truncation == "do_not_truncate" else self._truncation(truncation, max_length, stride)
        if cut_to is not None and add_special_tokens:
            self._check_room(items, cut_to["max_length"])

        with self._lock, _library_errors(InputError, "the text cannot be encoded"):
            try:
                if cut_to is not None:
                    self._backend.enable_truncation(**cut_to)
                if pad_to is not None:
                    self._backend.enable_padding(**pad_to)
                self._backend.encode_special_tokens = (
                    self.split_special_tokens
                    if split_special_tokens is None
                    else _flag("split_special_tokens", split_special_tokens)
                )
                encodings = self._backend.encode_batch(
                    items, add_special_tokens=add_special_tokens, is_pretokenized=is_split_into_words
                )
            finally:
                self._backend.no_truncation()
                self._backend.no_padding()

        rows: list[Encoding] = []
        sample: list[int] = []
        for number, encoding in enumerate(encodings):
            parts = [encoding, *encoding.overflowing] if return_overflowing_tokens else [encoding]
            rows += parts
            sample += [number] * len(parts)
        if verbose and max_length is None:
            self._warn_about_length(max(len(row.ids) for row in rows))

        def wanted(asked: bool | None, name: str) -> bool:
            return name in self.model_input_names if asked is None else asked

        data: dict[str, Any] = {"input_ids": [row.ids for row in rows]}
        if wanted(return_token_type_ids, "token_type_ids"):
            data["token_type_ids"] = [row.type_ids for row in rows]
        if wanted(return_attention_mask, "attention_mask"):
            data["attention_mask"] = [row.attention_mask for row in rows]
        if return_special_tokens_mask:
            data["special_tokens_mask"] = [row.special_tokens_mask for row in rows]
        if return_offsets_mapping:
            data["offset_mapping"] = [row.offsets for row in rows]
        if return_length:
            data["length"] = [len(row.ids) for row in rows]
        if return_overflowing_tokens:
            data["overflow_to_sample_mapping"] = sample

        if return_tensors == "np":
            data = {name: _as_array(name, value) for name, value in data.items()}
        elif is_single and not return_overflowing_tokens:
            data = {name: value[0] if isinstance(value[0], list) else value for name, value in data.items()}
        return BatchEncoding(data, rows)

    def _strategies(
        self, padding: Any, truncation: Any, max_length: Any, pad_to_multiple_of: Any, verbose: bool
    ) -> tuple[str, str, int | None]:
        """What `padding`, `truncation` and `max_length` mean together, in the reference's words."""
        if max_length is not None:
            max_length = _count("max_length", max_length, 0)
        if pad_to_multiple_of is not None:
            _count("pad_to_multiple_of", pad_to_multiple_of, 1)
        if max_length is not None and padding is False and truncation is None:
            truncation = "longest_first"
            if verbose:
                _warn("max_length was given without truncation: truncating 'longest_first'. Pass truncation=True to say so")
        padding_strategy = {False: "do_not_pad", True: "longest"}[padding] if isinstance(padding, bool) else padding
        if padding_strategy not in PADDINGS:
            raise InputError(f"padding is True, False or one of {', '.join(PADDINGS)}, got {_short(padding)}")
        truncation_strategy = truncation
        if truncation is None or isinstance(truncation, bool):
            truncation_strategy = "longest_first" if truncation else "do_not_truncate"
        if truncation_strategy not in TRUNCATIONS:
            raise InputError(f"truncation is True, False, None or one of {', '.join(TRUNCATIONS)}, got {_short(truncation)}")
        if padding is True and max_length is not None and truncation_strategy == "do_not_truncate" and verbose:
            _warn("max_length has no effect with padding=True and no truncation; padding='max_length' pads to it")

        if max_length is None and (padding_strategy == "max_length" or truncation_strategy != "do_not_truncate"):
            if self.model_max_length <= LARGE_LENGTH:
                max_length = self.model_max_length
            else:
                if padding_strategy == "max_length":
                    padding_strategy = "do_not_pad"
                    if verbose:
                        _warn("padding='max_length' without max_length, and the tokenizer has no model_max_length: not padding")
                if truncation_strategy != "do_not_truncate":
                    truncation_strategy = "do_not_truncate"
                    if verbose:
                        _warn("truncation without max_length, and the tokenizer has no model_max_length: not truncating")
        if (
            max_length is not None
            and pad_to_multiple_of is not None
            and truncation_strategy != "do_not_truncate"
            and padding_strategy != "do_not_pad"
            and max_length % pad_to_multiple_of
        ):
            raise InputError(
                f"with truncation and padding, max_length is a multiple of pad_to_multiple_of={pad_to_multiple_of}, "
                f"got {max_length}"
            )
        return str(padding_strategy), str(truncation_strategy), max_length

    def _padding(
        self, padding: str, max_length: int | None, pad_to_multiple_of: int | None, side: str | None
    ) -> dict[str, Any]:
        return {
            "length": max_length if padding == "max_length" else None,
            "direction": self.padding_side if side is None else _side("padding_side", side),
            "pad_id": self._pad_id(),
            "pad_token": self.pad_token,
            "pad_type_id": self.pad_token_type_id,
            "pad_to_multiple_of": pad_to_multiple_of,
        }

    def _pad_id(self) -> int:
        number: int | None = None if self.pad_token is None else self._backend.token_to_id(self.pad_token)
        if number is None:
            raise InputError(f"padding needs a pad_token of the vocabulary, got {self.pad_token!r}")
        return number

    def _truncation(self, truncation: str, max_length: int | None, stride: int) -> dict[str, Any]:
        return {"max_length": max_length, "stride": stride, "strategy": truncation, "direction": self.truncation_side}

    def _check_room(self, items: Sequence[Any], max_length: int) -> None:
        """Without room for the special tokens the library cuts nothing at all, and says nothing."""
        special = self.num_special_tokens_to_add(any(isinstance(item, tuple) for item in items))
        if max_length < special:
            raise InputError(f"max_length={max_length} leaves no room for the {special} special tokens")

    def _warn_about_length(self, length: int) -> None:
        if 0 < self.model_max_length < length:
            _warn(f"a text has {length} tokens, the model takes {self.model_max_length}; truncation=True cuts it")

    # --- ids to text --------------------------------------------------------------------------------------------------

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> str:
        """The text of one row of ids (a list, a 1-D array or a single id): pieces joined, words separated by blanks."""
        ids = _id_list("token_ids", token_ids)
        for number in ids:
            self._token_of(number)
        text: str = self._backend.decode(ids, skip_special_tokens=skip_special_tokens)
        clean = self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        return clean_up_tokenization(text) if clean else text

    def batch_decode(
        self, sequences: Iterable[Any], skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """The texts of several rows of ids."""
        return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in sequences]

    def _token_of(self, number: int) -> str:
        token: str | None = self._backend.id_to_token(number) if 0 <= number < 2**32 else None
        if token is None:
            raise InputError(f"token id {number} is not in the vocabulary, which has {len(self)} tokens")
        return token

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of an id, or the list of tokens of a list or 1-D array of ids."""
        if isinstance(ids, int | np.integer):
            return self._token_of(int(ids))
        skip = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._token_of(number) for number in _id_list("ids", ids) if number not in skip]

    def convert_tokens_to_ids(self, tokens: str | Iterable[str]) -> Any:
        """The id of a token, or the list of ids of a list of tokens; a token that is not in the vocabulary is unknown."""
        if isinstance(tokens, str):
            _refuse_surrogates("tokens", [tokens])
            number = self._backend.token_to_id(tokens)
            # Only an unknown token that is itself in the vocabulary has an id: asking for it again would never end.
            return number if number is not None or self.unk_token is None else self._backend.token_to_id(self.unk_token)
        if not isinstance(tokens, Iterable):
            raise InputTypeError(f"tokens is a string or a list of strings, got {type(tokens).__name__} {_short(tokens)}")
        return [self.convert_tokens_to_ids(_one_text(f"tokens[{place}]", token, False)) for place, token in enumerate(tokens)]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text of a list of tokens: "un", "##heard" is "unheard"."""
        words: Any = _one_text("tokens", tokens, True)
        decoder = self._backend.decoder
        return str(decoder.decode(words)) if decoder is not None else " ".join(words)

    # --- the vocabulary -----------------------------------------------------------------------------------------------

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The `tokenizers.Tokenizer` that does the work."""
        return self._backend

    def get_vocab(self) -> dict[str, int]:
        """Token to id, added tokens among them. Made anew at every call, as the library keeps it on its side."""
        vocab: dict[str, int] = self._backend.get_vocab(with_added_tokens=True)
        return vocab

    @property
    def vocab(self) -> dict[str, int]:
        """The same as `get_vocab()`."""
        return self.get_vocab()

    @property
    def ids_to_tokens(self) -> dict[int, str]:
        """Id to token, in the order of the ids."""
        return {number: token for token, number in sorted(self.get_vocab().items(), key=lambda entry: entry[1])}

    @property
    def vocab_size(self) -> int:
        """How many tokens the vocabulary has without those that were added; `len(tok)` counts all."""
        return int(self._backend.get_vocab_size(with_added_tokens=False))

    def __len__(self) -> int:
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Id to `AddedToken`, for every token that is found in a text before it is cut into words: special and added ones."""
        tokens: dict[int, AddedToken] = self._backend.get_added_tokens_decoder()
        return tokens

    def get_added_vocab(self) -> dict[str, int]:
        """The same tokens, as text to id."""
        return {str(token): number for number, token in sorted(self.added_tokens_decoder.items())}

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens without a part of their own."""
        return [str(token) for token in self._additional_special_tokens]

    @additional_special_tokens.setter
    def additional_special_tokens(self, tokens: Sequence[str | AddedToken]) -> None:
        self._additional_special_tokens = _tokens("additional_special_tokens", tokens)

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """Their ids."""
        return [self.convert_tokens_to_ids(token) for token in self.additional_special_tokens]

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Part to special token, for those that are set: {"unk_token": "[UNK]", ...}."""
        parts: dict[str, Any] = {name: str(token) for name, token in self._special_tokens.items() if token is not None}
        return (
            {**parts, "additional_special_tokens": self.additional_special_tokens} if self._additional_special_tokens else parts
        )

    def _all_special_tokens(self) -> list[str | AddedToken]:
        # An additional token may come twice, from two files with two sets of flags: the library takes the last.
        parts: dict[str, str | AddedToken] = {}
        for token in self._special_tokens.values():
            if token is not None:
                parts.setdefault(str(token), token)
        return [*parts.values(), *(token for token in self._additional_special_tokens if str(token) not in parts)]

    @property
    def all_special_tokens(self) -> list[str]:
        """All special tokens, each once."""
        return list(dict.fromkeys(str(token) for token in self._all_special_tokens()))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return [self.convert_tokens_to_ids(token) for token in self.all_special_tokens]

    def add_tokens(self, new_tokens: str | AddedToken | Sequence[str | AddedToken], special_tokens: bool = False) -> int:
        """Add tokens that a text is searched for before it is cut into words; answers how many were taken.

        Tokens that the vocabulary lacks get the ids from `len(tok)` on: the model then needs `resize_token_embeddings`.
        """
        if not isinstance(new_tokens, list | tuple):
            new_tokens = [new_tokens]
        return self._add(list(_tokens("new_tokens", new_tokens)), special_tokens=special_tokens)

    def _add(self, tokens: list[Any], special_tokens: bool = False) -> int:
        _refuse_surrogates("new_tokens", [str(token) for token in tokens])
        with self._lock, _library_errors(InputError, "the tokens cannot be added"):
            new = {str(token) for token in tokens if self._backend.token_to_id(str(token)) is None}
            if new:
                self._check_next_ids(new)
            # Older versions of the library go by the method, newer ones by the token's own flag.
            count = 0
            for special, group in groupby(tokens, lambda token: special_tokens or getattr(token, "special", False)):
                count += (self._backend.add_special_tokens if special else self._backend.add_tokens)(list(group))
            return count

    def _check_next_ids(self, new: set[str]) -> None:
        """In a vocabulary with gaps the library counts tokens to find the next id, and would hand out a taken one."""
        next_id = len(self)
        for number in range(next_id, next_id + len(new)):
            taken = self._backend.id_to_token(number)
            if taken is not None:
                raise InputError(
                    f"cannot add {sorted(new)}: the vocabulary has gaps (a token on two lines?), "
                    f"and the next id {number} is that of {taken!r}"
                )

    def add_special_tokens(self, special_tokens_dict: Mapping[str, Any], replace_additional_special_tokens: bool = True) -> int:
        """Set special tokens by their part ({"cls_token": "<cls>"}) and add them; answers how many were taken."""
        from tokenizers import AddedToken

        def special(name: str, token: Any) -> AddedToken:
            token = _token(name, token)
            return AddedToken(token, normalized=False, special=True) if isinstance(token, str) else token

        checked: dict[str, Any] = {}
        for name, value in special_tokens_dict.items():
            if name == "additional_special_tokens":
                checked[name] = [special(name, token) for token in _tokens(name, value)]
            elif name in SPECIAL_TOKEN_NAMES and value is not None:
                checked[name] = special(name, value)
            else:
                taken = ", ".join((*SPECIAL_TOKEN_NAMES, "additional_special_tokens"))
                raise InputError(f"add_special_tokens takes {taken} with a token each, got {name!r}: {_short(value)}")
        added: dict[str, AddedToken] = {}
        for name, value in checked.items():
            if name == "additional_special_tokens":
                known = set() if replace_additional_special_tokens else set(self.additional_special_tokens)
                new = [token for token in value if str(token) not in known]
                keep = [] if replace_additional_special_tokens and new else self._additional_special_tokens
                self._additional_special_tokens = [*keep, *new]
                added.update({str(token): token for token in new})
            else:
                self._special_tokens[name] = value
                added.setdefault(str(value), value)
        return self._add(list(added.values()), special_tokens=True) if added else 0

    # --- rows of ids --------------------------------------------------------------------------------------------------

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens frame a text (2) or a pair (3)."""
        return int(self._backend.num_special_tokens_to_add(pair))

    def build_inputs_with_special_tokens(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """`[CLS] a [SEP]`, or `[CLS] a [SEP] b [SEP]`."""
        ids = [self.cls_token_id, *token_ids_0, self.sep_token_id]
        return ids if token_ids_1 is None else [*ids, *token_ids_1, self.sep_token_id]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None
    ) -> list[int]:
        """0 for `[CLS] a [SEP]`, 1 for `b [SEP]`."""
        cls, sep = int(self.cls_token is not None), int(self.sep_token is not None)
        types = [0] * (cls + len(token_ids_0) + sep)
        return types if token_ids_1 is None else types + [1] * (len(token_ids_1) + sep)

    def get_special_tokens_mask(
        self, token_ids_0: Sequence[int], token_ids_1: Sequence[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 where a special token is, or with `already_has_special_tokens=False` would be put, and 0 elsewhere."""
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise InputError(
                    "token_ids_1 is None when already_has_special_tokens=True: the ids are framed, so they are one row"
                )
            special = set(self.all_special_ids)
            return [int(number in special) for number in token_ids_0]
        mask = [1, *[0] * len(token_ids_0), 1]
        return mask if token_ids_1 is None else [*mask, *[0] * len(token_ids_1), 1]

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        *,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad rows that were encoded before: a dictionary of rows, or a list of dictionaries with one row each.

        `input_ids`, `token_type_ids`, `attention_mask` (made if missing) and `special_tokens_mask` are padded, everything
        else (labels) is handed on as it is, as in the reference. Arrays in, arrays out.
        """
        _check_return_tensors(return_tensors)
        if isinstance(encoded_inputs, Mapping):
            data = dict(encoded_inputs)
        else:
            rows = list(encoded_inputs)
            if not rows or not all(isinstance(row, Mapping) and row.keys() == rows[0].keys() for row in rows):
                raise InputTypeError("encoded_inputs is a dictionary, or a list of dictionaries with the same keys")
            data = {name: [row[name] for row in rows] for name in rows[0]}
        if "input_ids" not in data:
            raise InputError(f"encoded_inputs has 'input_ids', got {sorted(map(str, data))}")
        if any(isinstance(value, np.ndarray) or (isinstance(value, list) and _holds_arrays(value)) for value in data.values()):
            return_tensors = "np"
            data = {name: _to_lists(value) for name, value in data.items()}
        ids = data["input_ids"]
        if not isinstance(ids, list | tuple):
            raise InputTypeError(f"input_ids is a list of ids or of rows of ids, got {type(ids).__name__} {_short(ids)}")

        strategy, _, max_length = self._strategies(padding, False, max_length, pad_to_multiple_of, verbose=False)
        side = self.padding_side if padding_side is None else _side("padding_side", padding_side)
        with_mask = "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        if len(ids) == 0:
            return BatchEncoding({**data, "attention_mask": []} if with_mask else data)
        is_batch = isinstance(ids[0], list | tuple)
        if verbose and strategy == "do_not_pad" and padding == "max_length":
            _warn("padding='max_length' without max_length, and the tokenizer has no model_max_length: not padding")

        rows = [data]
        if is_batch:
            for name, value in data.items():
                if not isinstance(value, list | tuple) or len(value) != len(ids):
                    raise InputError(f"{name} has as many rows as input_ids: {len(ids)}, got {_short(value)}")
            rows = [{name: value[number] for name, value in data.items()} for number in range(len(ids))]
        length = None if strategy == "do_not_pad" else max_length
        if strategy == "longest":
            length = max(len(row["input_ids"]) for row in rows)
        if length is not None and pad_to_multiple_of is not None:
            length = -(-length // pad_to_multiple_of) * pad_to_multiple_of
        padded = [self._pad_row(row, length, side, with_mask) for row in rows]
        answer = {name: [row[name] for row in padded] for name in padded[0]} if is_batch else padded[0]
        if return_tensors == "np":
            answer = {name: _as_array(name, value) for name, value in answer.items()}
        return BatchEncoding(answer)

    def _pad_row(self, row: Mapping[str, Any], length: int | None, side: str, with_mask: bool) -> dict[str, Any]:
        row = dict(row)
        if with_mask and "attention_mask" not in row:
            row["attention_mask"] = [1] * len(row["input_ids"])
        missing = 0 if length is None else max(0, length - len(row["input_ids"]))
        if missing:
            fill = {"input_ids": self._pad_id(), "token_type_ids": self.pad_token_type_id, "special_tokens_mask": 1}
            if with_mask:
                fill["attention_mask"] = 0
            for name in fill.keys() & row.keys():
                more = [fill[name]] * missing
                row[name] = [*row[name], *more] if side == "right" else [*more, *row[name]]
        return row

    # --- saving -------------------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> tuple[str, ...]:
        """Write `tokenizer.json`, `vocab.txt`, `tokenizer_config.json` and `special_tokens_map.json`; answers their paths.

        Each file is the old one or the new one, never a part of it. The reference loads them with the same ids.
        """
        special = self.special_tokens_map
        config: dict[str, Any] = {
            **self._other_settings,
            **{
                name: getattr(self, name)
                for name in _SETTINGS
                if name not in (*SPECIAL_TOKEN_NAMES, "additional_special_tokens")
            },
            **special,
            "tokenizer_class": "BertTokenizer",
            "extra_special_tokens": {},
            "added_tokens_decoder": {str(number): _flags(token) for number, token in sorted(self.added_tokens_decoder.items())},
        }
        full: dict[str, Any] = {**self._special_tokens, "additional_special_tokens": self._additional_special_tokens}
        token_map = {name: _as_json(full[name]) for name in special}
        with self._lock:
            tokenizer = self._backend.to_str(pretty=True)
        directory = Path(save_directory)
        if directory.exists() and not directory.is_dir():
            raise InputError(f"save_directory is a directory, but {directory} is a file")
        directory.mkdir(parents=True, exist_ok=True)
        return tuple(
            _write(directory / name, text)
            for name, text in {
                "tokenizer_config.json": _to_json(config),
                "special_tokens_map.json": _to_json(token_map),
                "vocab.txt": _vocab_text(self._backend.get_vocab(with_added_tokens=False)),
                "tokenizer.json": tokenizer,
            }.items()
        )

    # --- being an object ----------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name_or_path!r}, vocab_size={self.vocab_size}, len={len(self)}, "
            f"do_lower_case={self.do_lower_case}, model_max_length={self.model_max_length}, "
            f"special_tokens={self.special_tokens_map})"
        )


# --- small helpers of the class ---------------------------------------------------------------------------------------


def clean_up_tokenization(text: str) -> str:
    """Draw punctuation and English short forms to the word before them: "it 's fine ." becomes "it's fine."."""
    for apart, joined in (
        *((f" {mark}", mark) for mark in ".?!,"),
        (" ' ", "'"),
        *((f" {short}", short) for short in ("n't", "'m", "'s", "'ve", "'re")),
    ):
        text = text.replace(apart, joined)
    return text


def _warn(message: str) -> None:
    # The frame that called the tokenizer, past this module's own: the place that the user can change.
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


def _check_return_tensors(value: Any) -> None:
    if value not in (None, "np"):
        raise InputError(f"return_tensors is 'np' or None: npbert makes NumPy arrays or lists, got {_short(value)}")


def _id_list(name: str, value: Any) -> list[int]:
    ids = [value] if isinstance(value, int | np.integer) else value
    if isinstance(ids, np.ndarray):
        if ids.ndim > 1:
            raise InputError(f"{name} is one row of ids, got an array of shape {ids.shape}; batch_decode takes several rows")
        ids = np.atleast_1d(ids).tolist()
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise InputTypeError(f"{name} is a list or an array of ids, got {type(value).__name__} {_short(value)}")
    ids = list(ids)
    for place, number in enumerate(ids):
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise InputTypeError(f"{name}[{place}] is a token id, got {type(number).__name__} {_short(number)}")
    return [int(number) for number in ids]


def _holds_arrays(values: list[Any]) -> bool:
    return any(isinstance(value, np.ndarray) for value in values)


def _to_lists(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_to_lists(part) for part in value] if isinstance(value, list | tuple) else value


def _checked_settings(settings: dict[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer_config.json's settings, with its tokens as `AddedToken` and its older names under their newer ones."""
    settings = dict(settings)
    if "max_len" in settings:
        settings.setdefault("model_max_length", settings.pop("max_len"))
    for name in (*SPECIAL_TOKEN_NAMES, "additional_special_tokens"):
        value = settings.get(name)
        if isinstance(value, dict):
            settings[name] = _added_token(value)
        elif isinstance(value, list):
            settings[name] = [_added_token(token) if isinstance(token, dict) else token for token in value]
    extra = config.get("extra_special_tokens") or {}
    if not isinstance(extra, dict):
        raise InputTypeError(f"extra_special_tokens is an object, got {_short(extra)}")
    if extra:
        more = [_added_token(token) if isinstance(token, dict) else token for token in extra.values()]
        settings["additional_special_tokens"] = [*(settings.get("additional_special_tokens") or []), *more]
    for name, check in _SETTINGS.items():
        if name in settings:
            settings[name] = check(name, settings[name])
    return settings


def _added_tokens_decoder(entries: Any) -> dict[int, AddedToken]:
    if not isinstance(entries, dict):
        raise InputTypeError(f"added_tokens_decoder is an object, got {_short(entries)}")
    decoder = {}
    for number, entry in entries.items():
        if not number.isascii() or not number.isdecimal() or len(number) > 10:
            raise InputError(f"added_tokens_decoder has token ids as names, got {_short(number)}")
        decoder[int(number)] = _added_token(entry)
    return decoder


def _input_names_of(tokenizer_class: Any, find: Any) -> list[str]:
    """Which arrays the checkpoint's model takes: DistilBERT has no token types."""
    name = tokenizer_class.removesuffix("Fast") if isinstance(tokenizer_class, str) else None
    if name is None:
        config_file = find("config.json")
        config = {} if config_file is None else _read_json_object(config_file)
        name = "DistilBertTokenizer" if config.get("model_type") == "distilbert" else "BertTokenizer"
    if name not in _SAME_ALGORITHM:
        _warn(f"the checkpoint's tokenizer is a {name}, not a BertTokenizer: it may cut text in another way")
    return (
        [name for name in MODEL_INPUT_NAMES if name != "token_type_ids"]
        if name == "DistilBertTokenizer"
        else list(MODEL_INPUT_NAMES)
    )


def _flags(token: AddedToken) -> dict[str, Any]:
    return {name: getattr(token, name) for name in ("content", "lstrip", "normalized", "rstrip", "single_word", "special")}


def _as_json(token: Any) -> Any:
    if isinstance(token, list):
        return [_as_json(part) for part in token]
    if isinstance(token, str):
        return token
    return {name: value for name, value in _flags(token).items() if name != "special"}  # special is what the file says of all


def _to_json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _vocab_text(vocab: Mapping[str, int]) -> str:
    """The vocabulary as lines. An id without a token gets the last token's line again: of two equal lines the later counts."""
    by_id = {number: token for token, number in vocab.items()}
    for token in by_id.values():
        if "\n" in token or "\r" in token:
            raise InputError(f"the token {token!r} has a line break in it and cannot stand in a vocab.txt")
    last = max(by_id)
    if last > 4 * len(by_id) + 1000:
        raise InputError(f"the vocabulary has {len(by_id)} tokens with ids up to {last}: a vocab.txt would be mostly gaps")
    return "".join(by_id.get(number, by_id[last]) + "\n" for number in range(last + 1))


def _write(path: Path, text: str) -> str:
    with replacing(path) as file:
        file.write(text.encode("utf-8"))
    return str(path)
