"""What the tests of the forward pass build their models from: tiny configurations and weights that leave nothing at zero."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings

import npbert
from npbert import BertConfig

EXPECTED = Path(__file__).parent / "data" / "expected" / "forward"

CLASSES = (
    "BertModel",
    "BertLMHeadModel",
    "BertForMaskedLM",
    "BertForPreTraining",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForMultipleChoice",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
)
POSITION_TYPES = ("absolute", "relative_key", "relative_key_query")

# The smallest float32: the reference masks with the smallest float of the model's own type. In float64 this one does the
# same, because it too swallows every score that it is added to.
SMALLEST = float(np.finfo(np.float32).min)


def examples(number: int) -> settings:
    """How many examples a property is tried on: a few in the gate, the profile's many when exploring."""
    return settings() if os.environ.get("NPBERT_EXPLORE") else settings(max_examples=number)


def tiny(**fields: Any) -> BertConfig:
    """A configuration with odd sizes, all different, so that no two axes can be taken for each other."""
    sizes = {
        "vocab_size": 31,
        "hidden_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 21,
        "max_position_embeddings": 17,
        "type_vocab_size": 3,
    }
    return BertConfig(**{**sizes, **fields})


def fill(parameters: Any, rng: np.random.Generator, *, scale: float = 0.4) -> dict[str, np.ndarray]:
    """Weights for every name: large enough that attention is far from even, LayerNorm and biases far from doing nothing."""
    weights = {}
    for name, parameter in parameters:
        values = rng.normal(0, scale, parameter.shape)
        if name.endswith("LayerNorm.weight"):
            values = rng.uniform(0.5, 1.5, parameter.shape)
        weights[name] = values
    return weights


def build(model_class: str, config: BertConfig, *, seed: int = 0, dtype: Any = np.float64, scale: float = 0.4) -> Any:
    """A model with weights from `fill`."""
    blank = getattr(npbert, model_class)(config, rng=np.random.default_rng(0))
    weights = fill(blank.named_parameters(), np.random.default_rng(seed), scale=scale)
    return getattr(npbert, model_class)(config, {name: array.astype(dtype) for name, array in weights.items()})


def ids(config: BertConfig, batch: int, length: int, *, seed: int = 1) -> np.ndarray:
    """Token ids that are never the padding token."""
    return np.random.default_rng(seed).integers(1, config.vocab_size, (batch, length))


def inputs_for(model_class: str, config: BertConfig, *, batch: int = 2, length: int = 5, choices: int = 3) -> dict[str, Any]:
    """Arguments that the class takes, without labels."""
    if model_class == "BertForMultipleChoice":
        return {"input_ids": ids(config, batch * choices, length).reshape(batch, choices, length)}
    return {"input_ids": ids(config, batch, length)}


def arrays_of(output: Any) -> dict[str, np.ndarray]:
    """A result's arrays, flat: `attentions.0`, `past_key_values.1.0`, ..."""
    flat: dict[str, np.ndarray] = {}

    def walk(name: str, value: Any) -> None:
        if isinstance(value, tuple | list):
            for index, item in enumerate(value):
                walk(f"{name}.{index}", item)
        else:
            flat[name] = np.asarray(value)

    for name, value in output.items():
        walk(name, value)
    return flat


def assert_close(actual: Any, expected: Any, tolerance: float, what: str = "") -> float:
    """Every element within `tolerance` times the largest expected magnitude. Returns the largest error in that measure.

    What the sums of a pass are made of is of order 1; a result that happens to come out near 0 is not held to a smaller
    error than its terms can have, so the largest magnitude counts as 0.1 at least.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    if not expected.size:
        return 0.0
    assert np.array_equal(np.isnan(actual), np.isnan(expected)), f"{what}: nan in other places"
    there = ~np.isnan(expected)
    if not there.any():
        return 0.0
    actual, expected = actual[there].astype(np.float64), expected[there].astype(np.float64)
    largest = max(float(np.abs(expected).max()), 0.1)
    error = float(np.abs(actual - expected).max()) / largest
    assert error <= tolerance, f"{what}: off by {error:.2e} of the largest value, {tolerance:.0e} is allowed"
    return error


def assert_same_results(actual: Any, expected: Any, tolerance: float) -> None:
    """Two results with the same names, all arrays close."""
    ours, theirs = arrays_of(actual), arrays_of(expected)
    assert list(ours) == list(theirs)
    for name in theirs:
        assert_close(ours[name], theirs[name], tolerance, name)


def expected_names() -> list[str]:
    """The committed goldens of the forward pass."""
    return sorted(path.stem for path in EXPECTED.glob("*.safetensors"))


def read_expected(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A golden's tensors and its description."""
    from safetensors import safe_open

    with safe_open(EXPECTED / f"{name}.safetensors", framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads(file.metadata()["golden"])  # noqa: SIM118
