"""What the tests of the diagnosis share: models with their packs, an independent port, parts of what it dumps."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

import npbert
from npbert import golden

from .. import port
from ..builders import ids

Dump = dict[str, np.ndarray]

LAYER = "encoder.layer.0."
SELF = LAYER + "attention.self"
CROSS = LAYER + "crossattention.self"
ACTIVATION = LAYER + "intermediate.intermediate_act_fn"
NORM = "embeddings.LayerNorm"


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


# What is dumped: everything; what blocks put out; what layers put out; what the model puts out.
_BLOCKS = r"(?:.*\.)?(?:embeddings|layer\.\d+|(?:cross)?attention(?:\.self|\.output)?|intermediate|pooler|transform)|output:.*"
DUMPS = {"everything": r".*", "blocks": _BLOCKS, "layers": r".*layer\.\d+|output:.*", "outputs": r"output:.*"}


def part_of(dump: Dump, which: str) -> Dump:
    return {name: x for name, x in dump.items() if re.fullmatch(DUMPS[which], name)}


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
