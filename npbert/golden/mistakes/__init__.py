"""The mistakes that porters of BERT make, each as a change to the one forward pass.

A mistake is made on purpose in npbert's own pass in one of two ways, or both: the pass reads other weights (a port with wrong
weights is npbert with wrong weights), or a named value is replaced, as soon as it is computed, by what the mistake would have
made of the values before it. So there is no second model here, only short functions, such as: without its residual
connection, `:residual` is `.dropout`.
"""

from __future__ import annotations

from npbert.bert.config import BertConfig
from npbert.golden.mistakes import (
    activations,
    attention,
    dropout,
    embeddings,
    masks,
    norms,
    operands,
    pooler,
    residuals,
    rounding,
    weights,
)
from npbert.golden.mistakes.hypothesis import Hypothesis

MISTAKES = (
    "gelu-tanh",
    "gelu-sigmoid",
    "activation-relu",
    "layernorm-eps",
    "layernorm-unbiased",
    "layernorm-missing",
    "weight-transposed",
    "bias-missing",
    "token-types-missing",
    "positions-shifted",
    "embeddings-layernorm-missing",
    "scores-not-scaled",
    "scaled-by-hidden-size",
    "heads-not-transposed",
    "heads-not-merged",
    "key-value-swapped",
    "query-key-swapped",
    "mask-ignored",
    "mask-inverted",
    "mask-wrong-axis",
    "causal-missing",
    "softmax-wrong-axis",
    "residual-missing",
    "residual-after-layernorm",
    "pooler-wrong-token",
    "pooler-tanh-missing",
    "dropout-left-on",
    "wrong-layer-weights",
    "activation-missing",
    "wrong-activation",
    "activation-before-bias",
    "layernorm-eps-outside",
    "layernorm-rms",
    "layernorm-root-missing",
    "layernorm-not-divided",
    "layernorm-mean-deviation",
    "layernorm-wrong-axis",
    "layernorm-twice",
    "gamma-missing",
    "gamma-plus-one",
    "gamma-after-bias",
    "gamma-beta-swapped",
    "beta-subtracted",
    "norms-swapped",
    "bias-twice",
    "query-value-swapped",
    "qkv-rotated",
    "weights-swapped",
    "weight-from-elsewhere",
    "block-missing",
    "block-twice",
    "residual-twice",
    "residual-subtracted",
    "residual-from-elsewhere",
    "input-from-elsewhere",
    "low-precision",
    "unknown",
)
"""Every name that a diagnosis may give."""

_SUBJECTS = (embeddings, activations, norms, masks, attention, residuals, pooler, weights, operands, dropout, rounding)


def hypotheses(config: BertConfig) -> list[Hypothesis]:
    """Every way to make a mistake in a port of a model with this configuration, the usual ones first."""
    return [hypothesis for subject in _SUBJECTS for hypothesis in subject.hypotheses(config)]
