"""Never a guess: what no known mistake explains is unknown, at the right place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import golden
from npbert.golden.likeness import ARRANGEMENTS
from npbert.golden.precision import to_bfloat16

from .. import port
from ..builders import build, ids, tiny
from .subjects import (
    ACTIVATION,
    LAYER,
    NORM,
    SELF,
    Subject,
    part_of,
    spoiled,
)

SPOILED = (
    "one element", "small noise", "noise", "scaled by 1.01", "scaled by 0.99", "negated", "shifted", "permuted",
    "half of it zero", "clipped", "coarse", "nan", "zero",
)  # fmt: skip


@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize(
    "name",
    [
        "embeddings.word_embeddings", NORM, SELF + ":value", SELF + ":masked_scores", SELF + ":probs", SELF,
        LAYER + "attention.output:residual", ACTIVATION, "pooler.activation",
    ],
)  # fmt: skip
def test_what_nobody_knows_is_unknown(subjects: dict[str, Subject], name: str, how: str) -> None:
    subject = subjects["encoder"]
    truth = subject.dump()
    names = list(truth)
    dump = {before: truth[before] for before in names[: names.index(name)]}
    dump[name] = spoiled(truth[name], how)
    suspects = golden.diagnose(subject.pack, dump)
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("unknown", name)]
    assert np.isinf(suspects[0].evidence.error_of_mistake)


OF_RANK = {2: "pooler.activation", 3: LAYER + "intermediate.dense", 4: SELF + ":value"}
ARRANGE = {label: arrange for label, _, arrange in ARRANGEMENTS}
TURNED = [
    *[("", rank) for rank in (2, 3, 4)],
    *[("with the batch in reverse order", rank) for rank in (2, 3, 4)],
    *[("with the tokens in reverse order", rank) for rank in (3, 4)],
    ("with the heads in reverse order", 4),
    *[("with the channels in reverse order", rank) for rank in (2, 3)],
    *[(f"with its tokens shifted by one to the {side}", rank) for side in ("left", "right") for rank in (3, 4)],
    ("read as [B, S, N, H] instead of [B, N, S, H]", 4),
    ("written as [S, B, D] instead of [B, S, D]", 3),
]


@pytest.mark.parametrize(("label", "rank"), TURNED)
def test_a_right_tensor_turned_round_is_recognised(subjects: dict[str, Subject], label: str, rank: int) -> None:
    subject = subjects["encoder"]
    truth = subject.dump()
    names, name = list(truth), OF_RANK[rank]
    dump = {before: truth[before] for before in names[: names.index(name)]}
    dump[name] = np.ascontiguousarray(ARRANGE[label](truth[name])) if label else truth[name] * np.float32(-1.7)
    (suspect,) = golden.diagnose(subject.pack, dump)
    assert (suspect.mistake, suspect.where) == ("unknown", name)
    assert f"This is the right tensor {label or 'times -1.7'}" in suspect.explanation


@pytest.mark.parametrize("how", ["scaled by 1.01", "noise", "permuted", "zero"])
def test_what_nobody_knows_in_a_layer(subjects: dict[str, Subject], how: str) -> None:
    subject = subjects["encoder"]
    dump = {name: x for name, x in part_of(subject.dump(), "layers").items() if not name.startswith("output:")}
    dump["encoder.layer.1"] = spoiled(dump["encoder.layer.1"], how)
    suspects = golden.diagnose(subject.pack, dump)
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("unknown", "encoder.layer.1")]
    assert "encoder.layer.0 is still right" in suspects[0].explanation


@pytest.mark.parametrize("name", ["embeddings.dropout", SELF + ".dropout"])
def test_zeros_alone_are_no_dropout(subjects: dict[str, Subject], name: str) -> None:
    """Dropout loses as many elements as the scale of the others says."""
    subject = subjects["encoder"]
    truth = subject.dump()
    kept = np.random.default_rng(0).random(truth[name].shape)
    for share, probability, found in ((0.1, 0.1, "dropout-left-on"), (0.5, 0.1, "unknown"), (0.1, 0.5, "unknown")):
        x = np.where(kept >= share, truth[name] / (1 - probability), 0).astype(np.float32)
        suspects = golden.diagnose(subject.pack, {name: x})
        assert [(suspect.mistake, suspect.where) for suspect in suspects] == [(found, name)]


def test_no_mistake_is_placed_before_what_is_right(subjects: dict[str, Subject]) -> None:
    """Some weights are rounded to 16 bits, but none of those before the tensor that is right."""
    subject = subjects["encoder"]
    weights = {
        name: to_bfloat16(x) if name.startswith((LAYER + "intermediate", LAYER + "output")) else x
        for name, x in subject.model.state_dict().items()
    }
    truth = subject.dump()
    dump = port.run(subject.model.config.to_dict(), weights, subject.inputs)
    after = LAYER + "attention.output"
    suspects = golden.diagnose(subject.pack, {after: truth[after], "encoder.layer.0": dump["encoder.layer.0"]})
    assert len(suspects) == 1
    assert suspects[0].where in (LAYER + "intermediate.dense", "encoder.layer.0")


def test_an_error_that_adds_up_is_no_mistake_of_the_step(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    dump = subject.dump()
    before = LAYER + "intermediate"
    dense = LAYER + "output.dense"
    weight = subject.model.state_dict()[f"{dense}.weight"]
    off = np.sign(weight[0]) * np.float32(subject.pack.tolerances[before]["float32"].rms * 0.9)  # all in one direction
    for name in (ACTIVATION, before):
        dump[name] = dump[name] + off
    dump[dense] = dump[dense] + weight @ off
    suspects = golden.diagnose(subject.pack, dump)
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("unknown", dense)]
    assert "added up" in suspects[0].explanation


def test_what_lies_in_texts_with_padding(subjects: dict[str, Subject]) -> None:
    """The first text has no padding, the two others have."""
    subject = subjects["encoder"]
    truth = subject.dump()
    x = truth["encoder.layer.0"].copy()
    x[1:] *= np.float32(1.01)
    dump = {"embeddings": truth["embeddings"], "encoder.layer.0": x}
    (suspect,) = golden.diagnose(subject.pack, dump)
    assert suspect.mistake == "unknown"
    assert "Only texts with padding differ" in suspect.explanation
    x[0] *= np.float32(1.01)
    (suspect,) = golden.diagnose(subject.pack, dump)
    assert "padding" not in suspect.explanation


def test_only_padding_differs(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    truth = subject.dump()
    names = list(truth)
    name = SELF + ":masked_scores"
    dump = {before: truth[before] for before in names[: names.index(name)]}
    hidden = (subject.inputs["attention_mask"] == 0)[:, None, None, :]
    noise = np.random.default_rng(0).normal(size=truth[name].shape).astype(np.float32)
    dump[name] = np.where(hidden, noise, truth[name])
    (suspect,) = golden.diagnose(subject.pack, dump)
    assert (suspect.mistake, suspect.where) == ("unknown", name)
    assert "Only padding differs" in suspect.explanation


def test_another_input(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    dump = subject.dump()
    dump["input:input_ids"] = subject.inputs["input_ids"][:, ::-1]
    suspects = golden.diagnose(subject.pack, dump)  # what was computed is right: other ids were dumped than those
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("dump-not-computation", "input:input_ids")]
    dump["embeddings"] = dump["embeddings"] + 1
    dump = {name: dump[name] for name in ("input:input_ids", "embeddings")}
    suspects = golden.diagnose(subject.pack, dump)
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("unknown", "input:input_ids")]
    assert "another input" in suspects[0].explanation


KINDS: list[tuple[str, dict[str, Any], int]] = [
    ("BertForPreTraining", {}, 0),
    ("BertForQuestionAnswering", {}, 0),
    ("BertForMultipleChoice", {}, 0),
    ("BertModel", {"position_embedding_type": "relative_key_query"}, 0),
    ("BertModel", {"type_vocab_size": 0}, 0),
    ("BertModel", {"pruned_heads": {0: [1]}}, 0),
    ("BertModel", {"is_decoder": True}, 4),
]


@pytest.mark.parametrize(("model_class", "fields", "past"), KINDS)
def test_every_mistake_can_be_tried_in_every_model(model_class: str, fields: dict[str, Any], past: int, tmp_path: Path) -> None:
    """Here the port is npbert itself, in float32 and spoiled."""
    config = tiny(num_hidden_layers=1, **fields)
    model = build(model_class, config, dtype=np.float32)
    tokens = ids(config, 3, 6)
    inputs: dict[str, Any] = {"input_ids": tokens, "attention_mask": np.ones((3, past + 6), int)}
    inputs["attention_mask"][1, -2:] = 0
    if past:
        rng = np.random.default_rng(1)
        inputs["past_key_values"] = (tuple(rng.normal(size=(3, 3, past, 4)).astype(np.float32) for _ in range(2)),)
    if model_class == "BertForMultipleChoice":
        inputs = {name: x[None] for name, x in inputs.items()}
    golden.export(model, inputs, tmp_path / "pack")
    with npbert.trace() as seen:
        model(**inputs)
    names = list(seen)
    whole = {name: seen[name] for name in names[:9]} | {names[9]: spoiled(seen[names[9]], "noise")}
    for dump in (whole, {names[-1]: spoiled(seen[names[-1]], "scaled by 1.01")}):
        suspects = golden.diagnose(tmp_path / "pack", dump, model=model)
        assert [suspect.mistake for suspect in suspects] == ["unknown"]


def test_an_encoder_with_a_decoder(tmp_path: Path) -> None:
    config = npbert.EncoderDecoderConfig.from_encoder_decoder_configs(tiny(), tiny(num_hidden_layers=1))
    first = npbert.EncoderDecoderModel(config, rng=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    weights = {name: rng.normal(0, 0.4, x.shape).astype(np.float32) for name, x in first.named_parameters()}
    model = npbert.EncoderDecoderModel(config, weights)
    inputs = {
        "input_ids": ids(config.encoder, 2, 5),
        "attention_mask": np.array([[1] * 5, [1] * 3 + [0] * 2]),
        "decoder_input_ids": ids(config.decoder, 2, 6),
    }
    golden.export(model, inputs, tmp_path / "pack", weights=True)
    with npbert.trace() as seen:
        model(**inputs)
    assert golden.diagnose(tmp_path / "pack", seen) == []
    for part, mistake in (("encoder.encoder", "mask-ignored"), ("decoder.bert.encoder", "query-key-swapped")):
        module = f"{part}.layer.0.attention.self"
        names = list(seen)
        dump = {name: seen[name] for name in names[: names.index(f"{module}.dropout")]}
        if mistake == "mask-ignored":
            masked = dump[f"{module}:scores"] / 2
            dump[f"{module}:masked_scores"] = masked
        else:
            dump[f"{module}:scores"] = dump[f"{module}:scores"].swapaxes(2, 3)
            del dump[f"{module}:masked_scores"]
        suspects = golden.diagnose(tmp_path / "pack", dump)
        assert suspects[0].mistake == mistake
        assert suspects[0].where.startswith(f"{module}:")


def test_a_mistake_and_a_wrong_dump_that_look_alike(subjects: dict[str, Subject]) -> None:
    """A layer that is left out hands on what came in; a dump may also show that under the wrong name. Nothing later decides, so
    both are named, and what would decide."""
    subject = subjects["encoder"]
    dump = subject.dump()
    shifted = {"embeddings": dump["embeddings"], "encoder.layer.1": dump["encoder.layer.0"]}
    suspects = golden.diagnose(subject.pack, shifted)
    assert [suspect.mistake for suspect in suspects] == ["layer-missing", "dump-not-computation"]
    assert not any(suspect.headline for suspect in suspects)
    assert "This is encoder.layer.0: names are shifted by one." in suspects[1].explanation
    for suspect in suspects:
        assert "This dump cannot tell these mistakes apart. pooler.dense would: dump it as well." in suspect.evidence.tie
        assert suspect.evidence.tie in " ".join(str(suspect).split())
    last = {name: x for name, x in dump.items() if name.startswith("output:")}
    found = golden.diagnose(subject.pack, shifted | last)
    assert [suspect.mistake for suspect in found] == ["dump-not-computation"]


@pytest.mark.parametrize("name", [ACTIVATION, NORM])
def test_a_mistake_that_is_only_similar_is_not_named(subjects: dict[str, Subject], name: str) -> None:
    """x * sigmoid(1.6 x) comes 30 times closer to a GELU whose tanh lacks its cube than GELU does, and a weight of 1.002 comes
    a hundred times closer to none than the right one does. Neither is that mistake."""
    subject = subjects["encoder"]
    dump, names = subject.dump(), list(subject.pack)
    if name == ACTIVATION:
        x = dump[LAYER + "intermediate.dense"]
        wrong = x / (1 + np.exp(-1.6 * x))
    else:
        x = dump["embeddings:sum"]
        normalised = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + subject.model.config.layer_norm_eps)
        wrong = np.float32(1.002) * normalised + subject.model.state_dict()["embeddings.LayerNorm.bias"]
    dump = {other: dump[other] for other in names[: names.index(name)]} | {name: wrong}
    (suspect,) = golden.diagnose(subject.pack, dump)
    assert (suspect.mistake, suspect.where) == ("unknown", name)
