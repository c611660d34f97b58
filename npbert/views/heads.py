"""Where every head looks: the probabilities of all attentions of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from npbert.types import Array
from npbert.views.blobs import pooled, probabilities
from npbert.views.one_pass import OnePass, Side
from npbert.views.pictures import Budget

WHOLE = 128
"""Texts of so many tokens are kept whole in every layer; of longer ones all heads are kept small, and chosen layers whole."""

THUMB = 96
NEARLY_UNIFORM = 0.985
"""The mean entropy of all rows over the largest possible one, above which nothing seems to have been learned."""


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


def data(done: OnePass, layers: Sequence[int] | None, budget: Budget) -> list[dict[str, Any]]:
    """For each kind of attention all its heads: whole, or small with some layers whole."""
    return [_of_kind(done, attention, layers, budget) for attention in attentions(done)]


def _of_kind(done: OnePass, attention: Attention, layers: Sequence[int] | None, budget: Budget) -> dict[str, Any]:
    probs = [done.values[f"{path}:probs"][0] for path in attention.paths]  # L of [N, S, T]
    is_short = max(max(x.shape[1:]) for x in probs) <= WHOLE
    packed: list[dict[str, Any]] = [{"path": path, "heads": len(x)} for path, x in zip(attention.paths, probs, strict=True)]
    if not is_short:
        for entry, x in zip(packed, probs, strict=True):
            entry["small"] = probabilities(pooled(x, (len(x), THUMB, THUMB)))
            budget.allows(len(entry["small"]["blob"]))
    for number in _in_order(len(probs), layers):
        if budget.left <= 0 and not is_short:
            break  # no other layer fits either
        whole = probabilities(probs[number])
        if budget.allows(len(whole["blob"])) or is_short:
            packed[number]["whole"] = whole
    return {
        "title": attention.title,
        "rows": attention.rows,
        "cols": attention.cols,
        "layers": packed,
        "uniform": evenness(probs, done, attention) > NEARLY_UNIFORM,
        "to_special": to_special(done, attention),
    }


def _in_order(count: int, layers: Sequence[int] | None) -> list[int]:
    """The layers that are kept whole, the most wanted first: those asked for, or first, last, middle and so on."""
    if layers is not None:
        return list(layers)
    spread = [0, count - 1, count // 2, count // 4, 3 * count // 4]
    return list(dict.fromkeys([*spread, *range(count)]))


def evenness(probs: Sequence[Array], done: OnePass, attention: Attention) -> float:
    """The mean entropy of the rows over that of an even row; rows that see one token only do not count."""
    shares = []
    for path, x in zip(attention.paths, probs, strict=True):
        visible = (done.values[f"{path}:masked_scores"][0] > -1000).sum(axis=-1)  # [N, S]
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -(x * np.where(x > 0, np.log(x), 0.0)).sum(axis=-1, dtype=np.float64)
            shares.append((entropy / np.log(visible))[visible > 1])
    every = np.concatenate(shares) if shares else np.zeros(0)
    return float(every.mean()) if every.size else 0.0


def to_special(done: OnePass, attention: Attention) -> Array:
    """How much of each head's attention goes to special tokens, `[L, N]`; heads that were pruned are NaN."""
    is_special = np.array(done.sides[attention.cols].is_special)
    rows = [done.values[f"{path}:probs"][0][:, :, -len(is_special) :] for path in attention.paths]
    shares = [x[:, :, is_special].sum(axis=-1, dtype=np.float64).mean(axis=-1) for x in rows]
    table = np.full((len(shares), max(map(len, shares), default=0)), np.nan)
    for line, share in zip(table, shares, strict=True):
        line[: len(share)] = share
    return table
