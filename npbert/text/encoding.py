"""Texts to rows of ids: what the library is asked, and what a call returns of its answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from npbert.checks import boolean, choice, whole_number
from npbert.errors import InputError, warn
from npbert.text.backend import library_errors
from npbert.text.batch_encoding import BatchEncoding
from npbert.text.checks import check_batch, one_text, texts_and_pairs
from npbert.text.lengths import RowLengths, row_lengths
from npbert.text.padding import columns_of, pad_columns, to_arrays
from npbert.text.settings import side
from npbert.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

# What a call may return for each row, in this order: its name, and the attribute of the library's Encoding.
COLUMNS = {
    "input_ids": "ids",
    "token_type_ids": "type_ids",
    "attention_mask": "attention_mask",
    "special_tokens_mask": "special_tokens_mask",
    "offset_mapping": "offsets",
}


class TextEncoder(Vocabulary):
    """A vocabulary that turns texts into rows of ids."""

    pad_token_type_id = 0
    model_max_length: int
    padding_side: str
    truncation_side: str
    split_special_tokens: bool
    model_input_names: list[str]

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
        pad_to_max_length: bool = False,
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
        - `return_tensors`: "np" returns int64 arrays, None lists. A single text is a batch of one as arrays, and has no batch
          axis as lists.
        - `split_special_tokens`: overrides the tokenizer's. `verbose=False`: no warnings.
        - `pad_to_max_length`: the reference's older way to say `padding="max_length"`, which with a `max_length` cuts too.
        """
        texts, is_batch = texts_and_pairs(text, text_pair, is_split_into_words)
        if boolean("pad_to_max_length", pad_to_max_length) and padding is False:
            padding = "longest" if max_length is None else "max_length"
            truncation = max_length is not None if truncation is None else truncation
        choice("return_tensors", return_tensors, ("np", None))
        stride = whole_number("stride", stride)
        if split_special_tokens is None:
            split_special_tokens = self.split_special_tokens
        lengths = row_lengths(
            padding, truncation, max_length, pad_to_multiple_of, model_max_length=self.model_max_length, verbose=verbose
        )
        if lengths.truncation != "do_not_truncate" and add_special_tokens:
            self._check_room(texts, lengths.max_length)
        with self._lock, library_errors(InputError, "the text cannot be encoded"):
            encodings = encode_batch(
                self._backend,
                texts,
                padding=self._library_padding(lengths, pad_to_multiple_of, padding_side),
                truncation=self._library_truncation(lengths, stride),
                split_special_tokens=boolean("split_special_tokens", split_special_tokens),
                add_special_tokens=add_special_tokens,
                is_pretokenized=is_split_into_words,
            )
        rows, text_of_row = with_overflow(encodings) if return_overflowing_tokens else (encodings, [])
        if verbose and lengths.max_length is None:
            self._warn_of_long(max(len(row.ids) for row in rows))

        asked = {
            "input_ids": True,
            "token_type_ids": self._returns("token_type_ids", return_token_type_ids),
            "attention_mask": self._returns("attention_mask", return_attention_mask),
            "special_tokens_mask": return_special_tokens_mask,
            "offset_mapping": return_offsets_mapping,
            "length": return_length,
        }
        columns: dict[str, Any] = columns_of_rows(rows, [name for name, is_asked in asked.items() if is_asked])
        if return_overflowing_tokens:
            columns["overflow_to_sample_mapping"] = text_of_row
        if return_tensors == "np":
            columns = to_arrays(columns)
        elif not is_batch and not return_overflowing_tokens:
            columns = {name: value[0] if isinstance(value[0], list) else value for name, value in columns.items()}
        return BatchEncoding(columns, rows)

    def _library_padding(
        self, lengths: RowLengths, pad_to_multiple_of: int | None, padding_side: str | None
    ) -> dict[str, Any] | None:
        """The library's words for how to pad."""
        if lengths.padding == "do_not_pad":
            return None
        return {
            "length": lengths.max_length if lengths.padding == "max_length" else None,
            "direction": self.padding_side if padding_side is None else side("padding_side", padding_side),
            "pad_id": self._pad_id(),
            "pad_token": self.pad_token,
            "pad_type_id": self.pad_token_type_id,
            "pad_to_multiple_of": pad_to_multiple_of,
        }

    def _library_truncation(self, lengths: RowLengths, stride: int) -> dict[str, Any] | None:
        """The library's words for how to cut."""
        if lengths.truncation == "do_not_truncate":
            return None
        return {
            "max_length": lengths.max_length,
            "strategy": lengths.truncation,
            "stride": stride,
            "direction": self.truncation_side,
        }

    def _check_room(self, texts: Sequence[Any], max_length: Any) -> None:
        """Without room for the special tokens the library cuts nothing at all, and says nothing."""
        special = self.num_special_tokens_to_add(any(isinstance(text, tuple) for text in texts))
        if max_length < special:
            raise InputError(f"max_length={max_length} leaves no room for the {special} special tokens")

    def _warn_of_long(self, longest: int) -> None:
        if 0 < self.model_max_length < longest:
            warn(f"a text has {longest} tokens, the model takes {self.model_max_length}; truncation=True cuts it")

    def _pad_id(self) -> int:
        number: int | None = None if self.pad_token is None else self._backend.token_to_id(self.pad_token)
        if number is None:
            raise InputError(f"padding needs a pad_token of the vocabulary, got {self.pad_token!r}")
        return number

    def _returns(self, name: str, asked: bool | None) -> bool:
        return name in self.model_input_names if asked is None else asked

    def encode_plus(
        self, text: str | Sequence[str], text_pair: str | Sequence[str] | None = None, **options: Any
    ) -> BatchEncoding:
        """Encode one text or pair; `options` as for a call."""
        one_text("text", text, options.get("is_split_into_words", False))
        return self(text, text_pair, **options)

    def batch_encode_plus(self, batch_text_or_text_pairs: Sequence[Any], **options: Any) -> BatchEncoding:
        """Encode a list of texts, or of (text, text) pairs; `options` as for a call."""
        check_batch(batch_text_or_text_pairs)
        return self(batch_text_or_text_pairs, **options)

    def encode(self, text: str | Sequence[str], text_pair: str | Sequence[str] | None = None, **options: Any) -> Any:
        """The `input_ids` of one text or pair; `options` as for a call."""
        return self.encode_plus(text, text_pair, **options)["input_ids"]

    def tokenize(self, text: str, pair: str | None = None, add_special_tokens: bool = False, **options: Any) -> list[str]:
        """The tokens of a text as strings."""
        return self.encode_plus(text, pair, add_special_tokens=add_special_tokens, **options).tokens()

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
        choice("return_tensors", return_tensors, ("np", None))
        columns, has_arrays = columns_of(encoded_inputs)
        says = verbose and padding == "max_length"  # the other warnings are about truncation
        lengths = row_lengths(
            padding, False, max_length, pad_to_multiple_of, model_max_length=self.model_max_length, verbose=says
        )
        pads_at = self.padding_side if padding_side is None else side("padding_side", padding_side)
        with_mask = self._returns("attention_mask", return_attention_mask)
        ids = columns["input_ids"]
        if len(ids) == 0:
            return BatchEncoding({**columns, "attention_mask": []} if with_mask else columns)
        if with_mask and "attention_mask" not in columns:
            is_batch = isinstance(ids[0], list | tuple)
            columns["attention_mask"] = [[1] * len(row) for row in ids] if is_batch else [1] * len(ids)

        def fills() -> dict[str, int]:
            mask = {"attention_mask": 0} if with_mask else {}
            return {"input_ids": self._pad_id(), "token_type_ids": self.pad_token_type_id, "special_tokens_mask": 1, **mask}

        columns = pad_columns(columns, lengths, pad_to_multiple_of, pads_at, fills)
        return BatchEncoding(to_arrays(columns) if has_arrays or return_tensors == "np" else columns)


def encode_batch(
    backend: Tokenizer,
    texts: Sequence[Any],
    *,
    padding: Mapping[str, Any] | None,
    truncation: Mapping[str, Any] | None,
    split_special_tokens: bool,
    add_special_tokens: bool,
    is_pretokenized: bool,
) -> list[Encoding]:
    """Encode texts and pairs. The library would keep padding and truncation for the next call: they are unset again."""
    try:
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)
        backend.encode_special_tokens = split_special_tokens
        encodings: list[Encoding] = backend.encode_batch(
            texts, add_special_tokens=add_special_tokens, is_pretokenized=is_pretokenized
        )
        return encodings
    finally:
        backend.no_truncation()
        backend.no_padding()


def with_overflow(encodings: Sequence[Encoding]) -> tuple[list[Encoding], list[int]]:
    """Every text's row and the rows of what was cut off it; and for each row the number of its text."""
    rows: list[Encoding] = []
    text_of_row: list[int] = []
    for number, encoding in enumerate(encodings):
        of_text = [encoding, *encoding.overflowing]
        rows += of_text
        text_of_row += [number] * len(of_text)
    return rows, text_of_row


def columns_of_rows(rows: Sequence[Encoding], names: Collection[str]) -> dict[str, list[Any]]:
    """The columns of these names, and `length` if it is among them."""
    columns = {name: [getattr(row, part) for row in rows] for name, part in COLUMNS.items() if name in names}
    if "length" in names:
        columns["length"] = [len(row.ids) for row in rows]
    return columns
