"""The task heads and their losses, one function each.

A head reads the hidden states `[B, S, D]` or the pooled vector `[B, D]` and puts out logits; a loss compares logits with
labels. Legend as in `npbert.ops`; C is the number of choices.
"""

from __future__ import annotations

import numpy as np

from npbert import ops
from npbert.module import Functions, Module
from npbert.types import Array

# ---------------------------------------------------------------------------------------------------------------- heads


def transform(m: Module, hidden: Array) -> Array:
    """`LayerNorm(activation(dense(x)))`: a hidden state, made ready to be compared with words."""
    x = m.keep("transform_act_fn", m.config.activation(m.linear("dense", hidden)))
    return m.keep("", m.layer_norm(x))  # [B, S, D]


def predictions(m: Module, hidden: Array) -> Array:
    """Which token stands at each position: a transformed hidden state against every row of the word table.

    `decoder.weight` is the word table itself unless the configuration unties them.
    """
    logits = m.linear("decoder", transform(m.transform, hidden))  # [B, S, V]
    return m.keep("", m.keep(":logits", logits))


def language_model_head(m: Module, hidden: Array) -> Array:
    """The head of masked and causal language models."""
    return m.keep("", predictions(m.predictions, hidden))  # [B, S, V]


def next_sentence_head(m: Module, pooled: Array) -> Array:
    """Does the second sentence follow the first? `[B, 2]`: yes, no."""
    return m.keep("", m.linear("seq_relationship", pooled))


def pretraining_heads(m: Module, hidden: Array, pooled: Array) -> tuple[Array, Array]:
    """Both heads of the paper: the words' logits `[B, S, V]` and the next sentence's `[B, 2]`."""
    logits = predictions(m.predictions, hidden)
    follows = m.linear("seq_relationship", pooled)
    return m.keep("", logits), follows


def classify(m: Module, x: Array) -> Array:
    """Dropout and a linear map: of the pooled vector to `[B, num_labels]`, or of each token's state to `[B, S, num_labels]`."""
    return m.linear("classifier", m.dropout(x, m.config.dropout_of_classifier))


def find_span(m: Module, hidden: Array) -> tuple[Array, Array]:
    """Where an answer starts and where it ends: two arrays of `[B, S]`."""
    logits = m.linear("qa_outputs", hidden)  # [B, S, 2]
    return logits[..., 0], logits[..., 1]


FUNCTIONS: Functions = {
    "predictions": predictions,
    "transform": transform,
    "transform.transform_act_fn": lambda m, x: m.config.activation(x),
}
"""The function of each module of a head, by the last part of its path; `cls` differs from model to model."""

# --------------------------------------------------------------------------------------------------------------- losses


def causal_language_model_loss(logits: Array, labels: Array) -> Array:
    """Cross-entropy of each position's logits with the label one further on."""
    return ops.cross_entropy(logits[:, :-1], labels[:, 1:])


def infer_problem_type(num_labels: int, labels: Array) -> str:
    """What a classifier is trained for when its configuration does not say."""
    if num_labels == 1:
        return "regression"
    return "single_label_classification" if labels.dtype.kind in "iu" else "multi_label_classification"


def sequence_classification_loss(logits: Array, labels: Array, problem_type: str) -> Array:
    """One label of several, several at once, or numbers."""
    if problem_type == "regression":
        return ops.mean_squared_error(logits, labels.reshape(logits.shape).astype(logits.dtype))
    if problem_type == "multi_label_classification":
        return ops.binary_cross_entropy_with_logits(logits, labels.astype(logits.dtype))
    return ops.cross_entropy(logits, labels.reshape(-1))


def span_loss(start_logits: Array, end_logits: Array, start_positions: Array, end_positions: Array) -> Array:
    """The mean of both ends' cross-entropies.

    A position past the sequence (an answer that was cut off) is clamped to S and then ignored; a negative one counts as 0.
    """
    length = start_logits.shape[1]  # S
    ends = ((start_logits, start_positions), (end_logits, end_positions))
    return ops.mean(np.array([ops.cross_entropy(x, np.clip(at, 0, length), ignore_index=length) for x, at in ends]))
