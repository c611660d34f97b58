"""How sure was each step? The scores of the tokens that a search chose, taken from what it returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npbert import checks, ops
from npbert.errors import InputError
from npbert.types import Array


def transition_scores(sequences: Any, scores: Sequence[Any], beam_indices: Any = None, *, normalize: bool = False) -> Array:
    """The score `[R, new]` that each new token of `sequences` `[R, T]` was chosen with; 0 past the end of a beam.

    `scores` are those of a `GenerateOutput`: one `[rows, V]` a step. Of beam search its `beam_indices` `[R, new]` say in which
    row each token was written; they are log probabilities, and their sum over a sequence is its score if `length_penalty` is 0.
    `normalize` makes log probabilities of scores that are none.
    """
    tokens = checks.integers("sequences", sequences, 2)
    if not len(scores):
        raise InputError("scores: takes those of a generation with output_scores=True, got none")
    table = np.stack([checks.numbers(f"scores[{step}]", x) for step, x in enumerate(scores)])  # [new, rows, V]
    if normalize:
        table = ops.log_softmax(table)
    if beam_indices is None:
        rows = np.tile(np.arange(len(tokens))[:, None], (1, len(table)))  # [R, new]
    else:
        rows = checks.integers("beam_indices", beam_indices, 2)
        rows = rows[:, : (rows >= 0).sum(axis=1).max()]  # up to the end of the longest
    steps = rows.shape[1]
    if rows.shape[0] != len(tokens) or not steps <= min(len(table), tokens.shape[1]):
        raise InputError(f"scores: {len(table)} steps do not belong to sequences of shape {list(tokens.shape)}")
    chosen = table[np.arange(steps), np.maximum(rows, 0), tokens[:, tokens.shape[1] - steps :]]  # [R, new]
    return np.where(rows < 0, 0, chosen).astype(table.dtype)
