"""Mistakes in the sum of the embeddings: token types, positions, LayerNorm."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import EMBEDDINGS_MODULES, Hypothesis, ReplaceValue
from npbert.golden.mistakes.site import Site
from npbert.types import Array


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get the embeddings wrong."""
    yield from _token_types()
    yield from _positions()
    yield Hypothesis(
        "embeddings-layernorm-missing",
        "The sum of the embeddings goes on as it is: apply embeddings.LayerNorm to it.",
        EMBEDDINGS_MODULES,
        {".LayerNorm": lambda site: site[":sum"]},
    )


def _zeros(site: Site) -> Array:
    return np.zeros_like(site.value)


def _token_types() -> Iterator[Hypothesis]:
    yield Hypothesis(
        "token-types-missing",
        "The token type embeddings are not added: add the row of token_type_embeddings that token_type_ids names "
        "(row 0 where none are given).",
        EMBEDDINGS_MODULES,
        {".token_type_embeddings": _zeros},
    )

    def first_row(site: Site) -> Array:
        return np.broadcast_to(site.weight(".token_type_embeddings.weight")[0], site.value.shape)

    yield Hypothesis(
        "token-types-missing",
        "Every token is taken to be of type 0: look token_type_ids up instead.",
        EMBEDDINGS_MODULES,
        {".token_type_embeddings": first_row},
    )


def _positions() -> Iterator[Hypothesis]:
    for shift in (1, 2, -1):
        yield Hypothesis(
            "positions-shifted",
            f"The positions are off by {shift}: BERT counts from 0 and knows no offset for padding.",
            EMBEDDINGS_MODULES,
            {".position_embeddings": _looked_up(lambda ids, shift=shift: ids + shift)},  # type: ignore[misc]
        )
    yield Hypothesis(
        "positions-shifted",
        "Every token is given position 0: count 0, 1, 2, ... along the sequence.",
        EMBEDDINGS_MODULES,
        {".position_embeddings": _looked_up(np.zeros_like)},
    )
    yield Hypothesis(
        "positions-shifted",
        "The position embeddings are not added: add row 0, 1, 2, ... of position_embeddings along the sequence.",
        EMBEDDINGS_MODULES,
        {".position_embeddings": _zeros},
    )


def _looked_up(change: Callable[[Array], Array]) -> ReplaceValue:
    """The position embeddings of other positions, where the table has them."""

    def look_up(site: Site) -> Array | None:
        table = site.weights[f"{site.module}.position_embeddings.weight"]
        ids = change(site.context.position_ids)
        if ids.min(initial=0) < 0 or ids.max(initial=0) >= len(table):
            return None
        return table[ids].astype(site.value.dtype)

    return look_up
