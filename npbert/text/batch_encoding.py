"""What a tokenizer returns: rows of ids and masks, and for each token where in the text it came from."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from npbert.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Encoding


class CharSpan(NamedTuple):
    """Characters `start` to `end - 1` of the text."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens `start` to `end - 1` of an encoded text."""

    start: int
    end: int


class BatchEncoding(UserDict[str, Any]):
    """What a tokenizer returns: a dictionary of model inputs that also knows which token came from which characters.

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
        # Copying and unpickling look for methods before `data` is set: looking it up here would never end.
        if name != "data" and name in self.__dict__.get("data", ()):
            return self.data[name]
        raise AttributeError(
            f"{type(self).__name__} has no attribute or entry {name!r}; it has {sorted(self.__dict__.get('data', ()))}"
        )

    def _rows(self) -> list[Encoding]:
        if self.encodings is None:
            raise InputError("this BatchEncoding does not know where its tokens came from: it was made from ids")
        return self.encodings

    def _row_and_index(self, row_or_index: int, index: int | None) -> tuple[Encoding, int]:
        row, index = (0, row_or_index) if index is None else (row_or_index, index)
        return self._rows()[row], index

    def _row_and_token(self, row_or_token: int, token: int | None) -> tuple[Encoding, int]:
        row, token = self._row_and_index(row_or_token, token)
        return row, token + len(row.ids) if token < 0 else token

    def tokens(self, batch_index: int = 0) -> list[str]:
        """The tokens of a row, with `[CLS]`, `[SEP]` and `[PAD]`."""
        return list(self._rows()[batch_index].tokens)

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """For every token of a row the number of its word in its sequence, None for special tokens."""
        return list(self._rows()[batch_index].word_ids)

    def words(self, batch_index: int = 0) -> list[int | None]:
        """The same as `word_ids`."""
        return self.word_ids(batch_index)

    @property
    def is_fast(self) -> bool:
        """Whether it knows where its tokens came from."""
        return self.encodings is not None

    @property
    def n_sequences(self) -> int | None:
        """1 for texts, 2 for pairs; None for what was made from ids."""
        return None if not self.encodings else int(self.encodings[0].n_sequences)

    def to(self, device: Any) -> BatchEncoding:
        """The same: everything is on the processor."""
        if str(device).partition(":")[0] != "cpu":
            raise InputError(f"to: npbert computes on the processor, with NumPy: it takes 'cpu', got {device!r}")
        return self

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
        # For a pair's second text the library returns (sequence, word), and the reference returns that too.
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
