"""Learning a language: words that are masked, and whether a sentence follows another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from npbert import checks
from npbert.checks import IGNORED
from npbert.errors import InputError
from npbert.models.base import PreTrainedModel
from npbert.tasks.masking import mask_tokens
from npbert.text.tokenizer import BertTokenizer
from npbert.training.batches import Row, in_batches, padded
from npbert.training.documents import Document, sentence_pairs
from npbert.training.lessons import Lessons


def pretraining_lessons(
    tokenizer: BertTokenizer,
    documents: Sequence[Document],
    held_out: Sequence[Document] = (),
    *,
    batch_size: int,
    max_length: int,
    probability: float = 0.15,
    **masking: Any,
) -> Lessons:
    """Both tasks of the paper: masked words, and whether the second part of a text followed the first.

    `masking` is what `mask_tokens` is to be told besides.
    """

    def rows_of(source: Sequence[Document], rng: np.random.Generator) -> list[Row]:
        return [
            _framed(tokenizer, pair.first, pair.second) | {"next_sentence_label": pair.is_random}
            for pair in sentence_pairs(source, max_length - 3, rng)
        ]

    return _lessons(tokenizer, rows_of, documents, held_out, batch_size, {"probability": probability, **masking})


def masked_language_lessons(
    tokenizer: BertTokenizer,
    documents: Sequence[Document],
    held_out: Sequence[Document] = (),
    *,
    batch_size: int,
    max_length: int,
    probability: float = 0.15,
    **masking: Any,
) -> Lessons:
    """Masked words alone: each text is as many sentences of a document as fit.

    `masking` is what `mask_tokens` is to be told besides.
    """

    def rows_of(source: Sequence[Document], rng: np.random.Generator) -> list[Row]:
        return [_framed(tokenizer, part) for document in source for part in _parts(document, max_length - 2)]

    return _lessons(tokenizer, rows_of, documents, held_out, batch_size, {"probability": probability, **masking})


def _lessons(
    tokenizer: BertTokenizer,
    rows_of: Callable[[Sequence[Document], np.random.Generator], list[Row]],
    documents: Sequence[Document],
    held_out: Sequence[Document],
    batch_size: int,
    masking: Mapping[str, Any],
) -> Lessons:
    checks.whole_number("batch_size", batch_size, least=1)
    checks.number("probability", masking["probability"], above=0, most=1)
    special = set(tokenizer.all_special_ids)

    def batches_of(source: Sequence[Document], rng: np.random.Generator) -> list[list[Row]]:
        # A text of unknown words alone has nothing that could be masked.
        rows = [row for row in rows_of(source, rng) if not special.issuperset(row["input_ids"])]
        return in_batches(rows, batch_size, rng)

    def epoch(rng: np.random.Generator) -> list[list[Row]]:
        return batches_of(documents, rng)

    def arguments(rows: Sequence[Row], rng: np.random.Generator) -> dict[str, Any]:
        return masked_batch(tokenizer, rows, rng, masking)

    def evaluate(model: PreTrainedModel) -> dict[str, float]:
        rng = np.random.default_rng(0)  # the same masks at every evaluation
        batches = batches_of(held_out, rng)
        if not batches:
            raise InputError("held-out data: holds nothing to evaluate with")
        return figures(model, (arguments(batch, rng) for batch in batches))

    return Lessons(epoch, arguments, evaluate if held_out else None)


def masked_batch(
    tokenizer: BertTokenizer, rows: Sequence[Row], rng: np.random.Generator, masking: Mapping[str, Any]
) -> dict[str, Any]:
    """Rows as the model takes them, with masks drawn anew. At least one token is masked: without any there is no loss."""
    assert tokenizer.pad_token_id is not None
    arrays: dict[str, Any] = padded(rows, tokenizer.pad_token_id)
    masked = mask_tokens(arrays["input_ids"], tokenizer, rng, **masking)
    while (masked.labels == IGNORED).all():
        masked = mask_tokens(arrays["input_ids"], tokenizer, rng, **masking)
    arrays |= {"input_ids": masked.input_ids, "labels": masked.labels, "sparse_prediction": True}
    if "next_sentence_label" in rows[0]:
        arrays["next_sentence_label"] = np.array([row["next_sentence_label"] for row in rows])
    return arrays


def figures(model: PreTrainedModel, batches: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The mean of the losses of some batches, the share of masked tokens that were found, and of next sentences that were."""
    losses, found, followed = [], [], []
    for batch in batches:
        out = model(**batch)
        losses.append(float(out.loss))
        logits = out.prediction_logits if "prediction_logits" in out else out.logits  # [n, V]
        found.append(logits.argmax(axis=-1) == batch["labels"][batch["labels"] != IGNORED])
        if "next_sentence_label" in batch:
            followed.append(out.seq_relationship_logits.argmax(axis=-1) == batch["next_sentence_label"])
    named = {"loss": float(np.mean(losses)), "masked_accuracy": float(np.concatenate(found).mean())}
    return named | ({"next_sentence_accuracy": float(np.concatenate(followed).mean())} if followed else {})


def _framed(tokenizer: BertTokenizer, first: list[int], second: list[int] | None = None) -> dict[str, Any]:
    """`[CLS] first [SEP]`, or `[CLS] first [SEP] second [SEP]`, with the token types."""
    assert tokenizer.cls_token_id is not None
    assert tokenizer.sep_token_id is not None
    ids = [tokenizer.cls_token_id, *first, tokenizer.sep_token_id]
    types = [0] * len(ids)
    if second is not None:
        ids, types = [*ids, *second, tokenizer.sep_token_id], types + [1] * (len(second) + 1)
    return {name: row for name, row in (("input_ids", ids), ("token_type_ids", types)) if name in tokenizer.model_input_names}


def _parts(document: Document, most: int) -> Iterator[list[int]]:
    """A document in parts of at most `most` tokens, parted between sentences where these fit."""
    part: list[int] = []
    for sentence in document:
        if part and len(part) + len(sentence) > most:
            yield part
            part = []
        part = [*part, *sentence]
        while len(part) > most:
            yield part[:most]
            part = part[most:]
    if part:
        yield part
