"""The BERT in C: honest it passes, with a mistake it is found at the place where the mistake was made."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import golden

from ..builders import build
from . import port
from .plants import PLANTS, THE_DUMP, Plant

pytestmark = pytest.mark.skipif(port.COMPILER is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def pack() -> Any:
    """A model with random weights, 12 heads and 4 layers on three pairs of texts of different lengths."""
    config = npbert.BertConfig(
        vocab_size=40,
        hidden_size=48,
        num_hidden_layers=4,
        num_attention_heads=12,
        intermediate_size=80,
        max_position_embeddings=20,
    )
    model = build("BertModel", config, dtype=np.float32, scale=0.2)
    inputs = {
        "input_ids": np.random.default_rng(1).integers(1, 40, (3, 9)),
        "attention_mask": np.array([[1] * 6 + [0] * 3, [1] * 9, [1] * 7 + [0] * 2]),
        "token_type_ids": np.array([[0] * 3 + [1] * 3 + [0] * 3, [0] * 4 + [1] * 5, [0] * 2 + [1] * 5 + [0] * 2]),
    }
    with tempfile.TemporaryDirectory() as folder:
        golden.export(model, inputs, Path(folder) / "pack.safetensors", weights=True)
        yield golden.read_pack(Path(folder) / "pack.safetensors")


@pytest.fixture(scope="module")
def contents(pack: Any) -> port.Contents:
    return port.read(pack.path)


def test_the_honest_port_computes_everything(pack: Any, contents: port.Contents) -> None:
    dump = port.run(contents)
    assert dump.keys() == set(pack)
    report = golden.compare(pack, dump)
    assert report.ok, report
    assert golden.compare(pack, port.hidden_states(dump)).ok


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_mistake_is_found_where_it_was_made(pack: Any, contents: port.Contents, plant: Plant) -> None:
    report = golden.compare(pack, port.run(contents, plant))
    assert report.first_divergence == plant.first
    if plant.mistake == THE_DUMP:
        assert golden.compare(pack, {row.name: port.run(contents)[row.name] for row in report.rows if not row.ok}).ok


def test_the_plants_are_told_apart_by_their_names() -> None:
    assert len({plant.name for plant in PLANTS}) == len(PLANTS)
    source = port.SOURCE.read_text()
    for plant in PLANTS:
        parts = {f'"{plant.switch}"', f'"%s-{plant.switch.partition("-")[2]}"'}
        assert not plant.switch or any(part in source for part in parts), plant.name
