"""Mistakes in the pooler: what it reads, and its activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import Hypothesis, ReplaceValue
from npbert.golden.mistakes.site import Site
from npbert.golden.mistakes.steps import POOLER
from npbert.types import Array

Choice: TypeAlias = Callable[[Site, Array], "Array | None"]
"""From hidden states `[B, S, D]`: what the pooler reads of them, `[B, D]`."""


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get the pooler wrong."""
    for what, choose in CHOICES:
        explanation = f"The pooler reads {what}: it reads the first token, [CLS]."
        yield Hypothesis("pooler-wrong-token", explanation, POOLER, {".dense": _reading("<base>.encoder", choose)})
    last = config.num_hidden_layers - 1
    for place in ("<base>.embeddings", *(f"<base>.encoder.layer.{index}" for index in reversed(range(last)))):
        yield Hypothesis(
            "pooler-wrong-layer",
            f"The pooler reads {place}: it reads <base>.encoder.layer.{last}, the last one.",
            POOLER,
            {".dense": _reading(place, _first)},
        )
    yield Hypothesis(
        "pooler-tanh-missing",
        f"The pooler's activation is left out: apply {config.pooler_act} to its linear map.",
        POOLER,
        {".activation": lambda site: site[".dense"]},
    )
    yield Hypothesis(
        "pooler-missing",
        "The first token's hidden state is handed on as it is: apply the pooler's linear map and its activation.",
        POOLER,
        {".activation": lambda site: _first(site, hidden) if (hidden := site.at("<base>.encoder")) is not None else None},
    )


def _reading(place: str, choose: Choice) -> ReplaceValue:
    def dense(site: Site) -> Array | None:
        hidden = site.at(place)  # [B, S, D]
        chosen = None if hidden is None else choose(site, hidden)
        return None if chosen is None else site.linear(".dense", chosen)

    return dense


def _first(site: Site, hidden: Array) -> Array:
    return hidden[:, 0]


def _real(site: Site, hidden: Array) -> Array | None:
    """Which tokens are not padding, `[B, S]`; None where that is not known of every sequence."""
    real = site.padding[:, 0, -1]
    return real if real.shape == hidden.shape[:2] and real.any(axis=1).all() else None


def _last_real(site: Site, hidden: Array) -> Array | None:
    real = _real(site, hidden)
    if real is None:
        return None
    last = real.shape[1] - 1 - np.argmax(real[:, ::-1], axis=1)  # [B]
    return hidden[np.arange(len(hidden)), last]


def _mean_of_real(site: Site, hidden: Array) -> Array | None:
    real = _real(site, hidden)
    if real is None:
        return None
    return np.where(real[:, :, None], hidden, 0).sum(axis=1) / real.sum(axis=1, keepdims=True)


def _max_of_real(site: Site, hidden: Array) -> Array | None:
    real = _real(site, hidden)
    return None if real is None else np.where(real[:, :, None], hidden, -np.inf).max(axis=1)


CHOICES: list[tuple[str, Choice]] = [
    ("the last position", lambda site, hidden: hidden[:, -1]),
    ("the last token that is not padding", _last_real),
    ("the second token", lambda site, hidden: hidden[:, min(1, hidden.shape[1] - 1)]),
    ("the mean of all positions", lambda site, hidden: hidden.mean(axis=1)),
    ("the mean of the tokens that are not padding", _mean_of_real),
    ("the largest value of each channel, over all positions", lambda site, hidden: hidden.max(axis=1)),
    ("the largest value of each channel, over the tokens that are not padding", _max_of_real),
    ("the sum of all positions", lambda site, hidden: hidden.sum(axis=1)),
    (
        "the first token of the first text for all texts",
        lambda site, hidden: np.broadcast_to(hidden[:1, 0], hidden[:, 0].shape),
    ),
    ("the first token of the texts in reverse order", lambda site, hidden: hidden[::-1, 0]),
]
"""A line here is all that another choice needs."""
