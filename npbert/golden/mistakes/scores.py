"""What mistakes in masks and in attention share: the scores before the mask, and how ports hide a score."""

from __future__ import annotations

import math

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.site import Site
from npbert.types import Array


def scaled_scores(site: Site, divisor: float | None = None) -> Array:
    """The scores before the mask, divided by sqrt(H) or by another number."""
    scores = site[":scores"]
    if ":relative_scores" in site:
        scores = scores + site[":relative_scores"]
    return scores / (math.sqrt(site.config.head_size) if divisor is None else divisor)


def usual_fills(config: BertConfig) -> tuple[float, ...]:
    """What ports add to a hidden score: the configuration's value, one so large that the score is lost in it, infinity."""
    return (config.mask_value, -1e30, -math.inf)
