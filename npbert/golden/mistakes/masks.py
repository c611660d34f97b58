"""Mistakes in who may look at whom: padding, the causal mask, and the axis that a mask belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import SELF_MODULES, Hypothesis, ReplaceValue
from npbert.golden.mistakes.scores import scaled_scores, usual_fills
from npbert.golden.mistakes.site import Site
from npbert.types import Array

Visible: TypeAlias = Callable[[Array, Array], "Array | None"]
"""From padding `[B, 1, 1 or S, T]` and causal `[S, T]`: what the wrong mask leaves visible; None where it is the right mask."""


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get a mask wrong."""
    fill = config.mask_value
    yield _masked(
        "mask-ignored",
        "The attention mask is ignored: keys that are padding must not be attended to; add a very negative number there.",
        _without_padding,
        fill,
    )
    if config.is_decoder:
        yield _masked(
            "causal-missing",
            "Each position attends to those after it: a decoder hides keys that lie after the query.",
            _without_causal,
            fill,
        )
        yield _masked(
            "mask-ignored",
            "No mask is applied, neither for padding nor the causal one: hide keys that are padding or lie after the query.",
            _without_both,
            fill,
        )
    inverted = "The attention mask is inverted: 1 stands for a key that may be attended to, 0 for padding."
    for fill in usual_fills(config):
        yield _masked("mask-inverted", inverted, _inverted_padding, fill)
        if config.is_decoder:
            yield _masked("mask-inverted", inverted, _inverted_both, fill)
    for fill in usual_fills(config):
        yield _masked(
            "mask-wrong-axis",
            "The attention mask hides queries: it belongs to the keys, the last axis of the scores [B, N, S, T].",
            _of_queries,
            fill,
        )


def _masked(mistake: str, explanation: str, visible: Visible, fill: float) -> Hypothesis:
    """`fill` is added to the scores that the wrong mask hides."""

    def masked_scores(site: Site) -> Array | None:
        shown = visible(site.padding, site.causal)
        scores = scaled_scores(site)
        if shown is None or not _broadcasts(shown.shape, scores.shape):
            return None
        return np.where(shown, scores, scores + fill)

    replaced: dict[str, ReplaceValue] = {":masked_scores": masked_scores}
    return Hypothesis(mistake, explanation, SELF_MODULES, replaced)


def _without_padding(padding: Array, causal: Array) -> Array | None:
    return None if padding.all() else causal


def _without_causal(padding: Array, causal: Array) -> Array | None:
    return None if causal.all() else padding


def _without_both(padding: Array, causal: Array) -> Array | None:
    return None if padding.all() or causal.all() else np.ones_like(causal)


def _inverted_padding(padding: Array, causal: Array) -> Array | None:
    return None if padding.all() else ~padding & causal


def _inverted_both(padding: Array, causal: Array) -> Array:
    return ~(padding & causal)


def _of_queries(padding: Array, causal: Array) -> Array | None:
    """Padding taken for a property of the query, which only works where there are as many queries as keys."""
    rows = padding[:, :, -1:].swapaxes(2, 3)  # [B, 1, T, 1]
    if padding.all() or not _broadcasts(causal.shape, (rows.shape[2],) * 2):
        return None
    return rows & causal


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    padded = (1,) * (len(target) - len(shape)) + shape
    return all(mine in (1, theirs) for mine, theirs in zip(padded, target, strict=True))
