"""Texts as rows of token ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from npbert.checks import choice, known
from npbert.errors import InputTypeError, shown
from npbert.tasks.inputs import Item, check_tokenizer, text_or_pair
from npbert.text.lengths import PADDINGS, TRUNCATIONS

if TYPE_CHECKING:
    from tokenizers import Encoding

    from npbert.models.base import PreTrainedModel
    from npbert.text.tokenizer import BatchEncoding, BertTokenizer

TOKENIZER_OPTIONS = ("truncation", "max_length", "padding", "add_special_tokens")


@dataclasses.dataclass
class TokenRow:
    """What the model is called with for one text, or for one piece of a long one."""

    inputs: dict[str, list[int]]
    encoding: Encoding  # which characters each token came from

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])


Encode: TypeAlias = Callable[[Sequence[Item]], "list[list[TokenRow]]"]
"""Makes the rows of each item: one, or several of a long text."""


def token_rows(tokenizer: BertTokenizer, encoding: BatchEncoding) -> list[TokenRow]:
    """The rows that the tokenizer made, with the inputs that it says the model takes."""
    names = [name for name in tokenizer.model_input_names if name in encoding]
    encodings = encoding.encodings or []
    return [TokenRow({name: encoding[name][number] for name in names}, row) for number, row in enumerate(encodings)]


def longest_row(model: PreTrainedModel, tokenizer: BertTokenizer) -> int:
    """How many tokens the model takes: the smaller of its own limit and its tokenizer's."""
    return min(model.config.max_position_embeddings, tokenizer.model_max_length)


def encode_texts(model: PreTrainedModel, tokenizer: BertTokenizer, options: Mapping[str, Any] | None = None) -> Encode:
    """An `Encode` that makes one row of each text or pair, with some of the tokenizer's options.

    An option that is None has its default. `truncation` without `max_length` cuts to what the model takes. `padding=True`
    would pad a text to its own length: nothing to do, but the reference takes it.
    """
    check_tokenizer(tokenizer)
    if not isinstance(options, Mapping | None):
        raise InputTypeError(f"tokenizer: takes a dictionary of options, got {shown(options)}")
    given = {name: value for name, value in (options or {}).items() if value is not None}
    known("tokenizer", given, TOKENIZER_OPTIONS)
    if "padding" in given:
        choice("padding", given["padding"], (True, False, *PADDINGS))
    if "truncation" in given:
        choice("truncation", given["truncation"], (True, False, *TRUNCATIONS))
    if given.get("padding") in (True, "longest", "do_not_pad"):
        del given["padding"]
    if given.get("truncation", False) not in (False, "do_not_truncate") or given.get("padding") == "max_length":
        given.setdefault("max_length", longest_row(model, tokenizer))

    def encode(items: Sequence[Item]) -> list[list[TokenRow]]:
        texts = [text_or_pair(*item) for item in items]
        return [[row] for row in token_rows(tokenizer, tokenizer(texts, verbose=False, **given))]

    return encode
