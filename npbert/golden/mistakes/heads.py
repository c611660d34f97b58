"""Mistakes in the split into heads and in putting them together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from npbert import ops
from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import SELF_MODULES, Hypothesis, ReplaceValue
from npbert.golden.mistakes.site import Site
from npbert.types import Array

MOST_HEADS = 16
"""Single heads are only tried in models with at most this many."""


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get the heads wrong."""
    for mistake, explanation, split, merge in LAYOUTS:
        splits = {f":{part}": _split(f".{part}", split) for part in ("query", "key", "value")} if split else {}
        merges: dict[str, ReplaceValue] = {"": _merged(merge)} if merge else {}
        yield Hypothesis(mistake, explanation, SELF_MODULES, splits | merges)
        for name, value in splits.items() if not merge else ():
            yield Hypothesis(mistake, explanation, SELF_MODULES, {name: value})
    for head in range(config.num_attention_heads if config.num_attention_heads <= MOST_HEADS else 0):
        yield from _single_head(head)
    for number in range(1, config.num_attention_heads * 4 + 1):
        if number != config.num_attention_heads and config.hidden_size % number == 0:
            yield Hypothesis(
                "wrong-head-count",
                f"There are {number} heads here: the configuration's num_attention_heads is {config.num_attention_heads}.",
                SELF_MODULES,
                {"": _with_heads(number)},
            )


# ------------------------------------------------------------------------------------------------------------------- layouts


def _reshaped(x: Array, heads: int) -> Array:
    batch, length, width = x.shape
    return x.reshape(batch, heads, length, width // heads)


def _interleaved(x: Array, heads: int) -> Array:
    batch, length, width = x.shape
    return x.reshape(batch, length, width // heads, heads).transpose(0, 3, 1, 2)


def _reversed(x: Array, heads: int) -> Array:
    return ops.split_heads(x, x.shape[2] // heads)[:, ::-1]


def _merged_by_reshape(x: Array) -> Array:
    return x.reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


def _merged_interleaved(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


def _merged_reversed(x: Array) -> Array:
    return ops.merge_heads(x[:, ::-1])


Split = Callable[[Array, int], Array]
Merge = Callable[[Array], Array]

NOT_TRANSPOSED = "The heads are split by a reshape alone: [B, S, D] becomes [B, S, N, H], then transpose to [B, N, S, H]."
NOT_MERGED = "The heads are merged by a reshape alone: transpose [B, N, S, H] to [B, S, N, H], then reshape to [B, S, D]."
INTERLEAVED = "The heads are interleaved: head n has the H consecutive channels from n * H on, not every N-th channel."
REVERSED = "The heads are in reverse order: head n has the channels from n * H on."

LAYOUTS: list[tuple[str, str, Split | None, Merge | None]] = [
    ("heads-not-transposed", NOT_TRANSPOSED, _reshaped, None),
    ("heads-not-transposed", NOT_TRANSPOSED, _reshaped, _merged_by_reshape),
    ("heads-not-merged", NOT_MERGED, None, _merged_by_reshape),
    ("heads-interleaved", INTERLEAVED, _interleaved, _merged_interleaved),
    ("heads-interleaved", INTERLEAVED, _interleaved, None),
    ("heads-interleaved", INTERLEAVED, None, _merged_interleaved),
    ("heads-reversed", REVERSED, None, _merged_reversed),
    ("heads-reversed", REVERSED, _reversed, _merged_reversed),
]
"""A line here is all that another layout needs."""


def _split(name: str, split: Split) -> ReplaceValue:
    def value(site: Site) -> Array:
        x = site[name]
        new = split(x, site.value.shape[1])
        return np.concatenate([site.value[:, :, : site.value.shape[2] - x.shape[1]], new], axis=2)  # cached keys come first

    return value


def _merged(merge: Merge) -> ReplaceValue:
    return lambda site: merge(site[":probs"] @ site[":value"])


# -------------------------------------------------------------------------------------------------------------- single heads


def _single_head(head: int) -> Iterator[Hypothesis]:
    yield Hypothesis(
        "head-dropped",
        f"Head {head} is dropped: every head puts its context into the channels from n * H on.",
        SELF_MODULES,
        {"": _with_head(head, lambda x, heads: np.zeros_like(x[..., 0, :]))},
        is_rare=True,
    )
    if head:
        yield Hypothesis(
            "head-repeated",
            f"Head {head} has the context of head {head - 1}.",
            SELF_MODULES,
            {"": _with_head(head, lambda x, heads: x[..., head - 1, :])},
            is_rare=True,
        )
    yield Hypothesis(
        "query-key-swapped",
        f"Queries and keys of head {head} are swapped: scores are query @ key.T, with a row for each query.",
        SELF_MODULES,
        {":query": _head_of(head, ".key"), ":key": _head_of(head, ".query")},
        is_rare=True,
    )


def _with_head(head: int, change: Callable[[Array, int], Array]) -> ReplaceValue:
    """The context with another content of one head."""

    def value(site: Site) -> Array | None:
        heads = site.value.shape[-1] // site.config.head_size
        if head >= heads:
            return None
        x = site.value.reshape(*site.value.shape[:-1], heads, site.config.head_size).copy()  # [B, S, N, H]
        x[..., head, :] = change(x, heads)
        return x.reshape(site.value.shape)

    return value


def _head_of(head: int, name: str) -> ReplaceValue:
    def value(site: Site) -> Array | None:
        other = ops.split_heads(site[name], site.config.head_size)
        if other.shape != site.value.shape or head >= other.shape[1]:
            return None
        x = site.value.copy()
        x[:, head] = other[:, head]
        return x

    return value


def _with_heads(number: int) -> ReplaceValue:
    """The context of an attention with another number of heads."""

    def value(site: Site) -> Array | None:
        width, own = site.value.shape[-1], site[":scores"].shape[1]
        if width % number or own * site.config.head_size != width or site[".key"].shape[1] != site[":key"].shape[2]:
            return None
        query, key, held = (ops.split_heads(site[name], width // number) for name in (".query", ".key", ".value"))
        mask = np.where(site.padding & site.causal, 0, site.config.mask_value)
        probs = ops.softmax(ops.scale_and_mask(ops.attention_scores(query, key), width // number, mask))
        return ops.merge_heads(probs @ held)

    return value
