"""Which positions of a tensor count: padding may hold anything, because the mask keeps it out of everything else.

    a key counts      when a query that counts may look at it
    a query counts    when somebody may look at its position, or the pooler reads it, and when it may look at something

A query that may look at nothing has no right answer: with -10000 added everywhere the softmax is as without a mask, with
-infinity it is not a number. Legend as in `npbert.ops`; E is the length of the encoder's output that a decoder looks at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from npbert import masks
from npbert.bert.config import BertConfig
from npbert.models.auto import MODELS
from npbert.models.encoder_decoder import shift_tokens_right
from npbert.types import Array


class Positions(NamedTuple):
    """What the mask of one call leaves visible, as truth values."""

    query: Array  # [B, S]
    key: Array  # [B, T]
    visible: Array  # [B, S, T]
    cross_key: Array  # [B, E]
    cross_visible: Array  # [B, S, E]


def of_call(config: Any, inputs: Mapping[str, Any]) -> dict[str, Positions]:
    """The positions of a call with these arguments, under the part of the model that they are in: "" where it is one part,
    else "encoder" and "decoder"."""
    if config.model_type != "encoder-decoder":
        return {"": _of_part(config, inputs)}
    parts: dict[str, Positions] = {}
    source = {name: x for name, x in inputs.items() if name in ("input_ids", "inputs_embeds", "attention_mask")}
    if "input_ids" in source or "inputs_embeds" in source:
        parts["encoder"] = _of_part(config.encoder, source)
    target = {name.removeprefix("decoder_"): x for name, x in inputs.items() if name.startswith("decoder_")}
    if "input_ids" not in target and "inputs_embeds" not in target:
        ids = shift_tokens_right(inputs["labels"], config.pad_token_id, config.decoder_start_token_id)
        target = {"attention_mask": ids != config.pad_token_id} | target | {"input_ids": ids}
    if "past_key_values" in inputs:
        target["past_key_values"] = inputs["past_key_values"]
    if "attention_mask" in inputs:
        target["encoder_attention_mask"] = inputs["attention_mask"]
    if "encoder_outputs" in inputs:
        target["encoder_hidden_states"] = inputs["encoder_outputs"][0]
    elif "encoder" in parts:
        target["encoder_hidden_states"] = parts["encoder"].query[:, :, None]  # only its shape is looked at
    return parts | {"decoder": _of_part(config.decoder, target)}


def _of_part(config: BertConfig, inputs: Mapping[str, Any]) -> Positions:
    tokens = inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"][..., 0]
    architecture = (config.architectures or ["BertModel"])[0]
    attention_mask = inputs.get("attention_mask")
    if architecture == "BertForMultipleChoice":
        tokens = tokens.reshape(-1, tokens.shape[-1])
        attention_mask = None if attention_mask is None else attention_mask.reshape(-1, attention_mask.shape[-1])
    batch, length = tokens.shape  # B, S
    past = inputs.get("past_key_values") or ()
    past_length = past[0][0].shape[2] if past else 0  # P

    if attention_mask is None:
        attention_mask = np.ones((batch, past_length + length), np.int64)
    visible = masks.self_attention(attention_mask, length, is_decoder=config.is_decoder) != 0  # [B, 1, S or 1, T]
    visible = np.broadcast_to(visible[:, 0], (batch, length, past_length + length))
    query: Array = np.any(visible, axis=1)[:, past_length:]  # [B, S]
    if architecture in MODELS and MODELS[architecture].has_pooler and config.model_type != "distilbert":
        query = query | (np.arange(length) == 0)
    query = query & visible.any(axis=2)

    encoder_length = 0  # E
    if "encoder_hidden_states" in inputs:
        encoder_length = inputs["encoder_hidden_states"].shape[1]
    elif past and len(past[0]) == 4:
        encoder_length = past[0][2].shape[2]
    cross_visible = np.ones((batch, length, encoder_length), np.bool_)
    if encoder_length:
        if "encoder_attention_mask" in inputs:
            cross_visible &= masks.cross_attention(inputs["encoder_attention_mask"])[:, 0] != 0
        query = query & cross_visible.any(axis=2)

    def looked_at(pairs: Array) -> Array:
        return np.any(pairs & query[:, :, None], axis=1)

    return Positions(query, looked_at(visible), visible, looked_at(cross_visible), cross_visible)


def part_of(parts: Mapping[str, Positions], name: str) -> Positions:
    """The positions that the tensor `name` runs over."""
    if "" in parts:
        return parts[""]
    of_encoder = name.startswith(("encoder", "enc_to_dec_proj", "output:encoder"))
    return parts["encoder"] if of_encoder and "encoder" in parts else parts["decoder"]


def counted(parts: Mapping[str, Positions], name: str, shape: tuple[int, ...]) -> Array:
    """Which elements of the tensor `name` count: truth values, ready to be broadcast to its shape."""
    positions = part_of(parts, name)
    batch, length = positions.query.shape
    is_cross = ".crossattention." in name
    key, visible = (positions.cross_key, positions.cross_visible) if is_cross else (positions.key, positions.visible)
    rows: Array | None = None
    if name.endswith((":scores", ":relative_scores", ":masked_scores")):
        rows = (visible & positions.query[:, :, None])[:, None]  # [B, 1, S, T]
    elif name.endswith((".self:query", ".self:probs", ".self.dropout")):
        rows = positions.query[:, None, :, None]  # [B, 1, S, 1]
    elif name.endswith((".self:key", ".self:value")):
        rows = key[:, None, :, None]  # [B, 1, T, 1]
    elif name.endswith((".self.key", ".self.value")):
        rows = key[:, key.shape[1] - shape[1] :, None]  # [B, S or E, 1]
    elif name.endswith(("start_logits", "end_logits")):
        rows = positions.query  # [B, S]
    elif name.endswith(".self.distance_embedding"):
        rows = None  # [S, T, H]: of no sequence in particular
    elif len(shape) == 3 and shape[0] in (1, batch) and shape[1] == length:
        rows = positions.query[:, :, None]  # [B, S, 1]
        if shape[0] == 1:
            rows = np.any(rows, axis=0, keepdims=True)  # one row of positions for all sequences
    elif len(shape) == 2 and length and shape[0] * shape[1] == batch:
        rows = positions.query[:, 0].reshape(shape)  # [B, C]: the scores of a multiple choice, whose batch is B*C
    elif len(shape) == 2 and length and shape[0] == batch:
        rows = positions.query[:, :1]  # [B, 1]: a row for each sequence, made from its first position
    return np.ones((1,) * len(shape), np.bool_) if rows is None else rows
