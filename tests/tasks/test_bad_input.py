"""Input that is empty, broken, endless or strange: the reference's answer where it is sensible, else an error with a name."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import InputError, InputTypeError, NpbertError, tasks

from . import cases
from .cases import TEXTS, ask, assert_same

ONE_TEXT = {  # task -> model, something around a text that the task can answer
    "embed": ("base", "{}"),
    "feature-extraction": ("base", "{}"),
    "fill-mask": ("masked", "{} [MASK]"),
    "text-classification": ("four", "{}"),
    "token-classification": ("names", "{}"),
    "text-generation": ("writer", "{}"),
}
STRANGE = {
    "empty": "",
    "spaces": "   ",
    "white": "\t\n\r",
    "control": "\x00\x01\x7f",
    "invisible": "\u200b\ufeff",
    "right-to-left": "\u202eשלום\u202c",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "no-character": "\ufffe",
    "long-word": "a" * 300,
}
QUICK = {"text-generation": {"do_sample": False, "max_new_tokens": 1}}


def pipeline(task: str) -> npbert.tasks.Pipeline:
    name = ONE_TEXT[task][0] if task in ONE_TEXT else {"question-answering": "span", "next-sentence": "next"}[task]
    return tasks.pipeline(task, model=cases.model(name), tokenizer=cases.tokenizer(), **QUICK.get(task, {}))


@pytest.mark.parametrize("task", ONE_TEXT)
@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
def test_strange_texts_are_answered(task: str, text: str) -> None:
    answer = pipeline(task)(ONE_TEXT[task][1].format(text))
    if task == "embed":
        assert np.isfinite(answer).all()
    if task == "token-classification":
        assert all(0 <= entity["start"] <= entity["end"] <= len(text) for entity in answer)


@pytest.mark.parametrize("task", ONE_TEXT)
def test_a_lone_surrogate_is_named_with_its_place(task: str) -> None:
    good, bad = (ONE_TEXT[task][1].format(text) for text in ("fine", "half \udc80 of it"))
    with pytest.raises(InputError, match=r"^inputs\[2\]: holds a lone surrogate, '\\udc80' at index 5"):
        pipeline(task)([good, good, bad])
    with pytest.raises(InputError, match=r"^inputs: holds a lone surrogate"):
        pipeline(task)(bad)


@pytest.mark.parametrize("task", ONE_TEXT)
@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["nested"], 1.5])
def test_what_is_no_text_is_named_with_its_place(task: str, wrong: Any) -> None:
    with pytest.raises(InputTypeError, match=r"^inputs\[1\]: takes a text, got"):
        pipeline(task)([ONE_TEXT[task][1].format("fine"), wrong])


@pytest.mark.parametrize("task", ONE_TEXT)
def test_in_a_stream_the_answers_before_the_bad_text_are_there(task: str) -> None:
    good = ONE_TEXT[task][1].format("fine")
    expected = pipeline(task)([good, good])
    answers = pipeline(task)(text for text in [good, good, "\ud800", good])
    for number in range(2):
        answer, wanted = next(answers), expected[number]
        assert_same(*((answer.tolist(), wanted.tolist()) if task == "embed" else (answer, wanted)))
    with pytest.raises(InputError, match=r"^inputs\[2\]: "):
        next(answers)


@pytest.mark.parametrize("task", ["feature-extraction", "fill-mask", "text-classification", "text-generation", "next-sentence"])
def test_a_text_that_is_too_long_is_named_with_its_length(task: str) -> None:
    text = "word " * 200
    inputs: Any = [("short", "short"), (text, text)] if task == "next-sentence" else ["short [MASK]", f"[MASK] {text}"]
    with pytest.raises(InputError, match=r"^inputs\[1\]: [0-9]+ tokens.*128"):
        pipeline(task)(inputs)


@pytest.mark.parametrize("task", ["fill-mask", "text-classification", "token-classification", "embed"])
def test_a_line_of_a_million_characters_is_refused_or_cut(task: str) -> None:
    line = "[MASK] " + "unbelievable things " * 50_000
    if task in ("embed", "token-classification"):
        with pytest.warns(UserWarning, match=r"only its first 128 tokens") if task != "embed" else contextlib.nullcontext():
            answer = pipeline(task)(line)
        assert len(answer) <= 126 if task != "embed" else np.isfinite(answer).all()
    else:
        with pytest.raises(InputError, match=r"^inputs: [0-9]{5,} tokens, the model takes 128; .*truncation"):
            pipeline(task)(line)


# ------------------------------------------------------------------------------------------------------------ fill-mask


@pytest.mark.parametrize("text", ["", "no mask", "[mask]", "[ MASK ]"])
def test_a_text_without_mask_is_named(text: str) -> None:
    with pytest.raises(InputError, match=r"^inputs\[1\]: there is no \[MASK\] in '" + re.escape(text)):
        pipeline("fill-mask")(["a [MASK]", text])


def test_a_tokenizer_without_mask_token_is_refused() -> None:
    import copy

    tokenizer = copy.copy(cases.tokenizer())
    tokenizer._special_tokens = {**tokenizer._special_tokens, "mask_token": None}
    for use in (
        lambda: tasks.fill_mask(cases.model("masked"), tokenizer, "a [MASK]"),
        lambda: tasks.mask_tokens([1, 2], tokenizer, np.random.default_rng(0)),
    ):
        with pytest.raises(InputError, match=r"^tokenizer: .* needs a mask token"):
            use()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "^top_k: takes 1 or more"),
        ({"top_k": 30523}, "^top_k: takes 1 to 30522"),
        ({"top_k": 2.0}, "^top_k: takes a whole number"),
        ({"targets": []}, "^targets: takes one word or more"),
        ({"targets": 3}, "^targets: takes a text or a list"),
        ({"targets": [3]}, r"^targets\[0\]: takes a text"),
        ({"tokenizer_kwargs": {"stride": 3}}, "^tokenizer: unknown argument 'stride'; it takes truncation"),
        ({"topk": 3}, "^fill-mask: unknown argument 'topk'; it takes top_k, targets"),
    ],
)
def test_options_of_fill_mask_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NpbertError, match=message):
        pipeline("fill-mask")("a [MASK]", **options)


def test_a_target_without_any_word_is_left_out_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"holds no word"):
        answer = pipeline("fill-mask")("a [MASK]", targets=["  ", "good"])
    assert [one["token_str"] for one in answer] == ["good"]


# -------------------------------------------------------------------------------------------------------- classification


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([{"text": "a", "text_par": "b"}], r"^inputs\[0\]: takes .* for a pair, got text"),
        ([{"text_pair": "b"}], r"^inputs\[0\]: takes .* for a pair, got text"),
        ([("a", "b", "c")], r"^inputs\[0\]: takes two texts for a pair, got 3"),
        ([("a", 3)], r"^inputs\[0\]\[1\]: takes a text, got 3"),
        ({"text": 3}, "^inputs: takes a text, got 3"),
    ],
)
def test_pairs_are_checked(inputs: Any, message: str) -> None:
    with pytest.raises(NpbertError, match=message):
        pipeline("text-classification")(inputs)


@pytest.mark.parametrize("pair", ["one text", ("one text", ""), {"text": "one text"}])
def test_next_sentence_takes_two_texts(pair: Any) -> None:
    with pytest.raises(InputTypeError, match=r"^inputs: takes two texts, got one"):
        pipeline("next-sentence")(pair)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "^top_k: takes 1 or more"),
        ({"top_k": "all"}, "^top_k: takes a whole number"),
        ({"function_to_apply": "relu"}, "^function_to_apply: takes 'softmax', 'sigmoid' or 'none'"),
        ({"stride": 3}, "^text-classification: unknown argument 'stride'; it takes top_k, function_to_apply"),
        ({"max_length": 1, "truncation": True}, "max_length=1 leaves no room"),
    ],
)
def test_options_of_text_classification_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NpbertError, match=message):
        pipeline("text-classification")("a", **options)


# -------------------------------------------------------------------------------------------------- token classification


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregation_strategy": "best"}, "^aggregation_strategy: takes 'none', 'simple'"),
        ({"aggregation_strategy": None}, "^aggregation_strategy: takes 'none', 'simple'"),
        ({"ignore_labels": "O"}, "^ignore_labels: takes a list"),
        ({"stride": 3}, "^stride: .* cannot be"),
        ({"stride": 126, "aggregation_strategy": "simple"}, "^stride: takes 0 to 125"),
        ({"stride": -1, "aggregation_strategy": "simple"}, "^stride: takes 0 or more"),
        ({"groups": True}, "^token-classification: unknown argument 'groups'"),
        ({"grouped_entities": "yes"}, "^grouped_entities: takes True, False or None"),
        ({"is_split_into_words": True}, r"^inputs\[0\]: takes a text|^inputs: takes"),
    ],
)
def test_options_of_token_classification_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NpbertError, match=message):
        pipeline("token-classification")("a text", **options)


def test_words_are_checked() -> None:
    ask_words = pipeline("token-classification")
    with pytest.raises(InputTypeError, match=r"^inputs\[1\]\[0\]: takes a text, got 3"):
        ask_words([["a"], [3]], is_split_into_words=True)
    with pytest.raises(InputTypeError, match=r"^inputs\[1\]: takes a list of words"):
        ask_words([["a"], "b"], is_split_into_words=True)
    assert ask_words([["  ", ""], []], is_split_into_words=True) == [[], []]


# ---------------------------------------------------------------------------------------------------- question answering


@pytest.mark.parametrize("part", ["question", "context"])
def test_an_empty_question_or_context_is_named(part: str) -> None:
    with pytest.raises(InputError, match=rf"^inputs\[1\]\['{part}'\]: takes a text, this one is empty"):
        pipeline("question-answering")([ask("A text."), {**ask("A text."), part: ""}])


@pytest.mark.parametrize("context", ["   ", "\x00", "\u200b"])
def test_a_context_without_words_has_the_empty_answer(context: str) -> None:
    """What the reference answers for a single space where its own arithmetic lets it: nothing, with nothing behind it."""
    answer = pipeline("question-answering")(question="Who?", context=context)
    assert answer == {"score": 0.0, "start": 0, "end": 0, "answer": ""}


def test_a_question_that_leaves_no_room_is_named() -> None:
    answer = pipeline("question-answering")
    with pytest.raises(InputError, match=r"^inputs\[1\]: the question's 200 tokens leave 0 of max_seq_len=128"):
        answer([ask("A text."), ask("A text.", "why " * 200)])
    with pytest.raises(InputError, match=r"^inputs: the question's 80 tokens leave 45 of .*doc_stride=64; max_question_len="):
        answer(ask("word " * 200, "why " * 80))
    with pytest.raises(InputError, match=r"leave 64 of .*, which is not more than .* doc_stride=64"):
        answer(ask("word " * 200, "why " * 61))
    assert answer(ask("word " * 200, "why " * 60))["answer"]
    short = answer(ask("One word.", "why " * 80))  # the context fits, so nothing overlaps
    assert short["answer"] in "One word."
    cut = answer(ask("One word.", "why " * 200), max_question_len=80)
    assert cut == short
    assert answer(ask("word " * 200, "why " * 80), doc_stride=5)["answer"]


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (None, {}, "^takes a question and a context"),
        (None, {"question": "a"}, "^takes a question and a context"),
        (ask("a"), {"question": "a", "context": "b"}, "^takes either inputs or question"),
        (None, {"question": "a", "context": ["b"]}, "^question: takes a text, or a list"),
        (None, {"question": ["a", "b"], "context": ["b"]}, "^context: takes as many as there are questions, 2, got 1"),
        (None, {"question": ["a"], "context": 3}, "^context: takes a text or a list"),
        ([{"question": "a"}], {}, r"^inputs: takes {\"question\": ..., \"context\": ...}, got a dictionary with question"),
        (["a", "b"], {}, r"^inputs\[0\]: takes {\"question\""),
        (ask("a"), {"top_k": 0}, "^top_k: takes 1 or more"),
        (ask("a"), {"max_answer_len": 0}, "^max_answer_len: takes 1 or more"),
        (ask("a"), {"max_seq_len": 129}, "^max_seq_len: takes up to 128"),
        (ask("a"), {"max_seq_len": 3}, "^max_seq_len: takes 4 or more"),
        (ask("a"), {"doc_stride": 129}, r"^doc_stride: takes up to max_seq_len \(128\)"),
        (ask("a"), {"doc_stride": -1}, "^doc_stride: takes 0 or more"),
        (ask("a"), {"max_question_len": 0}, "^max_question_len: takes 1 or more"),
        (ask("a"), {"topk": 1}, "^question-answering: unknown argument 'topk'"),
    ],
)
def test_what_is_asked_is_checked(inputs: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(NpbertError, match=message):
        pipeline("question-answering")(*([] if inputs is None else [inputs]), **options)


# ------------------------------------------------------------------------------------------------------------- pipelines


def test_every_task_refuses_a_model_without_its_head() -> None:
    for task, model, inputs in (
        ("fill-mask", "base", "a [MASK]"),
        ("text-classification", "masked", "a"),
        ("token-classification", "four", "a"),
        ("question-answering", "names", ask("a")),
        ("next-sentence", "four", ("a", "b")),
        ("text-generation", "masked", "a"),
    ):
        with pytest.raises(InputTypeError, match=rf"^model: {task} takes a Bert.*, got Bert"):
            tasks.pipeline(task, model=cases.model(model), tokenizer=cases.tokenizer())(inputs)
    with pytest.raises(InputTypeError, match=r"^model: takes a BertModel, or"):
        tasks.embed("a string", cases.tokenizer(), "a")  # type: ignore[arg-type]


def test_what_a_pipeline_is_made_from_is_checked() -> None:
    model, tokenizer = cases.model("masked"), cases.tokenizer()
    with pytest.raises(InputError, match=r"^task: takes 'feature-extraction', 'embed',.* got 'translation'"):
        tasks.pipeline("translation", model=model)
    with pytest.raises(InputError, match=r"^model: next-sentence needs a BertForNextSentencePrediction"):
        tasks.pipeline("next-sentence")
    with pytest.raises(InputError, match=r"^tokenizer: the model was not loaded from a checkpoint"):
        tasks.pipeline("fill-mask", model=model)
    with pytest.raises(InputTypeError, match=r"^fill-mask: unknown argument 'topk'"):
        tasks.pipeline("fill-mask", model=model, tokenizer=tokenizer, topk=3)
    with pytest.raises(InputTypeError, match=r"^fill-mask: takes one input or a list"):
        tasks.pipeline("fill-mask", model=model, tokenizer=tokenizer)("a [MASK]", "b [MASK]")
    with pytest.raises(npbert.MissingFileError):
        tasks.pipeline("fill-mask", model="./no/such/directory")
    for unknown in ("attention_mask", "return_dict_in_generate"):  # the last two are decided by the task
        with pytest.raises(InputTypeError, match=rf"^text-generation: unknown argument '{unknown}'; it takes return_full_text"):
            tasks.pipeline("text-generation", model=cases.model("writer"), tokenizer=tokenizer, **{unknown: 0})
        with pytest.raises(InputTypeError, match=rf"^text-generation: unknown argument '{unknown}'"):
            tasks.text_generation(cases.model("writer"), tokenizer, "a", **{unknown: 0})


def test_similarity_takes_lists_and_names_what_is_none() -> None:
    model, tokenizer = cases.model("base"), cases.tokenizer()
    with pytest.raises(InputTypeError, match=r"^second: takes a text or a list"):
        tasks.similarity(model, tokenizer, "a", 3)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match=r"^first\[1\]: takes a text"):
        tasks.similarity(model, tokenizer, ["a", 3])  # type: ignore[list-item]
    assert tasks.similarity(model, tokenizer, [], TEXTS).shape == (0, len(TEXTS))
