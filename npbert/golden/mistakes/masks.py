"""Mistakes in who may look at whom: padding, the causal mask, the axis that a mask belongs to, how a score is hidden."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import SELF_MODULES, Hypothesis, ReplaceValue
from npbert.golden.mistakes.scores import scaled_scores, usual_fills
from npbert.golden.mistakes.site import Site
from npbert.types import Array

Visible: TypeAlias = Callable[[Array, Array], "Array | None"]
"""From padding `[B, 1, 1 or S, T]` and causal `[S, T]`: what the wrong mask leaves visible; None where it is the right mask."""


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get a mask wrong."""
    own = config.mask_value
    for mistake, explanation, visible, fills in PATTERNS:
        if not (mistake == "causal-added" and config.is_decoder) and not (
            mistake == "causal-missing" and not config.is_decoder
        ):
            for fill in usual_fills(config) if fills == "any" else (own,):
                yield _masked(mistake, f"{explanation}.", visible, fill)
    for fill in (-1.0, -10.0, -100.0, -1000.0, 1.0):
        explanation = f"{fill:g} is added to the scores that the mask hides: add a very negative number, such as {own:g}."
        yield _hidden_by("mask-too-weak", explanation, lambda x, site, fill=fill: x + fill)  # type: ignore[misc]
        explanation = f"{fill:g} is added to the hidden scores before they are scaled: add a very negative number after it."
        yield _hidden_by("mask-too-weak", explanation, lambda x, site, fill=fill: x + fill / math.sqrt(site.config.head_size))  # type: ignore[misc]
    for fill in (-own, math.inf, 1e9):
        explanation = "A large number is added to the scores that the mask hides: add a very negative one."
        yield _hidden_by("mask-inverted", explanation, lambda x, site, fill=fill: x + fill)  # type: ignore[misc]
    explanation = "The scores are multiplied by the mask, which makes hidden ones 0: add a very negative number to them."
    yield _hidden_by("mask-multiplied", explanation, lambda x, site: x * 0)
    yield from _after_softmax()


# ----------------------------------------------------------------------------------------------------------------- patterns


def _without_padding(padding: Array, causal: Array) -> Array | None:
    return None if padding.all() else causal


def _without_causal(padding: Array, causal: Array) -> Array | None:
    return None if causal.all() else padding


def _without_both(padding: Array, causal: Array) -> Array | None:
    return None if padding.all() or causal.all() else np.ones_like(causal)


def _inverted_padding(padding: Array, causal: Array) -> Array | None:
    return None if padding.all() else ~padding & causal


def _inverted_both(padding: Array, causal: Array) -> Array:
    return ~(padding & causal)


def _of_queries(padding: Array, causal: Array) -> Array | None:
    """Padding taken for a property of the query, which only works where there are as many queries as keys."""
    rows = padding[:, :, -1:].swapaxes(2, 3)  # [B, 1, T, 1]
    if padding.all() or not _broadcasts(causal.shape, (rows.shape[2],) * 2):
        return None
    return rows & causal


def _of_both(padding: Array, causal: Array) -> Array | None:
    rows = _of_queries(padding, causal)
    return None if rows is None or padding.shape[2] not in (1, rows.shape[2]) else rows & padding


def _of_row(row: int) -> Visible:
    def visible(padding: Array, causal: Array) -> Array | None:
        return None if (padding == padding[row : row + 1 or None]).all() else padding[row : row + 1 or None] & causal

    return visible


def _of_reversed_batch(padding: Array, causal: Array) -> Array | None:
    return None if (padding == padding[::-1]).all() else padding[::-1] & causal


def _shifted(by: int) -> Visible:
    """Padding that begins earlier (-1) or later (1) by one token."""

    def visible(padding: Array, causal: Array) -> Array:
        moved = np.roll(padding, by, axis=-1)
        moved[..., 0 if by > 0 else -1] = by > 0
        return (padding & moved if by < 0 else padding | moved) & causal

    return visible


def _without_first_token(padding: Array, causal: Array) -> Array:
    return padding & causal & (np.arange(padding.shape[-1]) != 0)


def _triangle(condition: Callable[[Array], Array]) -> Visible:
    """Keys of which this holds, told from how far they lie after the query."""

    def visible(padding: Array, causal: Array) -> Array | None:
        length = padding.shape[-1]
        if padding.shape[2] not in (1, length):
            return None
        return padding & condition(np.arange(length) - np.arange(length)[:, None])

    return visible


IGNORED = "The attention mask is ignored: keys that are padding must not be attended to; add -10000 there, not -1e-9"
INVERTED = "The attention mask is inverted: 1 stands for a key that may be attended to, 0 for padding"
ANY = "any"  # every usual way to hide a score is tried, since none of the row may be left

PATTERNS: list[tuple[str, str, Visible, str]] = [
    ("mask-ignored", IGNORED, _without_padding, ""),
    ("causal-missing", "Each position attends to those after it: a decoder hides later keys", _without_causal, ""),
    ("mask-ignored", "No mask is applied: hide keys that are padding and keys that lie after the query",
     _without_both, ""),
    ("mask-inverted", INVERTED, _inverted_padding, ANY),
    ("mask-inverted", INVERTED, _inverted_both, ANY),
    ("mask-wrong-axis", "The attention mask hides queries: it belongs to the keys, the last axis of the scores [B, N, S, T]",
     _of_queries, ANY),
    ("mask-wrong-axis", "The attention mask hides queries as well as keys: it belongs to the keys alone", _of_both, ANY),
    ("mask-of-first-row", "The mask of the first text is used for all: each text has its own", _of_row(0), ""),
    ("mask-of-last-row", "The mask of the last text is used for all: each text has its own", _of_row(-1), ""),
    ("mask-of-other-row", "The masks of the texts are in reverse order", _of_reversed_batch, ""),
    ("mask-off-by-one", "One token too many is hidden: the last one before the padding is real", _shifted(-1), ANY),
    ("mask-off-by-one", "One token too few is hidden: the first one that is padding may be looked at", _shifted(1), ""),
    ("mask-off-by-one", "The first token is hidden: [CLS] may be looked at", _without_first_token, ""),
    ("mask-of-itself", "No token looks at itself: show the diagonal", _triangle(lambda after: after != 0), ANY),
    ("causal-added", "Keys after the query are hidden: only a decoder does that", _triangle(lambda after: after <= 0), ""),
    ("causal-added", "Keys more than one after the query are hidden: only a decoder hides what comes after",
     _triangle(lambda after: after <= 1), ""),
    ("causal-added", "Keys from the query itself on are hidden: only a decoder hides what comes after",
     _triangle(lambda after: after < 0), ANY),
    ("causal-added", "Keys before the query are hidden: all of them may be looked at", _triangle(lambda after: after >= 0), ""),
    *[("window-added", f"Only keys at most {width} tokens away are looked at: all may be", _triangle(lambda after, width=width:
      abs(after) <= width), "") for width in (1, 2, 3, 4, 8, 16, 32, 64, 128, 256)],  # type: ignore[misc]
]  # fmt: skip
"""A line here is all that another pattern needs."""


def _masked(mistake: str, explanation: str, visible: Visible, fill: float) -> Hypothesis:
    """`fill` is added to the scores that the wrong mask hides."""

    def masked_scores(site: Site) -> Array | None:
        scores = scaled_scores(site)
        shown = visible(site.padding, site.causal) if scores.shape[-1] == site.padding.shape[-1] else None
        if shown is None or not _broadcasts(shown.shape, scores.shape):
            return None
        return np.where(shown, scores, scores + fill)

    replaced: dict[str, ReplaceValue] = {":masked_scores": masked_scores}
    return Hypothesis(mistake, explanation, SELF_MODULES, replaced)


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    padded = (1,) * (len(target) - len(shape)) + shape
    return all(mine in (1, theirs) for mine, theirs in zip(padded, target, strict=True))


# -------------------------------------------------------------------------------------------------------- how scores are hidden


def _hidden_by(mistake: str, explanation: str, hide: Callable[[Array, Site], Array]) -> Hypothesis:
    """The right pattern, but `hide` makes something else of the scores that it hides."""

    def masked_scores(site: Site) -> Array | None:
        scores, shown = scaled_scores(site), site.padding & site.causal
        return None if shown.all() else np.where(shown, scores, hide(scores, site))

    return Hypothesis(mistake, explanation, SELF_MODULES, {":masked_scores": masked_scores})


def _after_softmax() -> Iterator[Hypothesis]:
    explanation = "The mask is applied after softmax: what it hides takes part in the sum. Add it to the scores before softmax."

    def without_mask(site: Site) -> Array | None:
        return None if (site.padding & site.causal).all() else scaled_scores(site)

    def only_visible(site: Site) -> Array:
        scores = scaled_scores(site)
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.where(site.padding & site.causal, powers / powers.sum(axis=-1, keepdims=True), 0)

    yield Hypothesis(
        "mask-after-softmax", explanation, SELF_MODULES, {":masked_scores": without_mask, ".dropout": only_visible}
    )

    def one_head(site: Site) -> Array | None:
        scores, shown = scaled_scores(site), site.padding & site.causal
        if shown.all() or scores.shape[1] == 1:
            return None
        first = np.arange(scores.shape[1])[:, None, None] == 0
        return np.where(shown | ~first, scores, scores + site.config.mask_value)

    explanation = "The mask is applied to the first head alone: it belongs to all of them."
    yield Hypothesis("mask-of-one-head", explanation, SELF_MODULES, {":masked_scores": one_head})
