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
    types, positions = types_and_positions(x, token_type_ids, position_ids, past_key_values_length)
    if "token_type_embeddings" in m:
        x = x + m.embedding("token_type_embeddings", types)
    if m.config.position_embedding_type == "absolute":
        x = x + m.embedding("position_embeddings", positions)
    return m.keep("", m.dropout(m.layer_norm(m.keep(":sum", x))))  # [B, S, D]


def embeddings_backward(
    m: Module,
    dy: Array,
    input_ids: Array | None = None,
    token_type_ids: Array | None = None,
    position_ids: Array | None = None,
    past_key_values_length: int = 0,
) -> None:
    """A sum hands its gradient to every term, so each table gets the same one, added up by what was looked up in it.

    The padding token's row gets no gradient, as in the reference. `inputs_embeds` stands for the looked up words, given by the
    caller or not.
    """
    x = m.kept(":sum")
    dx = m.layer_norm_backward(m.dropout_backward(m.keep_gradient("", dy)), x)
    dx = m.keep_gradient(":sum", dx)  # [B, S, D]
    types, positions = types_and_positions(x, token_type_ids, position_ids, past_key_values_length)
    if m.config.position_embedding_type == "absolute":
        m.embedding_backward("position_embeddings", dx, positions)
    if "token_type_embeddings" in m:
        m.embedding_backward("token_type_embeddings", dx, types)
    if input_ids is not None:
        m.embedding_backward("word_embeddings", dx, input_ids, padding_idx=m.config.pad_token_id)
    m.add_gradient("inputs_embeds", dx)


def types_and_positions(
    x: Array, token_type_ids: Array | None, position_ids: Array | None, past_length: int
) -> tuple[Array, Array]:
    """What was given, or the defaults: all tokens of type 0 `[B, S]`, positions that count on from the cache `[1, S]`."""
    batch, length, _ = x.shape
    types = np.zeros((batch, length), np.int64) if token_type_ids is None else token_type_ids
    positions = np.arange(past_length, past_length + length)[None] if position_ids is None else position_ids
    return types, positions
