"""Mistakes in attention: the scale, queries, keys and values mixed up, the axis of softmax, the split into heads."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from npbert import ops
from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import SELF_MODULES, Hypothesis, ReplaceValue
from npbert.golden.mistakes.scores import scaled_scores, usual_fills
from npbert.golden.mistakes.site import Site
from npbert.types import Array


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get attention wrong, masks aside."""
    yield from _scales(config)
    yield from _queries_and_keys()
    yield from _keys_and_values()
    yield from _softmax_axes(config)
    yield from _heads()


# ------------------------------------------------------------------------------------------------------------------- scores


def _scales(config: BertConfig) -> Iterator[Hypothesis]:
    def divided_by(divisor: float) -> dict[str, ReplaceValue]:
        return {":masked_scores": lambda site: site.value - scaled_scores(site) + scaled_scores(site, divisor)}

    yield Hypothesis(
        "scores-not-scaled",
        f"The scores are not scaled: divide them by sqrt(head size) = sqrt({config.head_size}) before the mask and softmax.",
        SELF_MODULES,
        divided_by(1),
    )
    yield Hypothesis(
        "scaled-by-hidden-size",
        f"The scores are divided by sqrt(hidden size): divide by the root of the size of one head, sqrt({config.head_size}).",
        SELF_MODULES,
        divided_by(math.sqrt(config.hidden_size)),
    )


def _queries_and_keys() -> Iterator[Hypothesis]:
    mistake = "query-key-swapped"
    explanation = "Queries and keys are swapped: scores are query @ key.T, with a row for each query."

    def transposed(site: Site) -> Array | None:
        query, key = site[":query"], site[":key"]
        return ops.attention_scores(key, query) if query.shape == key.shape else None

    yield Hypothesis(mistake, explanation, SELF_MODULES, {":query": _split(".key"), ":key": _split(".query")})
    yield Hypothesis(mistake, explanation, SELF_MODULES, {":scores": transposed})


def _keys_and_values() -> Iterator[Hypothesis]:
    mistake = "key-value-swapped"
    explanation = "Keys and values are swapped: the queries are compared with the keys, the probabilities weigh the values."
    yield Hypothesis(mistake, explanation, SELF_MODULES, {":key": _split(".value"), ":value": _split(".key")})
    used_the_other_way: dict[str, ReplaceValue] = {
        ":scores": lambda site: ops.attention_scores(site[":query"], site[":value"]),
        "": lambda site: ops.merge_heads(site[":probs"] @ site[":key"]),
    }
    yield Hypothesis(mistake, explanation, SELF_MODULES, used_the_other_way)


def _split(name: str) -> ReplaceValue:
    """The value `name`, split into heads."""

    def split(site: Site) -> Array | None:
        x = ops.split_heads(site[name], site.config.head_size)
        return x if x.shape == site.value.shape else None

    return split


def _softmax_axes(config: BertConfig) -> Iterator[Hypothesis]:
    def along(axis: int, fill: float) -> dict[str, ReplaceValue]:
        def softmax(site: Site) -> Array:
            scores = site[":masked_scores"]
            if fill != site.config.mask_value:
                scores = np.where(site.padding & site.causal, scores, fill)
            return np.moveaxis(ops.softmax(np.moveaxis(scores, axis, -1)), -1, axis)

        return {".dropout": softmax}

    for axis, what in ((2, "the queries"), (1, "the heads"), (0, "the batch")):
        for fill in usual_fills(config):
            yield Hypothesis(
                "softmax-wrong-axis",
                f"Softmax is taken over {what}: it belongs over the keys, the last axis of the scores [B, N, S, T].",
                SELF_MODULES,
                along(axis, fill),
            )


# -------------------------------------------------------------------------------------------------------------------- heads


def _heads() -> Iterator[Hypothesis]:
    split = {f":{part}": _split_without_transpose(f".{part}") for part in ("query", "key", "value")}
    mistake = "heads-not-transposed"
    explanation = "The heads are split by a reshape alone: [B, S, D] becomes [B, S, N, H], then transpose to [B, N, S, H]."
    yield Hypothesis(mistake, explanation, SELF_MODULES, split)
    yield Hypothesis(mistake, explanation, SELF_MODULES, {**split, "": _merged_without_transpose})
    for name, value in split.items():
        yield Hypothesis(mistake, explanation, SELF_MODULES, {name: value})
    yield Hypothesis(
        "heads-not-merged",
        "The heads are merged by a reshape alone: transpose [B, N, S, H] to [B, S, N, H], then reshape to [B, S, D].",
        SELF_MODULES,
        {"": _merged_without_transpose},
    )


def _split_without_transpose(name: str) -> ReplaceValue:
    def split(site: Site) -> Array:
        x = site[name]
        batch, heads, length, size = site.value.shape
        new = x.reshape(batch, heads, x.shape[1], size)
        return np.concatenate([site.value[:, :, : length - x.shape[1]], new], axis=2)  # cached keys come first

    return split


def _merged_without_transpose(site: Site) -> Array:
    return (site[":probs"] @ site[":value"]).reshape(site.value.shape)
