"""The whole base model, and which function computes which module."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbert import ops
from npbert.bert.attention import add_and_norm, attention, self_attention
from npbert.bert.embeddings import embeddings, embeddings_backward
from npbert.bert.layer import EncoderResult, LayerCache, encoder, encoder_backward, intermediate, layer
from npbert.bert.pooler import pooler, pooler_backward
from npbert.module import Functions, Module
from npbert.ops import masks
from npbert.types import Array


def bert(
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
) -> tuple[EncoderResult, Array | None]:
    """Embeddings, layers and, where the checkpoint has one, the pooler; `options` are those of `encoder`.

    Without masks every token may be seen. Returns what the layers put out and the pooled vector `[B, D]`.
    """
    past_length = past[0][0].shape[2] if past else 0  # P
    hidden = embeddings(m.embeddings, input_ids, token_type_ids, position_ids, inputs_embeds, past_length)  # [B, S, D]
    visible = layer_masks(m, hidden, past_length, attention_mask, head_mask, encoder_attention_mask)
    # Chunks, and the distances of relative positions, count from the first position.
    positions = m.config.position_embedding_type == "absolute" and not m.config.chunk_size_feed_forward
    options |= {"encoder_hidden": encoder_hidden, "past": past}
    result = m.encoder.in_shares(encoder, hidden, positions=positions, **visible, **options)
    return result, pooler(m.pooler, result.hidden) if "pooler" in m else None


def bert_backward(
    m: Module,
    dhidden: Array,
    dpooled: Array | None,
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
    """From the gradients by the hidden states `[B, S, D]` and the pooled vector down to the tables.

    Returns the gradient by `encoder_hidden`, if the model reads an encoder.
    """
    hidden = m.encoder.kept("")  # [B, S, D]
    if "pooler" in m:
        dhidden = dhidden + pooler_backward(m.pooler, np.zeros_like(hidden[:, 0]) if dpooled is None else dpooled, hidden)
    if m.path:
        dhidden = m.keep_gradient("", dhidden)  # the model's output is the encoder's, so both have one gradient
    if not (wants_encoder_hidden or m.encoder.wants_any or m.embeddings.wants_any):
        return None
    past_length = past[0][0].shape[2] if past else 0  # P
    visible = layer_masks(m, hidden, past_length, attention_mask, head_mask, encoder_attention_mask)
    dhidden, dencoder = encoder_backward(
        m.encoder,
        dhidden,
        m.embeddings.kept(""),
        **visible,
        encoder_hidden=encoder_hidden,
        past=past,
        wants_hidden=wants_encoder_hidden or m.embeddings.wants_any,
    )
    if m.embeddings.wants_any:
        embeddings_backward(m.embeddings, dhidden, input_ids, token_type_ids, position_ids, past_length)
    return dencoder


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
    visible = masks.self_attention(attention_mask, length, is_decoder=m.config.is_decoder)  # [B, 1, S or 1, T]
    found: dict[str, Any] = {"mask": None}
    if (visible != 1).any():  # else 0 would be added everywhere
        found["mask"] = masks.additive(visible, hidden.dtype, value=m.config.mask_value)
    if encoder_attention_mask is not None:
        visible = masks.cross_attention(encoder_attention_mask)  # [B, 1, S or 1, E]
        found["encoder_mask"] = masks.additive(visible, hidden.dtype, value=m.config.mask_value)
    if head_mask is not None:
        found["head_mask"] = masks.heads(head_mask, m.config.num_hidden_layers, hidden.dtype)  # [L, N, 1, 1]
    return found


FUNCTIONS: Functions = {
    "bert": bert,
    "embeddings": embeddings,
    "encoder": encoder,
    ".encoder": encoder,  # an encoder of no layers has no weights: see npbert.module.Functions
    "bert.encoder": encoder,
    "layer.*": layer,
    "attention": attention,
    "crossattention": attention,
    "self": self_attention,
    "output": add_and_norm,
    "intermediate": intermediate,
    "intermediate.intermediate_act_fn": lambda m, x: m.config.activation(x),
    "pooler": pooler,
    "pooler.activation": lambda m, x: ops.ACTIVATIONS[m.config.pooler_act](x),
}
"""The function of each module, by the last part of its path: what calling a module runs."""
