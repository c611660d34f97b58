"""What GPT-2's tests build their models from: as `tests.builders`, with GPT-2's words."""

from __future__ import annotations

from typing import Any

import numpy as np

import npbert
from npbert import GPT2Config

CLASSES = ("GPT2Model", "GPT2LMHeadModel", "GPT2ForSequenceClassification")


def tiny(**fields: Any) -> GPT2Config:
    """A configuration with odd sizes, all different, so that no two axes can be taken for each other."""
    sizes = {"vocab_size": 31, "n_embd": 12, "n_layer": 2, "n_head": 3, "n_inner": 21, "n_positions": 17}
    ends = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    return GPT2Config(**{**sizes, **ends, **fields})


def fill(parameters: Any, rng: np.random.Generator, *, scale: float = 0.4) -> dict[str, np.ndarray]:
    """Weights for every name: large enough that attention is far from even, LayerNorm and biases far from doing nothing."""

    def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
        is_norm = ".ln_" in f".{name}" and name.endswith("weight")
        return rng.uniform(0.5, 1.5, shape) if is_norm else rng.normal(0, scale, shape)

    return {name: values(name, x.shape) for name, x in parameters}


def build(model_class: str, config: GPT2Config, *, seed: int = 0, dtype: Any = np.float64, scale: float = 0.4) -> Any:
    """A model with weights from `fill`."""
    blank = getattr(npbert, model_class)(config, rng=np.random.default_rng(0))
    weights = fill(blank.named_parameters(), np.random.default_rng(seed), scale=scale)
    return getattr(npbert, model_class)(config, {name: array.astype(dtype) for name, array in weights.items()})


def ids(config: GPT2Config, batch: int, length: int, *, seed: int = 1) -> np.ndarray:
    """Token ids that are never the padding token."""
    return np.random.default_rng(seed).integers(1, config.vocab_size, (batch, length))
