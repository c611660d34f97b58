"""From token ids to the first hidden states."""

from __future__ import annotations

import numpy as np

from npbert.errors import InputError
from npbert.module import Module
from npbert.types import Array


def embeddings(
    m: Module,
    input_ids: Array | None = None,
    token_type_ids: Array | None = None,
    position_ids: Array | None = None,
    inputs_embeds: Array | None = None,
    past_key_values_length: int = 0,
) -> Array:
    """What each token is, plus which sentence it belongs to, plus where it stands; then LayerNorm.

        LayerNorm(word_embeddings[id] + token_type_embeddings[type] + position_embeddings[position])

    By default all tokens are of type 0, and positions count on from what is cached. Checkpoints without token types
    (DistilBERT) have no table for them. With relative positions the position table is left out: there, attention knows about
    distances.
    """
    x = inputs_embeds if input_ids is None else m.embedding("word_embeddings", input_ids)  # [B, S, D]
    if x is None:
        raise InputError("embeddings: takes input_ids or inputs_embeds, got neither")
    batch, length, _ = x.shape
    if "token_type_embeddings" in m:
        types = np.zeros((batch, length), np.int64) if token_type_ids is None else token_type_ids
        x = x + m.embedding("token_type_embeddings", types)
    if m.config.position_embedding_type == "absolute":
        following = np.arange(past_key_values_length, past_key_values_length + length)[None]  # [1, S]
        x = x + m.embedding("position_embeddings", following if position_ids is None else position_ids)
    return m.keep("", m.dropout(m.layer_norm(m.keep(":sum", x))))  # [B, S, D]
