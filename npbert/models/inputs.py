"""Checking what comes into a model: every function names the argument, says what it got and what it takes.

What passes is an array of the right kind, so that the architecture behind need not look again. NumPy would read a negative
id from the end of a table, stretch a mask that is too short and cut 1.7 down to 1; here each of these is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbert import checks
from npbert.configuration import ModelConfiguration
from npbert.errors import InputError, InputTypeError, shown, warn
from npbert.types import Array


def which_tokens(input_ids: object, inputs_embeds: object) -> str:
    """The name of the argument that brings the tokens: one of the two."""
    if (input_ids is None) == (inputs_embeds is None):
        raise InputError(f"takes either input_ids or inputs_embeds, got {'neither' if input_ids is None else 'both'}")
    return "input_ids" if inputs_embeds is None else "inputs_embeds"


def cache(value: object, config: ModelConfiguration, batch: int, dtype: DTypeLike) -> tuple[tuple[Array, ...], ...]:
    """`past_key_values`: for each layer (key, value) or (key, value, cross_key, cross_value), each `[B, N, P, H]`."""
    name = "past_key_values"
    if not config.is_causal:
        raise InputError(f"{name}: only decoders have a cache; set is_decoder=True in the config")
    if not isinstance(value, Sequence) or len(value) != config.num_hidden_layers:
        layers_taken = f"a tuple with one entry for each of the {config.num_hidden_layers} layers"
        raise InputError(f"{name}: takes {layers_taken}, got {_parts(value)}")
    parts = (2, 4) if config.add_cross_attention else (2,)
    layers: list[tuple[Array, ...]] = []
    for index, entry in enumerate(value):
        if not isinstance(entry, Sequence) or len(entry) not in parts or (layers and len(entry) != len(layers[0])):
            parts_taken = "(key, value), or in all layers (key, value, cross_key, cross_value)"
            raise InputError(f"{name}[{index}]: takes {parts_taken}, got {_parts(entry)}")
        layers.append(tuple(checks.numbers(f"{name}[{index}][{part}]", array, dtype) for part, array in enumerate(entry)))
        for part, array in enumerate(layers[-1]):
            heads = config.num_heads(index) if part < 2 else config.num_attention_heads
            length = layers[0][part // 2 * 2].shape[2:3]  # every layer has seen the same tokens
            if array.shape != (batch, heads, *length, config.head_size):
                wanted = f"[{batch}, {heads}, {length[0] if length else 'length'}, {config.head_size}]"
                raise InputError(f"{name}[{index}][{part}]: takes shape {wanted}, got {list(array.shape)}")
    return tuple(layers)


def check_inputs(
    config: ModelConfiguration,
    dtype: DTypeLike,
    *,
    input_ids: object = None,
    attention_mask: object = None,
    token_type_ids: object = None,
    position_ids: object = None,
    head_mask: object = None,
    inputs_embeds: object = None,
    encoder_hidden_states: object = None,
    encoder_attention_mask: object = None,
    past_key_values: object = None,
) -> dict[str, Any]:
    """Check the arguments that every model takes; the result is what the base model's function takes."""
    name = which_tokens(input_ids, inputs_embeds)
    checked: dict[str, Any] = {}
    if name == "input_ids":
        _check_rows(name, input_ids)
        tokens = checked["input_ids"] = checks.ids("input_ids", input_ids, config.vocab_size)
        _warn_of_padding(config, tokens, attention_mask)
    else:
        tokens = checked["inputs_embeds"] = checks.numbers("inputs_embeds", inputs_embeds, dtype)
        if tokens.ndim != 3 or tokens.shape[2] != config.hidden_size:
            raise InputError(f"inputs_embeds: takes shape [batch, length, {config.hidden_size}], got {list(tokens.shape)}")
    batch, length = tokens.shape[:2]
    if not length:
        raise InputError(f"{name}: takes at least one token, got shape {list(tokens.shape)}")

    past: tuple[tuple[Array, ...], ...] = ()
    if past_key_values is not None:
        past = checked["past"] = cache(past_key_values, config, batch, dtype)
    past_length = past[0][0].shape[2] if past else 0
    stored = past[0][2].shape[2] if past and len(past[0]) == 4 else None  # how much of an encoder the cache holds
    total = past_length + length
    longest = config.max_position_embeddings
    by_distance = config.position_embedding_type != "absolute"
    if total > longest and (by_distance or position_ids is None):
        cached = f" ({past_length} of them cached)" if past_length else ""
        raise InputError(f"{name}: {total} tokens{cached}, the model takes {longest}")
    if position_ids is not None:
        positions = checked["position_ids"] = checks.ids("position_ids", position_ids, longest)
        if positions.shape not in ((1, length), (batch, length)):
            raise InputError(f"position_ids: takes shape {[batch, length]} or {[1, length]}, got {list(positions.shape)}")

    if token_type_ids is not None:
        types = checks.ids("token_type_ids", token_type_ids, max(config.type_vocab_size, 1))
        checked["token_type_ids"] = checks.with_shape("token_type_ids", types, (batch, length))
    if attention_mask is not None:
        checked["attention_mask"] = checks.mask("attention_mask", attention_mask, (batch, total), (batch, length, total))
    if head_mask is not None:
        heads = (config.num_attention_heads,)
        checked["head_mask"] = checks.mask("head_mask", head_mask, heads, (config.num_hidden_layers, *heads))
        if any(config.pruned_heads.values()):
            raise InputError("head_mask: the model has pruned heads, so a mask over all heads no longer fits; prune instead")

    if encoder_hidden_states is not None:
        if not config.add_cross_attention:
            raise InputError("encoder_hidden_states: this model has no cross-attention; set add_cross_attention in the config")
        states = checked["encoder_hidden"] = checks.numbers("encoder_hidden_states", encoder_hidden_states, dtype)
        if states.ndim != 3 or states.shape[0] != batch or states.shape[2] != config.hidden_size:
            wanted = f"[{batch}, length, {config.hidden_size}]"
            raise InputError(f"encoder_hidden_states: takes shape {wanted}, got {list(states.shape)}")
        if stored not in (None, states.shape[1]):
            raise InputError(f"encoder_hidden_states: {states.shape[1]} positions, in past_key_values there are {stored}")
    if encoder_attention_mask is not None:
        if stored is None and encoder_hidden_states is None:
            raise InputError("encoder_attention_mask: there are no encoder_hidden_states to mask")
        encoder_length = checked["encoder_hidden"].shape[1] if stored is None else stored
        checked["encoder_attention_mask"] = checks.mask(
            "encoder_attention_mask", encoder_attention_mask, (batch, encoder_length), (batch, length, encoder_length)
        )
    return checked


def _check_rows(name: str, value: object) -> None:
    """Refuse what a tokenizer gives without its two options for models: one row alone, and rows of several lengths."""
    if not isinstance(value, list | tuple) or not value:
        return
    if all(isinstance(row, list | tuple) for row in value):
        lengths = {len(row) for row in value}
        if len(lengths) > 1:
            got = f"got {min(lengths)} to {max(lengths)} tokens"
            raise InputError(f"{name}: takes rows of one length, {got}; the tokenizer makes them with padding=True")
    elif not any(isinstance(row, list | tuple | np.ndarray) for row in value):
        remedy = 'the tokenizer gives a batch, also of one text, with return_tensors="np"'
        raise InputError(f"{name}: takes 2 dimensions, got shape [{len(value)}]; {remedy}")


def _warn_of_padding(config: ModelConfiguration, input_ids: Array, attention_mask: object) -> None:
    """Padding that is not masked changes every other token's result: almost always a mistake."""
    if attention_mask is not None or config.pad_token_id is None or not input_ids.size:
        return
    if (input_ids[:, [0, -1]] == config.pad_token_id).any():
        warn(
            f"input_ids begin or end with the padding token ({config.pad_token_id}) and there is no attention_mask: "
            "the padding takes part in attention",
        )


def _parts(value: object) -> str:
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, Sequence) else type(value).__name__


def check_output_gradients(given: Any, output: Mapping[str, Any], names: Sequence[str]) -> dict[str, Array]:
    """Gradients by outputs: for each of some outputs an array of its shape."""
    if not isinstance(given, Mapping) or not given:
        raise InputTypeError(f"output_gradients: takes a mapping from names of outputs to arrays, got {shown(given)}")
    found = {}
    for name, value in given.items():
        if name not in names or name not in output:
            there = [name for name in names if name in output]
            raise InputError(f"output_gradients: takes gradients by {' or '.join(there)}, got {shown(name)}")
        x = output[name]
        found[name] = checks.with_shape(f"output_gradients[{name!r}]", checks.numbers(name, value, x.dtype), x.shape)
    return found
