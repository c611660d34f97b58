"""Which positions of a tensor count. Padding may hold anything, because the mask keeps it out of everything else.

    a key counts      when a query that counts may look at it
    a query counts    when it may look at something, and when some query may look at its position or the pooler reads it
    a gradient counts everywhere: where the loss does not reach, it is 0, and a port must have it so, since the gradients of
                      weights are sums over all positions. Only those of probabilities that the mask made 0 are of no account

A pass that counts labels at positions of padding depends on what stands there, and so do its gradients.

A query that may look at nothing has no right answer: with -10000 added everywhere the softmax is as without a mask, with
-infinity it is not a number. Legend as in `npbert.ops`; E is the length of the encoder's output that a decoder looks at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from npbert.golden.kinds import is_forward
from npbert.golden.models import Config, PartCall, part_of, parts_of_call, reads_first_token, tokens_of
from npbert.gpt2.config import GPT2Config
from npbert.ops import masks
from npbert.types import Array

SOFTMAXED = (".self.dropout", ".attn_dropout")
"""Names of what softmax made, before the head mask."""

SOFTMAX_REACH = 60.0
"""A score this far below the largest of its row has no influence: exp(-60) is 1e-26. A port may hide scores anywhere below."""


class Positions(NamedTuple):
    """What the masks of one call leave visible, as truth values."""

    query: Array  # [B, S]
    key: Array  # [B, T]
    visible: Array  # [B, S, T]
    cross_key: Array  # [B, E]
    cross_visible: Array  # [B, S, E]
    row: Array  # [B]: whether what is made of a whole sequence counts


def of_call(config: Config, inputs: Mapping[str, Any]) -> dict[str, Positions]:
    """The positions of a call with these arguments, by part of the model."""
    return {part: _of_part(call) for part, call in parts_of_call(config, inputs).items()}


def number_of_pairs(config: Config, inputs: Mapping[str, Any]) -> int:
    """How many truth values `of_call` will make: one for each query and each key that it may or may not look at."""
    lengths = [_lengths(call.inputs) for call in parts_of_call(config, inputs).values()]
    return sum(batch * length * (past + length + encoder) for batch, length, past, encoder in lengths)


def _lengths(inputs: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """B, S, P and E of a part's inputs."""
    batch, length = tokens_of(inputs).shape
    past = inputs.get("past_key_values") or ()
    encoder_length = 0
    if "encoder_hidden_states" in inputs:
        encoder_length = inputs["encoder_hidden_states"].shape[1]
    elif past and len(past[0]) == 4:
        encoder_length = past[0][2].shape[2]
    return batch, length, past[0][0].shape[2] if past else 0, encoder_length


def _of_part(call: PartCall) -> Positions:
    inputs = call.inputs
    batch, length, past_length, encoder_length = _lengths(inputs)

    attention_mask = inputs.get("attention_mask")
    if attention_mask is None:
        attention_mask = np.ones((batch, past_length + length), np.int64)
    visible = masks.self_attention(attention_mask, length, is_decoder=call.config.is_causal) != 0  # [B, 1, S or 1, T]
    visible = np.broadcast_to(visible[:, 0], (batch, length, past_length + length))
    query: Array = np.any(visible, axis=1)[:, past_length:]  # [B, S]
    if reads_first_token(call.config):
        query = query | (np.arange(length) == 0)
    query = query & visible.any(axis=2)

    cross_visible = np.ones((batch, length, encoder_length), np.bool_)
    if encoder_length:
        if "encoder_attention_mask" in inputs:
            cross_visible &= masks.cross_attention(inputs["encoder_attention_mask"])[:, 0] != 0
        query = query & cross_visible.any(axis=2)

    def looked_at(pairs: Array) -> Array:
        return np.any(pairs & query[:, :, None], axis=1)

    # BERT's pooler reads the first position, GPT-2's classifier the last one that is real.
    row: Array = np.any(query, axis=1) if isinstance(call.config, GPT2Config) else query[:, 0]
    return Positions(query, looked_at(visible), visible, looked_at(cross_visible), cross_visible, row)


def counted(parts: Mapping[str, Positions], name: str, shape: tuple[int, ...]) -> Array:
    """Which elements of the tensor `name` count: truth values, ready to be broadcast to its shape."""
    positions = parts[part_of(parts, name)]
    if not is_forward(name):
        return _counted_gradient(positions, name, shape)
    batch, length = positions.query.shape
    is_cross = ".crossattention" in name
    key, visible = (positions.cross_key, positions.cross_visible) if is_cross else (positions.key, positions.visible)
    if name.endswith((":scores", ":relative_scores", ":masked_scores")):
        return (visible & positions.query[:, :, None])[:, None]  # [B, 1, S, T]
    if name.endswith((":query", ":probs", *SOFTMAXED)):
        return positions.query[:, None, :, None]  # [B, 1, S, 1]
    if name.endswith((":key", ":value")):
        return key[:, None, :, None]  # [B, 1, T, 1]
    if name.endswith((".self.key", ".self.value", ".crossattention.c_attn")):
        return key[:, key.shape[1] - shape[1] :, None]  # [B, S or E, 1]
    if name.endswith(("start_logits", "end_logits")):
        return positions.query  # [B, S]
    if name.endswith(".self.distance_embedding"):
        return np.ones((1, 1, 1), np.bool_)  # [S, T, H]: the same for all sequences, so all of it counts
    if len(shape) == 3 and shape[1] == length and shape[0] in (1, batch):
        rows = positions.query[:, :, None]  # [B, S, 1]
        # The position embeddings have one row for all sequences: it counts where one of them needs it.
        return rows if shape[0] == batch else np.any(rows, axis=0, keepdims=True)
    if len(shape) == 2 and length and shape[0] * shape[1] == batch:
        return positions.query[:, 0].reshape(shape)  # [B, C]: the scores of a multiple choice, whose batch is B*C
    if len(shape) == 2 and length and shape[0] == batch:
        return positions.row[:, None]  # [B, 1]: a row for each sequence
    return np.ones((1,) * len(shape), np.bool_)


def _counted_gradient(positions: Positions, name: str, shape: tuple[int, ...]) -> Array:
    if name.endswith((":probs", *SOFTMAXED)):
        visible = positions.cross_visible if ".crossattention" in name else positions.visible
        return (visible & positions.query[:, :, None])[:, None]  # [B, 1, S, T]
    return np.ones((1,) * len(shape), np.bool_)
