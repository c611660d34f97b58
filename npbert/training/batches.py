"""Batches: rows of similar length together, padded to the longest, in an order that a generator decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from npbert.checks import IGNORED
from npbert.types import Array

Row: TypeAlias = Mapping[str, Any]
"""One text as a model reads it: `input_ids` and what else there is, lists of one number a token, and its label."""

POOL = 50  # batches: rows are sorted by length among this many batches' rows, so that chance still decides who meets whom


def similar_lengths(lengths: Sequence[int], batch_size: int, rng: np.random.Generator) -> list[Array]:
    """The indices of all rows in batches: shuffled, rows of similar length together, so that little is padding."""
    order = rng.permutation(len(lengths))
    batches: list[Array] = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        pool = pool[np.argsort(np.asarray(lengths)[pool], kind="stable")]
        batches += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]


def in_batches(rows: Sequence[Row], batch_size: int, rng: np.random.Generator) -> list[list[Row]]:
    """Rows with `input_ids` in batches, as `similar_lengths` puts them together."""
    lengths = [len(row["input_ids"]) for row in rows]
    return [[rows[number] for number in batch] for batch in similar_lengths(lengths, batch_size, rng)]


def padded(rows: Sequence[Row], pad_token_id: int) -> dict[str, Array]:
    """The rows' `input_ids`, `token_type_ids` and `labels`, where they have a list of them, as arrays `[B, S]` with a mask."""
    length = max(len(row["input_ids"]) for row in rows)
    fillings = {"input_ids": pad_token_id, "token_type_ids": 0, "labels": IGNORED}
    arrays = {}
    for name in [name for name in fillings if isinstance(rows[0].get(name), Sequence)]:
        arrays[name] = np.full((len(rows), length), fillings[name])
        for array, row in zip(arrays[name], rows, strict=True):
            array[: len(row[name])] = row[name]
    lengths = np.array([len(row["input_ids"]) for row in rows])
    return arrays | {"attention_mask": (np.arange(length) < lengths[:, None]).astype(np.int64)}
