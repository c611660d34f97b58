"""Naming mistakes: each known one is made in an independent port, which is dumped whole and in parts, and must be found."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

import npbert
from npbert import InputError, InputTypeError, golden
from npbert.golden.mistakes import MISTAKES
from npbert.golden.precision import to_bfloat16, to_float16

from .. import port
from ..builders import build, ids, tiny

PACKS = Path(__file__).parent / "packs"

Dump = dict[str, np.ndarray]


# ------------------------------------------------------------------------------------------------------ models and packs


class Subject(NamedTuple):
    """A model, its pack, and what the port needs to know about it."""

    model: Any
    inputs: dict[str, np.ndarray]
    pack: golden.Pack
    prefix: str

    def dump(self, mistake: str = "", **options: Any) -> Dump:
        """What the port dumps."""
        fields = self.model.config.to_dict()
        return port.run(fields, self.model.state_dict(), self.inputs, mistake, prefix=self.prefix, **options)


def encoder_inputs(config: npbert.BertConfig) -> dict[str, np.ndarray]:
    return {
        "input_ids": ids(config, 3, 7),
        "attention_mask": np.array([[1] * 7, [1] * 5 + [0] * 2, [1] * 3 + [0] * 4]),
        "token_type_ids": np.array([[0] * 3 + [1] * 4, [0] * 2 + [1] * 5, [0] * 7]),
    }


def decoder_inputs(config: npbert.BertConfig) -> dict[str, np.ndarray]:
    tokens = ids(config, 2, 6)
    return {
        "input_ids": tokens,
        "attention_mask": np.array([[1] * 6, [1] * 4 + [0] * 2]),
        "token_type_ids": tokens % 2,
        "encoder_hidden_states": np.random.default_rng(5).normal(size=(2, 4, 12)).astype(np.float32),
        "encoder_attention_mask": np.array([[1, 1, 1, 0], [1, 1, 1, 1]]),
    }


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    folder = tmp_path_factory.mktemp("packs")

    def subject(name: str, model_class: str, inputs: Callable[[Any], Any], prefix: str = "", **fields: Any) -> Subject:
        config = tiny(**fields)
        model = build(model_class, config, dtype=np.float32)
        arguments = inputs(config)
        golden.export(model, arguments, folder / name, weights=True)
        return Subject(model, arguments, golden.read_pack(folder / name), prefix)

    return {
        "encoder": subject("encoder", "BertModel", encoder_inputs),
        "decoder": subject("decoder", "BertModel", decoder_inputs, is_decoder=True, add_cross_attention=True),
        "lm": subject("lm", "BertForMaskedLM", encoder_inputs, "bert."),
        "classifier": subject("classifier", "BertForSequenceClassification", encoder_inputs, "bert."),
    }


# What is dumped: everything; what blocks put out; what layers put out; what the model puts out.
_BLOCKS = r"(?:.*\.)?(?:embeddings|layer\.\d+|(?:cross)?attention(?:\.self|\.output)?|intermediate|pooler|transform)|output:.*"
DUMPS = {"everything": r".*", "blocks": _BLOCKS, "layers": r".*layer\.\d+|output:.*", "outputs": r"output:.*"}


def part_of(dump: Dump, which: str) -> Dump:
    return {name: x for name, x in dump.items() if re.fullmatch(DUMPS[which], name)}


@pytest.mark.parametrize("kind", ["encoder", "decoder", "lm", "classifier"])
def test_the_port_without_a_mistake_is_right(subjects: dict[str, Subject], kind: str) -> None:
    subject = subjects[kind]
    report = golden.compare(subject.pack, subject.dump())
    assert report.ok, report
    assert not report.not_in_port
    assert not report.not_in_pack
    for options in ({}, {"mask_value": -1e30}, {"mask_value": -np.inf}):
        assert golden.diagnose(subject.pack, subject.dump(**options)) == []


# ------------------------------------------------------------------------------------------------------- the known mistakes


class Plant(NamedTuple):
    """A mistake in the port, and the first value that it makes wrong."""

    mistake: str
    where: str
    kind: str = "encoder"
    layers: tuple[int, ...] | None = None
    block: str | None = None
    weaker: Mapping[str, str] = MappingProxyType({})  # by kind of dump: what is expected there, where it is less than "named"


LAYER = "encoder.layer.0."
SELF = LAYER + "attention.self"
CROSS = LAYER + "crossattention.self"
ACTIVATION = LAYER + "intermediate.intermediate_act_fn"
NORM = "embeddings.LayerNorm"
BOTH = dict.fromkeys(("blocks", "layers", "outputs"), "among others")  # see test_masked_queries_look_like_no_mask

PLANTS = [
    Plant("gelu-tanh", ACTIVATION),
    Plant("gelu-tanh", "encoder.layer.1.intermediate.intermediate_act_fn", layers=(1,)),
    Plant("gelu-tanh", "bert." + ACTIVATION, "lm"),
    Plant("gelu-sigmoid", ACTIVATION),
    Plant("activation-relu", ACTIVATION),
    Plant("layernorm-eps 1e-5", NORM),
    Plant("layernorm-eps 1e-3", NORM, "decoder"),
    Plant("layernorm-eps 1e-3", "encoder.layer.1.attention.output.LayerNorm", layers=(1,)),
    Plant("layernorm-eps 1e-6", NORM, weaker=dict.fromkeys(("layers", "outputs"), "too small")),
    Plant("layernorm-unbiased", NORM),
    Plant("layernorm-missing", LAYER + "attention.output.LayerNorm"),
    Plant("layernorm-missing", LAYER + "output.LayerNorm", block="feed_forward"),
    Plant("layernorm-missing", "cls.predictions.transform.LayerNorm", "lm", block="head"),
    Plant("weight-transposed", SELF + ".query"),
    Plant("weight-transposed dense", LAYER + "attention.output.dense"),
    Plant("weight-transposed query", "encoder.layer.1.attention.self.query", layers=(1,)),
    Plant("bias-missing", SELF + ".query"),
    Plant("bias-missing value", SELF + ".value"),
    Plant("bias-missing dense", LAYER + "intermediate.dense", block="feed_forward"),
    Plant("bias-missing decoder", "cls.predictions.decoder", "lm", block="head"),
    Plant("bias-missing", "classifier", "classifier", block="head"),
    Plant("token-types-missing", "embeddings.token_type_embeddings"),
    Plant("token-types-missing zero", "embeddings.token_type_embeddings"),
    Plant("positions-shifted 1", "embeddings.position_embeddings"),
    Plant("positions-shifted 2", "embeddings.position_embeddings"),
    Plant("positions-shifted zero", "bert.embeddings.position_embeddings", "lm"),
    Plant("embeddings-layernorm-missing", NORM),
    Plant("scores-not-scaled", SELF + ":masked_scores"),
    Plant("scores-not-scaled", "encoder.layer.1.attention.self:masked_scores", "decoder", layers=(1,)),
    Plant("scaled-by-hidden-size", SELF + ":masked_scores"),
    Plant("heads-not-transposed", SELF + ":query"),
    Plant("heads-not-merged", SELF),
    Plant("heads-not-merged", CROSS, "decoder", block="crossattention"),
    Plant("key-value-swapped", SELF + ".key"),
    Plant("key-value-swapped call", SELF + ":scores"),
    Plant("key-value-swapped", CROSS + ".key", "decoder", block="crossattention"),
    Plant("query-key-swapped", SELF + ".query"),
    Plant("query-key-swapped call", SELF + ":scores"),
    Plant("mask-ignored", SELF + ":masked_scores"),
    Plant("mask-ignored", "encoder.layer.1.attention.self:masked_scores", layers=(1,)),
    Plant("mask-ignored", CROSS + ":masked_scores", "decoder", block="crossattention"),
    Plant("mask-inverted", SELF + ":masked_scores"),
    Plant("mask-inverted", SELF + ":masked_scores", "decoder", block="attention"),
    Plant("mask-wrong-axis", SELF + ":masked_scores", weaker=BOTH),
    Plant("causal-missing", SELF + ":masked_scores", "decoder"),
    Plant("softmax-wrong-axis", SELF + ".dropout"),
    Plant("residual-missing", LAYER + "attention.output:residual"),
    Plant("residual-missing", LAYER + "output:residual", block="feed_forward"),
    Plant("residual-missing", LAYER + "crossattention.output:residual", "decoder", block="crossattention"),
    Plant("residual-after-layernorm", LAYER + "attention.output:residual"),
    Plant("pooler-wrong-token", "pooler.dense"),
    Plant("pooler-tanh-missing", "pooler.activation"),
    Plant("pooler-tanh-missing", "bert.pooler.activation", "classifier", weaker={"outputs": "among others"}),
    Plant("dropout-left-on", "embeddings.dropout", weaker={"layers": "placed", "outputs": "placed"}),
    Plant(
        "dropout-left-on", SELF + ".dropout", block="attention", weaker=dict.fromkeys(("blocks", "layers", "outputs"), "placed")
    ),
    Plant("wrong-layer-weights next", SELF + ".query"),
    Plant("wrong-layer-weights 0", "encoder.layer.1.attention.self.query"),
]


def test_every_mistake_is_planted() -> None:
    planted = {plant.mistake.partition(" ")[0] for plant in PLANTS}
    assert planted == set(MISTAKES) - {"low-precision", "unknown"}  # which are tested below


FROM_OUTPUTS = {
    "gelu-tanh",
    "token-types-missing",
    "scores-not-scaled",
    "mask-wrong-axis",
    "pooler-tanh-missing",
    "dropout-left-on",
}


def plants_and_dumps() -> list[Any]:
    """The first plant of each mistake with every kind of dump (only a few with the outputs alone, for which the whole model is
    run again). Its variants with the full dump, and with the layers where they are not made everywhere."""
    planted: set[str] = set()
    rows = []
    for plant in PLANTS:
        mistake = plant.mistake.partition(" ")[0]
        is_in_some_places = plant.layers is not None or plant.block is not None
        variant = ("everything", "layers") if is_in_some_places else ("everything",)
        for which in DUMPS if mistake not in planted else variant:
            if which == "outputs" and mistake not in FROM_OUTPUTS:
                continue
            rows.append(pytest.param(plant, which, id=f"{plant.mistake}-{plant.kind}-{plant.where}-{which}"))
        planted.add(mistake)
    return rows


@pytest.mark.parametrize(("plant", "which"), plants_and_dumps())
def test_known_mistakes(subjects: dict[str, Subject], plant: Plant, which: str) -> None:
    subject = subjects[plant.kind]
    mistake = plant.mistake.partition(" ")[0]
    dump = part_of(subject.dump(plant.mistake, layers=plant.layers, block=plant.block), which)
    suspects = golden.diagnose(subject.pack, dump)
    found = [suspect.mistake for suspect in suspects]
    expected = plant.weaker.get(which, "named")
    if expected == "too small":
        assert found == []
        return
    if expected == "placed":
        assert found == ["unknown"]
        later = list(subject.pack)[list(subject.pack).index(plant.where) :]
        first = next(name for name in later if name in dump)
        assert suspects[0].where == first or subject.pack.aliases.get(first) == subject.pack.aliases.get(suspects[0].where)
        return
    if expected == "named":
        assert found[0] == mistake
    suspect = suspects[found.index(mistake)]
    if which == "everything":
        assert suspect.where == plant.where
    else:  # queries that are exchanged with keys before and after the heads are split cannot be told apart by what comes out
        assert suspect.where.partition(":")[0].startswith(re.sub(r"(self)?[.:][^.:]*$", r"\1", plant.where))
    evidence = suspect.evidence
    assert evidence.error_of_truth > evidence.tolerance / 2
    assert evidence.error_of_mistake < evidence.error_of_truth / 3
    assert evidence.error_of_mistake < max(4 * evidence.tolerance, evidence.error_of_truth / 1000)
    assert 1 <= evidence.reproduced <= evidence.dumped


def test_what_is_left_of_the_evidence_is_rounding(subjects: dict[str, Subject]) -> None:
    suspect = golden.diagnose(subjects["encoder"].pack, subjects["encoder"].dump("activation-relu"))[0]
    assert suspect.evidence.tensor == suspect.where == ACTIVATION
    assert suspect.evidence.error_of_truth > 0.05
    assert suspect.evidence.error_of_mistake < 1e-6
    assert suspect.evidence.reproduced == suspect.evidence.dumped > 5


def test_masked_queries_look_like_no_mask(subjects: dict[str, Subject]) -> None:
    """The same number added to all scores of a query changes none of its probabilities: once softmax is over, a mask that
    hides queries cannot be told from none. Then both are suspects, the usual one first."""
    subject = subjects["encoder"]
    dump = subject.dump("mask-wrong-axis")
    assert [suspect.mistake for suspect in golden.diagnose(subject.pack, dump)] == ["mask-wrong-axis", "mask-ignored"]
    suspects = golden.diagnose(subject.pack, part_of(dump, "blocks"))
    assert [suspect.mistake for suspect in suspects] == ["mask-ignored", "mask-wrong-axis"]


def test_each_suspect_says_what_to_change(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    suspect = golden.diagnose(subject.pack, subject.dump("positions-shifted 2"))[0]
    assert "off by 2" in suspect.explanation
    suspect = golden.diagnose(subject.pack, subject.dump("layernorm-eps 1e-5"))[0]
    assert "1e-05" in suspect.explanation
    assert "1e-12" in suspect.explanation
    suspect = golden.diagnose(subject.pack, subject.dump("wrong-layer-weights 0"))[0]
    assert "layer before" in suspect.explanation or "layer 0" in suspect.explanation
    printed = str(suspect)
    assert suspect.mistake in printed
    assert suspect.where in printed
    assert suspect.explanation in printed
    assert "times closer" in printed


def test_a_suspect_in_json(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    for mistake, name in (("gelu-tanh", "gelu-tanh"), ("", "unknown")):
        dump = subject.dump(mistake)
        dump[ACTIVATION] = dump[ACTIVATION] * (1 if mistake else np.float32(np.nan))
        suspect = golden.diagnose(subject.pack, dump)[0]
        read = json.loads(json.dumps(suspect.as_dict(), allow_nan=False))
        assert read["mistake"] == name
        assert read["where"] == suspect.where == ACTIVATION
        assert read["explanation"] == suspect.explanation
        assert read["evidence"]["tensor"] == ACTIVATION
        assert (read["evidence"]["error_of_mistake"] is None) == (name == "unknown")


def test_the_approximation_where_the_exact_function_is_wanted_and_the_other_way_round(
    subjects: dict[str, Subject], tmp_path: Path
) -> None:
    subject = subjects["encoder"]
    model = npbert.BertModel(tiny(hidden_act="gelu_new"), subject.model.state_dict())
    golden.export(model, subject.inputs, tmp_path / "pack", weights=True)
    suspects = golden.diagnose(tmp_path / "pack", subject.dump())  # with erf
    assert [suspect.mistake for suspect in suspects] == ["gelu-tanh"]
    assert "erf" in suspects[0].explanation

    model = npbert.BertModel(tiny(layer_norm_eps=1e-5), subject.model.state_dict())
    golden.export(model, subject.inputs, tmp_path / "pack", weights=True)
    suspects = golden.diagnose(tmp_path / "pack", subject.dump())
    assert [suspect.mistake for suspect in suspects] == ["layernorm-eps"]
    assert "eps is 1e-12" in suspects[0].explanation


# --------------------------------------------------------------------------------------------- how the evidence is gathered


def test_each_step_is_computed_from_the_ports_own_values(subjects: dict[str, Subject]) -> None:
    """A step is not blamed for what is off before it within its tolerance."""
    subject = subjects["encoder"]
    dump = subject.dump()
    before = LAYER + "intermediate.dense"
    bound = subject.pack.tolerances[before]["float32"]
    dump[before] = dump[before] + np.float32(bound.rms * 0.8)
    x = dump[before].astype(np.float64)
    names = list(dump)
    dump = {name: dump[name] for name in names[: names.index(ACTIVATION)]}  # later tensors would show that it is not used
    dump[ACTIVATION] = (x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))).astype(np.float32)
    suspect = golden.diagnose(subject.pack, dump)[0]
    assert (suspect.mistake, suspect.where) == ("gelu-tanh", ACTIVATION)
    assert suspect.evidence.error_of_mistake < bound.rms / 10


def test_padding_may_hold_anything(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    dump = subject.dump("scores-not-scaled", layers=[1])
    padding = subject.inputs["attention_mask"] == 0
    for name in ("embeddings", "encoder.layer.0.attention.output", "encoder.layer.0"):
        dump[name] = np.where(padding[:, :, None], np.float32(np.nan), dump[name])
    for which in ("everything", "blocks", "layers"):
        suspect = golden.diagnose(subject.pack, part_of(dump, which))[0]
        assert (suspect.mistake, suspect.where) == ("scores-not-scaled", "encoder.layer.1.attention.self:masked_scores")


def test_a_suspect_that_later_tensors_refute_is_dropped(subjects: dict[str, Subject]) -> None:
    """Up to LayerNorm, a port without the residual looks like one that adds it after LayerNorm."""
    subject = subjects["encoder"]
    name = LAYER + "attention.output:residual"
    dump = {name: subject.dump("residual-missing")[name]}
    both = golden.diagnose(subject.pack, dump)
    assert [suspect.mistake for suspect in both] == ["residual-missing"]  # the simplest of what is the same here
    padding = subject.inputs["attention_mask"] == 0
    for mistake in ("residual-missing", "residual-after-layernorm"):
        dump = subject.dump(mistake)
        assert [suspect.mistake for suspect in golden.diagnose(subject.pack, dump)] == [mistake]
        garbage = {name: np.where(padding[:, :, None], np.float32(7), x) for name, x in dump.items() if x.shape[:2] == (3, 7)}
        assert [suspect.mistake for suspect in golden.diagnose(subject.pack, dump | garbage)] == [mistake]


def test_only_the_first_mistake_is_reported(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    weights = {name: x.copy() for name, x in subject.model.state_dict().items()}
    weights["encoder.layer.1.output.dense.bias"][:] = 0
    dump = port.run(subject.model.config.to_dict(), weights, subject.inputs, "token-types-missing")
    suspects = golden.diagnose(subject.pack, dump)
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [
        ("token-types-missing", "embeddings.token_type_embeddings")
    ]


def test_two_mistakes_that_cannot_be_told_apart_are_not_named(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    weights = {name: x.copy() for name, x in subject.model.state_dict().items()}
    weights["encoder.layer.0.output.dense.bias"][:] = 0
    dump = port.run(subject.model.config.to_dict(), weights, subject.inputs, "scores-not-scaled")
    suspects = golden.diagnose(subject.pack, part_of(dump, "layers"))
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("unknown", "encoder.layer.0")]


# ------------------------------------------------------------------------------------------------------------ low precision


ROUNDINGS = {"bfloat16": to_bfloat16, "float16": to_float16}


@pytest.mark.parametrize("precision", ROUNDINGS)
@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_the_reference_in_low_precision(name: str, precision: str) -> None:
    """Dumps of the reference itself."""
    pack, path = PACKS / f"{name}.safetensors", PACKS / f"{name}.{precision}.safetensors"
    suspects = golden.diagnose(pack, path)
    assert [suspect.mistake for suspect in suspects] == ["low-precision"]
    assert precision in suspects[0].explanation
    assert golden.diagnose(pack, path, precision=precision) == []


@pytest.mark.parametrize("precision", ROUNDINGS)
@pytest.mark.parametrize("which", ["everything", "blocks", "layers", "outputs"])
def test_low_precision(subjects: dict[str, Subject], precision: str, which: str) -> None:
    for kind in ("encoder", "lm") if which == "everything" else ("encoder",):
        dump = part_of(subjects[kind].dump(rounded=ROUNDINGS[precision]), which)
        suspects = golden.diagnose(subjects[kind].pack, dump)
        assert [suspect.mistake for suspect in suspects] == ["low-precision"]
        assert f"precision={precision!r}" in suspects[0].explanation
        assert golden.diagnose(subjects[kind].pack, dump, precision=precision) == []


@pytest.mark.parametrize("precision", ROUNDINGS)
@pytest.mark.parametrize("which", ["everything", "layers"])
def test_short_weights(subjects: dict[str, Subject], precision: str, which: str) -> None:
    """Stored in 16 bits, computed in 32."""
    subject = subjects["encoder"]
    weights = {name: ROUNDINGS[precision](x) for name, x in subject.model.state_dict().items()}
    dump = port.run(subject.model.config.to_dict(), weights, subject.inputs)
    suspects = golden.diagnose(subject.pack, part_of(dump, which))
    assert [suspect.mistake for suspect in suspects] == ["low-precision"]
    assert suspects[0].evidence.error_of_mistake < suspects[0].evidence.tolerance
    assert f"precision={precision!r}" in suspects[0].explanation


@pytest.mark.parametrize("precision", ROUNDINGS)
def test_operands_in_low_precision(subjects: dict[str, Subject], precision: str) -> None:
    """Matrix products of rounded operands, summed and kept in float32."""
    subject = subjects["encoder"]
    rounded = ROUNDINGS[precision]
    dump = subject.dump()
    weight, bias = (subject.model.state_dict()[f"{SELF}.query.{part}"] for part in ("weight", "bias"))
    dump[SELF + ".query"] = rounded(dump["embeddings"]) @ rounded(weight).T + rounded(bias)
    suspects = golden.diagnose(subject.pack, dump)
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("low-precision", SELF + ".query")]


@pytest.mark.parametrize("precision", ROUNDINGS)
@pytest.mark.parametrize("mistake", ["activation-relu", "scores-not-scaled", "residual-missing", "wrong-layer-weights next"])
def test_a_mistake_in_low_precision(subjects: dict[str, Subject], mistake: str, precision: str) -> None:
    subject = subjects["encoder"]
    dump = subject.dump(mistake, rounded=ROUNDINGS[precision])
    name = mistake.partition(" ")[0]
    assert [suspect.mistake for suspect in golden.diagnose(subject.pack, dump)] == [name, "low-precision"]
    assert [suspect.mistake for suspect in golden.diagnose(subject.pack, dump, precision=precision)] == [name]


# ------------------------------------------------------------------------------------------------------------ never a guess


def spoiled(x: np.ndarray, how: str) -> np.ndarray:
    rng = np.random.default_rng(7)
    x = np.array(x)
    if how == "one element":
        x.flat[0] += 1
        return x
    return {
        "small noise": lambda: x + 1e-3 * rng.normal(size=x.shape),
        "noise": lambda: x + 0.3 * rng.normal(size=x.shape),
        "scaled by 1.01": lambda: x * 1.01,
        "scaled by 0.99": lambda: x * 0.99,
        "negated": lambda: -x,
        "shifted": lambda: x + 0.1,
        "permuted": lambda: x[..., rng.permutation(x.shape[-1])],
        "half of it zero": lambda: x * (rng.random(x.shape) > 0.5),
        "clipped": lambda: np.clip(x, -0.5, 0.5),
        "coarse": lambda: np.round(x * 16) / 16,
        "nan": lambda: x * np.nan,
        "zero": lambda: x * 0,
    }[how]().astype(np.float32)


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


@pytest.mark.parametrize("how", ["scaled by 1.01", "noise", "permuted", "zero"])
def test_what_nobody_knows_in_a_layer(subjects: dict[str, Subject], how: str) -> None:
    subject = subjects["encoder"]
    dump = part_of(subject.dump(), "layers")
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


def test_another_input(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    dump = subject.dump()
    dump["input:input_ids"] = subject.inputs["input_ids"][:, ::-1]
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
    whole = {**seen, names[9]: spoiled(seen[names[9]], "noise")}
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


# -------------------------------------------------------------------------------------------------------------- the interface


def test_the_port_may_be_a_file_under_its_own_names(subjects: dict[str, Subject], tmp_path: Path) -> None:
    subject = subjects["encoder"]
    dump = {f"my/{name}": x for name, x in subject.dump("gelu-tanh").items()}
    np.savez(tmp_path / "port.npz", **dump)
    names = {own: own.removeprefix("my/") for own in dump}
    suspects = golden.diagnose(str(subject.pack.path), tmp_path / "port.npz", names=names, precision="fp32")
    assert [suspect.mistake for suspect in suspects] == ["gelu-tanh"]


def test_merged_heads(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    dump = subject.dump("scores-not-scaled")
    for part in ("query", "key", "value"):
        x = dump[f"{SELF}:{part}"]
        dump[f"{SELF}:{part}"] = x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)
    assert [suspect.mistake for suspect in golden.diagnose(subject.pack, dump)] == ["scores-not-scaled"]


def test_the_weights_may_come_from_the_model(subjects: dict[str, Subject], tmp_path: Path) -> None:
    subject = subjects["encoder"]
    path = tmp_path / "pack"
    golden.export(subject.model, subject.inputs, path)
    dump = subject.dump("gelu-tanh")
    assert golden.diagnose(path, subject.dump()) == []  # nothing to explain, so no weights are needed
    with pytest.raises(InputError, match=r"pack: was exported without weights.* model="):
        golden.diagnose(path, dump)
    assert [suspect.mistake for suspect in golden.diagnose(path, dump, model=subject.model)] == ["gelu-tanh"]
    with pytest.raises(InputError, match="model: its weights are not those"):
        golden.diagnose(path, dump, model=build("BertModel", tiny(), seed=1, dtype=np.float32))
    with pytest.raises(InputTypeError, match="model: takes a model of npbert, got str"):
        golden.diagnose(path, dump, model="bert-base-uncased")


def test_a_pack_of_a_part(subjects: dict[str, Subject], tmp_path: Path) -> None:
    subject = subjects["encoder"]
    golden.export(subject.model, subject.inputs, tmp_path / "pack", only=["encoder.layer.?", "output:*"], weights=True)
    suspects = golden.diagnose(tmp_path / "pack", subject.dump("gelu-sigmoid"))
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("gelu-sigmoid", ACTIVATION)]
    golden.export(subject.model, subject.inputs, tmp_path / "pack", only="output:*", weights=True)
    suspects = golden.diagnose(tmp_path / "pack", subject.dump("gelu-sigmoid"))
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("gelu-sigmoid", ACTIVATION)]


def test_nothing_is_changed(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    weights = {name: x.copy() for name, x in subject.model.state_dict().items()}
    dump = subject.dump("residual-after-layernorm")
    copies = {name: x.copy() for name, x in dump.items()}
    golden.diagnose(subject.pack, dump, model=subject.model)
    assert subject.model.config.num_hidden_layers == 2
    for before, after in ((weights, subject.model.state_dict()), (copies, dump)):
        assert all(np.array_equal(before[name], after[name]) for name in before)


# ------------------------------------------------------------------------------------------------------ the live reference


def _transposed(model: Any) -> None:
    dense = model.encoder.layer[1].attention.output.dense
    dense.weight.data = dense.weight.data.T.contiguous()


def _swapped(model: Any) -> None:
    attention = model.encoder.layer[0].attention.self
    attention.key, attention.value = attention.value, attention.key


def _unmodule(place: str) -> Callable[[Any], None]:
    def replace(model: Any) -> None:
        import torch

        parent, _, name = place.rpartition(".")
        setattr(model.get_submodule(parent), name, torch.nn.Identity())

    return replace


def _same_layer(model: Any) -> None:
    model.encoder.layer[1].load_state_dict(model.encoder.layer[0].state_dict())


REFERENCES: list[tuple[str, str, dict[str, Any], Callable[[Any], None] | None, dict[str, Any]]] = [
    ("gelu-tanh", ACTIVATION, {"hidden_act": "gelu_new"}, None, {}),
    ("gelu-sigmoid", ACTIVATION, {"hidden_act": "quick_gelu"}, None, {}),
    ("activation-relu", ACTIVATION, {"hidden_act": "relu"}, None, {}),
    ("layernorm-eps", NORM, {"layer_norm_eps": 1e-5}, None, {}),
    ("weight-transposed", "encoder.layer.1.attention.output.dense", {}, _transposed, {}),
    ("key-value-swapped", SELF + ".key", {}, _swapped, {}),
    ("embeddings-layernorm-missing", NORM, {}, _unmodule("embeddings.LayerNorm"), {}),
    ("layernorm-missing", LAYER + "output.LayerNorm", {}, _unmodule("encoder.layer.0.output.LayerNorm"), {}),
    ("pooler-tanh-missing", "pooler.activation", {}, _unmodule("pooler.activation"), {}),
    ("wrong-layer-weights", "encoder.layer.1.attention.self.query", {}, _same_layer, {}),
    ("dropout-left-on", "embeddings.dropout", {}, lambda model: model.train(), {}),
    ("mask-ignored", SELF + ":masked_scores", {}, None, {"attention_mask": None}),
    ("token-types-missing", "embeddings.token_type_embeddings", {}, None, {"token_type_ids": None}),
    ("positions-shifted", "embeddings.position_embeddings", {}, None, {"position_ids": np.arange(1, 8)[None]}),
]


@pytest.mark.parity
@pytest.mark.parametrize(
    ("mistake", "where", "fields", "patch", "arguments"), REFERENCES, ids=lambda x: x if isinstance(x, str) else ""
)
def test_the_reference_with_patched_modules(
    subjects: dict[str, Subject],
    mistake: str,
    where: str,
    fields: dict[str, Any],
    patch: Callable[[Any], None] | None,
    arguments: dict[str, Any],
) -> None:
    import torch

    from .. import reference

    subject = subjects["encoder"]
    model = reference.build("BertModel", subject.model.config.to_dict() | fields, subject.model.state_dict())
    torch.manual_seed(0)
    if patch is not None:
        patch(model)
    with reference.hooked(model) as dump:
        reference.run(model, {name: x for name, x in (subject.inputs | arguments).items() if x is not None})
    suspects = golden.diagnose(subject.pack, dump)
    assert (suspects[0].mistake, suspects[0].where) == (mistake, where)
