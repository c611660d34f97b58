"""Attention of GPT-2: as BERT's, but query, key and value come out of one map, and nothing later can be looked at."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from npbert import ops
from npbert.module import Module
from npbert.types import Array

KeyValue: TypeAlias = tuple[Array, ...]
"""The keys and values of one attention, [B, N, T, H] each; empty where there are none."""


def attention(
    m: Module,
    hidden: Array,
    *,
    layer: int,
    mask: Array | None = None,
    head_mask: Array | None = None,
    past: KeyValue = (),
) -> tuple[Array, Array, KeyValue]:
    """`c_proj(softmax(q k^T / sqrt(H) + mask) v)`, with q, k and v cut out of `c_attn(x)`.

    `past` holds the keys and values of the positions before, `mask` is added to the scores, `head_mask` multiplies the
    probabilities, `layer` is the number of the layer. Returns the new values `[B, S, D]`, without any residual, the
    probabilities `[B, N, S, T]`, and the keys and values for the cache.
    """
    query, key, value = cut(m, m.conv1d("c_attn", hidden), parts=3)  # [B, N, S, H]
    if past:
        key = np.concatenate([past[0], key], axis=2)  # [B, N, T, H]
        value = np.concatenate([past[1], value], axis=2)
    return attend(m, query, key, value, layer=layer, mask=mask, head_mask=head_mask)


def attention_backward(
    m: Module, dy: Array, hidden: Array, *, layer: int, head_mask: Array | None = None, past: KeyValue = ()
) -> Array:
    """The gradient by `hidden`. Keys and values from a cache are inputs: nothing flows into them."""
    dquery, dkey, dvalue = attend_backward(m, dy, layer=layer, head_mask=head_mask)
    past_length = past[0].shape[2] if past else 0  # P
    return m.conv1d_backward("c_attn", joined(dquery, dkey[:, :, past_length:], dvalue[:, :, past_length:]), hidden)


def cross_attention(
    m: Module,
    hidden: Array,
    *,
    layer: int,
    source: Array | None = None,
    mask: Array | None = None,
    head_mask: Array | None = None,
    stored: KeyValue = (),
) -> tuple[Array, Array, KeyValue]:
    """The same between two sequences: the query is a map of its own, `q_attn`, and `c_attn` makes keys and values of `source`,
    the output of an encoder. `stored` holds those keys and values, where they were computed before."""
    (query,) = cut(m, m.conv1d("q_attn", hidden), parts=1)  # [B, N, S, H]
    if stored:
        key, value = stored  # [B, N, E, H]
    else:
        assert source is not None
        key, value = cut(m, m.conv1d("c_attn", source), parts=2)
    return attend(m, query, key, value, layer=layer, mask=mask, head_mask=head_mask)


def cross_attention_backward(
    m: Module,
    dy: Array,
    hidden: Array,
    *,
    layer: int,
    source: Array | None = None,
    head_mask: Array | None = None,
    stored: KeyValue = (),
) -> tuple[Array, Array | None]:
    """The gradients by `hidden` and by `source`."""
    dquery, dkey, dvalue = attend_backward(m, dy, layer=layer, head_mask=head_mask)
    dhidden = m.conv1d_backward("q_attn", joined(dquery), hidden)  # [B, S, D]
    if stored or source is None:
        return dhidden, None
    return dhidden, m.conv1d_backward("c_attn", joined(dkey, dvalue), source)


def cut(m: Module, x: Array, *, parts: int) -> list[Array]:
    """`[B, S, parts * N*H]` -> that many of `[B, N, S, H]`: query, key and value stand one behind the other, each whole."""
    return [ops.split_heads(part, m.config.head_size) for part in np.split(x, parts, axis=-1)]


def joined(*parts: Array) -> Array:
    """Several of `[B, N, S, H]` -> `[B, S, parts * N*H]`: the inverse of `cut`, and so the gradient of it."""
    return np.concatenate([ops.merge_heads(part) for part in parts], axis=-1)


def attend(
    m: Module, query: Array, key: Array, value: Array, *, layer: int, mask: Array | None, head_mask: Array | None
) -> tuple[Array, Array, KeyValue]:
    """Softmax over the scores, the values that it weighs, and `c_proj` of them."""
    query, key, value = m.keep(":query", query), m.keep(":key", key), m.keep(":value", value)

    def drop_and_mask(probs: Array) -> Array:
        probs = m.dropout(probs, m.config.attn_pdrop, "attn_dropout")  # [B, N, S, T]
        return probs if head_mask is None else probs * head_mask

    keys, values = ops.of_all_positions(key, value)
    context, probs = ops.scaled_dot_product_attention(
        query,
        keys,
        values,
        mask,
        divisor=divisor(m, layer),
        change_probs=drop_and_mask,
        keep=m.keep if m.is_observed else None,
    )
    merged = m.keep(":context", ops.merge_heads(context))  # [B, S, N*H]
    y = m.dropout(m.conv1d("c_proj", merged), m.config.resid_pdrop, "resid_dropout")  # [B, S, D]
    return m.keep("", y), probs, (key, value)


def attend_backward(m: Module, dy: Array, *, layer: int, head_mask: Array | None) -> tuple[Array, Array, Array]:
    """The gradients by query, key and value, `[B, N, S or T, H]`."""
    dropped = m.has_kept(":attn_dropout_mask")
    softmaxed = ops.softmax(m.kept(":masked_scores")) if dropped else m.kept("attn_dropout")  # [B, N, S, T]
    dprojected = m.dropout_backward(m.keep_gradient("", dy), m.config.resid_pdrop, "resid_dropout")  # [B, S, D]
    dmerged = m.keep_gradient(":context", m.conv1d_backward("c_proj", dprojected, m.kept(":context")))

    def drop_and_mask_backward(dprobs: Array) -> Array:
        dprobs = dprobs if head_mask is None else dprobs * head_mask
        return m.dropout_backward(dprobs, m.config.attn_pdrop, "attn_dropout")

    dquery, dkey, dvalue = ops.scaled_dot_product_attention_backward(
        ops.split_heads(dmerged, m.config.head_size),
        m.kept(":query"),
        m.kept(":key"),
        m.kept(":value"),
        softmaxed,
        m.kept(":probs"),
        divisor=divisor(m, layer),
        change_probs_backward=drop_and_mask_backward,
        keep=m.keep_gradient,
    )
    return m.keep_gradient(":query", dquery), m.keep_gradient(":key", dkey), m.keep_gradient(":value", dvalue)


def divisor(m: Module, layer: int) -> float:
    """What the scores are divided by: sqrt(H), and where the configuration says so also the layer's number, from 1 on."""
    scale = math.sqrt(m.config.head_size) if m.config.scale_attn_weights else 1.0
    return scale * (layer + 1) if m.config.scale_attn_by_inverse_layer_idx else scale
