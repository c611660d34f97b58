"""The whole base model, and which function computes which module."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbert import ops
from npbert.bert.attention import add_and_norm, attention, self_attention
from npbert.bert.embeddings import embeddings
from npbert.bert.layer import EncoderResult, LayerCache, encoder, intermediate, layer
from npbert.bert.pooler import pooler
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
    """Masks, embeddings, layers and, where the checkpoint has one, the pooler; `options` are those of `encoder`.

    Without masks every token may be seen. Returns what the layers put out and the pooled vector `[B, D]`.
    """
    past_length = past[0][0].shape[2] if past else 0  # P
    hidden = embeddings(m.embeddings, input_ids, token_type_ids, position_ids, inputs_embeds, past_length)  # [B, S, D]
    batch, length, _ = hidden.shape
    dtype, mask_value = hidden.dtype, m.config.mask_value

    if attention_mask is None:
        attention_mask = np.ones((batch, past_length + length), np.int64)  # [B, T]
    mask = masks.self_attention(attention_mask, length, is_decoder=m.config.is_decoder)
    mask = masks.additive(mask, dtype, value=mask_value)  # [B, 1, S or 1, T]
    encoder_mask = None
    if encoder_attention_mask is not None:
        encoder_mask = masks.additive(masks.cross_attention(encoder_attention_mask), dtype, value=mask_value)
    if head_mask is not None:
        head_mask = masks.heads(head_mask, m.config.num_hidden_layers, dtype)

    result = encoder(
        m.encoder,
        hidden,
        mask=mask,
        head_mask=head_mask,
        encoder_hidden=encoder_hidden,
        encoder_mask=encoder_mask,
        past=past,
        **options,
    )
    return result, pooler(m.pooler, result.hidden) if "pooler" in m else None


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
