"""Gradients of one short text: few elements, of which one may be larger than all others together. No honest port may fail.

tools/measure_gradients.py measures many more, PyTorch's among them.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import golden

from ..builders import build, tiny
from ..gpt2 import builders as gpt2
from . import gpt2_training_port, training_port

export = importlib.import_module("npbert.golden.export")  # the package's name `export` is the function
MARGIN = 0.75
"""How much of its tolerance an honest port may use up here."""


@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("architecture", ["BertForMaskedLM", "BertForSequenceClassification", "GPT2LMHeadModel"])
def test_an_honest_port_is_right(tmp_path: Path, architecture: str, length: int) -> None:
    is_gpt2 = architecture.startswith("GPT2")
    length += is_gpt2  # the last token predicts nothing
    model: Any = (gpt2.build if is_gpt2 else build)(architecture, (gpt2.tiny if is_gpt2 else tiny)(), dtype=np.float32)
    if not is_gpt2:
        model.bert.encoder.layer[0].output.dense.weight[3] *= 30  # a channel that is larger than all others
    ids = np.arange(3, 3 + length)[None]
    labels = np.array([1]) if "Sequence" in architecture else ids
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": labels}
    golden.export(model, inputs, tmp_path / "pack", gradients=True)
    weights = dict(model.named_parameters())
    if is_gpt2:
        dump = gpt2_training_port.train(model.config, weights, inputs)
    else:
        dump = training_port.train(model.config.to_dict(), weights, inputs)
    report = golden.compare(tmp_path / "pack", dump)
    assert report.ok, report
    assert max(row.tolerance_used for row in report.rows) < MARGIN, report
    assert sum(row.name.startswith("grad:weight:") for row in report.rows) == len(weights)


@pytest.mark.parametrize("seed", [15, 19, 51, 75])
def test_an_honest_port_is_right_where_one_pass_is_lucky(tmp_path: Path, seed: int) -> None:
    """Two tokens, one head and a channel that is larger than all others. With one pass for each precision the port was called
    wrong: 15, 19 and 51 where BLAS computes with AVX2, 15 and 75 where it computes with AVX-512."""
    model, inputs = lesson_of_two_tokens(seed)
    golden.export(model, inputs, tmp_path / "pack", gradients=True)
    dump = training_port.train(model.config.to_dict(), dict(model.named_parameters()), inputs)
    report = golden.compare(tmp_path / "pack", dump)
    assert max(row.tolerance_used for row in report.rows) < MARGIN, report


def test_few_tokens_are_measured_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = lesson_of_two_tokens(0)
    longer = {name: np.tile(x, (1, 4)) if x.ndim == 2 else x for name, x in inputs.items()}
    few, many = (tolerances_of(tmp_path, model, arguments) for arguments in (inputs, longer))
    monkeypatch.setattr(export, "FEW", 7)
    assert tolerances_of(tmp_path, model, inputs) == few
    assert tolerances_of(tmp_path, model, longer) != many
    monkeypatch.setattr(export, "DRAWS", 1)
    once = tolerances_of(tmp_path, model, inputs)
    assert once != few
    for name, allowed in few.items():
        for precision, tolerance in allowed.items():
            assert tolerance.max_abs >= once[name][precision].max_abs
            assert tolerance.rms >= once[name][precision].rms


def lesson_of_two_tokens(seed: int) -> tuple[Any, dict[str, Any]]:
    rng = np.random.default_rng(seed)
    sizes = {"vocab_size": 20, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 21}
    config = npbert.BertConfig(**sizes, max_position_embeddings=8, initializer_range=0.3)
    model = npbert.BertForSequenceClassification(config, rng=rng)
    model.bert.encoder.layer[0].output.dense.weight[3] *= 30
    ids = rng.integers(1, 20, (1, 2))
    return model, {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": rng.integers(0, 2, 1)}


def tolerances_of(directory: Path, model: Any, inputs: dict[str, Any]) -> Any:
    golden.export(model, inputs, directory / "pack", gradients=True)
    return golden.read_pack(directory / "pack").tolerances
