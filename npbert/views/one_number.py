"""The numbers behind one attention: queries, keys, values and the mask, as float32, for as many heads as fit on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npbert.types import Array
from npbert.views.blobs import exact
from npbert.views.heads import attentions
from npbert.views.one_pass import OnePass
from npbert.views.pictures import Budget

HIDDEN = -1000.0
"""What a mask adds to hide a score lies below this."""


def data(done: OnePass, layers: Sequence[int] | None, budget: Budget) -> list[dict[str, Any]]:
    """For each kind of attention the heads whose numbers the page has, head by head through all layers."""
    return [_of_kind(done, attention.paths, layers, budget) for attention in attentions(done)]


def _of_kind(done: OnePass, paths: Sequence[str], layers: Sequence[int] | None, budget: Budget) -> dict[str, Any]:
    numbers = range(len(paths)) if layers is None else layers
    most = max((done.values[f"{path}:probs"].shape[1] for path in paths), default=0)
    kept: dict[str, Any] = {}
    total = 0
    for head in range(most):
        for layer in numbers:
            path = paths[layer]
            if head >= done.values[f"{path}:probs"].shape[1]:
                continue
            total += 1
            if budget.allows(sum(x.nbytes for x in of_head(done, path, head).values()) * 4 // 3):
                kept[f"{layer}.{head}"] = {name: exact(x) for name, x in of_head(done, path, head).items()}
    masks = {str(layer): exact(mask_of(done, paths[layer])) for layer in numbers if hides(done, paths[layer])}
    sizes = [done.values[f"{path}:query"].shape[-1] for path in paths]
    return {"heads": kept, "of": total, "masks": masks, "head_size": sizes[0] if sizes else 0}


def of_head(done: OnePass, path: str, head: int) -> dict[str, Array]:
    """Query, key and value of one head, `[S or T, H]`, and what distances add to its scores, `[S, T]`."""
    names = ("query", "key", "value", "relative_scores")
    return {name: done.values[f"{path}:{name}"][0, head] for name in names if f"{path}:{name}" in done.values}


def mask_of(done: OnePass, path: str) -> Array:
    """What the mask adds to the scores of each pair, `[S, T]`, the same for all heads."""
    values, size = done.values, done.values[f"{path}:query"].shape[-1]
    scores = values[f"{path}:scores"][0, 0].astype(np.float64)
    relative = f"{path}:relative_scores"
    if relative in values:
        scores = scores + values[relative][0, 0]
    masked = values[f"{path}:masked_scores"][0, 0]
    return np.where(masked < HIDDEN, np.round(masked - scores / np.sqrt(size)), 0.0)


def hides(done: OnePass, path: str) -> bool:
    """Whether the mask hides anything."""
    return bool((done.values[f"{path}:masked_scores"] < HIDDEN).any())
