"""The cases whose answers by the reference are committed: models, arguments, and calls of `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import npbert

from ..generation.helpers import lively
from .builders import build, ids, tiny

DATA = Path(__file__).parents[1] / "data" / "expected" / "gpt2"

FORWARD: dict[str, tuple[str, dict[str, Any]]] = {
    "language_model": ("GPT2LMHeadModel", {}),
    "untied": ("GPT2LMHeadModel", {"tie_word_embeddings": False, "activation_function": "gelu", "n_inner": None}),
    "scaled": ("GPT2LMHeadModel", {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3}),
    "unscaled": ("GPT2LMHeadModel", {"scale_attn_weights": False, "pruned_heads": {1: [0]}}),
    "cross_attention": ("GPT2LMHeadModel", {"add_cross_attention": True}),
    "classifier": ("GPT2ForSequenceClassification", {"num_labels": 3, "layer_norm_epsilon": 0.1}),
    "base": ("GPT2Model", {}),
}


def forward_case(name: str) -> tuple[Any, dict[str, Any]]:
    """The model and the arguments of a case, labels among them."""
    model_class, fields = FORWARD[name]
    config = tiny(use_cache=False, **fields)
    rng = np.random.default_rng(11)
    arguments: dict[str, Any] = {
        "input_ids": ids(config, 2, 5),
        "attention_mask": np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]),
        "position_ids": np.array([[0, 1, 2, 3, 4], [1, 1, 0, 1, 2]]),
    }
    if config.add_cross_attention:
        arguments["encoder_hidden_states"] = rng.normal(size=(2, 4, 12))
        arguments["encoder_attention_mask"] = np.array([[1, 1, 1, 1], [1, 0, 1, 0]])
    if model_class == "GPT2LMHeadModel":
        arguments["labels"] = np.where(arguments["attention_mask"] == 1, arguments["input_ids"], -100)
    if model_class == "GPT2ForSequenceClassification":
        arguments["labels"] = np.array([2, 0])
    return build(model_class, config, seed=5), arguments


def writer(seed: int = 3, **fields: Any) -> Any:
    """A small model whose best token is clearly the best and depends on all that stands before it."""
    config = tiny(**{"vocab_size": 23, "n_positions": 40, **fields})
    blank = npbert.GPT2LMHeadModel(config, rng=np.random.default_rng(0))
    return npbert.GPT2LMHeadModel(config, lively(dict(blank.named_parameters()), np.random.default_rng(seed))).astype(
        np.float32
    )


ENDS = [6, 9, 18]
PADDED: dict[str, Any] = {
    "input_ids": [[5, 9, 13, 2], [0, 0, 7, 3], [0, 11, 4, 19]],
    "attention_mask": [[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]],
}
BEAMS = {**PADDED, "max_new_tokens": 12, "num_beams": 4}
GENERATE: list[dict[str, Any]] = [
    {"input_ids": [[5, 9, 13]], "max_new_tokens": 20},
    {**PADDED, "max_new_tokens": 12},
    {**PADDED, "max_new_tokens": 12, "token_type_ids": [[0, 0, 1, 1], [2, 2, 2, 1], [0, 5, 0, 0]]},
    {**PADDED, "max_new_tokens": 12, "eos_token_id": ENDS, "pad_token_id": 21, "min_new_tokens": 3},
    {**PADDED, "max_length": 14, "min_length": 10, "eos_token_id": ENDS, "repetition_penalty": 1.8},
    {**PADDED, "max_new_tokens": 10, "no_repeat_ngram_size": 2},
    {**BEAMS, "eos_token_id": 6},
    {**BEAMS, "eos_token_id": ENDS, "num_return_sequences": 3, "early_stopping": True},
    {**BEAMS, "eos_token_id": [9, 14], "length_penalty": -2.0, "pad_token_id": 21},
]
