"""The cases whose gradients by the reference are committed: their models and arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .builders import SMALLEST, build, ids, tiny

FILE = Path(__file__).parent / "data" / "expected" / "gradients.npz"

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "masked_lm": ("BertForMaskedLM", {}),
    "masked_lm_untied": ("BertForMaskedLM", {"tie_word_embeddings": False, "hidden_act": "gelu_new"}),
    "pretraining": ("BertForPreTraining", {"position_embedding_type": "relative_key_query"}),
    "next_sentence": ("BertForNextSentencePrediction", {"num_hidden_layers": 3}),
    "classification": ("BertForSequenceClassification", {"position_embedding_type": "relative_key", "num_labels": 4}),
    "regression": ("BertForSequenceClassification", {"num_labels": 1}),
    "tokens": ("BertForTokenClassification", {"hidden_act": "silu", "pruned_heads": {1: [0]}}),
    "question_answering": ("BertForQuestionAnswering", {"layer_norm_eps": 1e-5}),
    "cross_attention": ("BertForMaskedLM", {"is_decoder": True, "add_cross_attention": True}),
}


def build_case(name: str) -> tuple[Any, dict[str, Any]]:
    """The model and the arguments of a case, labels among them."""
    model_class, fields = CASES[name]
    config = tiny(mask_value=SMALLEST, use_cache=False, **fields)
    rng = np.random.default_rng(11)
    arguments: dict[str, Any] = {
        "input_ids": ids(config, 2, 5),
        "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
        "token_type_ids": np.array([[0, 0, 1, 1, 2], [0, 1, 1, 0, 0]]),
    }
    if config.add_cross_attention:
        arguments["encoder_hidden_states"] = rng.normal(size=(2, 4, 12))
        arguments["encoder_attention_mask"] = np.array([[1, 1, 1, 1], [1, 0, 1, 0]])
    words = rng.integers(0, 31, (2, 5))
    words[0, 0] = words[1, 4] = -100
    arguments |= {
        "BertForMaskedLM": {"labels": words},
        "BertForPreTraining": {"labels": words, "next_sentence_label": np.array([1, 0])},
        "BertForNextSentencePrediction": {"labels": np.array([1, 0])},
        "BertForSequenceClassification": {"labels": np.array([0.3, -1.2]) if config.num_labels == 1 else np.array([3, 1])},
        "BertForTokenClassification": {"labels": np.where(words > 0, words % 2, -100)},
        "BertForQuestionAnswering": {"start_positions": np.array([1, 7]), "end_positions": np.array([3, 2])},
    }[model_class]
    return build(model_class, config, seed=5), arguments
