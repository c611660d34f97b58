"""Naming mistakes: each known one is made in an independent port, which is dumped whole and in parts, and must be found."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

import npbert
from npbert import golden
from npbert.golden.mistakes import MISTAKES
from npbert.golden.mistakes.attention import SOFTMAX
from npbert.golden.mistakes.masks import PATTERNS

from ..builders import tiny
from .subjects import (
    ACTIVATION,
    CROSS,
    DUMPS,
    LAYER,
    NORM,
    SELF,
    Subject,
    part_of,
)


@pytest.mark.parametrize("kind", ["encoder", "decoder", "lm", "classifier"])
def test_the_port_without_a_mistake_is_right(subjects: dict[str, Subject], kind: str) -> None:
    subject = subjects[kind]
    report = golden.compare(subject.pack, subject.dump())
    assert report.ok, report
    assert not report.not_in_port
    assert not report.not_in_pack
    for options in ({}, {"mask_value": -1e30}, {"mask_value": -np.inf}):
        assert golden.diagnose(subject.pack, subject.dump(**options)) == []


class Plant(NamedTuple):
    """A mistake in the port, and the first value that it makes wrong."""

    mistake: str
    where: str
    kind: str = "encoder"
    layers: tuple[int, ...] | None = None
    block: str | None = None
    weaker: Mapping[str, str] = MappingProxyType({})  # by kind of dump: what is expected there, where it is less than "named"


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
    assert planted <= set(MISTAKES)
    assert set(MISTAKES[: MISTAKES.index("low-precision")]) <= planted  # the others are planted in the port in C


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
        if not mistake:  # right tensors after it would show that the port did not go on with it
            names = list(dump)
            dump = {name: dump[name] for name in names[: names.index(ACTIVATION) + 1]}
            dump[ACTIVATION] = dump[ACTIVATION] * np.float32(np.nan)
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


SEEN = [  # of four keys of which the last one is padding, by each of four queries: the keys that are looked at
    ("The first token is hidden", "0110 0110 0110 0110"),
    ("One token too many is hidden", "1100 1100 1100 1100"),
    ("One token too few is hidden", "1111 1111 1111 1111"),
    ("No token looks at itself", "0110 1010 1100 1110"),
    ("Keys after the query", "1000 1100 1110 1110"),
    ("Keys more than one after", "1100 1110 1110 1110"),
    ("Keys from the query itself on", "0000 1000 1100 1110"),
    ("Keys before the query", "1110 0110 0010 0000"),
    ("Only keys at most 1 tokens away", "1100 1110 0110 0010"),
    ("The attention mask hides queries:", "1111 1111 1111 0000"),
    ("The attention mask hides queries as well", "1110 1110 1110 0000"),
]


@pytest.mark.parametrize(("begins", "expected"), SEEN)
def test_what_a_mistaken_mask_shows(begins: str, expected: str) -> None:
    padding = np.array([True, True, True, False])[None, None, None]  # [B, 1, 1, T]
    (visible,) = [visible for _, explanation, visible, _ in PATTERNS if explanation.startswith(begins)]
    shown = visible(padding, np.ones((1, 1), bool))
    assert shown is not None
    rows = np.broadcast_to(shown, (1, 1, 4, 4))[0, 0].astype(int)
    assert " ".join("".join(map(str, row)) for row in rows) == expected


INSTEAD_OF_SOFTMAX = [  # of scores that are the logarithms of 1, 2 and 4
    ("Softmax is left out", [0, 1 / 3, 2 / 3]),
    ("Softmax does not divide by the sum over the keys:", [1 / 4, 2 / 4, 1]),
    ("Softmax does not divide by the sum over the keys, nor", [1, 2, 4]),
    ("Softmax adds 1", [1 / 8, 2 / 8, 4 / 8]),
    ("Each score goes through a sigmoid", [1 / 2, 2 / 3, 4 / 5]),
    ("The logarithm of softmax", [np.log(1 / 7), np.log(2 / 7), np.log(4 / 7)]),
    ("The scores are halved", [1 / (3 + 2**0.5), 2**0.5 / (3 + 2**0.5), 2 / (3 + 2**0.5)]),
    ("The scores are doubled", [1 / 21, 4 / 21, 16 / 21]),
]


@pytest.mark.parametrize(("begins", "expected"), INSTEAD_OF_SOFTMAX)
def test_what_stands_in_the_place_of_softmax(begins: str, expected: list[float]) -> None:
    (function,) = [function for _, explanation, function in SOFTMAX if f"{explanation}:".startswith(begins)]
    found = function(np.log(np.array([[1.0, 2.0, 4.0]])))[0]
    np.testing.assert_allclose(found / found.sum() if "left out" in begins else found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (lambda dump: dump["embeddings:sum"] / np.float32(3), "embeddings-scaled", "averaged"),
        (
            lambda dump: dump["embeddings.word_embeddings"] * np.float32(12**0.5 - 1) + dump["embeddings:sum"],
            "embeddings-scaled",
            "multiplied by sqrt(12)",
        ),
        (
            lambda dump: (
                (dump["embeddings:sum"] - dump["embeddings.position_embeddings"]) * dump["embeddings.position_embeddings"]
            ),
            "positions-multiplied",
            "add them",
        ),
    ],
)
def test_what_becomes_of_the_sum_of_embeddings(subjects: dict[str, Subject], change: Any, name: str, words: str) -> None:
    subject = subjects["encoder"]
    dump = subject.dump()
    (suspect,) = golden.diagnose(subject.pack, {"embeddings:sum": change(dump)})
    assert suspect.mistake == name
    assert words in suspect.explanation
