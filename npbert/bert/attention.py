"""Attention: every position looks at others and takes over what it finds there."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from npbert import ops
from npbert.module import Module
from npbert.types import Array

KeyValue: TypeAlias = tuple[Array, ...]
"""The keys and values of one attention, [B, N, T, H] each; empty where there are none."""


def self_attention(
    m: Module,
    hidden: Array,
    *,
    source: Array | None = None,
    mask: Array | None = None,
    head_mask: Array | None = None,
    past: KeyValue = (),
    stored: KeyValue = (),
) -> tuple[Array, Array, KeyValue]:
    """Every position asks a question (query). Each position of the source answers by how well it fits (key) with what it
    holds (value). Four cases:

        self                 the source is `hidden` itself
        self with a cache    the same; `past` holds the keys and values of the positions before
        cross                `source` is the output of an encoder
        cross with a cache   `stored` holds the keys and values of an encoder's output; they are not computed again

    `mask` is added to the scores, `head_mask` multiplies the probabilities. Returns the context `[B, S, N*H]`, the
    probabilities `[B, N, S, T]` and the keys and values for the cache.
    """
    size = m.config.head_size  # H
    query = ops.split_heads(m.linear("query", hidden), size)  # [B, N, S, H]
    if stored:
        key, value = stored  # [B, N, E, H]
    else:
        source = hidden if source is None else source
        key = ops.split_heads(m.linear("key", source), size)  # [B, N, T - P, H]
        value = ops.split_heads(m.linear("value", source), size)
    if past:
        key = np.concatenate([past[0], key], axis=2)  # [B, N, T, H]
        value = np.concatenate([past[1], value], axis=2)
    query, key, value = m.keep(":query", query), m.keep(":key", key), m.keep(":value", value)

    def drop_and_mask(probs: Array) -> Array:
        probs = m.dropout(probs, m.config.attention_probs_dropout_prob)  # [B, N, S, T]
        return probs if head_mask is None else probs * head_mask

    keys, values = ops.of_all_positions(key, value)
    context, probs = ops.scaled_dot_product_attention(
        query,
        keys,
        values,
        mask,
        # Between two sequences there is no distance, so cross-attention has no table of distances.
        relative_scores=(lambda query, key: relative_scores(m, query, key)) if "distance_embedding" in m else None,
        change_probs=drop_and_mask,
        keep=m.keep if m.is_observed else None,
    )
    return m.keep("", ops.merge_heads(context)), probs, (key, value)


def self_attention_backward(
    m: Module,
    dcontext: Array,
    hidden: Array,
    *,
    source: Array | None = None,
    mask: Array | None = None,
    head_mask: Array | None = None,
    past: KeyValue = (),
    stored: KeyValue = (),
) -> tuple[Array, Array | None]:
    """The gradients by `hidden` and by `source`. Keys and values from a cache are inputs: nothing flows into them.

    Query, key and value are three linear maps of the same hidden states, so their gradients add up.
    """
    query, key, value, probs = m.kept(":query"), m.kept(":key"), m.kept(":value"), m.kept(":probs")
    dropped = m.has_kept(":dropout_mask")
    softmaxed = ops.softmax(m.kept(":masked_scores")) if dropped else m.kept("dropout")  # [B, N, S, T]

    def drop_and_mask_backward(dprobs: Array) -> Array:
        dprobs = dprobs if head_mask is None else dprobs * head_mask
        return m.dropout_backward(dprobs, m.config.attention_probs_dropout_prob)

    def relative_backward(dscores: Array) -> tuple[Array, Array]:
        return relative_scores_backward(m, dscores, query, key)

    dquery, dkey, dvalue = ops.scaled_dot_product_attention_backward(
        ops.split_heads(m.keep_gradient("", dcontext), m.config.head_size),
        query,
        key,
        value,
        softmaxed,
        probs,
        change_probs_backward=drop_and_mask_backward,
        relative_scores_backward=relative_backward if "distance_embedding" in m else None,
        keep=m.keep_gradient,
    )
    dquery, dkey, dvalue = m.keep_gradient(":query", dquery), m.keep_gradient(":key", dkey), m.keep_gradient(":value", dvalue)
    dhidden = m.linear_backward("query", ops.merge_heads(dquery), hidden)  # [B, S, D]
    if stored:
        return dhidden, None
    past_length = past[0].shape[2] if past else 0  # P
    read = hidden if source is None else source
    dread = m.linear_backward("key", ops.merge_heads(dkey[:, :, past_length:]), read)
    dread = dread + m.linear_backward("value", ops.merge_heads(dvalue[:, :, past_length:]), read)
    return (dhidden + dread, None) if source is None else (dhidden, dread)


def relative_scores(m: Module, query: Array, key: Array) -> Array:
    """What the distances between queries and keys add to the scores `[B, N, S, T]`."""
    table = m.distance_embedding.weight  # [2M - 1, H]
    distances = m.keep("distance_embedding", ops.relative_distances(table, query.shape[2], key.shape[2]))  # [S, T, H]
    scores = ops.relative_query_scores(query, distances)
    if m.config.position_embedding_type == "relative_key_query":
        scores = scores + ops.relative_key_scores(key, distances)
    return scores


def relative_scores_backward(m: Module, dscores: Array, query: Array, key: Array) -> tuple[Array, Array]:
    """What the distances add to the gradients by query and key; the gradient by their table is added up under its name."""
    distances = m.kept("distance_embedding")  # [S, T, H]
    dquery, ddistances = ops.relative_query_scores_backward(dscores, query, distances)
    dkey = np.zeros_like(key)
    if m.config.position_embedding_type == "relative_key_query":
        dkey, by_key = ops.relative_key_scores_backward(dscores, key, distances)
        ddistances = ddistances + by_key
    ddistances = m.keep_gradient("distance_embedding", ddistances)
    table = "distance_embedding.weight"
    m.add_gradient(table, ops.relative_distances_backward(ddistances, len(m.parameter(table))))
    return dquery, dkey


def add_and_norm(m: Module, x: Array, residual: Array) -> Array:
    """`LayerNorm(dropout(dense(x)) + residual)`: how each block hands its result on. The reference's `...Output` modules."""
    x = m.dropout(m.linear("dense", x))  # [B, S, D]
    return m.keep("", m.layer_norm(m.keep(":residual", x + residual)))


def add_and_norm_backward(m: Module, dy: Array, x: Array) -> tuple[Array, Array]:
    """The gradients by x and by the residual: a sum hands its gradient to both terms."""
    dsum = m.layer_norm_backward(m.keep_gradient("", dy), m.kept(":residual"))
    dsum = m.keep_gradient(":residual", dsum)  # [B, S, D]
    return m.linear_backward("dense", m.dropout_backward(dsum), x), dsum


def attention(m: Module, hidden: Array, **options: Any) -> tuple[Array, Array, KeyValue]:
    """Attention with its output block; `options` are those of `self_attention`.

    Returns the new hidden states `[B, S, D]`, the probabilities `[B, N, S, T]` and the keys and values for the cache.
    """
    context, probs, cache = self_attention(m.self, hidden, **options)
    return m.keep("", add_and_norm(m.output, context, hidden)), probs, cache


def attention_backward(m: Module, dy: Array, hidden: Array, **options: Any) -> tuple[Array, Array | None]:
    """The gradients by `hidden`, which goes two ways, through attention and past it, and by `source`."""
    dcontext, dresidual = add_and_norm_backward(m.output, m.keep_gradient("", dy), m.self.kept(""))
    dhidden, dsource = self_attention_backward(m.self, dcontext, hidden, **options)
    return dresidual + dhidden, dsource
