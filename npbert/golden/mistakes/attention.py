"""Mistakes in attention, masks and heads aside: the scale, the operands of the scores and of the context, softmax."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from npbert import ops
from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import SELF_MODULES, Hypothesis, ReplaceValue
from npbert.golden.mistakes.scores import scaled_scores, usual_fills
from npbert.golden.mistakes.site import Site
from npbert.types import Array


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get attention wrong, masks and heads aside."""
    yield from _scales(config)
    for mistake, explanation, values in _operands():
        yield Hypothesis(mistake, f"{explanation}.", SELF_MODULES, values)
    yield from _softmax_axes(config)
    for mistake, explanation, function in SOFTMAX:
        yield Hypothesis(mistake, f"{explanation}.", SELF_MODULES, {".dropout": _of_scores(function)})


# -------------------------------------------------------------------------------------------------------------------- scale


def _scales(config: BertConfig) -> Iterator[Hypothesis]:
    head, heads, width = config.head_size, config.num_attention_heads, config.hidden_size
    right = f"divide by the root of the size of one head, sqrt({head})"
    divisors = [
        ("scores-not-scaled", f"not scaled: divide them by sqrt(head size) = sqrt({head}) before the mask and softmax", 1.0),
        ("scaled-by-hidden-size", f"divided by sqrt(hidden size): {right}", math.sqrt(width)),
        ("wrong-scale", f"divided by the head size {head}, without its root, or twice by the root: {right}", head),
        ("wrong-scale", f"divided by the hidden size {width}: {right}", width),
        ("wrong-scale", f"divided by the root of the number of heads, sqrt({heads}): {right}", math.sqrt(heads)),
        ("wrong-scale", f"divided by the number of heads, {heads}: {right}", heads),
        ("wrong-scale", f"multiplied by sqrt({head}): {right}", 1 / math.sqrt(head)),
        ("wrong-scale", f"divided by sqrt(2 * {head}): {right}", math.sqrt(2 * head)),
        ("wrong-scale", f"divided by head size ** 0.25, once instead of twice: {right}", head**0.25),
        ("wrong-scale", f"negated: {right}", -math.sqrt(head)),
    ]
    for mistake, what, divisor in divisors:
        if not math.isclose(divisor, math.sqrt(head)):
            yield Hypothesis(mistake, f"The scores are {what}.", SELF_MODULES, {":masked_scores": _divided_by(divisor)})


def _divided_by(divisor: float) -> ReplaceValue:
    return lambda site: site.value - scaled_scores(site) + scaled_scores(site, divisor)


# ----------------------------------------------------------------------------------------------------------------- operands


def _split(name: str) -> ReplaceValue:
    """The value `name`, split into heads."""

    def split(site: Site) -> Array | None:
        x = ops.split_heads(site[name], site.config.head_size)
        return x if x.shape == site.value.shape else None

    return split


def _scores_of(query: str, key: str) -> ReplaceValue:
    def scores(site: Site) -> Array | None:
        x, y = site[query], site[key]
        return ops.attention_scores(x, y) if x.shape[2] == site.value.shape[2] and y.shape[2] == site.value.shape[3] else None

    return scores


def _context_of(value: str, *, turned: bool = False) -> ReplaceValue:
    def context(site: Site) -> Array | None:
        probs = site[":probs"].swapaxes(2, 3) if turned else site[":probs"]
        x = site[value]
        return ops.merge_heads(probs @ x) if probs.shape[2:] == (site.value.shape[1], x.shape[2]) else None

    return context


def _alone(name: str) -> ReplaceValue:
    """A value with its heads merged, as the context."""

    def context(site: Site) -> Array | None:
        x = ops.merge_heads(site[name])
        return x if x.shape == site.value.shape else None

    return context


def _value_added(site: Site) -> Array | None:
    x = _alone(":value")(site)
    return None if x is None else site.value + x


PARTS = ("query", "key", "value")
QUERY_KEY = "Queries and keys are swapped: scores are query @ key.T, with a row for each query"
KEY_VALUE = "Keys and values are swapped: the queries are compared with the keys, the probabilities weigh the values"
TURNED = "The probabilities are transposed: the context is probs @ value, with a row of probs for each query"


def _operands() -> Iterator[tuple[str, str, dict[str, ReplaceValue]]]:
    """Every other choice of what is compared with what, and of what the probabilities weigh."""
    yield "query-key-swapped", QUERY_KEY, {":query": _split(".key"), ":key": _split(".query")}
    yield "query-key-swapped", QUERY_KEY, {":scores": _scores_of(":key", ":query")}
    yield "key-value-swapped", KEY_VALUE, {":key": _split(".value"), ":value": _split(".key")}
    yield "key-value-swapped", KEY_VALUE, {":scores": _scores_of(":query", ":value"), "": _context_of(":key")}
    for one, other in product(PARTS, repeat=2):
        if (one, other) not in (("query", "key"), ("key", "query")):
            told = f"The scores are {one} @ {other}.T: they are query @ key.T"
            yield "scores-from-elsewhere", told, {":scores": _scores_of(f":{one}", f":{other}")}
    for part, whose in (("key", "keys"), ("query", "queries")):
        told = f"The probabilities weigh the {whose}: they weigh the values"
        yield "context-from-elsewhere", told, {"": _context_of(f":{part}")}
        told = f"The {whose} are handed on as they are: the probabilities weigh the values"
        yield "context-from-elsewhere", told, {"": _alone(f":{part}")}
    told = "The values are handed on as they are: the probabilities weigh them"
    yield "context-from-elsewhere", told, {"": _alone(":value")}
    told = "The values are added to the context: only probs @ value is handed on"
    yield "context-from-elsewhere", told, {"": _value_added}
    yield "probs-transposed", TURNED, {"": _context_of(":value", turned=True)}


# ------------------------------------------------------------------------------------------------------------------ softmax


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
                needs_all=axis == 0,
            )


def _powers(x: Array, base: float = math.e) -> Array:
    return base ** (x - x.max(axis=-1, keepdims=True))


def _divided(x: Array) -> Array:
    return x / x.sum(axis=-1, keepdims=True)


def _with_one_more(x: Array) -> Array:
    largest = x.max(axis=-1, keepdims=True)
    return _powers(x) / (_powers(x).sum(axis=-1, keepdims=True) + np.exp(-largest))


SOFTMAX: list[tuple[str, str, Callable[[Array], Array]]] = [
    ("softmax-missing", "Softmax is left out: exp of the scores, divided by their sum over the keys", lambda x: x),
    ("softmax-not-divided", "Softmax does not divide by the sum over the keys", _powers),
    ("softmax-not-divided", "Softmax does not divide by the sum over the keys, nor take the largest score off", np.exp),
    ("softmax-wrong-base", "Softmax takes powers of 2: take those of e", lambda x: _divided(_powers(x, 2))),
    ("softmax-wrong-base", "Softmax takes powers of 10: take those of e", lambda x: _divided(_powers(x, 10))),
    ("softmax-plus-one", "Softmax adds 1 to the sum of the powers: divide by the sum alone", _with_one_more),
    ("softmax-replaced", "Each score goes through a sigmoid: take softmax over the keys", ops.sigmoid),
    ("softmax-replaced", "Softmax is taken twice", lambda x: ops.softmax(ops.softmax(x))),
    ("softmax-replaced", "The logarithm of softmax is taken: take softmax itself", ops.log_softmax),
    ("wrong-scale", "The scores are halved before softmax", lambda x: ops.softmax(x / 2)),
    ("wrong-scale", "The scores are doubled before softmax", lambda x: ops.softmax(x * 2)),
]
"""A line here is all that another function needs."""


def _of_scores(function: Callable[[Array], Array]) -> ReplaceValue:
    return lambda site: function(site[":masked_scores"])
