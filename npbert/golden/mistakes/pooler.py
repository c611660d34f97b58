"""Mistakes in the pooler: which token it reads, and its activation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import Hypothesis, ReplaceValue
from npbert.golden.mistakes.site import Site
from npbert.types import Array

POOLER_MODULES = r"(?:.*\.)?pooler"

Choice: TypeAlias = Callable[[Site, Array], "Array | None"]
"""From hidden states `[B, S, D]`: what the pooler reads of them, `[B, D]`."""


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get the pooler wrong."""
    choices: list[tuple[str, Choice]] = [
        ("the last position", lambda site, hidden: hidden[:, -1]),
        ("the last token that is not padding", _last_real),
        ("the second token", lambda site, hidden: hidden[:, min(1, hidden.shape[1] - 1)]),
        ("the mean of all positions", lambda site, hidden: hidden.mean(axis=1)),
        ("the mean of the tokens that are not padding", _mean_of_real),
    ]
    for what, choose in choices:
        yield Hypothesis(
            "pooler-wrong-token",
            f"The pooler reads {what}: it reads the first token, [CLS].",
            POOLER_MODULES,
            {".dense": _reading(choose)},
        )
    yield Hypothesis(
        "pooler-tanh-missing",
        f"The pooler's activation is left out: apply {config.pooler_act} to its linear map.",
        POOLER_MODULES,
        {".activation": lambda site: site[".dense"]},
    )


def _reading(choose: Choice) -> ReplaceValue:
    def dense(site: Site) -> Array | None:
        hidden = site.values[site.module.removesuffix("pooler") + "encoder"]  # [B, S, D]
        chosen = choose(site, hidden)
        return None if chosen is None else site.linear(".dense", chosen)

    return dense


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
