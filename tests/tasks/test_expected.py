"""The tasks' answers are the reference's: on file for every run, live where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import tasks

from . import cases
from .cases import CASES, POOLINGS, TEXTS, assert_same

NUMBERED = [pytest.param(number, id=f"{number}-{case.task}") for number, case in enumerate(CASES)]


def ours(case: cases.Case, seed: int = cases.SEED, **more: Any) -> Any:
    """npbert's answer to a case."""
    model = cases.model(case.model, seed)
    ask = npbert.pipeline(case.task, model=model, tokenizer=cases.tokenizer(), **case.made_with)
    return ask(case.inputs, **case.options, **more)


@pytest.mark.parametrize("number", NUMBERED)
def test_answer_is_the_one_on_file(number: int) -> None:
    assert_same(ours(CASES[number]), cases.goldens()["cases"][number])


@pytest.mark.parametrize("task", sorted({case.task for case in CASES}))
def test_a_stream_is_answered_as_the_reference_answers_each_alone(task: str) -> None:
    """Sorting and batching must show in nothing but speed."""
    for case, golden in zip(CASES, cases.goldens()["cases"], strict=True):
        if case.task != task or not isinstance(case.inputs, list) or len(case.inputs) < 2:
            continue
        if case.options.get("is_split_into_words") and isinstance(case.inputs[0], str):
            continue
        ask = npbert.pipeline(task, model=cases.model(case.model), tokenizer=cases.tokenizer(), **case.made_with)
        for batch_size in ({}, {"batch_size": 1}, {"batch_size": 3}):
            options = {**case.options, **(batch_size if task != "text-generation" else {})}
            assert_same(list(ask((item for item in case.inputs), **options)), golden)


@pytest.mark.parametrize("number", range(len(POOLINGS)))
def test_embeddings_are_those_of_sentence_transformers(number: int) -> None:
    vectors = tasks.embed(cases.model("base"), cases.tokenizer(), TEXTS, pooling=POOLINGS[number])
    expected = np.array(cases.goldens()["embeddings"][number])
    assert vectors.shape == expected.shape
    assert np.abs(vectors - expected).max() < 1e-5 * max(1, np.abs(expected).max())


def test_similarity_with_the_real_model_is_that_of_sentence_transformers() -> None:
    model = npbert.BertModel.from_pretrained(cases.vocabulary())
    tokenizer = npbert.BertTokenizer.from_pretrained(cases.vocabulary())
    expected = np.array(cases.goldens()["minilm"])
    assert np.abs(tasks.similarity(model, tokenizer, TEXTS) - expected).max() < 1e-5
    row = tasks.similarity(model, tokenizer, TEXTS[0], TEXTS[1:])
    assert np.abs(row - expected[0, 1:]).max() < 1e-5
    column = tasks.similarity(model, tokenizer, TEXTS[1:], TEXTS[0])
    assert np.abs(column - expected[1:, 0]).max() < 1e-5
    assert abs(tasks.similarity(model, tokenizer, TEXTS[0], TEXTS[3]) - expected[0, 3]) < 1e-5


# ------------------------------------------------------------------------------------------------------------------ live


@pytest.mark.parity
@pytest.mark.parametrize("number", NUMBERED)
def test_answer_is_the_live_reference_s(number: int) -> None:
    """With other weights than those on file."""
    from . import live

    assert_same(ours(CASES[number], seed=5), live.answer(CASES[number], seed=5))


WORDS = [
    *("the", "Eiffel", "tower,", "unbelievably,", "is", "in", "Paris.", "Zürich", "xylophone's", "1889", "(a)", "[SEP]"),
    *("東京", "—", "\u200b\U0001f600", "שלום", "e\u0301"),
]


def drawn_text(rng: np.random.Generator, words: int) -> str:
    return "".join(str(rng.choice(WORDS)) + str(rng.choice([" ", " ", "  ", "", "\n"])) for _ in range(words))


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(12))
def test_answers_to_drawn_questions_are_the_live_reference_s(seed: int) -> None:
    from . import live

    rng = np.random.default_rng(seed)
    context, question = drawn_text(rng, int(rng.integers(1, 150))), drawn_text(rng, 3) or "?"
    options = {
        "top_k": int(rng.integers(1, 5)),
        "max_answer_len": int(rng.integers(1, 20)),
        "handle_impossible_answer": bool(rng.integers(2)),
        "align_to_words": bool(rng.integers(2)),
        "doc_stride": int(rng.integers(0, 30)),
        "max_seq_len": int(rng.integers(60, 129)),
    }
    case = cases.Case("question-answering", "span", cases.ask(context or "a", question), options)
    assert_same(ours(case, seed), live.answer(case, seed))


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(12))
def test_entities_in_drawn_texts_are_the_live_reference_s(seed: int) -> None:
    from . import live

    rng = np.random.default_rng(seed)
    options = {
        "aggregation_strategy": str(rng.choice(["simple", "first", "average", "max"])),
        "stride": int(rng.integers(0, 40)),
        "ignore_labels": list(rng.choice(["O", "PER", "LOC"], size=1)),
    }
    texts = [drawn_text(rng, int(rng.integers(0, 90))) for _ in range(3)]
    case = cases.Case("ner", "names", texts, options)
    assert_same(ours(case, seed), live.answer(case, seed))


@pytest.mark.parity
def test_a_target_that_is_no_word_is_replaced_by_the_same_piece() -> None:
    from . import live

    case = cases.Case("fill-mask", "masked", "It is [MASK].", {"targets": ["unbelievably", "zzqq", "good"]})
    with pytest.warns(UserWarning, match=r"takes its place"):
        assert_same(ours(case), live.answer(case))


@pytest.mark.parity
def test_a_text_that_is_too_long_is_cut_where_the_reference_cuts_it() -> None:
    from . import live

    case = cases.Case("ner", "names", cases.LONG, {"aggregation_strategy": "simple"})
    with pytest.warns(UserWarning, match=r"^inputs: only its first 128 tokens are read; stride="):
        assert_same(ours(case), live.answer(case))


@pytest.mark.parity
@pytest.mark.parametrize("number", range(len(POOLINGS)))
def test_pooling_files_are_read_as_sentence_transformers_reads_them(number: int, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    from . import live

    encoder = live.sentence_transformer(tmp_path, POOLINGS[number])
    model, tokenizer = npbert.BertModel.from_pretrained(tmp_path), npbert.BertTokenizer.from_pretrained(tmp_path)
    assert tasks.pooling_of(model) == POOLINGS[number]
    vectors, expected = tasks.embed(model, tokenizer, TEXTS), encoder.encode(TEXTS)
    assert np.abs(vectors - expected).max() < 1e-5 * max(1, np.abs(expected).max())
    encoder.save_pretrained(str(tmp_path / "again"))  # the newer form of the same files
    again = tasks.read_pooling(tmp_path / "again")
    assert (again.modes, again.normalize) == (POOLINGS[number].modes, POOLINGS[number].normalize)


@pytest.mark.parity
def test_next_sentence_is_the_softmax_of_the_live_model() -> None:
    import torch

    from . import live

    pairs = [("How old are you?", "I am six."), ("One.", "A longer second sentence, unbelievably.")]
    answers = tasks.next_sentence(cases.model("next"), cases.tokenizer(), pairs)
    for pair, answer in zip(pairs, answers, strict=True):
        with torch.no_grad():
            probs = live.model("next")(**live.tokenizer()(*pair, return_tensors="pt")).logits.softmax(-1)[0].tolist()
        assert_same(answer, {"is_next": probs[0], "not_next": probs[1]})
