"""Naming mistakes of training: each is made in an independent port, which is dumped whole and in parts, and must be found."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import npbert
from npbert import golden
from npbert.checkpoints.names import fields_from_distilbert
from npbert.golden.mistakes import backward, optimizer

from ..builders import build, tiny
from .lessons import Lesson, inputs, part_of
from .subjects import spoiled
from .test_gpt2_backward import PLANTS as GPT2_PLANTS

LAYER = "grad:bert.encoder.layer.1."
SELF = LAYER + "attention.self"
TABLES = "grad:weight:bert.embeddings."


@pytest.mark.parametrize("kind", ["lm", "classifier", "dropout"])
def test_the_port_without_a_mistake_is_right(lessons: dict[str, Lesson], kind: str) -> None:
    lesson = lessons[kind]
    report = golden.compare(lesson.pack, lesson.dump())
    assert report.ok, report
    assert not report.not_in_port
    assert not report.not_in_pack
    assert golden.diagnose(lesson.pack, lesson.dump()) == []


class Plant(NamedTuple):
    """A mistake in the port, and the first gradient that it makes wrong."""

    mistake: str
    where: str
    kind: str = "lm"
    layers: tuple[int, ...] | None = None
    shown: tuple[str, ...] = ("everything", "layers")  # the dumps in which it shows


WEIGHTS = ("everything", "weights")

PLANTS = [
    Plant("layernorm-backward-mean-term-missing", "grad:cls.predictions.transform.transform_act_fn"),
    Plant("layernorm-backward-mean-term-missing", LAYER + "output:residual", "classifier"),
    Plant("layernorm-backward-mean-term-missing", "grad:bert.encoder.layer.0.output:residual", layers=(0,)),
    Plant("layernorm-backward-variance-term-missing", "grad:cls.predictions.transform.transform_act_fn"),
    Plant("softmax-backward-diagonal-only", SELF + ":masked_scores"),
    Plant("softmax-backward-diagonal-only", SELF + ":masked_scores", "dropout"),
    Plant("gelu-derivative-of-another", "grad:cls.predictions.transform.dense"),
    Plant("gelu-derivative-of-another", "grad:bert.encoder.layer.0.intermediate.dense", "classifier", (0,)),
    Plant("gelu-derivative-of-another sigmoid", LAYER + "intermediate.dense", "classifier"),
    Plant("attention-scale-missing-in-backward", SELF + ":scores"),
    Plant("residual-gradient-missing attention", "grad:bert.encoder.layer.0"),
    Plant("residual-gradient-missing attention/past", "grad:bert.encoder.layer.0", "classifier"),
    Plant("residual-gradient-missing feed-forward", LAYER + "attention", "classifier"),
    Plant("residual-gradient-missing feed-forward/past", LAYER + "attention"),
    Plant("bias-gradient-missing", "grad:weight:cls.predictions.bias", shown=WEIGHTS),
    Plant("bias-gradient-averaged", "grad:weight:cls.predictions.bias", shown=WEIGHTS),
    Plant("bias-gradient-averaged texts", "grad:weight:classifier.bias", "classifier", shown=("everything",)),
    Plant("weight-gradient-transposed", "grad:weight:cls.predictions.transform.dense.weight", shown=WEIGHTS),
    Plant("weight-gradient-transposed query", "grad:weight:bert.encoder.layer.1.attention.self.query.weight"),
    Plant("embedding-gradient-overwritten", TABLES + "word_embeddings.weight", shown=WEIGHTS),
    Plant("embedding-gradient-overwritten token_type_embeddings", TABLES + "token_type_embeddings.weight", "classifier"),
    Plant("tied-gradient-one-use head", TABLES + "word_embeddings.weight", shown=("everything",)),
    Plant("tied-gradient-one-use table", TABLES + "word_embeddings.weight"),
    Plant("padding-row-gradient", TABLES + "word_embeddings.weight", shown=("everything",)),
    Plant("padding-row-gradient", TABLES + "word_embeddings.weight", "classifier"),
    Plant("position-gradient-not-summed", "grad:bert.embeddings.position_embeddings", shown=WEIGHTS),
    Plant("position-gradient-not-summed first", "grad:bert.embeddings.position_embeddings"),
    Plant("position-gradient-not-summed mean", "grad:bert.embeddings.position_embeddings", "classifier"),
    Plant("loss-sum-for-mean", "output:loss", shown=("everything", "layers", "weights")),
    Plant("loss-counts-ignored-labels", "output:loss", shown=("everything", "layers", "weights")),
    Plant("loss-counts-ignored-labels zero", "output:loss"),
    Plant("loss-averaged-per-sequence", "output:loss", shown=("everything", "layers", "weights")),
    Plant("gradient-accumulated-twice", "grad:weight:cls.predictions.bias", shown=WEIGHTS),
    Plant("pooler-tanh-derivative-missing", "grad:bert.pooler.dense", "classifier"),
    Plant("dropout-mask-not-repeated", "grad:bert.pooler", "dropout", shown=("everything",)),
    Plant("dropout-mask-not-repeated", LAYER + "output.dense", "dropout", (1,), ("everything", "values")),
    Plant("dropout-mask-not-repeated none", "grad:bert.pooler", "dropout"),
    Plant("dropout-mask-not-repeated none", LAYER + "output.dense", "dropout", (1,)),
    Plant("dropout-not-scaled-in-backward", "grad:bert.pooler", "dropout"),
    Plant("dropout-not-scaled-in-backward", "grad:bert.encoder.layer.0.output.dense", "dropout", (0,)),
]


def test_every_mistake_is_planted() -> None:
    planted = [plant.mistake for plant in PLANTS] + [mistake for mistake, _, _ in GPT2_PLANTS]
    assert {mistake.partition(" ")[0] for mistake in planted} == set(backward.MISTAKES)


def plants_and_dumps() -> list[Any]:
    """Every plant with the full dump, and the first of each mistake with all dumps in which it shows."""
    planted: set[str] = set()
    rows = []
    for plant in PLANTS:
        mistake = plant.mistake.partition(" ")[0]
        for which in ("everything",) if mistake in planted else plant.shown:
            rows.append(pytest.param(plant, which, id=f"{plant.mistake}-{plant.kind}-{plant.layers}-{which}"))
        planted.add(mistake)
    return rows


@pytest.mark.parametrize(("plant", "which"), plants_and_dumps())
def test_known_mistakes(lessons: dict[str, Lesson], plant: Plant, which: str) -> None:
    lesson = lessons[plant.kind]
    dump = part_of(lesson.dump(plant.mistake, layers=plant.layers), which)
    suspects = golden.diagnose(lesson.pack, dump)
    found = [suspect.mistake for suspect in suspects]
    assert found[0] == plant.mistake.partition(" ")[0]
    assert len(found) == 1 or "tell these mistakes apart" in suspects[0].evidence.tie
    if which == "everything":
        assert suspects[0].where == plant.where
    evidence = suspects[0].evidence
    assert evidence.error_of_truth > evidence.tolerance / 2
    assert evidence.error_of_mistake < max(4 * evidence.tolerance, evidence.error_of_truth / 1000)
    assert 1 <= evidence.reproduced <= evidence.dumped


# --------------------------------------------------------------------------------------------------------- never a false name


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("grad:cls.predictions.transform.transform_act_fn", "noise"),
        (LAYER + "output:residual", "scaled by 1.01"),
        (LAYER + "output:residual", "one element"),
        (SELF + ":masked_scores", "negated"),
        (SELF + ":scores", "scaled by 1.01"),
        (LAYER + "intermediate.dense", "permuted"),
        (LAYER + "attention", "zero"),
        (LAYER + "attention", "nan"),
        ("grad:weight:bert.encoder.layer.0.attention.self.query.weight", "zero"),
        ("grad:weight:bert.encoder.layer.0.attention.self.query.weight", "permuted"),
        (TABLES + "word_embeddings.weight", "scaled by 0.99"),
    ],
)
def test_other_mistakes_are_unknown(lessons: dict[str, Lesson], name: str, how: str) -> None:
    """What was spoiled is told as the first that differs, whatever the port computed from it."""
    lesson = lessons["lm"]
    dump = lesson.dump()
    names = list(lesson.pack)
    later = names[names.index(name) + 1 :]
    dump = {other: x for other, x in dump.items() if other not in later} | {name: spoiled(dump[name], how)}
    (suspect,) = golden.diagnose(lesson.pack, dump)
    assert (suspect.mistake, suspect.where) == ("unknown", name)
    assert suspect.evidence.tensor == name


def test_a_mask_that_no_dump_shows_is_unknown(lessons: dict[str, Lesson]) -> None:
    """Another mask is random: it can only be read off the gradient behind it."""
    lesson = lessons["dropout"]
    dump = part_of(lesson.dump("dropout-mask-not-repeated", layers=(1,)), "layers")
    (suspect,) = golden.diagnose(lesson.pack, dump)
    assert (suspect.mistake, suspect.where) == ("unknown", "grad:bert.encoder.layer.0")


def test_a_loss_that_is_scaled_and_gradients_that_are_doubled_are_told_apart(lessons: dict[str, Lesson]) -> None:
    """Of a sum over two labels in place of their mean every gradient is twice as large, that of the logits too."""
    lesson = lessons["lm"]
    doubled = {name: 2 * x if name.startswith("grad:") else x for name, x in lesson.dump().items()}
    (suspect,) = golden.diagnose(lesson.pack, doubled)
    assert (suspect.mistake, suspect.where) == ("unknown", "grad:cls")


def test_some_doubled_gradients_are_not_all(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["lm"]
    dump = part_of(lesson.dump(), "weights")
    spared = "grad:weight:cls.predictions.bias"
    (suspect,) = golden.diagnose(lesson.pack, {name: x if name == spared else 2 * x for name, x in dump.items()})
    assert suspect.mistake == "unknown"


def test_a_loss_that_is_right_with_the_gradient_of_another(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["lm"]
    dump = lesson.dump("loss-sum-for-mean") | {"output:loss": lesson.pack["output:loss"]}
    (suspect,) = golden.diagnose(lesson.pack, dump)
    assert (suspect.mistake, suspect.where) == ("loss-sum-for-mean", "grad:cls")
    assert "The loss is right" in suspect.explanation


@pytest.mark.parametrize(
    ("model_class", "fields", "labels", "number"),
    [
        ("BertForQuestionAnswering", {}, {"start_positions": [1, 2, 0], "end_positions": [4, 3, 2]}, 3),
        ("BertForQuestionAnswering", {}, {"start_positions": [1, 2, 0], "end_positions": [4, 3, 2]}, 2),
        ("BertForSequenceClassification", {"num_labels": 1}, {"labels": [0.5, -1.0, 2.0]}, 3),
        ("BertForSequenceClassification", {"num_labels": 4}, {"labels": [[0.0, 1.0, 1.0, 0.0]] * 3}, 4),
        ("BertForNextSentencePrediction", {}, {"labels": [1, 0, 1]}, 3),
    ],
)
def test_losses_of_other_heads(tmp_path: Path, model_class: str, fields: Any, labels: Any, number: int) -> None:
    """Of a sum in place of a mean over so many, loss and gradients are so many times as large."""
    model = build(model_class, tiny(**fields), dtype=np.float32)
    arguments = inputs("BertModel") | {name: np.array(x) for name, x in labels.items()}
    arguments = {name: x for name, x in arguments.items() if name in labels or name != "labels"}
    golden.export(model, arguments, tmp_path / "pack", gradients=True)
    out, gradients = model.gradients(**arguments)
    dump = {f"grad:weight:{name}": number * x for name, x in gradients.items()} | {"output:loss": number * out.loss}
    suspects = golden.diagnose(tmp_path / "pack", dump, model=model)
    assert (suspects[0].mistake, suspects[0].where) == ("loss-sum-for-mean", "output:loss")
    (other,) = golden.diagnose(tmp_path / "pack", {name: x * 1.7 for name, x in dump.items()}, model=model)
    assert other.mistake == "unknown"


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_gradients_in_a_shorter_precision(lessons: dict[str, Lesson], precision: str) -> None:
    lesson = lessons["lm"]
    dump = {
        name: golden.precision.round_to(x, precision) if name.startswith("grad:") else x for name, x in lesson.dump().items()
    }
    found = golden.diagnose(lesson.pack, dump)
    assert [suspect.mistake for suspect in found] == ["low-precision"]
    assert found[0].evidence.precision == precision


# ---------------------------------------------------------------------------------------------------------------------- steps

STEP_PLANTS = {
    "adam-bias-correction-missing": 2,
    "adam-eps-inside-root": 2,
    "weight-decay-coupled": 2,
    "weight-decay-on-bias-and-layernorm": 2,
    "clip-not-applied": 2,
    "clip-norm-squared": 2,
    "learning-rate-off-by-one": 1,
    "learning-rate-off-by-one -1": 2,
    "gradient-accumulated-twice": 3,
}
"""The first step that each mistake makes wrong: the first one has a learning rate of 0."""


def test_the_port_without_a_mistake_steps_right(lessons: dict[str, Lesson]) -> None:
    report = golden.compare(lessons["steps"].pack, lessons["steps"].steps())
    assert report.ok, report
    assert not report.not_in_port


def test_every_mistake_of_a_step_is_planted() -> None:
    assert {mistake.partition(" ")[0] for mistake in STEP_PLANTS} == set(optimizer.MISTAKES)


@pytest.mark.parametrize(
    ("plant", "which"),
    [
        *((plant, "everything") for plant in STEP_PLANTS),
        ("adam-bias-correction-missing", "the last weights"),
        ("weight-decay-coupled", "the last weights"),
        ("learning-rate-off-by-one", "losses"),
    ],
)
def test_known_mistakes_of_steps(lessons: dict[str, Lesson], plant: str, which: str) -> None:
    lesson = lessons["steps"]
    chosen = {"everything": ".*", "the last weights": "step:3:weight:.*", "losses": "step:.:loss"}[which]
    dump = {name: x for name, x in lesson.steps(plant).items() if re.fullmatch(chosen, name)}
    suspects = golden.diagnose(lesson.pack, dump)
    assert [suspect.mistake for suspect in suspects] == [plant.partition(" ")[0]]
    if which == "everything":
        assert suspects[0].where.startswith(f"step:{STEP_PLANTS[plant]}:weight:")


@pytest.mark.parametrize("how", ["noise", "nan"])
def test_other_mistakes_of_steps_are_unknown(lessons: dict[str, Lesson], how: str) -> None:
    lesson, name = lessons["steps"], "step:2:weight:bert.encoder.layer.0.output.dense.weight"
    dump = lesson.steps()
    (suspect,) = golden.diagnose(lesson.pack, dump | {name: spoiled(dump[name], how)})
    assert (suspect.mistake, suspect.where) == ("unknown", name)
    assert np.isfinite(suspect.evidence.tolerance)


@pytest.mark.parametrize(
    ("behind", "before", "mistake"),
    [
        ("grad:bert.pooler.dense", "grad:bert.pooler.activation", "pooler-tanh-derivative-missing"),
        ("grad:bert.encoder.layer.0.attention.self:scores", "grad:bert.encoder.layer.0.attention.self:masked_scores",
         "attention-scale-missing-in-backward"),
        ("grad:bert.encoder.layer.1.attention", "grad:bert.encoder.layer.1.output:residual", "residual-gradient-missing"),
    ],
)  # fmt: skip
def test_distilbert(tmp_path: Path, behind: str, before: str, mistake: str) -> None:
    """It runs through BERT's pass, with ReLU in the pooler and no token types. Each of these mistakes skips one step."""
    fields = {"model_type": "distilbert", "dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 21, "vocab_size": 31}
    config = npbert.BertConfig(**fields_from_distilbert(fields | {"max_position_embeddings": 17}))
    model = build("BertForSequenceClassification", config, dtype=np.float32)
    arguments = inputs("BertForSequenceClassification")
    del arguments["token_type_ids"]
    golden.export(model, arguments, tmp_path / "pack", weights=True, gradients=True)
    pack = golden.read_pack(tmp_path / "pack")
    names = list(pack)
    dump = {name: pack[name] for name in names[: names.index(behind)]} | {behind: pack[before]}
    (suspect,) = golden.diagnose(pack, dump)
    assert (suspect.mistake, suspect.where) == (mistake, behind)
    assert "tanh" not in suspect.explanation
