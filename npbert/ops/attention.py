"""Attention, step by step, and whole.

Vaswani et al. 2017, "Attention is all you need"; for relative positions Shaw et al. 2018 and Huang et al. 2020.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from npbert.ops.blocks import in_blocks_of_rows
from npbert.ops.linear import embedding, embedding_backward
from npbert.ops.shares import by_share, product
from npbert.types import Array


def split_heads(x: Array, head_size: int) -> Array:
    """`[B, S, N*H]` -> `[B, N, S, H]`: each position's vector is cut into N consecutive pieces, then heads come first."""
    batch, length, width = x.shape
    return x.reshape(batch, length, width // head_size, head_size).transpose(0, 2, 1, 3)  # [B, N, S, H]


def merge_heads(x: Array) -> Array:
    """`[B, N, S, H]` -> `[B, S, N*H]`: the inverse of `split_heads`."""
    batch, heads, length, head_size = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * head_size)  # [B, S, N*H]


def attention_scores(query: Array, key: Array) -> Array:
    """How much each query looks at each key: `q k^T`, not yet scaled."""
    return product(query, key.swapaxes(2, 3))  # [B, N, S, T]


def attention_scores_backward(dscores: Array, query: Array, key: Array) -> tuple[Array, Array]:
    """The gradients by the query, `dscores k`, and by the key, `dscores^T q`."""
    return dscores @ key, dscores.swapaxes(2, 3) @ query  # [B, N, S, H], [B, N, T, H]


def distance_ids(num_rows: int, query_length: int, key_length: int) -> Array:
    """Which row of a distance table each query and key look up, `l - r + M - 1`: `[S, T]`.

    The table `[2M - 1, H]` runs from distance -(M-1) to M-1. The queries are the last of the keys: with P = T - S cached
    keys before them they stand at positions P .. T-1.
    """
    queries = np.arange(key_length - query_length, key_length)  # [S]
    keys = np.arange(key_length)  # [T]
    longest = (num_rows + 1) // 2  # M
    return queries[:, None] - keys + longest - 1  # [S, T]


def relative_distances(distance_table: Array, query_length: int, key_length: int) -> Array:
    """`E[l, r] = distance_table[l - r + M - 1]`: one vector for each distance between a query and a key."""
    return embedding(distance_ids(len(distance_table), query_length, key_length), distance_table)  # [S, T, H]


def relative_distances_backward(ddistances: Array, num_rows: int) -> Array:
    """The gradient by the distance table, `[2M - 1, H]`: all pairs at the same distance add up."""
    query_length, key_length, _ = ddistances.shape
    return embedding_backward(ddistances, distance_ids(num_rows, query_length, key_length), num_rows)


def relative_query_scores(query: Array, distances: Array) -> Array:
    """What a query says about its distance to each key (Shaw et al.)."""
    return by_share(functools.partial(np.einsum, "bhld,lrd->bhlr", optimize=True), query, distances)  # [B, N, S, T]


def relative_query_scores_backward(dscores: Array, query: Array, distances: Array) -> tuple[Array, Array]:
    """The gradients by the query `[B, N, S, H]` and by the distances `[S, T, H]`, which all sequences and heads share."""
    dquery = np.einsum("bhlr,lrd->bhld", dscores, distances, optimize=True)
    return dquery, np.einsum("bhlr,bhld->lrd", dscores, query, optimize=True)


def relative_key_scores(key: Array, distances: Array) -> Array:
    """What a key says about its distance to each query (Huang et al.)."""
    return by_share(functools.partial(np.einsum, "bhrd,lrd->bhlr", optimize=True), key, distances)  # [B, N, S, T]


def relative_key_scores_backward(dscores: Array, key: Array, distances: Array) -> tuple[Array, Array]:
    """The gradients by the key `[B, N, T, H]` and by the distances `[S, T, H]`."""
    dkey = np.einsum("bhlr,lrd->bhrd", dscores, distances, optimize=True)
    return dkey, np.einsum("bhlr,bhrd->lrd", dscores, key, optimize=True)


def scale_and_mask(
    scores: Array, head_size: int, mask: Array | None = None, *, divisor: float | None = None, out: Array | None = None
) -> Array:
    """`scores / sqrt(H) + mask`, with an additive mask: 0 where a query may look, very negative where it may not.

    `divisor` takes the place of sqrt(H). The result may go into an array that exists, `out`.
    """
    scores = np.divide(scores, math.sqrt(head_size) if divisor is None else divisor, out=out)
    if mask is not None:
        scores += mask
    return scores  # [B, N, S, T]


def scale_and_mask_backward(dy: Array, head_size: int, *, divisor: float | None = None) -> Array:
    """The gradient by the scores: `dy / sqrt(H)`. What is added to the scores has no influence on it."""
    return dy / (math.sqrt(head_size) if divisor is None else divisor)  # [B, N, S, T]


@in_blocks_of_rows
def softmax(x: Array, *, out: Array | None = None) -> Array:
    """`exp(x) / sum(exp(x))` over the last axis. The row's largest value is taken off first, so that exp never overflows."""
    y = x - x.max(axis=-1, keepdims=True, initial=-np.inf)  # [..., T]; initial: T may be 0
    np.exp(y, out=y)
    return np.divide(y, y.sum(axis=-1, keepdims=True), out=out)


@in_blocks_of_rows
def softmax_backward(dy: Array, y: Array) -> Array:
    """The gradient by x, from the result y: `y * (dy - sum(dy * y))` over the last axis.

    y_i = exp(x_i) / sum changes by y_i (1 - y_i) with its own x_i and by -y_i y_j with every other x_j. Multiplied with dy
    and summed, y_i dy_i stays, less y_i times what all outputs of the row ask for together.
    """
    dx = dy * y  # [..., T]
    dx -= y * dx.sum(axis=-1, keepdims=True)
    return dx


@in_blocks_of_rows
def log_softmax(x: Array) -> Array:
    """`x - log(sum(exp(x)))` over the last axis: the logarithm of `softmax(x)`, also where that is too small for a float."""
    y = x - x.max(axis=-1, keepdims=True, initial=-np.inf)  # [..., T]
    y -= np.log(np.exp(y).sum(axis=-1, keepdims=True))
    return y


def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None = None,
    *,
    divisor: float | None = None,
    relative_scores: Callable[[Array, Array], Array] | None = None,
    change_probs: Callable[[Array], Array] = lambda probs: probs,
    keep: Callable[[str, Array], Array] | None = None,
) -> tuple[Array, Array]:
    """`softmax((q k^T + r) / sqrt(H) + mask) v`: q `[B, N, S, H]`, k and v `[B, N, T, H]`, mask 0 or very negative.

    `divisor` takes the place of sqrt(H). `relative_scores(query, key)` computes r, what the distance between a query and a key
    adds; without it r is 0. `change_probs` changes the probabilities on their way to the values (dropout, head mask), and
    `keep(name, x)` sees every step; without it each step is computed in place of the one before. Returns the context
    `[B, N, S, H]` and the probabilities `[B, N, S, T]` that weighed the values.
    """
    scores = attention_scores(query, key)  # [B, N, S, T]
    spare = scores if keep is None else None
    keep = keep or (lambda name, x: x)
    scores = keep(":scores", scores)
    if relative_scores is not None:
        scores = np.add(scores, keep(":relative_scores", relative_scores(query, key)), out=spare)
    scores = keep(":masked_scores", scale_and_mask(scores, query.shape[-1], mask, divisor=divisor, out=spare))
    probs = keep(":probs", change_probs(softmax(scores, out=spare)))  # [B, N, S, T]
    return product(probs, value), probs


def scaled_dot_product_attention_backward(
    dcontext: Array,
    query: Array,
    key: Array,
    value: Array,
    softmaxed: Array,
    probs: Array,
    *,
    divisor: float | None = None,
    change_probs_backward: Callable[[Array], Array] = lambda dprobs: dprobs,
    relative_scores_backward: Callable[[Array], tuple[Array, Array]] | None = None,
    keep: Callable[[str, Array], Array] = lambda name, x: x,
) -> tuple[Array, Array, Array]:
    """The gradients by query, key and value: the steps of `scaled_dot_product_attention` in reverse.

    `softmaxed` are the probabilities as softmax made them, `probs` those that weighed the values. The two functions are the
    gradients of their namesakes; `relative_scores_backward` returns what the distances add to the gradients by query and key.
    """
    dvalue = probs.swapaxes(2, 3) @ dcontext  # [B, N, T, H]
    dprobs = keep(":probs", attention_scores(dcontext, value))  # [B, N, S, T]
    dmasked = keep(":masked_scores", softmax_backward(change_probs_backward(dprobs), softmaxed))
    dscores = keep(":scores", scale_and_mask_backward(dmasked, query.shape[-1], divisor=divisor))
    dquery, dkey = attention_scores_backward(dscores, query, key)
    if relative_scores_backward is not None:
        by_query, by_key = relative_scores_backward(keep(":relative_scores", dscores))
        dquery, dkey = dquery + by_query, dkey + by_key
    return dquery, dkey, dvalue
