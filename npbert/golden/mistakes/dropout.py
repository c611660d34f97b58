"""Dropout that is still on. Which elements were dropped is random, so it is read off what the port dumped."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import EMBEDDINGS_MODULES, OUTPUT_MODULES, SELF_MODULES, Hypothesis
from npbert.golden.mistakes.site import Site
from npbert.types import Array

EXPLANATION = "Dropout is on: elements are zero at random and the others scaled up. Switch it off (eval mode)."


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """All places of dropout at once, or those of one kind."""
    modules = f"{EMBEDDINGS_MODULES}|{SELF_MODULES}|{OUTPUT_MODULES}"
    values = {".dropout": _dropped_as_dumped, ":residual": _dropped_before_the_residual}
    yield Hypothesis("dropout-left-on", EXPLANATION, modules, values, needs_all=True)


def _dropped_as_dumped(site: Site) -> Array | None:
    """The value with the zeros that the port dumped, under this name or that of the next value, which is the same."""
    dumped = site.dumped(f"{site.module}.dropout")
    if dumped is None and not site.module.endswith("output"):
        dumped = site.dumped(f"{site.module}:probs" if site.module.endswith("self") else site.module)
    return None if dumped is None else _dropped(site.value, dumped)


def _dropped_before_the_residual(site: Site) -> Array | None:
    """`:residual` with the zeros that the port's own holds, once what came into the block is taken away from it."""
    dumped = site.dumped(f"{site.module}:residual")
    if dumped is None or site.dumped(f"{site.module}.dropout") is not None:
        return None
    came_in = site.value - site[".dropout"]
    rest = dumped - came_in
    rest = np.where(np.abs(rest) < 1e-5 * np.abs(came_in), 0, rest)  # what is left of a 0 is the rounding of the sum
    dropped = _dropped(site[".dropout"], rest)
    return None if dropped is None else dropped + came_in


def _dropped(x: Array, dumped: Array) -> Array | None:
    """x with the zeros of `dumped`; None where the share of zeros does not fit the scale of the other elements."""
    if dumped.shape != x.shape:
        return None
    with np.errstate(all="ignore"):
        kept = np.abs(dumped) > 1e-6 * np.abs(x)
        scales = (dumped / x)[kept & (np.abs(x) > 0)]
    lost = ~kept & (x != 0)
    if not lost.any() or not scales.size:
        return None
    number = int((x != 0).sum())
    share = int(lost.sum()) / number
    deviation = math.sqrt(max(share * (1 - share), 1 / number) / number)  # the standard deviation of the share
    probability = 1 - 1 / float(np.median(scales))
    if not 0 < probability < 1 or abs(share - probability) > 5 * deviation:
        return None
    return np.where(kept, x / (1 - probability), 0)
