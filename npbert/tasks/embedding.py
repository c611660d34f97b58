"""A text as a vector: hidden states, sentence embeddings, and how alike two texts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npbert.checks import flag, one_or_more_texts, unicode_text
from npbert.errors import InputError, InputTypeError, shown
from npbert.models.base import PreTrainedModel
from npbert.models.bert import BertModel
from npbert.tasks.batches import Batch, answer_all
from npbert.tasks.inputs import Item, check_tokenizer
from npbert.tasks.pooling import Pooling, pool, pooling_of, unit
from npbert.tasks.rows import TokenRow, encode_texts, longest_row
from npbert.types import Array

if TYPE_CHECKING:
    from collections.abc import Iterable

    from npbert.text.tokenizer import BertTokenizer


def base_of(model: PreTrainedModel) -> BertModel:
    """The base of a model with a head: the same arrays, and no time spent on logits."""
    if isinstance(model, BertModel):
        return model
    if not isinstance(model, PreTrainedModel) or not model.base_model_prefix:
        raise InputTypeError(f"model: takes a BertModel, or a model with a head on one, got {type(model).__name__}")
    prefix = f"{model.base_model_prefix}."
    weights = {name.removeprefix(prefix): array for name, array in model.state_dict().items() if name.startswith(prefix)}
    weights = {name: array for name, array in weights.items() if not name.startswith("pooler.")}
    return BertModel(model.config, weights, add_pooling_layer=False)


def embed(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: str | Sequence[str] | Iterable[str],
    *,
    pooling: Pooling | None = None,
    batch_size: int | None = None,
) -> Any:
    """Sentence embeddings: `[D]` for a string, `[texts, D]` for a list, an iterator of `[D]` for an iterator of strings.

    `pooling` None pools as the files of the model's checkpoint ask, see `read_pooling`. Only the beginning of a text counts:
    `pooling.max_seq_length` tokens, or as many as the model takes.
    """
    pooling = pooling_of(model) if pooling is None else pooling
    if not isinstance(pooling, Pooling):
        raise InputTypeError(f"pooling: takes a Pooling, got {type(pooling).__name__}")
    base = base_of(model)
    check_tokenizer(tokenizer)
    longest = longest_row(base, tokenizer)
    if pooling.max_seq_length is not None:
        # The checkpoint's own length replaces the tokenizer's, but no model reads past its positions.
        longest = min(pooling.max_seq_length, base.config.max_position_embeddings)
    encode_text = encode_texts(base, tokenizer, {"truncation": True, "max_length": longest})

    def encode(items: Sequence[Item]) -> list[list[TokenRow]]:
        texts = [pooling.prompt + unicode_text(*item) for item in items]
        texts = [text.lower() for text in texts] if pooling.lower_case else texts
        return encode_text([Item(item.name, text) for item, text in zip(items, texts, strict=True)])

    def read(out: Any, batch: Batch) -> list[Array]:
        return list(pool(out.last_hidden_state, batch.arguments["attention_mask"], pooling))

    answer = answer_all(
        base,
        tokenizer,
        inputs,
        is_one=isinstance(inputs, str),
        encode=encode,
        read=read,
        finish=lambda item, rows, vectors: vectors[0],
        batch_size=batch_size,
    )
    if not isinstance(answer, list):
        return answer
    width = len(pooling.modes) * base.config.hidden_size
    return np.stack(answer) if answer else np.zeros((0, width), base.dtype)  # [texts, D]


def similarity(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    first: str | Sequence[str],
    second: str | Sequence[str] | None = None,
    *,
    pooling: Pooling | None = None,
    batch_size: int | None = None,
) -> Any:
    """How alike texts are: the cosine between their embeddings, -1 to 1.

    Two lists give `[first, second]`; a string in place of a list takes its axis away, so two strings give one number.
    Without `second` every text of `first` is compared with every text of `first`.
    """
    left = one_or_more_texts("first", first)
    right = left if second is None else one_or_more_texts("second", second)
    place = {text: number for number, text in enumerate(dict.fromkeys([*left, *right]))}  # no text is embedded twice
    vectors = unit(embed(model, tokenizer, list(place), pooling=pooling, batch_size=batch_size))  # [texts, D]
    rows, columns = ([place[text] for text in texts] for texts in (left, right))
    cosines = np.clip(vectors[rows] @ vectors[columns].T, -1, 1)  # [first, second]
    if isinstance(second, str):
        cosines = cosines[:, 0]
    return cosines[0] if isinstance(first, str) else cosines


def feature_extraction(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: str | Sequence[str] | Iterable[str],
    *,
    truncation: bool | str | None = None,
    tokenize_kwargs: Mapping[str, Any] | None = None,
    return_tensors: bool = False,
    batch_size: int | None = None,
) -> Any:
    """The last hidden states of the base model: for each text nested lists `[1][S][D]`, or with `return_tensors` an array."""
    if not isinstance(tokenize_kwargs, Mapping | None):
        raise InputTypeError(f"tokenize_kwargs: takes a dictionary, got {shown(tokenize_kwargs)}")
    options = dict(tokenize_kwargs or {})
    as_array = flag("return_tensors", return_tensors, default=False)
    if truncation is not None:
        if "truncation" in options:
            raise InputError("truncation: is given twice, as an argument and in tokenize_kwargs")
        options["truncation"] = truncation
    base = base_of(model)

    def read(out: Any, batch: Batch) -> list[Array]:
        return [hidden[None] for hidden in batch.without_padding(out.last_hidden_state)]  # [1, S, D]

    return answer_all(
        base,
        tokenizer,
        inputs,
        is_one=isinstance(inputs, str),
        encode=encode_texts(base, tokenizer, options),
        read=read,
        finish=lambda item, rows, states: states[0].copy() if as_array else states[0].tolist(),
        batch_size=batch_size,
    )
