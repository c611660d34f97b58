"""The task heads and their losses, one function each.

A head reads the hidden states `[B, S, D]` or the pooled vector `[B, D]` and puts out logits; a loss compares logits with
labels. Legend as in `npbert.ops`; C is the number of choices.
"""

from __future__ import annotations

import numpy as np

from npbert import ops
from npbert.bert.bert import dropout, layer_norm, linear
from npbert.bert.config import BertConfig
from npbert.tracing import keep
from npbert.types import Array, Rng
from npbert.weights import Weights

# ---------------------------------------------------------------------------------------------------------------- heads


def predictions(w: Weights, config: BertConfig, hidden: Array) -> Array:
    """Which token stands at each position: a transformed hidden state against every row of the word table.

    The scope is `cls.predictions`. `decoder.weight` is the word table itself unless the configuration unties them.
    """
    t = w.scope("transform")
    x = linear(t, "dense", hidden)
    x = keep(t, "transform_act_fn", config.activation(x))
    x = keep(t, "", layer_norm(t, config, x))  # [B, S, D]
    logits = keep(w, "decoder", ops.linear(x, w["decoder.weight"], w["bias"]))  # [B, S, V]
    return keep(w, "", keep(w, ":logits", logits))


def next_sentence(w: Weights, pooled: Array) -> Array:
    """Does the second sentence follow the first? `[B, 2]`: yes, no. The scope is `cls`."""
    return linear(w, "seq_relationship", pooled)


def classifier(w: Weights, config: BertConfig, x: Array, *, rng: Rng = None) -> Array:
    """Dropout and a linear map: of the pooled vector to `[B, num_labels]`, or of each token's state to `[B, S, num_labels]`."""
    return linear(w, "classifier", dropout(w, x, config.dropout_of_classifier, rng))


def span(w: Weights, hidden: Array) -> tuple[Array, Array]:
    """Where an answer starts and where it ends: two arrays of `[B, S]`."""
    logits = linear(w, "qa_outputs", hidden)  # [B, S, 2]
    return logits[..., 0], logits[..., 1]


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
