"""What the tests of golden gradients share: models with labels, their packs, and an independent port that is trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npbert import golden

from ..builders import build, tiny
from . import training_port
from .subjects import Dump

STEPS = golden.Steps(3, lr=1e-2, weight_decay=0.1, max_norm=0.5, schedule="linear", warmup=2, total=8)


class Lesson(NamedTuple):
    """A model, what it is called with, and its pack with gradients."""

    model: Any
    inputs: dict[str, np.ndarray]
    pack: golden.Pack

    def dump(self, mistake: str = "", **options: Any) -> Dump:
        """What the port dumps of a forward and a backward pass."""
        masks = {name: x for name, x in self.pack.items() if name.endswith(":dropout_mask")}
        weights = dict(self.model.named_parameters())
        return training_port.train(self.model.config.to_dict(), weights, self.inputs, mistake, masks=masks, **options)

    def steps(self, mistake: str = "") -> Dump:
        """What the port dumps of some optimizer steps as well."""
        config, weights = self.model.config.to_dict(), dict(self.model.named_parameters())
        rules = {"decay": STEPS.weight_decay, "max_norm": STEPS.max_norm}
        return training_port.adamw(config, weights, self.inputs, STEPS.number, STEPS.rate, mistake, **rules)


def inputs(model_class: str) -> dict[str, np.ndarray]:
    """Three texts of different lengths, in which an id occurs twice and the padding token once where it counts."""
    tokens = np.random.default_rng(1).integers(1, 31, (3, 7))
    tokens[0, 2], tokens[1, 1] = 0, tokens[0, 1]
    labels = np.random.default_rng(2).integers(0, 31, (3, 7))
    labels[0, ::2] = labels[1, 3:] = labels[2, 1:] = -100
    return {
        "input_ids": tokens,
        "attention_mask": np.array([[1] * 7, [1] * 5 + [0] * 2, [1] * 3 + [0] * 4]),
        "token_type_ids": np.array([[0] * 3 + [1] * 4, [0] * 2 + [1] * 5, [0] * 7]),
        "labels": labels if model_class == "BertForMaskedLM" else np.array([0, 1, 1]),
    }


def lesson(folder: Path, model_class: str, *, fields: dict[str, Any] | None = None, **options: Any) -> Lesson:
    """A model with its pack."""
    model, arguments = build(model_class, tiny(**(fields or {})), dtype=np.float32), inputs(model_class)
    path = folder / f"{model_class}{len(options)}"
    golden.export(model, arguments, path, weights=True, gradients=True, **options)
    return Lesson(model, arguments, golden.read_pack(path))


DUMPS = {
    "everything": r".*",
    "values": r"(?!grad:weight:).*",
    "weights": r"grad:weight:.*",
    "layers": r"(?:grad:)?(?:.*layer\.\d+|bert|output:.*)",
}


def part_of(dump: Dump, which: str) -> Dump:
    return {name: x for name, x in dump.items() if re.fullmatch(DUMPS[which], name)}
