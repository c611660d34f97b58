"""What a generation begins with: prompts, masks and encoders, checked, and the `next_logits` that a search is handed.

Legend as in `npbert.models.generating`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from npbert import checks
from npbert.errors import InputError, warn
from npbert.generation import SETTING_NAMES, GenerationConfig, NextLogits, settle_lengths
from npbert.models.generation_steps import Steps, for_rows, mask_so_far, only_mask, with_cache
from npbert.models.inputs import cache as check_cache
from npbert.types import Array


class Prepared(NamedTuple):
    """What a search is handed."""

    next_logits: NextLogits
    prompts: Array  # [B, S]
    settings: GenerationConfig  # with the lengths settled


# ------------------------------------------------------------------------------------------------------- a decoder alone

_CROSS_INPUTS = ("encoder_hidden_states", "encoder_attention_mask")
_PROMPT_INPUTS = ("attention_mask", "token_type_ids", "inputs_embeds", "past_key_values", "head_mask", *_CROSS_INPUTS)


def continue_prompts(
    model: Any, input_ids: Any, arrays: Mapping[str, Any], settings: GenerationConfig, steps: Steps
) -> Prepared:
    """A decoder alone goes on with the prompts."""
    config = model.config
    checks.known("generate", arrays, ("input_ids", *_PROMPT_INPUTS, *SETTING_NAMES))
    if not config.is_causal:
        raise InputError("generate: the model sees the tokens it is to write; set is_decoder=True in its config")
    given = {name: array for name, array in arrays.items() if array is not None}
    embeds = _prompt_vectors(given, config.hidden_size, model.dtype)  # [B, E, D] or None
    prompts = _prompt_tokens(input_ids, given, settings, config.vocab_size)  # [B, S]
    length = prompts.shape[1] if embeds is None else embeds.shape[1]
    mask = _prompt_mask(given.get("attention_mask"), prompts, length, settings)  # [B, S]
    types = _prompt_types(given.get("token_type_ids"), mask.shape, config.type_vocab_size)  # [B, S] or None
    cache = _cache_of_prompts(given, (len(prompts), length), config, model.dtype)
    encoder = {name: given[name] for name in _CROSS_INPUTS if name in given}
    heads = {"head_mask": given["head_mask"]} if "head_mask" in given else {}

    def inputs(tokens: Array, past: int) -> dict[str, Any]:
        vectors = None if embeds is None or past >= length else embeds[:, past:]
        total = past + tokens.shape[1] if vectors is None else length
        mask_now = mask_so_far(mask, tokens, total)  # [R, T]
        positions = np.where(mask_now == 0, 1, mask_now.cumsum(axis=1) - 1)  # [R, T]: padding does not count
        return {
            **({"input_ids": tokens} if vectors is None else {"inputs_embeds": vectors}),
            "attention_mask": mask_now,
            "position_ids": positions[:, past:],
            "token_type_ids": None if types is None else for_rows(types[:, min(past, length - 1) :], tokens),
            **heads,
            **(only_mask(encoder, "encoder_attention_mask", tokens) if past else encoder),
        }

    # With absolute positions padding takes none; with relative ones every token of a row counts.
    longest = config.max_position_embeddings
    used = int(mask.sum(axis=1).max()) if config.position_embedding_type == "absolute" else length
    copies = settings.rows_of_a_prompt
    settings = settle_lengths(
        settings,
        prompts.shape[1],
        prompt_name="input_ids" if embeds is None else "inputs_embeds",
        positions_used=used,
        positions=longest,
        default_limit=longest,
        unlisted=0 if length == prompts.shape[1] else length,
    )
    return Prepared(with_cache(model, inputs, steps, copies=copies, cache=cache), prompts, settings)


def _prompt_vectors(given: Mapping[str, Any], hidden_size: int, dtype: Any) -> Array | None:
    """Prompts as vectors `[B, E, D]` in the place of tokens, if they are given."""
    if "inputs_embeds" not in given:
        return None
    embeds = checks.numbers("inputs_embeds", given["inputs_embeds"], dtype)
    if embeds.ndim != 3 or not embeds.size or embeds.shape[2] != hidden_size:
        raise InputError(f"inputs_embeds: takes shape [batch, length, {hidden_size}], got {list(embeds.shape)}")
    return embeds


def _prompt_tokens(input_ids: Any, given: Mapping[str, Any], settings: GenerationConfig, vocabulary: int) -> Array:
    """The prompts `[B, S]`. Without any, vectors take their place, or else a text begins with `bos_token_id`."""
    embeds = given.get("inputs_embeds")
    if input_ids is not None:
        prompts = checks.ids("input_ids", input_ids, vocabulary)  # [B, S]
        if not prompts.size:
            raise InputError(f"input_ids: takes prompts of at least one token, got shape {list(prompts.shape)}")
        if embeds is not None and len(embeds) != len(prompts):
            raise InputError(f"inputs_embeds: takes as many prompts as input_ids, {len(prompts)}, got {len(embeds)}")
        return prompts
    if embeds is not None:
        return np.zeros((len(embeds), 0), np.int64)
    if settings.bos_token_id is None:
        raise InputError("input_ids: there is no prompt, and no bos_token_id to begin with")
    batch = next((len(array) for name, array in given.items() if name not in ("past_key_values", "head_mask")), 1)
    return np.full((batch, 1), checks.ids("bos_token_id", [settings.bos_token_id], vocabulary, rank=1)[0])


def _cache_of_prompts(given: Mapping[str, Any], shape: tuple[int, int], config: Any, dtype: Any) -> Any:
    """What a model has read of the prompts before: `past_key_values`, with at least one token still to be read."""
    if "past_key_values" not in given:
        return None
    cache = check_cache(given["past_key_values"], config, shape[0], dtype)
    past = cache[0][0].shape[2]
    if past >= shape[1]:
        raise InputError(f"past_key_values: hold {past} tokens; the prompts take those and at least one more, got {shape[1]}")
    return cache


def _prompt_types(given: Any, shape: tuple[int, ...], number: int) -> Array | None:
    if given is None:
        return None
    types = checks.ids("token_type_ids", given, max(number, 1))
    return checks.with_shape("token_type_ids", types, shape)  # [B, S]


def _prompt_mask(given: Any, prompts: Array, length: int, settings: GenerationConfig) -> Array:
    """The checked mask of the prompts, `[B, S]`; where none is given, padding tokens are masked, if tokens are there."""
    shape = (len(prompts), length)
    if given is None:
        given = _without_padding(prompts, settings) if prompts.shape == shape else np.ones(shape)
    mask = checks.mask("attention_mask", given, shape).astype(np.int64)
    if not mask[:, -1].all():
        warn("generate: prompts that end with padding; put it to the left, so that text goes on from text")
    return mask


# --------------------------------------------------------------------------------------------------- an encoder-decoder

_ENCODER_INPUTS = ("attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds", "encoder_outputs")
_DECODER_INPUTS = ("decoder_input_ids", "decoder_attention_mask")


def read_then_write(
    model: Any, input_ids: Any, arrays: Mapping[str, Any], settings: GenerationConfig, steps: Steps
) -> Prepared:
    """An encoder reads the input; a decoder writes from a start token on."""
    checks.known("generate", arrays, ("input_ids", *_ENCODER_INPUTS, *_DECODER_INPUTS, *SETTING_NAMES))
    encoder, batch = _encoder_inputs(model, input_ids, arrays, settings)
    prompts, mask = _decoder_prompts(model, batch, arrays, settings)  # [B, S]

    def inputs(tokens: Array, past: int) -> dict[str, Any]:
        return {
            "decoder_input_ids": tokens,
            "decoder_attention_mask": mask_so_far(mask, tokens, past + tokens.shape[1]),
            **(only_mask(encoder, "attention_mask", tokens) if past else encoder),
        }

    copies = settings.rows_of_a_prompt
    length, longest = prompts.shape[1], model.config.decoder.max_position_embeddings
    settings = settle_lengths(
        settings, length, prompt_name="decoder_input_ids", positions_used=length, positions=longest, default_limit=longest + 1
    )
    return Prepared(with_cache(model, inputs, steps, copies=copies), prompts, settings)


def _encoder_inputs(
    model: Any, input_ids: Any, arrays: Mapping[str, Any], settings: GenerationConfig
) -> tuple[dict[str, Any], int]:
    """What the encoder reads, by the names of the model's arguments, and how many sequences that are."""
    inputs = {name: arrays[name] for name in _ENCODER_INPUTS if arrays.get(name) is not None}
    if input_ids is not None:
        inputs["input_ids"] = checks.ids("input_ids", input_ids, model.config.encoder.vocab_size)
        if "attention_mask" not in inputs and "encoder_outputs" not in inputs:
            inputs["attention_mask"] = _without_padding(inputs["input_ids"], settings)
    main = next((name for name in ("encoder_outputs", "input_ids", "inputs_embeds") if name in inputs), None)
    if main is None:
        raise InputError("input_ids: there is nothing for the encoder to read")
    batch = len(inputs[main][0] if main == "encoder_outputs" else checks.as_array(main, inputs[main]))
    if not batch:
        raise InputError(f"{main}: takes at least one sequence, got none")
    return inputs, batch


def _decoder_prompts(model: Any, batch: int, arrays: Mapping[str, Any], settings: GenerationConfig) -> tuple[Array, Array]:
    """What the decoder begins with, and its mask, both `[B, S]`: the start token and then `decoder_input_ids`.

    As in the reference, the start token is put in front only if no row of `decoder_input_ids` begins with it.
    """
    vocabulary = model.config.decoder.vocab_size
    start = checks.ids("decoder_start_token_id", [_start_token(model, settings)], vocabulary, rank=1)[0]
    starts = np.full((batch, 1), start)  # [B, 1]
    given, mask = arrays.get("decoder_input_ids"), arrays.get("decoder_attention_mask")
    if given is None:
        prompts = starts
    else:
        given = checks.ids("decoder_input_ids", given, vocabulary)
        if len(given) != batch or not given.size:
            raise InputError(f"decoder_input_ids: takes shape [{batch}, length], got {list(given.shape)}")
        begun = (given[:, 0] == start).any()
        prompts = given if begun else np.column_stack([starts, given])  # [B, S]
        if mask is not None and not begun:
            mask = checks.mask("decoder_attention_mask", mask, given.shape)
            mask = np.column_stack([np.ones(batch, mask.dtype), mask])
    mask = np.ones(prompts.shape, np.int64) if mask is None else mask
    return prompts, checks.mask("decoder_attention_mask", mask, prompts.shape)


def _start_token(model: Any, settings: GenerationConfig) -> int:
    for token in (settings.decoder_start_token_id, settings.bos_token_id, model.config.decoder_start_token_id):
        if token is not None:
            return token
    raise InputError("decoder_start_token_id: neither given nor in the config, so the decoder has nothing to begin with")


def _without_padding(tokens: Array, settings: GenerationConfig) -> Array:
    """A mask for tokens that came without one: padding is 0, unless the padding token also ends sequences."""
    padding = settings.token_after_end
    if padding is None or padding in settings.eos_token_ids:
        return np.ones(tokens.shape, np.int64)
    return (tokens != padding).astype(np.int64)
