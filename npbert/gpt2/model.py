"""The whole base model, and which function computes which module."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbert import ops
from npbert.bert.layer import EncoderResult, LayerCache
from npbert.errors import InputError
from npbert.gpt2.attention import attention, cross_attention
from npbert.gpt2.layer import feed_forward, layer, layers, layers_backward, number_of
from npbert.module import Functions, Module
from npbert.ops import masks
from npbert.types import Array

HIDDEN = float(np.finfo(np.float32).min)
"""What is added to the scores of padding. It swallows every score, and is finite: a row that sees nothing but padding still has
a softmax, an even one over what lies before it. What lies after it gets minus infinity, and never has a share."""


def gpt2(
    m: Module,
    *,
    input_ids: Array | None = None,
    inputs_embeds: Array | None = None,
    attention_mask: Array | None = None,
    token_type_ids: Array | None = None,
    position_ids: Array | None = None,
    head_mask: Array | None = None,
    encoder_hidden: Array | None = None,
    encoder_attention_mask: Array | None = None,
    past: tuple[LayerCache, ...] = (),
    **options: Any,
) -> EncoderResult:
    """Embeddings, then layers; `options` are those of `layers`. Without masks every token that is not later may be seen."""
    past_length = past[0][0].shape[2] if past else 0  # P
    hidden = embeddings(m, input_ids, token_type_ids, position_ids, inputs_embeds, past_length)  # [B, S, D]
    visible = layer_masks(m, hidden, past_length, attention_mask, head_mask, encoder_attention_mask)
    options |= {"encoder_hidden": encoder_hidden, "past": past}
    result = m.in_shares(layers, hidden, positions=True, **visible, **options)
    return result._replace(hidden=m.keep("", result.hidden)) if m.path else result


def gpt2_backward(
    m: Module,
    dhidden: Array,
    *,
    input_ids: Array | None = None,
    inputs_embeds: Array | None = None,
    attention_mask: Array | None = None,
    token_type_ids: Array | None = None,
    position_ids: Array | None = None,
    head_mask: Array | None = None,
    encoder_hidden: Array | None = None,
    encoder_attention_mask: Array | None = None,
    past: tuple[LayerCache, ...] = (),
    wants_encoder_hidden: bool = False,
) -> Array | None:
    """From the gradient by the hidden states `[B, S, D]` down to the tables.

    Returns the gradient by `encoder_hidden`, if the model reads an encoder.
    """
    if m.path:
        dhidden = m.keep_gradient("", dhidden)
    hidden = m.kept("drop")  # [B, S, D]
    past_length = past[0][0].shape[2] if past else 0  # P
    visible = layer_masks(m, hidden, past_length, attention_mask, head_mask, encoder_attention_mask)
    wants_tables = any(m.wants(name) for name in ("wte.weight", "wpe.weight", "inputs_embeds"))
    dhidden, dencoder = layers_backward(
        m,
        dhidden,
        hidden,
        **visible,
        encoder_hidden=encoder_hidden,
        past=past,
        wants_hidden=wants_encoder_hidden or wants_tables,
    )
    if wants_tables:
        embeddings_backward(m, dhidden, input_ids, token_type_ids, position_ids, past_length)
    return dencoder


def embeddings(
    m: Module,
    input_ids: Array | None = None,
    token_type_ids: Array | None = None,
    position_ids: Array | None = None,
    inputs_embeds: Array | None = None,
    past_length: int = 0,
) -> Array:
    """What each token is plus where it stands: `wte[id] + wpe[position]`. No LayerNorm: each block begins with its own.

    Token types, where they are given, are looked up in the word table too; there is no other table for them.
    """
    x = inputs_embeds if input_ids is None else m.embedding("wte", input_ids)  # [B, S, D]
    if x is None:
        raise InputError("embeddings: takes input_ids or inputs_embeds, got neither")
    x = x + m.embedding("wpe", positions(x, position_ids, past_length))
    if token_type_ids is not None:
        x = x + m.keep(":token_types", ops.embedding(token_type_ids, m.parameter("wte.weight")))
    return m.dropout(m.keep(":sum", x), m.config.embd_pdrop, "drop")


def embeddings_backward(
    m: Module,
    dy: Array,
    input_ids: Array | None = None,
    token_type_ids: Array | None = None,
    position_ids: Array | None = None,
    past_length: int = 0,
) -> None:
    """A sum hands its gradient to every term. No token is padding to GPT-2, so every row of the word table learns."""
    dx = m.keep_gradient(":sum", m.dropout_backward(dy, m.config.embd_pdrop, "drop"))  # [B, S, D]
    m.embedding_backward("wpe", dx, positions(dx, position_ids, past_length))
    if token_type_ids is not None:
        dtypes = m.keep_gradient(":token_types", dx)
        m.add_gradient("wte.weight", ops.embedding_backward(dtypes, token_type_ids, m.config.vocab_size))
    if input_ids is not None:
        m.embedding_backward("wte", dx, input_ids)
    m.add_gradient("inputs_embeds", dx)


def positions(x: Array, position_ids: Array | None, past_length: int) -> Array:
    """What was given, or positions that count on from the cache `[1, S]`."""
    return np.arange(past_length, past_length + x.shape[1])[None] if position_ids is None else position_ids


def layer_masks(
    m: Module,
    hidden: Array,
    past_length: int,
    attention_mask: Array | None,
    head_mask: Array | None,
    encoder_attention_mask: Array | None,
) -> dict[str, Any]:
    """The masks as the layers take them: added to the scores, or multiplied with the probabilities of each layer's heads."""
    batch, length, _ = hidden.shape
    if attention_mask is None:
        attention_mask = np.ones((batch, past_length + length), np.int64)  # [B, T]
    visible = masks.self_attention(attention_mask, length, is_decoder=False)  # [B, 1, 1 or S, T]
    padding = masks.additive(visible, hidden.dtype, value=HIDDEN)
    never = hidden.dtype.type(-np.inf)
    found: dict[str, Any] = {"mask": np.where(masks.causal(length, past_length + length), padding, never)}  # [B, 1, S, T]
    if encoder_attention_mask is not None:
        visible = masks.cross_attention(encoder_attention_mask)  # [B, 1, S or 1, E]
        found["encoder_mask"] = masks.additive(visible, hidden.dtype, value=HIDDEN)
    if head_mask is not None:
        found["head_mask"] = masks.heads(head_mask, m.config.n_layer, hidden.dtype)  # [L, N, 1, 1]
    return found


def conv1d(m: Module, x: Array) -> Array:
    """A linear map called alone: see `Module.conv1d`."""
    return m.keep("", ops.linear(x, m.weight.T, m.bias))


def linear_without_bias(m: Module, x: Array) -> Array:
    """A head called alone."""
    return m.keep("", ops.linear(x, m.weight))


FUNCTIONS: Functions = {
    "transformer": gpt2,
    "h.*": layer,
    "attn": lambda m, hidden, **options: attention(m, hidden, layer=number_of(m.at(m.path.rpartition(".")[0])), **options),
    "crossattention": lambda m, hidden, **options: cross_attention(
        m, hidden, layer=number_of(m.at(m.path.rpartition(".")[0])), **options
    ),
    "mlp": feed_forward,
    "mlp.act": lambda m, x: m.config.activation(x),
    "c_attn": conv1d,
    "q_attn": conv1d,
    "c_proj": conv1d,
    "c_fc": conv1d,
    "lm_head": linear_without_bias,
    "score": linear_without_bias,
}
"""The function of each module, by the last part of its path: what calling a module runs."""
