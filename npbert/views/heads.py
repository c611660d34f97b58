"""Where every head looks: the probabilities of all attentions of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from npbert.types import Array
from npbert.views.blobs import pooled, probabilities, size_of
from npbert.views.one_pass import OnePass, Side

WHOLE = 128
"""Texts of so many tokens are whole in every layer that fits; of longer ones all heads are small, and some layers whole."""

ALWAYS_WHOLE = 32
"""Maps of so many tokens are never made smaller: that would save little."""

SMALL = 96
"""A small map has half as many rows and columns as there are tokens, and so many at most."""

NEARLY_UNIFORM = 0.15
"""How far the mean entropy of all rows is from that of even ones, below which nothing seems to have been learned: models with
fresh weights are off by 0.01 to 0.08, trained ones by 0.7 and more."""


class Attention(NamedTuple):
    """The attentions of one kind, layer by layer."""

    title: str
    rows: int  # the numbers of the sides that ask and that are looked at
    cols: int
    paths: list[str]  # of the attention of each layer: "encoder.layer.0.attention.self"


def attentions(done: OnePass) -> list[Attention]:
    """Self-attention of each side, and cross-attention where a decoder reads an encoder."""
    found = []
    for number, side in enumerate(done.sides):
        several = len(done.sides) > 1
        name = "self-attention" if not several else f"self-attention of {side.title}"
        found.append(Attention(name, number, number, _paths(done, side, side.names.attention)))
        cross = _paths(done, side, side.names.cross)
        if cross:
            found.append(Attention("cross-attention: from what was written to what was read", number, 0, cross))
    return found


def _paths(done: OnePass, side: Side, pattern: str) -> list[str]:
    paths = [pattern.replace("*", str(layer)) for layer in range(side.config.num_hidden_layers)]
    return [path for path in paths if f"{path}:probs" in done.values]


class _Layer(NamedTuple):
    """One layer of one kind of attention in one pass."""

    number: int
    entry: dict[str, Any]  # what the page gets
    probs: Array  # [N, S, T]


def data(passes: Sequence[OnePass], layers: Sequence[int] | None, room: int) -> list[list[dict[str, Any]]]:
    """For each pass and each kind of attention all its heads, in about `room` bytes: whole, or small with some layers whole.

    A layer is whole in all passes or in none, so that they can be compared.
    """
    kinds = [[_of_kind(done, attention) for attention in attentions(done)] for done in passes]
    every = [layer for found in kinds for _, its_layers in found for layer in its_layers]
    longest = max((size for layer in every for size in layer.probs.shape[1:]), default=0)
    count = 1 + max((layer.number for layer in every), default=-1)
    is_short = longest <= (WHOLE if layers is None else ALWAYS_WHOLE)
    whole = _packed_whole(every, wanted_layers(count, None if is_short else layers), room)
    if not is_short or len(whole) < count:
        side = min(SMALL, max(ALWAYS_WHOLE, -(-longest // 2)))
        for layer in every:
            layer.entry["small"] = probabilities(pooled(layer.probs, (len(layer.probs), side, side)))
            room -= size_of(layer.entry["small"])
        while whole and sum(map(_size_of_layers, whole.values())) > room:
            whole.popitem()  # the least wanted of them
    for packed in whole.values():
        for layer, maps in packed:
            layer.entry["whole"] = maps
    return [[shown for shown, _ in found] for found in kinds]


_Packed: TypeAlias = list[tuple[_Layer, dict[str, Any]]]
"""Layers with their maps as the page gets them."""


def _packed_whole(every: Sequence[_Layer], order: Sequence[int], room: int) -> dict[int, _Packed]:
    """The maps of as many layers as have room, the most wanted first."""
    found: dict[int, _Packed] = {}
    for number in order:
        packed = [(layer, probabilities(layer.probs)) for layer in every if layer.number == number]
        room -= _size_of_layers(packed)
        if room < 0:
            break
        found[number] = packed
    return found


def _size_of_layers(packed: _Packed) -> int:
    return sum(size_of(maps) for _, maps in packed)


def _of_kind(done: OnePass, attention: Attention) -> tuple[dict[str, Any], list[_Layer]]:
    probs = [done.values[f"{path}:probs"][0] for path in attention.paths]  # L of [N, S, T]
    layers = [
        _Layer(number, {"path": path, "heads": len(x)}, x)
        for number, (path, x) in enumerate(zip(attention.paths, probs, strict=True))
    ]
    return {
        "title": attention.title,
        "rows": attention.rows,
        "cols": attention.cols,
        "layers": [layer.entry for layer in layers],
        "uniform": unevenness(probs, done, attention) < NEARLY_UNIFORM,
        "to_special": to_special(done, attention),
    }, layers


def wanted_layers(count: int, layers: Sequence[int] | None) -> list[int]:
    """The layers that are kept whole, the most wanted first: those asked for, or first, last, middle and so on."""
    if layers is not None:
        return list(layers)
    spread = [0, count - 1, count // 2, count // 4, 3 * count // 4]
    return list(dict.fromkeys([*spread, *range(count)]))


def unevenness(probs: Sequence[Array], done: OnePass, attention: Attention) -> float:
    """The mean of log(n) - entropy over the rows that see n > 1 tokens: 0 where all are even; infinite without such rows."""
    found = []
    for path, x in zip(attention.paths, probs, strict=True):
        visible = (done.values[f"{path}:masked_scores"][0] > -1000).sum(axis=-1)  # [N, S]
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -(x * np.where(x > 0, np.log(x), 0.0)).sum(axis=-1, dtype=np.float64)
            found.append((np.log(visible) - entropy)[visible > 1])
    every = np.concatenate(found) if found else np.zeros(0)
    return float(every.mean()) if every.size else np.inf


def to_special(done: OnePass, attention: Attention) -> Array:
    """How much of each head's attention goes to special tokens, `[L, N]`; heads that were pruned are NaN."""
    is_special = np.array(done.sides[attention.cols].is_special)
    rows = [done.values[f"{path}:probs"][0][:, :, -len(is_special) :] for path in attention.paths]
    shares = [x[:, :, is_special].sum(axis=-1, dtype=np.float64).mean(axis=-1) for x in rows]
    table = np.full((len(shares), max(map(len, shares), default=0)), np.nan)
    for line, share in zip(table, shares, strict=True):
        line[: len(share)] = share
    return table
