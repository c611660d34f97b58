"""The numbers behind one attention: queries, keys, values and the mask, as float32, for as many heads as fit on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npbert.types import Array
from npbert.views.blobs import exact, size_of
from npbert.views.heads import Attention, attentions, wanted_layers
from npbert.views.one_pass import OnePass

HIDDEN = -1000.0
"""What a mask adds to hide a score lies below this."""


def data(done: OnePass, layers: Sequence[int] | None, room: int) -> list[dict[str, Any]]:
    """For each kind of attention the heads whose numbers the page has, in about `room` bytes in all."""
    kinds = attentions(done)
    return [_of_kind(done, attention, layers, room // len(kinds)) for attention in kinds]


def _of_kind(done: OnePass, attention: Attention, layers: Sequence[int] | None, room: int) -> dict[str, Any]:
    paths, context = attention.paths, done.sides[attention.rows].names.context
    numbers = [number for number in wanted_layers(len(paths), layers) if number < len(paths)]
    masks = {str(layer): exact(mask_of(done, paths[layer])) for layer in numbers if hides(done, paths[layer])}
    room -= sum(map(size_of, masks.values()))
    kept: dict[tuple[int, int], Any] = {}
    for layer, head in _in_order(done, paths, numbers):
        packed = {name: exact(x) for name, x in of_head(done, paths[layer], head).items()}
        room -= sum(map(size_of, packed.values()))
        if room < 0:
            break
        kept[layer, head] = packed
    divisors = [divisor_of(done, path) for path in paths]
    total = sum(done.values[f"{path}:probs"].shape[1] for path in paths)
    heads = {f"{layer}.{head}": kept[layer, head] for layer, head in sorted(kept)}
    return {"heads": heads, "of": total, "masks": masks, "divisors": divisors, "context": context}


def _in_order(done: OnePass, paths: Sequence[str], layers: Sequence[int]) -> list[tuple[int, int]]:
    """Layers and heads, the most wanted first: the first head of every layer, then the second, and so on."""
    counts = [done.values[f"{path}:probs"].shape[1] for path in paths]
    return [(layer, head) for head in range(max(counts, default=0)) for layer in layers if head < counts[layer]]


def of_head(done: OnePass, path: str, head: int) -> dict[str, Array]:
    """Query, key and value of one head, `[S or T, H]`, and what distances add to its scores, `[S, T]`."""
    names = ("query", "key", "value", "relative_scores")
    return {name: done.values[f"{path}:{name}"][0, head] for name in names if f"{path}:{name}" in done.values}


def divisor_of(done: OnePass, path: str) -> float:
    """What scores are divided by before the mask: sqrt(H), unless GPT-2's configuration says otherwise."""
    size, config = done.values[f"{path}:query"].shape[-1], done.speaker.config
    divisor = np.sqrt(size) if getattr(config, "scale_attn_weights", True) else 1.0
    if getattr(config, "scale_attn_by_inverse_layer_idx", False):
        divisor *= int(path.split(".h.")[-1].removeprefix("h.").partition(".")[0]) + 1
    return float(divisor)


def mask_of(done: OnePass, path: str) -> Array:
    """What the mask adds to the scores of each pair, `[S, T]`, the same for all heads."""
    values, divisor = done.values, divisor_of(done, path)
    scores = values[f"{path}:scores"][0, 0].astype(np.float64)
    relative = f"{path}:relative_scores"
    if relative in values:
        scores = scores + values[relative][0, 0]
    masked = values[f"{path}:masked_scores"][0, 0]
    return np.where(masked < HIDDEN, np.round(masked - scores / divisor), 0.0)


def hides(done: OnePass, path: str) -> bool:
    """Whether the mask hides anything."""
    return bool((done.values[f"{path}:masked_scores"] < HIDDEN).any())
