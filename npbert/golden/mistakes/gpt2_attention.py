"""Mistakes in the attention of GPT-2: how its one map is cut in three, who sees whom, how scores are scaled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import permutations
from typing import TypeAlias

import numpy as np

from npbert import ops
from npbert.golden.layers import layer_of
from npbert.golden.mistakes.hypothesis import Hypothesis, ReplaceValue
from npbert.golden.mistakes.site import Site
from npbert.gpt2.config import GPT2Config
from npbert.types import Array

ATTENTION = r"(?:.*\.)?h\.\d+\.attn"
ANY_ATTENTION = r"(?:.*\.)?h\.\d+\.(?:attn|crossattention)"


def hypotheses(config: GPT2Config) -> Iterator[Hypothesis]:
    """Every way to get attention wrong."""
    yield from _cuts()
    yield from _masks()
    yield from _scales(config)


# ----------------------------------------------------------------------------------------------------- query, key, value


PARTS = ("query", "key", "value")
SWAPPED: dict[tuple[str, ...], str] = {
    ("key", "query", "value"): "query-key-swapped",
    ("query", "value", "key"): "key-value-swapped",
    ("value", "key", "query"): "query-value-swapped",
}


def _cuts() -> Iterator[Hypothesis]:
    right = "c_attn holds the query of all heads, then the key of all heads, then the value of all heads."
    for told, cut in (
        ("Each head's piece of c_attn is cut in three", _each_head_in_three),
        ("c_attn is cut into triples: one number of the query, one of the key, one of the value", _in_triples),
    ):
        yield _cut("qkv-cut-wrongly", f"{told}: {right}", cut)
    for order in permutations(PARTS):
        if order != PARTS:
            told = f"c_attn is read as {order[0]}, {order[1]}, {order[2]}: {right}"
            yield _cut(SWAPPED.get(order, "qkv-rotated"), told, _in_order(order))


def _cut(mistake: str, explanation: str, cut: Callable[[Array, int], dict[str, Array]]) -> Hypothesis:
    """`cut(c_attn, H)` gives `[B, N, S, H]` for query, key and value."""

    def part(name: str) -> ReplaceValue:
        def value(site: Site) -> Array | None:
            new = cut(site[".c_attn"], site.config.head_size)[name]
            return np.concatenate([site.value[:, :, : site.value.shape[2] - new.shape[2]], new], axis=2)  # behind a cache

        return value

    return Hypothesis(mistake, explanation, ATTENTION, {f":{name}": part(name) for name in PARTS})


def _each_head_in_three(x: Array, head_size: int) -> dict[str, Array]:
    batch, length, _ = x.shape
    pieces = x.reshape(batch, length, -1, 3, head_size).transpose(3, 0, 2, 1, 4)  # [3, B, N, S, H]
    return dict(zip(PARTS, pieces, strict=True))


def _in_triples(x: Array, head_size: int) -> dict[str, Array]:
    return {name: ops.split_heads(x[..., index::3], head_size) for index, name in enumerate(PARTS)}


def _in_order(order: tuple[str, ...]) -> Callable[[Array, int], dict[str, Array]]:
    def cut(x: Array, head_size: int) -> dict[str, Array]:
        return {name: ops.split_heads(x, head_size) for name, x in zip(order, np.split(x, 3, axis=-1), strict=True)}

    return cut


# ----------------------------------------------------------------------------------------------------------------- masks


FILLS = (-math.inf, -1e4, -1e9)


Visible: TypeAlias = Callable[[Array, Array], "Array | None"]
"""From padding `[B, 1, 1 or S, T]` and causal `[S, T]`: what the wrong mask leaves visible; None where it makes no sense."""

PATTERNS: list[tuple[str, str, Visible]] = [
    ("causal-missing", "Every token sees those that come later: hide the keys that lie after the query", lambda p, c: p),
    ("mask-off-by-one", "The causal mask is off by one: a token sees the next one too", lambda p, c: p & _shifted(c, 1)),
    ("mask-off-by-one", "The causal mask is off by one: a token does not see itself", lambda p, c: p & _shifted(c, -1)),
    ("mask-ignored", "Padding is not hidden: use the attention_mask beside the causal mask", lambda p, c: c),
    ("mask-ignored", "Nothing is hidden: neither padding nor what comes later", lambda p, c: np.ones_like(c)),
    ("mask-inverted", "The attention_mask is used the other way round: 1 is a real token", lambda p, c: ~p & c),
    ("causal-added", "The causal mask is turned: a token sees itself and those that come later",
     lambda p, c: p & c.T if c.shape[0] == c.shape[1] else None),
]  # fmt: skip


def _masks() -> Iterator[Hypothesis]:
    for mistake, told, visible in PATTERNS:
        for fill in FILLS:
            yield Hypothesis(mistake, f"{told}.", ATTENTION, {":masked_scores": _hidden(visible, fill)})


def _shifted(causal: Array, by: int) -> Array:
    queries, keys = causal.shape
    return np.arange(keys) <= np.arange(keys - queries, keys)[:, None] + by


def _hidden(visible: Visible, fill: float) -> ReplaceValue:
    def value(site: Site) -> Array | None:
        if site.causal.shape != site.value.shape[2:]:
            return None  # the call has a mask of its own for each query
        seen = visible(site.padding, site.causal)
        return None if seen is None else np.where(seen, _scaled(site), _scaled(site) + fill)

    return value


def _scaled(site: Site, divisor: float | None = None) -> Array:
    """The scores before the mask."""
    return site[":scores"] / (_divisor(site) if divisor is None else divisor)


def _divisor(site: Site) -> float:
    scale = math.sqrt(site.config.head_size) if site.config.scale_attn_weights else 1.0
    return scale * (layer_of(site.module, 0) + 1) if site.config.scale_attn_by_inverse_layer_idx else scale


# ----------------------------------------------------------------------------------------------------------------- scale


def _scales(config: GPT2Config) -> Iterator[Hypothesis]:
    for mistake, explanation, divisor in (
        ("scores-not-scaled", "The scores are not divided by sqrt(H).", 1.0),
        (
            "scaled-by-hidden-size",
            "The scores are divided by sqrt(D): divide by sqrt(H).",
            math.sqrt(config.n_embd),
        ),
        ("wrong-scale", "The scores are divided by H: divide by sqrt(H).", float(config.head_size)),
    ):
        yield Hypothesis(mistake, explanation, ANY_ATTENTION, {":masked_scores": _rescaled(divisor)})
    if config.scale_attn_by_inverse_layer_idx:
        explanation = "The scores are not divided by the number of the layer: scale_attn_by_inverse_layer_idx asks for it."
        yield Hypothesis("wrong-scale", explanation, ANY_ATTENTION, {":masked_scores": _rescaled(math.sqrt(config.head_size))})


def _rescaled(divisor: float) -> ReplaceValue:
    def value(site: Site) -> Array:
        return np.where(np.isfinite(site.value), site.value - _scaled(site) + _scaled(site, divisor), site.value)

    return value
