"""Mistakes in the gradient of one operation: LayerNorm, softmax, the scale of attention, activations, dropout."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from npbert import ops
from npbert.bert.config import BertConfig
from npbert.golden.mistakes.backward.moment import Edit, Moment, slip
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.types import Array

NORMED = r"grad:(?P<m>.*)(?P<x>:residual|:sum|\.transform_act_fn)"
SOFTMAX = r"grad:(?P<m>.*\.self):masked_scores"
SCALED = r"grad:(?P<m>.*\.self):scores"
ACTIVATED = r"grad:(?P<m>.*(?P<kind>intermediate|transform))\.dense"
POOLED = r"grad:(?P<m>(?:.*\.)?pooler)\.dense"


# --------------------------------------------------------------------------------------------------------------- LayerNorm


def _norm(terms: Callable[[Array, Array], Array]) -> Edit:
    """The gradient with only some of its terms, a function of g and n: see `npbert.ops.layer_norm_backward`."""

    def edit(at: Moment) -> Array:
        x = at.forward(at.owner + at.match["x"])
        n = x - x.mean(axis=-1, keepdims=True)  # [..., D]
        s = np.sqrt(np.square(n).mean(axis=-1, keepdims=True) + at.config.layer_norm_eps)  # [..., 1]
        name = f"{at.owner}.LayerNorm"
        return terms(at.gradient(name) * at.weights[f"{name}.weight"], n / s) / s

    return edit


def _mean(x: Array) -> Array:
    return x.mean(axis=-1, keepdims=True)


# --------------------------------------------------------------------------------------------------- attention and softmax


def _diagonal(at: Moment) -> Array:
    y = ops.softmax(at.forward(f"{at.owner}:masked_scores"))
    return _undropped(at, at.gradient(f"{at.owner}.dropout")) * y * (1 - y)


def _unscaled(at: Moment) -> Array:
    return at.gradient(f"{at.owner}:masked_scores")


# ------------------------------------------------------------------------------------------------------------- activations

GELUS = {"gelu": "erf's", "gelu_new": "tanh's", "quick_gelu": "sigmoid's"}
"""The ways to compute GELU, each with a derivative of its own."""


def _derivative_of(name: str) -> Edit:
    def edit(at: Moment) -> Array:
        dy = at.gradient(f"{at.owner}.{at.match['kind']}_act_fn")
        return ops.ACTIVATIONS_BACKWARD[ops.ACTIVATIONS[name]](dy, at.forward(f"{at.owner}.dense"))

    return edit


def _pooler_without_tanh(at: Moment) -> Array:
    return at.gradient(f"{at.owner}.activation")


# ----------------------------------------------------------------------------------------------------------------- dropout

DROPPED = r"grad:(?P<m>.*)(?:(?<=\.output)\.dense|(?<=embeddings)\.LayerNorm|(?<=\.self):masked_scores|(?<=:bert)(?:\.pooler)?)"
"""The gradients behind a dropout: of a dense map, of the embeddings' LayerNorm, of scores, of what a classifier reads."""

SMALL = 1e-6
"""Probabilities that are too small to be divided by."""

Drop = Callable[[Array, Array, float], Array]
"""What a port makes of a gradient, the mask and the probability of dropout."""


def _place(at: Moment) -> str:
    """The module that has the dropout; a classifier's is the model's own."""
    return at.owner if at.owner.endswith(("output", "embeddings", "self")) else ""


def _named(place: str, name: str) -> str:
    return f"{place}{name}" if place or name.startswith(":") else name[1:]


def _probability(at: Moment, place: str) -> float:
    config = at.config
    if place.endswith("self"):
        return config.attention_probs_dropout_prob
    return config.hidden_dropout_prob if place else config.dropout_of_classifier


def _undropped(at: Moment, dy: Array, drop: Drop = ops.dropout_backward) -> Array:
    """The gradient in front of the dropout of a module."""
    place = _place(at)
    mask = at.values.get(_named(place, ":dropout_mask"))
    return dy if mask is None else drop(dy, mask != 0, _probability(at, place))


def _dropped(drop: Drop) -> Edit:
    def edit(at: Moment) -> Array | None:
        place = _place(at)
        if _named(place, ":dropout_mask") not in at.values or not at.has_gradient(_named(place, ".dropout")):
            return None
        dx = _undropped(at, at.gradient(_named(place, ".dropout")), drop)
        if not place.endswith("self"):
            return dx if dx.shape == at.value.shape else None  # a pooler stands between, or not
        return ops.softmax_backward(dx, ops.softmax(at.forward(f"{place}:masked_scores")))

    return edit


def _other_mask(at: Moment) -> Array | None:
    """The gradient with the zeros that the port's own has, where their share is that of dropout."""
    place, seen = _place(at), at.dumped(at.name)
    if seen is None or _named(place, ":dropout_mask") not in at.values or not at.has_gradient(_named(place, ".dropout")):
        return None
    dy, probability = at.gradient(_named(place, ".dropout")), _probability(at, place)
    if not 0 < probability < 1 or (dy.shape != seen.shape and not place.endswith("self")):
        return None
    whole = dy / (1 - probability)
    softmaxed = ops.softmax(at.forward(f"{place}:masked_scores")) if place.endswith("self") else None
    kept = np.abs(seen) > 1e-6 * np.abs(dy) if softmaxed is None else _kept_before_softmax(seen, softmaxed, whole)
    counted = dy != 0 if softmaxed is None else (dy != 0) & (softmaxed > 0)
    lost = 1 - float(kept[counted].mean()) if counted.any() else 0.0
    if not probability / 3 < lost < min(1.0, 3 * probability):
        return None
    dx = np.where(kept, whole, 0)
    return dx if softmaxed is None else ops.softmax_backward(dx, softmaxed)


def _kept_before_softmax(seen: Array, y: Array, whole: Array) -> Array:
    """Which elements dropout kept, read off the gradient behind a softmax, `y * (dy - c)` with one number c for each row.

    Where dy is 0, seen / y is -c; elsewhere it is dy - c. So in a row one of its own quotients is -c, unless all were kept.
    """
    quotients = np.divide(seen, y, out=np.zeros_like(seen), where=y > SMALL)  # [B, N, S, T]
    kept = np.ones(seen.shape, np.bool_)
    for row in np.ndindex(seen.shape[:-1]):
        off = quotients[row][:, None] - quotients[row]  # [T, T], dy if the second of the pair was dropped
        near = 1e-3 * np.abs(whole[row]).max(initial=0)
        lost = np.abs(off) <= near
        fits = (lost | (np.abs(off - whole[row][:, None]) <= near) | (y[row] <= SMALL)[:, None]).all(axis=0) & (y[row] > SMALL)
        if fits.any():
            kept[row] = ~lost[:, int(fits.argmax())]
    return kept


# ----------------------------------------------------------------------------------------------------------------- all of it

_TERMS: list[tuple[str, str, str, Edit]] = [
    ("layernorm-backward-mean-term-missing", NORMED,
     "LayerNorm's gradient lacks the term of the mean: dx = (g - mean(g) - n * mean(g * n)) / s, with g = dy * weight",
     _norm(lambda g, n: g - n * _mean(g * n))),
    ("layernorm-backward-variance-term-missing", NORMED,
     "LayerNorm's gradient lacks the term of the variance: dx = (g - mean(g) - n * mean(g * n)) / s, with g = dy * weight",
     _norm(lambda g, n: g - _mean(g))),
    ("softmax-backward-diagonal-only", SOFTMAX,
     "Softmax's gradient is dy * y * (1 - y), which holds for one output alone: dx = y * (dy - sum(dy * y))", _diagonal),
    ("attention-scale-missing-in-backward", SCALED,
     "The gradient by the scores is not divided by sqrt(head size), as the scores are in the forward pass", _unscaled),
    ("pooler-tanh-derivative-missing", POOLED,
     "The pooler's gradient goes past tanh: multiply by 1 - tanh(x)^2", _pooler_without_tanh),
    ("dropout-not-scaled-in-backward", DROPPED,
     "Dropout's gradient is masked and not divided by 1 - p, as the values are in the forward pass",
     _dropped(lambda dy, mask, p: dy * mask)),
    ("dropout-mask-not-repeated", DROPPED, "Dropout's gradient goes past dropout: it goes through the same mask and scale",
     _dropped(lambda dy, mask, p: dy)),
    ("dropout-mask-not-repeated", DROPPED, "Dropout's gradient is not masked, only divided by 1 - p: mask it as the values are",
     _dropped(lambda dy, mask, p: dy / (1 - p))),
    ("dropout-mask-not-repeated", DROPPED,
     "Dropout's gradient goes through another mask than the values: keep the mask of the forward pass", _other_mask),
]  # fmt: skip
"""A line here is all that another mistake in one operation needs."""


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get the gradient of an operation wrong."""
    for mistake, names, explanation, edit in _TERMS:
        yield slip(mistake, f"{explanation}.", names, edit)
    own = {"gelu_fast": "gelu_new", "gelu_pytorch_tanh": "gelu_new"}.get(str(config.hidden_act), config.hidden_act)
    for other in GELUS if own in GELUS else ():
        if other != own:
            says = (
                f"The derivative of the activation is {GELUS[other]} and belongs to {other}: hidden_act is {config.hidden_act}."
            )
            yield slip("gelu-derivative-of-another", says, ACTIVATED, _derivative_of(other))
