"""Masks: from the 0/1 arrays that users hand in to what attention adds to its scores.

A 0/1 mask says for each query and key whether the query may look at the key. `additive` turns it into a bias for the
scores: 0 where it may, a very negative number where it may not, which softmax makes 0. Legend as in `npbert.ops`; E is
the length of the encoder's output that a decoder looks at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from npbert.types import Array

MASKED = -10000.0
"""What the original BERT adds where attention is not allowed. It is finite: a row in which nothing may be looked at still
has a softmax. Ports that add the smallest float instead differ in such rows alone."""


def causal(query_length: int, key_length: int) -> Array:
    """1 where a key does not lie after the query: `[S, T]`.

    The queries are the last S of the T keys, so the keys of an earlier pass (the cache) are open to all of them:

        S = 3, T = 5:   1 1 1 0 0
                        1 1 1 1 0
                        1 1 1 1 1
    """
    queries = np.arange(key_length - query_length, key_length)  # [S]
    return (np.arange(key_length) <= queries[:, None]).astype(np.int64)  # [S, T]


def self_attention(mask: Array, query_length: int, *, is_decoder: bool) -> Array:
    """The 0/1 mask of self-attention, ready for all heads.

    `[B, S, T]` is taken as it is. `[B, T]` says which keys are real; a decoder multiplies it with the causal triangle.
    """
    if mask.ndim == 3:
        return mask[:, None]  # [B, 1, S, T]
    if is_decoder:
        return mask[:, None, None] * causal(query_length, mask.shape[-1])  # [B, 1, S, T]
    return mask[:, None, None]  # [B, 1, 1, T]


def cross_attention(mask: Array) -> Array:
    """The 0/1 mask of cross-attention, ready for all heads, from `[B, E]` or `[B, S, E]`."""
    return mask[:, None] if mask.ndim == 3 else mask[:, None, None]  # [B, 1, S or 1, E]


def additive(mask: Array, dtype: DTypeLike, *, value: float = MASKED) -> Array:
    """`(1 - mask) * value`: what is added to the scores."""
    return (1 - mask.astype(dtype)) * value


def heads(mask: Array, num_layers: int, dtype: DTypeLike) -> Array:
    """A head mask `[N]`, the same for every layer, or `[L, N]` -> `[L, N, 1, 1]`: it multiplies each layer's probabilities."""
    rows = np.broadcast_to(mask, (num_layers, mask.shape[-1]))  # [L, N]
    return rows.astype(dtype)[:, :, None, None]  # [L, N, 1, 1]
