"""Packs with gradients: what is in them, in which order, with which tolerances, and how ports are compared with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import InputError, golden
from npbert.golden.kinds import bare, is_forward, is_gradient, is_of_weight, step_of
from npbert.golden.precision import STORED_IN

from ..builders import build, tiny
from ..gradient_cases import build_case
from .lessons import STEPS, Lesson, inputs

TABLE = "bert.embeddings.word_embeddings.weight"


# ------------------------------------------------------------------------------------------------------------ what is in a pack


@pytest.mark.parametrize("case", ["masked_lm", "pretraining", "question_answering", "cross_attention"])
def test_every_gradient_in_the_order_of_the_backward_pass(tmp_path: Path, case: str) -> None:
    model, arguments = build_case(case)
    golden.export(model, arguments, tmp_path / "pack", gradients=True, dtype="float64")
    pack = golden.read_pack(tmp_path / "pack")
    with npbert.trace() as kept:
        _, gradients = model.gradients(**arguments)
    values = [name for name in kept if not name.startswith("grad:")]
    forward = [name for name in pack if is_forward(name)]
    assert [name for name in forward if not name.startswith("output:")] == values
    assert list(pack)[: len(forward)] == forward
    assert [name for name in pack if is_gradient(name) and not is_of_weight(name)] == [
        name for name in kept if is_gradient(name) and not is_of_weight(name)
    ]
    for name in values:
        assert np.array_equal(pack[f"grad:{name}"], kept[f"grad:{name}"]), name
    for name, gradient in gradients.items():
        assert np.array_equal(pack[f"grad:weight:{name}"], gradient), name
    order = {name: index for index, name in enumerate(pack)}
    for name in gradients:
        module = name.rpartition(".")[0]
        if f"grad:{module}" in order:
            assert order[f"grad:weight:{name}"] > order[f"grad:{module}"], name
    assert all(pack.tolerances[name].keys() == set(STORED_IN) for name in pack)


def test_what_the_loss_does_not_reach_is_zero_and_there(tmp_path: Path) -> None:
    model, arguments = build_case("classification")  # with relative positions, the table of positions is not read
    golden.export(model, arguments, tmp_path / "pack", gradients=True)
    pack = golden.read_pack(tmp_path / "pack")
    names = {f"grad:weight:{name}" for name, _ in model.named_parameters()}
    assert names == {name for name in pack if name.startswith("grad:weight:")}
    assert not pack["grad:bert.encoder.layer.1"][:, 1:].any(), "the classifier reads the first token alone"


def test_a_pack_without_gradients_is_the_same_as_before(tmp_path: Path) -> None:
    model, arguments = build_case("masked_lm")
    golden.export(model, arguments, tmp_path / "plain")
    golden.export(model, arguments, tmp_path / "full", gradients=True)
    plain, full = golden.read_pack(tmp_path / "plain"), golden.read_pack(tmp_path / "full")
    assert list(plain) == [name for name in full if is_forward(name)]
    assert all(np.array_equal(plain[name], full[name]) and plain.tolerances[name] == full.tolerances[name] for name in plain)
    assert "training" not in plain.metadata
    assert plain.backward is plain.steps is None


def test_a_base_model_begins_with_the_gradients_that_it_is_given(tmp_path: Path) -> None:
    model = build("BertModel", tiny(), dtype=np.float32)
    arguments = {name: x for name, x in inputs("BertModel").items() if name != "labels"}
    by_hidden = np.random.default_rng(0).normal(size=(3, 7, 12)).astype(np.float32)
    golden.export(model, arguments, tmp_path / "pack", gradients=True, output_gradients={"last_hidden_state": by_hidden})
    pack = golden.read_pack(tmp_path / "pack")
    assert np.array_equal(pack["grad:output:last_hidden_state"], by_hidden)
    assert next(name for name in pack if is_gradient(name)) == "grad:output:last_hidden_state"
    assert pack["grad:weight:embeddings.LayerNorm.weight"].any()
    assert not pack["grad:weight:pooler.dense.weight"].any()
    _, gradients = model.gradients(**arguments, output_gradients={"last_hidden_state": by_hidden})
    dump = {f"grad:weight:{name}": x for name, x in gradients.items()}
    assert golden.compare(pack, dump).ok
    dump["grad:weight:encoder.layer.1.output.dense.bias"] *= 0
    suspects = golden.diagnose(pack, dump, model=model)
    assert suspects[0].mistake == "bias-gradient-missing"
    given = {"gradients": True, "output_gradients": {"last_hidden_state": by_hidden}}
    golden.export(model, arguments, tmp_path / "part", only="pooler", **given)
    part = golden.read_pack(tmp_path / "part")
    assert list(part) == ["pooler", "grad:output:last_hidden_state", "grad:pooler"], "what the pass begins with is always there"


def test_dropout_masks_are_kept_and_every_pass_draws_them_again(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["dropout"]
    _, gradients = lesson.model.gradients(**lesson.inputs, rng=np.random.default_rng(7))
    assert golden.compare(lesson.pack, {f"grad:weight:{name}": x for name, x in gradients.items()}).ok
    mask = lesson.pack["bert.embeddings:dropout_mask"]
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert {":dropout_mask", "bert.encoder.layer.1.attention.self:dropout_mask"} <= set(lesson.pack)


def test_forward_mistakes_are_named_where_elements_are_dropped(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["dropout"]
    dump = {name: x for name, x in lesson.dump().items() if is_forward(name)}
    name = "bert.encoder.layer.0.attention.self:masked_scores"
    port = {other: dump[other] for other in list(dump)[: list(dump).index(name)]}
    port[name] = dump["bert.encoder.layer.0.attention.self:scores"] + np.minimum(dump[name], 0) * (dump[name] < -100)
    assert golden.diagnose(lesson.pack, port)[0].mistake == "scores-not-scaled"


def test_large_gradients_can_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys.modules["npbert.golden.export"], "LARGE", 31 * 12 - 1)
    model = build("BertForMaskedLM", tiny(), dtype=np.float32)
    golden.export(model, inputs("BertForMaskedLM"), tmp_path / "pack", gradients=True, large=False, weights=True)
    pack = golden.read_pack(tmp_path / "pack")
    assert f"grad:weight:{TABLE}" not in pack
    assert "grad:cls.predictions" not in pack
    assert "cls.predictions" in pack
    assert "grad:bert.embeddings" in pack
    assert pack.weights is not None
    assert TABLE in pack.weights


# ------------------------------------------------------------------------------------------------------------------------ steps


def test_steps_are_those_of_the_optimizer(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["steps"]
    model = lesson.model.astype(np.float64)
    optimizer = npbert.training.AdamW(model, weight_decay=STEPS.weight_decay)
    schedule = npbert.training.linear(STEPS.warmup, 8)
    for step in range(STEPS.number):
        _, gradients = model.gradients(**lesson.inputs)
        npbert.training.clip_gradients(gradients, 0.5)
        optimizer.lr = STEPS.lr * schedule(step)
        optimizer.step(gradients)
        for name, weight in model.named_parameters():
            assert np.array_equal(lesson.pack[f"step:{step + 1}:weight:{name}"], weight.astype(np.float32)), name
        loss = model(**lesson.inputs).loss
        assert lesson.pack[f"step:{step + 1}:loss"] == np.float32(loss)
    assert lesson.pack.steps == STEPS
    written = lesson.pack.metadata["training"]["steps"]
    assert written["rates"] == [STEPS.lr * schedule(step) for step in range(4)]


def test_weights_without_a_gradient_may_go_either_way(lessons: dict[str, Lesson]) -> None:
    """The bias of the keys moves all scores of a query alike: its gradient is rounding, which Adam makes as large as any."""
    pack = lessons["steps"].pack
    bounds = {name: pack.tolerances[name]["float32"].max_abs for name in pack if name.startswith("step:3:weight:")}
    noise = [bounds[name] for name in bounds if name.endswith("key.bias")]
    others = [bounds[name] for name in bounds if name.endswith("value.bias")]
    assert min(noise) > 1e-4 > max(others)


def test_a_table_of_rules_is_the_optimizer() -> None:
    """The rule without a mistake, which a diagnosis compares with, is what npbert's optimizer does."""
    from npbert.golden.mistakes.optimizer import RIGHT, Memory, stepped

    rng = np.random.default_rng(0)
    model = build("BertForSequenceClassification", tiny())
    weights = {name: x.copy() for name, x in model.named_parameters()}
    optimizer, memory = npbert.training.AdamW(model, weight_decay=0.1), Memory()
    steps = golden.Steps(4, lr=1e-2, weight_decay=0.1, max_norm=3.0, schedule="cosine", warmup=1, total=9)
    for step in range(1, 5):
        gradients = {name: rng.normal(size=x.shape) for name, x in weights.items()}
        weights |= stepped(RIGHT, steps, weights, {name: x.copy() for name, x in gradients.items()}, memory)
        npbert.training.clip_gradients(gradients, 3.0)
        optimizer.lr = steps.rate(step)
        optimizer.step(gradients)
        for name, x in model.named_parameters():
            assert np.allclose(weights[name], x, rtol=1e-12, atol=1e-14), name


# -------------------------------------------------------------------------------------------------------------------- comparing


def test_forward_values_first_then_gradients_then_steps(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["steps"]
    dump = dict(reversed(lesson.steps().items()))
    rows = [row.name for row in golden.compare(lesson.pack, dump).rows]
    kinds = [2 if step_of(name) else int(is_gradient(name)) for name in rows]
    assert kinds == sorted(kinds)
    assert [kinds.count(kind) > 50 for kind in range(3)] == [True] * 3
    wrong = {"grad:bert.encoder.layer.0", "grad:bert.encoder.layer.1", "bert.encoder.layer.1", f"step:1:weight:{TABLE}"}
    for name in ("bert.encoder.layer.1", "grad:bert.encoder.layer.1", "grad:bert.encoder.layer.0"):
        report = golden.compare(lesson.pack, {other: x + 1 if other in wrong else x for other, x in dump.items()})
        assert report.first_divergence == name, "the last layer's gradient is computed first"
        wrong.remove(name)


def test_padding_must_have_no_gradient(lessons: dict[str, Lesson]) -> None:
    lesson, name = lessons["lm"], "grad:bert.encoder.layer.0"
    dump = lesson.dump()
    assert not lesson.pack[name][2, 3:].any()
    dump[name][2, 3:] += 0.01
    assert golden.compare(lesson.pack, dump).first_divergence == name


def test_gradients_by_probabilities_that_the_mask_hides_may_be_anything(lessons: dict[str, Lesson]) -> None:
    lesson, name = lessons["lm"], "grad:bert.encoder.layer.0.attention.self:probs"
    dump = lesson.dump()
    dump[name][2, :, :, 3:] = 17
    assert golden.compare(lesson.pack, dump).ok
    dump[name][0, :, :, 3:] = 17
    assert golden.compare(lesson.pack, dump).first_divergence == name


def test_layouts_and_names_of_gradients(lessons: dict[str, Lesson]) -> None:
    lesson = lessons["lm"]
    dump = lesson.dump()
    wide = "grad:weight:bert.encoder.layer.0.intermediate.dense.weight"
    square = "grad:weight:bert.encoder.layer.0.attention.self.query.weight"
    positions = "grad:bert.embeddings.position_embeddings"
    port = {
        "encoder.layer.0.intermediate.dense.weight.grad": dump[wide].T,
        "grad:weight:model.bert.encoder.layer.0.attention.self.query.weight": dump[square].T,
        "grad:encoder.layer.0": dump["grad:bert.encoder.layer.0"].swapaxes(0, 1),
        positions: dump["grad:bert.embeddings:sum"],  # once for each text
    }
    report = golden.compare(lesson.pack, port, names={"*.grad": "grad:weight:*"})
    assert [row.name for row in report.rows if not row.ok] == [square]
    assert "[I, O]" in report.questions[0]
    names = {"*.grad": {"name": "grad:weight:*"}, "grad:weight:model.*": {"name": "grad:weight:*", "layout": "I O"}}
    assert golden.compare(lesson.pack, port, names=names).ok
    assert golden.diagnose(lesson.pack, port, names={"*.grad": "grad:weight:*"})[0].mistake == "weight-gradient-transposed"


def test_kinds_of_names() -> None:
    name = "encoder.layer.0.output.dense.bias"
    for full in (name, f"grad:{name}", f"grad:weight:{name}", f"step:12:weight:{name}"):
        assert bare(full) == name
        assert step_of(full) == (12 if full.startswith("step") else 0)
        assert is_of_weight(full) == ("weight:" in full)
        assert is_forward(full) == (full == name)
    assert bare("step:3:loss") == "loss"


# ----------------------------------------------------------------------------------------------------------------------- errors

LABELLED = inputs("BertForSequenceClassification")
UNLABELLED = {name: x for name, x in LABELLED.items() if name != "labels"}


@pytest.mark.parametrize(
    ("model_class", "arguments", "options", "said"),
    [
        ("BertForSequenceClassification", UNLABELLED, {"gradients": True}, "labels, which the inputs lack"),
        ("BertForQuestionAnswering", UNLABELLED, {"gradients": True}, "start_positions and end_positions"),
        ("BertModel", UNLABELLED, {"gradients": True}, "give output_gradients"),
        ("BertForSequenceClassification", LABELLED, {"dropout_seed": 1}, "dropout_seed: belongs to gradients=True"),
        ("BertForSequenceClassification", LABELLED, {"steps": STEPS}, "steps: belongs to gradients=True"),
        ("BertForSequenceClassification", LABELLED, {"gradients": True, "dropout_seed": -1}, "dropout_seed"),
        (
            "BertModel",
            UNLABELLED,
            {"gradients": True, "output_gradients": {"last_hidden_state": np.ones((3, 7, 12))}, "steps": STEPS},
            "steps: take a loss",
        ),
    ],
)
def test_what_cannot_be_exported(tmp_path: Path, model_class: str, arguments: Any, options: Any, said: str) -> None:
    model = build(model_class, tiny(), dtype=np.float32)
    with pytest.raises(InputError, match=said):
        golden.export(model, arguments, tmp_path / "pack", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "fields",
    [{"number": 0}, {"lr": -1}, {"optimizer": "sgd"}, {"schedule": "step"}, {"max_norm": 0}, {"total": 1}, {"warmup": -1}],
)
def test_steps_that_make_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields)).replace("number", "steps")):
        golden.Steps(**({"number": 2} | fields))


def test_a_model_of_two_parts_is_compared_and_diagnosed(tmp_path: Path) -> None:
    encoder = build("BertModel", tiny(num_hidden_layers=1))
    decoder = build("BertLMHeadModel", tiny(num_hidden_layers=1, is_decoder=True, add_cross_attention=True))
    config = npbert.EncoderDecoderConfig.from_encoder_decoder_configs(encoder.config, decoder.config)
    weights = {f"encoder.{n}": x for n, x in encoder.named_parameters()} | {
        f"decoder.{n}": x for n, x in decoder.named_parameters()
    }
    model = npbert.EncoderDecoderModel(config, weights)
    tokens = inputs("BertModel")["input_ids"]
    arguments = {"input_ids": tokens, "decoder_input_ids": tokens[:, :4], "labels": tokens[:, :4]}
    golden.export(model, arguments, tmp_path / "pack", gradients=True, weights=True)
    pack = golden.read_pack(tmp_path / "pack")
    _, gradients = model.gradients(**arguments)
    dump = {f"grad:weight:{name}": x.astype(np.float32) for name, x in gradients.items()}
    assert golden.compare(pack, dump).ok
    dump["grad:weight:encoder.encoder.layer.0.output.dense.bias"] *= 0
    (suspect,) = golden.diagnose(pack, dump)
    assert (suspect.mistake, suspect.where) == (
        "bias-gradient-missing",
        "grad:weight:encoder.encoder.layer.0.output.dense.bias",
    )
