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


def transform_backward(m: Module, dy: Array, hidden: Array) -> Array:
    """The gradient by the hidden states."""
    dx = m.layer_norm_backward(m.keep_gradient("", dy), m.kept("transform_act_fn"))
    dx = m.activation_backward(m.config.activation, m.keep_gradient("transform_act_fn", dx), m.kept("dense"))
    return m.linear_backward("dense", dx, hidden)


def predictions(m: Module, hidden: Array) -> Array:
    """Which token stands at each position: a transformed hidden state against every row of the word table.

    `decoder.weight` is the word table itself unless the configuration unties them.
    """
    logits = m.linear("decoder", transform(m.transform, hidden))  # [B, S, V]
    return m.keep("", m.keep(":logits", logits))


def predictions_backward(m: Module, dy: Array, hidden: Array) -> Array:
    """The gradient by the hidden states. The word table's gradient grows here a first time, in the embeddings a second time."""
    dy = m.keep_gradient(":logits", m.keep_gradient("", dy))
    dx = m.linear_backward("decoder", dy, m.transform.kept(""))
    return transform_backward(m.transform, dx, hidden)


def language_model_head(m: Module, hidden: Array) -> Array:
    """The head of masked and causal language models."""
    return m.keep("", predictions(m.predictions, hidden))  # [B, S, V]


def language_model_head_backward(m: Module, dy: Array, hidden: Array) -> Array:
    """The gradient by the hidden states."""
    return predictions_backward(m.predictions, m.keep_gradient("", dy), hidden)


def next_sentence_head(m: Module, pooled: Array) -> Array:
    """Does the second sentence follow the first? `[B, 2]`: yes, no."""
    return m.keep("", m.linear("seq_relationship", pooled))


def next_sentence_head_backward(m: Module, dy: Array, pooled: Array) -> Array:
    """The gradient by the pooled vector."""
    return m.linear_backward("seq_relationship", m.keep_gradient("", dy), pooled)


def pretraining_heads(m: Module, hidden: Array, pooled: Array) -> tuple[Array, Array]:
    """Both heads of the paper: the words' logits `[B, S, V]` and the next sentence's `[B, 2]`."""
    logits = predictions(m.predictions, hidden)
    follows = m.linear("seq_relationship", pooled)
    return m.keep("", logits), follows


def pretraining_heads_backward(m: Module, dlogits: Array, dfollows: Array, hidden: Array, pooled: Array) -> tuple[Array, Array]:
    """The gradients by the hidden states and by the pooled vector."""
    dpooled = m.linear_backward("seq_relationship", dfollows, pooled)
    return predictions_backward(m.predictions, m.keep_gradient("", dlogits), hidden), dpooled


def classify(m: Module, x: Array) -> Array:
    """Dropout and a linear map: of the pooled vector to `[B, num_labels]`, or of each token's state to `[B, S, num_labels]`."""
    return m.linear("classifier", m.dropout(x, m.config.dropout_of_classifier))


def classify_backward(m: Module, dy: Array) -> Array:
    """The gradient by x."""
    return m.dropout_backward(m.linear_backward("classifier", dy, m.kept("dropout")), m.config.dropout_of_classifier)


def find_span(m: Module, hidden: Array) -> tuple[Array, Array]:
    """Where an answer starts and where it ends: two arrays of `[B, S]`."""
    logits = m.linear("qa_outputs", hidden)  # [B, S, 2]
    return logits[..., 0], logits[..., 1]


def find_span_backward(m: Module, dstart: Array, dend: Array, hidden: Array) -> Array:
    """The gradient by the hidden states."""
    return m.linear_backward("qa_outputs", np.stack([dstart, dend], axis=-1), hidden)


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


def causal_language_model_loss_backward(logits: Array, labels: Array) -> Array:
    """The gradient by the logits; those of the last position predict nothing, so theirs is 0."""
    dlogits = np.zeros_like(logits)  # [B, S, V]
    dlogits[:, :-1] = ops.cross_entropy_backward(logits[:, :-1], labels[:, 1:])
    return dlogits


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


def sequence_classification_loss_backward(logits: Array, labels: Array, problem_type: str) -> Array:
    """The gradient by the logits."""
    if problem_type == "regression":
        return ops.mean_squared_error_backward(logits, labels.reshape(logits.shape).astype(logits.dtype))
    if problem_type == "multi_label_classification":
        return ops.binary_cross_entropy_with_logits_backward(logits, labels.astype(logits.dtype))
    return ops.cross_entropy_backward(logits, labels.reshape(-1))


def span_loss(start_logits: Array, end_logits: Array, start_positions: Array, end_positions: Array) -> Array:
    """The mean of both ends' cross-entropies.

    A position past the sequence (an answer that was cut off) is clamped to S and then ignored; a negative one counts as 0.
    """
    length = start_logits.shape[1]  # S
    ends = ((start_logits, start_positions), (end_logits, end_positions))
    return ops.mean(np.array([ops.cross_entropy(x, np.clip(at, 0, length), ignore_index=length) for x, at in ends]))


def span_loss_backward(
    start_logits: Array, end_logits: Array, start_positions: Array, end_positions: Array
) -> tuple[Array, Array]:
    """The gradients by both ends' logits: half of each cross-entropy's."""
    length = start_logits.shape[1]  # S
    dstart, dend = (
        ops.cross_entropy_backward(x, np.clip(at, 0, length), ignore_index=length) / x.dtype.type(2)
        for x, at in ((start_logits, start_positions), (end_logits, end_positions))
    )
    return dstart, dend
