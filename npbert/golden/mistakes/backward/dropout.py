"""Mistakes in the gradient of dropout: the mask that is not repeated, the scale that is forgotten."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from npbert import ops
from npbert.configuration import ModelConfiguration
from npbert.golden.mistakes.backward.moment import Edit, Moment, slip
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.types import Array

SMALL = 1e-6
"""Probabilities that are too small to be divided by."""

Drop = Callable[[Array, Array, float], Array]
"""What a port makes of a gradient, the mask and the probability of dropout."""


class Dropout(NamedTuple):
    """A dropout that a gradient lies behind."""

    dropped: str  # the value that it puts out
    mask: str
    probability: float
    behind_softmax: str  # the scores that softmax read, where one lies between; "" elsewhere


PLACES: list[tuple[str, str, str, str]] = [
    (r"(?P<m>.*\.output)\.dense", "{m}.dropout", "{m}:dropout_mask", "hidden_dropout_prob"),
    (r"(?P<m>(?:.*\.)?embeddings)\.LayerNorm", "{m}.dropout", "{m}:dropout_mask", "hidden_dropout_prob"),
    (r"(?P<m>.*\.self):masked_scores", "{m}.dropout", "{m}:dropout_mask", "attention_probs_dropout_prob"),
    (r"(?P<m>)bert(?:\.pooler)?", "dropout", ":dropout_mask", "dropout_of_classifier"),
    (r"(?P<m>.*\.(?:attn|crossattention))\.c_proj", "{m}.resid_dropout", "{m}:resid_dropout_mask", "resid_pdrop"),
    (r"(?P<m>.*\.(?:attn|crossattention)):masked_scores", "{m}.attn_dropout", "{m}:attn_dropout_mask", "attn_pdrop"),
    (r"(?P<m>.*\.mlp)\.c_proj", "{m}.dropout", "{m}:dropout_mask", "resid_pdrop"),
    (r"(?P<m>(?:transformer)?):sum", "{m}.drop", "{m}:drop_mask", "embd_pdrop"),
]
"""The gradients behind a dropout, the value that it puts out, its mask, the field with its probability."""

DROPPED = f"grad:(?P<name>{'|'.join(re.sub('[?]P<m>', '?:', pattern) for pattern, *_ in PLACES)})"


def dropout_of(at: Moment) -> Dropout | None:
    """The dropout that the gradient lies behind, if the pass has it."""
    name = at.name.removeprefix("grad:")
    for pattern, dropped, mask, field in PLACES:
        found = re.fullmatch(pattern, name)
        if found and hasattr(at.config, field):
            dropped, mask = (text.format(m=found["m"]).removeprefix(".") for text in (dropped, mask))
            scores = name if name.endswith(":masked_scores") else ""
            return Dropout(dropped, mask, getattr(at.config, field), scores) if mask in at.values else None
    return None


def before_dropout(at: Moment, probs: str) -> Array:
    """The gradient by the probabilities as softmax made them; `probs` is the name of what dropout made of them."""
    place = dropout_of(at)
    dy = at.gradient(probs)
    return dy if place is None else ops.dropout_backward(dy, at.values[place.mask] != 0, place.probability)


def _dropped(drop: Drop) -> Edit:
    def edit(at: Moment) -> Array | None:
        place = dropout_of(at)
        if place is None or not at.has_gradient(place.dropped):
            return None
        dx = drop(at.gradient(place.dropped), at.values[place.mask] != 0, place.probability)
        if not place.behind_softmax:
            return dx if dx.shape == at.value.shape else None  # a pooler stands between, or not
        return ops.softmax_backward(dx, ops.softmax(at.forward(place.behind_softmax)))

    return edit


def _other_mask(at: Moment) -> Array | None:
    """The gradient with the zeros that the port's own has, where their share is that of dropout."""
    place, seen = dropout_of(at), at.dumped(at.name)
    if seen is None or place is None or not at.has_gradient(place.dropped):
        return None
    dy, probability, scores = at.gradient(place.dropped), place.probability, place.behind_softmax
    if not 0 < probability < 1 or (dy.shape != seen.shape and not scores):
        return None
    whole = dy / (1 - probability)
    softmaxed = ops.softmax(at.forward(scores)) if scores else None
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


_TABLE: list[tuple[str, str, Edit]] = [
    ("dropout-not-scaled-in-backward", "is masked and not divided by 1 - p, as the values are in the forward pass",
     _dropped(lambda dy, mask, p: dy * mask)),
    ("dropout-mask-not-repeated", "goes past dropout: it goes through the same mask and scale",
     _dropped(lambda dy, mask, p: dy)),
    ("dropout-mask-not-repeated", "is not masked, only divided by 1 - p: mask it as the values are",
     _dropped(lambda dy, mask, p: dy / (1 - p))),
    ("dropout-mask-not-repeated", "goes through another mask than the values: keep the mask of the forward pass", _other_mask),
]  # fmt: skip
"""A line here is all that another mistake needs."""


def hypotheses(config: ModelConfiguration) -> Iterator[Hypothesis]:
    """Every way to get the gradient of dropout wrong."""
    for mistake, told, edit in _TABLE:
        yield slip(mistake, f"Dropout's gradient {told}.", DROPPED, edit)
