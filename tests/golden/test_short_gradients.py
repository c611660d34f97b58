"""Gradients of one short text: few elements, of which one may be larger than all others together. No honest port may fail.

tools/measure_gradients.py measures many more, PyTorch's among them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npbert import golden

from ..builders import build, tiny
from ..gpt2 import builders as gpt2
from . import gpt2_training_port, training_port

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
