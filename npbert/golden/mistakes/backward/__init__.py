"""The mistakes that porters of training make in a backward pass, each as a change to npbert's own.

A mistake replaces a gradient, as soon as it is computed, by what it would have made of the gradients and values before it. So
there is no second backward pass here, only formulas, such as: without its residual connection, a block's gradient is that
through the block alone. A mistake in the loss gives another loss, and other gradients by the logits.
"""

from __future__ import annotations

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.backward import flows, formulas, losses, rounding, weights
from npbert.golden.mistakes.hypothesis import Hypothesis

MISTAKES = (
    "layernorm-backward-mean-term-missing",
    "layernorm-backward-variance-term-missing",
    "softmax-backward-diagonal-only",
    "gelu-derivative-of-another",
    "attention-scale-missing-in-backward",
    "residual-gradient-missing",
    "bias-gradient-missing",
    "bias-gradient-averaged",
    "weight-gradient-transposed",
    "embedding-gradient-overwritten",
    "tied-gradient-one-use",
    "padding-row-gradient",
    "position-gradient-not-summed",
    "loss-sum-for-mean",
    "loss-counts-ignored-labels",
    "loss-averaged-per-sequence",
    "dropout-mask-not-repeated",
    "dropout-not-scaled-in-backward",
    "gradient-accumulated-twice",
    "pooler-tanh-derivative-missing",
)
"""Every name that a diagnosis of a backward pass may give, beside `low-precision` and `unknown`."""

_SUBJECTS = (losses, formulas, flows, weights, rounding)


def hypotheses(config: BertConfig) -> list[Hypothesis]:
    """Every way to make a mistake in a backward pass of a model with this configuration, the usual ones first."""
    return [hypothesis for subject in _SUBJECTS for hypothesis in subject.hypotheses(config)]
