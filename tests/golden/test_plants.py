"""The diagnosis of a BERT in C: a plant of each mistake is named, and none that looks like another is called by its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import golden
from npbert.golden.mistakes import MISTAKES

from ..builders import build
from ..foreign import port
from ..foreign.plants import PLANTS, THE_DUMP, Plant
from ..gpt2.test_mistakes import PLANTS as GPT2_PLANTS
from . import test_mistakes

pytestmark = pytest.mark.skipif(port.COMPILER is None, reason="needs a C compiler")

BY_NAME = {plant.name: plant for plant in PLANTS}


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> golden.Pack:
    """A model with random weights on three pairs of texts of different lengths."""
    config = npbert.BertConfig(
        vocab_size=40,
        hidden_size=48,
        num_hidden_layers=4,
        num_attention_heads=12,
        intermediate_size=80,
        max_position_embeddings=20,
    )
    inputs = {
        "input_ids": np.random.default_rng(1).integers(1, 40, (3, 9)),
        "attention_mask": np.array([[1] * 6 + [0] * 3, [1] * 9, [1] * 7 + [0] * 2]),
        "token_type_ids": np.array([[0] * 3 + [1] * 3 + [0] * 3, [0] * 4 + [1] * 5, [0] * 2 + [1] * 5 + [0] * 2]),
    }
    path = tmp_path_factory.mktemp("packs") / "pack"
    golden.export(build("BertModel", config, dtype=np.float32, scale=0.2), inputs, path, weights=True)
    return golden.read_pack(path)


def names_of(pack: golden.Pack, plant: Plant, *, whole: bool = True) -> list[str]:
    dump = port.run(Path(pack.path), plant)
    return [suspect.mistake for suspect in golden.diagnose(pack, dump if whole else port.hidden_states(dump))]


def one_of_each() -> Iterator[Any]:
    seen: set[str] = set()
    for plant in PLANTS:
        if plant.mistake in MISTAKES and plant.mistake not in seen:
            seen.add(plant.mistake)
            yield pytest.param(plant, id=plant.name)


def test_every_name_is_planted() -> None:
    """Here, in the port in NumPy (test_mistakes.py), in GPT-2's or in that of backward passes (test_backward_mistakes.py)."""
    planted = {plant.mistake for plant in PLANTS} | {plant.mistake.partition(" ")[0] for plant in test_mistakes.PLANTS}
    planted |= {mistake.partition(" ")[0] for mistake in GPT2_PLANTS}
    assert set(MISTAKES) - planted == {"unknown", "dump-not-computation"}
    assert planted - {None, THE_DUMP} <= set(MISTAKES)


@pytest.mark.parametrize("plant", list(one_of_each()))
def test_one_plant_of_each_mistake(pack: golden.Pack, plant: Plant) -> None:
    suspects = golden.diagnose(pack, port.run(Path(pack.path), plant))
    assert suspects[0].mistake == plant.mistake
    if len({suspect.mistake for suspect in suspects} - {"low-precision"}) > 1:
        assert "tell these mistakes apart" in suspects[0].evidence.tie
        assert suspects[0].evidence.tie in " ".join(str(suspects[0]).split())


# ----------------------------------------------------------------------------------------------------- never a false name


def test_constant_token_types_are_no_low_precision(pack: golden.Pack) -> None:
    assert names_of(pack, BY_NAME["types-one"]) == ["token-types-missing"]


@pytest.mark.parametrize(("plant", "name"), [("rotated", "qkv-rotated"), ("activation-before-bias", "activation-before-bias")])
def test_what_explains_the_first_tensor_alone_is_not_named(pack: golden.Pack, plant: str, name: str) -> None:
    """Not `query-key-swapped`, and not `bias-missing`."""
    assert names_of(pack, BY_NAME[plant]) == [name]


@pytest.mark.parametrize(
    ("plant", "name"), [("mask-after-softmax", "mask-after-softmax"), ("mask-first-row", "mask-of-first-row")]
)
def test_another_mask_is_not_an_ignored_one(pack: golden.Pack, plant: str, name: str) -> None:
    found = names_of(pack, BY_NAME[plant])
    assert found[0] == name
    assert not {"mask-ignored", "mask-wrong-axis"} & set(found)


@pytest.mark.parametrize("plant", [plant for plant in PLANTS if plant.mistake == THE_DUMP], ids=lambda plant: plant.name)
def test_a_wrong_dump_of_a_right_computation(pack: golden.Pack, plant: Plant) -> None:
    """Not `layernorm-missing` where something else was dumped under the name of a LayerNorm."""
    suspects = golden.diagnose(pack, port.run(Path(pack.path), plant))
    assert {suspect.mistake for suspect in suspects} == {"dump-not-computation"}
    assert str(suspects[0]).startswith("the dump, not the computation: ")


def test_what_the_dump_holds_instead_is_said(pack: golden.Pack) -> None:
    (suspect,) = golden.diagnose(pack, port.run(Path(pack.path), BY_NAME["dump: += behind a hook"]))
    assert "This is encoder.layer.0.attention.output:residual" in suspect.explanation
    (suspect,) = golden.diagnose(pack, port.run(Path(pack.path), BY_NAME["dump: query scaled"]))
    assert "the right tensor times 0.25" in suspect.explanation


def test_from_hidden_states_several_mistakes_may_be_the_same(pack: golden.Pack) -> None:
    suspects = golden.diagnose(pack, port.hidden_states(port.run(Path(pack.path), BY_NAME["residual-doubled attention"])))
    assert {suspect.mistake for suspect in suspects} == {"residual-doubled", "dense-halved"}
    assert "encoder.layer.0.attention.output:residual would: dump it as well" in suspects[0].evidence.tie
