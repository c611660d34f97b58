"""The mistakes that porters of training make in a backward pass, each as a change to npbert's own.

A mistake replaces a gradient, as soon as it is computed, by what it would have made of the gradients and values before it. So
there is no second backward pass here, only formulas, such as: without its residual connection, a block's gradient is that
through the block alone. A mistake in the loss gives another loss, and other gradients by the logits.
"""

from __future__ import annotations

from collections.abc import Iterator

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.backward import dropout, flows, formulas, gpt2, losses, rounding, weights
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.gpt2.config import GPT2Config

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
    "loss-labels-not-shifted",
    "dropout-mask-not-repeated",
    "dropout-not-scaled-in-backward",
    "gradient-accumulated-twice",
    "pooler-tanh-derivative-missing",
)
"""Every name that a diagnosis of a backward pass may give, beside `low-precision` and `unknown`."""


def hypotheses(config: BertConfig | GPT2Config) -> Iterator[Hypothesis]:
    """Every way to make a mistake in a backward pass of a model with this configuration, the usual ones first."""
    yield from losses.hypotheses(config)
    yield from formulas.hypotheses(config)
    yield from gpt2.hypotheses(config) if isinstance(config, GPT2Config) else flows.hypotheses(config)
    for subject in (dropout, weights, rounding):
        yield from subject.hypotheses(config)
