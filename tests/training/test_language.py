"""Lessons of a language: what is masked, what is paired, how good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.training import Run, Settings, steps
from npbert.training.documents import Document
from npbert.training.language import masked_language_lessons, pretraining_lessons

from .small import SIZES, sentences, tokenizer_in


@pytest.fixture
def tokenizer(tmp_path: Path) -> npbert.BertTokenizer:
    return tokenizer_in(tmp_path)


def documents_of(tokenizer: npbert.BertTokenizer, count: int = 12, seed: int = 0) -> list[Document]:
    return [tokenizer(sentences(6, seed + number), add_special_tokens=False)["input_ids"] for number in range(count)]


def batches_of(lessons: Any, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [lessons.arguments(batch, rng) for batch in lessons.epoch(np.random.default_rng(seed))]


def test_rows_are_framed_and_masked(tokenizer: npbert.BertTokenizer) -> None:
    documents = documents_of(tokenizer)
    lessons = pretraining_lessons(tokenizer, documents, batch_size=4, max_length=24)
    batches = batches_of(lessons)
    assert lessons.evaluate is None
    chosen = total = 0
    for batch in batches:
        ids, mask, types = batch["input_ids"], batch["attention_mask"], batch["token_type_ids"]
        whole = np.where(batch["labels"] != -100, batch["labels"], ids)
        assert ids.shape[1] <= 24
        assert (ids[:, 0] == tokenizer.cls_token_id).all()
        assert ((whole == tokenizer.sep_token_id).sum(axis=1) == 2).all()
        assert (batch["labels"][np.isin(whole, tokenizer.all_special_ids)] == -100).all()
        assert ((ids == tokenizer.pad_token_id) == (mask == 0)).sum() >= (mask == 0).sum()
        for row in range(len(ids)):
            first = int(np.flatnonzero(whole[row] == tokenizer.sep_token_id)[0])
            length = int(mask[row].sum())
            assert types[row].tolist() == [0] * (first + 1) + [1] * (length - first - 1) + [0] * (len(mask[row]) - length)
        assert set(batch["next_sentence_label"].tolist()) <= {0, 1}
        assert (batch["labels"] != -100).any()
        chosen, total = chosen + (batch["labels"] != -100).sum(), total + mask.sum()
    assert 0.08 < chosen / total < 0.2


def test_lessons_hand_on_how_to_mask(tokenizer: npbert.BertTokenizer) -> None:
    documents = documents_of(tokenizer)
    for lessons_of in (pretraining_lessons, masked_language_lessons):
        masking = {"probability": 1, "mask_replace_prob": 1, "random_replace_prob": 0}
        lessons = lessons_of(tokenizer, documents, batch_size=4, max_length=24, **masking)
        for batch in batches_of(lessons):
            special = np.isin(batch["input_ids"], [tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id])
            assert np.array_equal(batch["labels"] == -100, special)
            assert (batch["input_ids"][~special] == tokenizer.mask_token_id).all()


def test_masked_language_rows_hold_the_whole_text(tokenizer: npbert.BertTokenizer) -> None:
    documents = documents_of(tokenizer)
    documents.append([list(range(5, 25)) * 3])  # a sentence longer than a row
    lessons = masked_language_lessons(tokenizer, documents, batch_size=4, max_length=20)
    seen: list[int] = []
    for batch in lessons.epoch(np.random.default_rng(0)):
        for row in batch:
            assert len(row["input_ids"]) <= 20
            assert row["input_ids"][0] == tokenizer.cls_token_id
            assert row["input_ids"][-1] == tokenizer.sep_token_id
            seen += row["input_ids"][1:-1]
    assert sorted(seen) == sorted(token for document in documents for sentence in document for token in sentence)


def test_texts_of_unknown_words_alone_are_left_out(tokenizer: npbert.BertTokenizer) -> None:
    """There is nothing to mask in them, and a batch of them would have no loss."""
    unknown = [[tokenizer.unk_token_id] * 6]
    lessons = masked_language_lessons(tokenizer, [unknown, [[6, 7]], unknown], batch_size=1, max_length=20)
    assert len(batches_of(lessons)) == 1
    assert masked_language_lessons(tokenizer, [unknown], batch_size=1, max_length=20).epoch(np.random.default_rng(0)) == []


def test_in_every_batch_something_is_masked(tokenizer: npbert.BertTokenizer) -> None:
    lessons = masked_language_lessons(tokenizer, [[[6]], [[7]]], batch_size=1, max_length=20, probability=0.05)
    for batch in [batch for seed in range(20) for batch in batches_of(lessons, seed)]:
        assert (batch["labels"] != -100).any()


def test_figures_are_those_of_the_dense_model(tokenizer: npbert.BertTokenizer) -> None:
    held_out = documents_of(tokenizer, 5, seed=50)
    lessons = pretraining_lessons(tokenizer, documents_of(tokenizer), held_out, batch_size=4, max_length=24)
    model = npbert.BertForPreTraining(npbert.BertConfig(**SIZES), rng=np.random.default_rng(0))
    assert lessons.evaluate is not None
    figures = lessons.evaluate(model)
    assert figures == lessons.evaluate(model)  # the same masks at every time
    rng = np.random.default_rng(0)
    same = pretraining_lessons(tokenizer, held_out, batch_size=4, max_length=24)
    losses, found, followed = [], [], []
    for batch in [same.arguments(batch, rng) for batch in same.epoch(rng)]:
        out = model(**{**batch, "sparse_prediction": False})
        rows = batch["labels"] != -100
        losses.append(out.loss)
        found += (out.prediction_logits.argmax(axis=-1) == batch["labels"])[rows].tolist()
        followed += (out.seq_relationship_logits.argmax(axis=-1) == batch["next_sentence_label"]).tolist()
    assert figures["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert figures["masked_accuracy"] == np.mean(found)
    assert figures["next_sentence_accuracy"] == np.mean(followed)


def test_masked_language_has_no_figure_of_next_sentences(tokenizer: npbert.BertTokenizer) -> None:
    documents = documents_of(tokenizer, 4)
    lessons = masked_language_lessons(tokenizer, documents, documents, batch_size=4, max_length=24)
    model = npbert.BertForMaskedLM(npbert.BertConfig(**SIZES), rng=np.random.default_rng(0))
    assert lessons.evaluate is not None
    assert set(lessons.evaluate(model)) == {"loss", "masked_accuracy"}
    nothing = masked_language_lessons(tokenizer, documents, [[[1, 1]]], batch_size=4, max_length=24)
    assert nothing.evaluate is not None
    with pytest.raises(npbert.InputError, match="nothing to evaluate"):
        nothing.evaluate(model)


def test_a_small_model_learns_a_small_language(tokenizer: npbert.BertTokenizer) -> None:
    """Sentences that repeat one of two words: the masked one can be told from the others."""
    documents: list[Document] = [[[word] * 8 for _ in range(2)] for word in (6, 7)] * 10
    lessons = masked_language_lessons(tokenizer, documents, documents, batch_size=8, max_length=24)
    config = npbert.BertConfig(**SIZES, hidden_dropout_prob=0.0)
    run = Run(npbert.BertForMaskedLM(config, rng=np.random.default_rng(0)), lessons, Settings(steps=60, lr=1e-2, warmup=5))
    assert lessons.evaluate is not None
    before = lessons.evaluate(run.model)
    list(steps(run))
    after = lessons.evaluate(run.model)
    assert after["loss"] < before["loss"] / 2
    assert after["masked_accuracy"] > 0.7


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"probability": 0}, {"probability": 1.5}])
def test_wrong_settings(wrong: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    with pytest.raises(npbert.NpbertError, match=next(iter(wrong))):
        masked_language_lessons(tokenizer, [[[6]]], **{"batch_size": 2, "max_length": 20, **wrong})
