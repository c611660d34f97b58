"""Mistakes in the gradient of one operation: LayerNorm, softmax, the scale of attention, activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from npbert import ops
from npbert.bert.config import BertConfig
from npbert.golden.mistakes.backward.dropout import before_dropout
from npbert.golden.mistakes.backward.moment import Edit, Moment, slip
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.gpt2.config import GPT2Config
from npbert.types import Array

NORMED = r"grad:(?P<m>.*)(?P<x>(?<=output):residual|(?<=embeddings):sum|\.transform_act_fn)"
SOFTMAX = r"grad:(?P<m>.*\.(?:self|attn|crossattention)):masked_scores"
SCALED = r"grad:(?P<m>.*\.(?:self|attn|crossattention)):scores"
ACTIVATED = r"grad:(?P<m>.*\.)(?:(?P<kind>intermediate|transform)\.dense|mlp\.c_fc)"
POOLED = r"grad:(?P<m>(?:.*\.)?pooler)\.dense"


# --------------------------------------------------------------------------------------------------------------- LayerNorm

Terms = Callable[[Array, Array], Array]
"""From g, the gradient times the weight, and n, the normalised values: what stands before the division by s."""


def _mean(x: Array) -> Array:
    return x.mean(axis=-1, keepdims=True)


NORM_TERMS: list[tuple[str, str, Terms]] = [
    ("layernorm-backward-mean-term-missing", "the mean", lambda g, n: g - n * _mean(g * n)),
    ("layernorm-backward-variance-term-missing", "the variance", lambda g, n: g - _mean(g)),
]
"""A line here is all that another mistake in LayerNorm's gradient needs."""

NORM_EXPLANATION = "LayerNorm's gradient lacks the term of {}: dx = (g - mean(g) - n * mean(g * n)) / s, with g = dy * weight."


def through_norm(at: Moment, norm: str, x: Array, terms: Terms) -> Array:
    """The gradient by what a LayerNorm read, with only some of its terms: see `npbert.ops.layer_norm_backward`."""
    n = x - _mean(x)  # [..., D]
    s = np.sqrt(_mean(np.square(n)) + at.config.layer_norm_eps)  # [..., 1]
    return terms(at.gradient(norm) * at.weights[f"{norm}.weight"], n / s) / s


def _normed(terms: Terms) -> Edit:
    return lambda at: through_norm(at, f"{at.owner}.LayerNorm", at.forward(at.owner + at.match["x"]), terms)


# --------------------------------------------------------------------------------------------------- attention and softmax


def _diagonal(at: Moment) -> Array:
    y = ops.softmax(at.forward(f"{at.owner}:masked_scores"))
    return before_dropout(at, f"{at.owner}.{'dropout' if at.owner.endswith('self') else 'attn_dropout'}") * y * (1 - y)


def _unscaled(at: Moment) -> Array:
    return at.gradient(f"{at.owner}:masked_scores")


# ------------------------------------------------------------------------------------------------------------- activations

GELUS = {"gelu": "erf's", "gelu_new": "tanh's", "quick_gelu": "sigmoid's"}
"""The ways to compute GELU, each with a derivative of its own."""


def _derivative_of(name: str) -> Edit:
    def edit(at: Moment) -> Array:
        kind = at.match["kind"]
        activated = f"{kind}.{kind}_act_fn" if kind else "mlp.act"
        derivative = ops.ACTIVATIONS_BACKWARD[ops.ACTIVATIONS[name]]
        return derivative(at.gradient(at.owner + activated), at.forward(at.name.removeprefix("grad:")))

    return edit


def _activations(config: BertConfig | GPT2Config) -> Iterator[Hypothesis]:
    own = next((name for name, function in ops.ACTIVATIONS.items() if function is config.activation), "")
    for other, whose in GELUS.items() if "gelu" in own else ():
        if ops.ACTIVATIONS[other] is not config.activation:
            says = f"The derivative of the activation is {whose} and belongs to {other}: the configuration asks for {own}."
            yield slip("gelu-derivative-of-another", says, ACTIVATED, _derivative_of(other))


def _pooler_without_activation(at: Moment) -> Array:
    return at.gradient(f"{at.owner}.activation")


# ----------------------------------------------------------------------------------------------------------------- all of it


def hypotheses(config: BertConfig | GPT2Config) -> Iterator[Hypothesis]:
    """Every way to get the gradient of an operation wrong."""
    for mistake, term, terms in NORM_TERMS:
        yield slip(mistake, NORM_EXPLANATION.format(term), NORMED, _normed(terms))
    says = "Softmax's gradient is dy * y * (1 - y), which holds for one output alone: dx = y * (dy - sum(dy * y))."
    yield slip("softmax-backward-diagonal-only", says, SOFTMAX, _diagonal)
    says = "The gradient by the scores is not divided by sqrt(head size), as the scores are in the forward pass."
    yield slip("attention-scale-missing-in-backward", says, SCALED, _unscaled)
    if isinstance(config, BertConfig):
        derivative = "1 - tanh(x)^2" if config.pooler_act == "tanh" else f"the derivative of {config.pooler_act}"
        says = f"The pooler's gradient goes past {config.pooler_act}: multiply by {derivative}."
        yield slip("pooler-tanh-derivative-missing", says, POOLED, _pooler_without_activation)
    yield from _activations(config)
