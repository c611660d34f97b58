"""Writing text token by token with a model.

    generate(model, input_ids, max_new_tokens=40)                          # the likeliest token each time
    generate(model, input_ids, num_beams=4, length_penalty=2.0)            # the likeliest sequence, of several kept open
    generate(model, input_ids, do_sample=True, top_p=0.9, rng=rng)         # drawn
    for tokens in stream(model, input_ids): ...                            # one column at a time

The prompt goes through the model once. From then on each step reads the newest token alone and finds the rest in the cache of
keys and values. The searches of `npbert.generation` know nothing of this: this file makes the `next_logits` that they are
handed. The model classes call `generate`, so this file must not import them; it looks at what a model has.

    B  prompts        R  rows: the sequences that are written at once, each prompt's side by side
    S  prompt length  T  length so far, prompt included            V  vocabulary size
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from npbert import checks
from npbert.errors import InputError, InputTypeError, warn
from npbert.generation import (
    SETTING_NAMES,
    GenerationConfig,
    NextLogits,
    beam_search,
    settings_from,
    settle_lengths,
    token_columns,
)
from npbert.models.outputs import Cache, ModelOutput
from npbert.types import Array, Rng


@dataclasses.dataclass(eq=False)
class GenerateOutput(ModelOutput):
    """Of `generate(..., return_dict_in_generate=True)`."""

    sequences: Array  # [B * num_return_sequences, T]
    sequences_scores: Array | None = None  # [B * num_return_sequences]: of beam search, sum of log probabilities / T ** penalty


def generate(
    model: Any, input_ids: Any = None, *, rng: Rng = None, return_dict_in_generate: bool = False, **options: Any
) -> Any:
    """Continue each prompt; returns `[B * num_return_sequences, T]` with the prompts in front, filled up after the end token.

    Options are the fields of `GenerationConfig`; what is not given comes from the checkpoint's settings. `do_sample=True`
    draws from `rng`, a numpy.random.Generator, or from a fresh one.

    A `BertLMHeadModel` or `GPT2LMHeadModel` also takes `attention_mask` (0 for padding, which belongs to the left of a prompt;
    left out, it is read off the padding tokens), `token_type_ids`, `encoder_hidden_states` and `encoder_attention_mask`. For an
    `EncoderDecoderModel` the `input_ids` are what the encoder reads; it takes the encoder's arguments as well, or
    `encoder_outputs`, and `decoder_input_ids` with `decoder_attention_mask` to begin with. Its result is the decoder's tokens.
    """
    prepared = _prepare(model, input_ids, options)
    rng = _generator(rng)
    if prepared.settings.num_beams > 1:
        sequences, scores = beam_search(*prepared, rng)
    else:
        prompts = prepared.prompts.repeat(prepared.settings.num_return_sequences, axis=0)
        sequences, scores = np.column_stack([prompts, *token_columns(*prepared, rng)]), None
    return GenerateOutput(sequences, scores) if return_dict_in_generate else sequences


def stream(model: Any, input_ids: Any = None, *, rng: Rng = None, **options: Any) -> Iterator[Array]:
    """The tokens of `generate`, without the prompts, as they are found: one column `[B * num_return_sequences]` at a time.

    For greedy search and sampling; beam search knows its tokens only at the end.
    """
    prepared = _prepare(model, input_ids, options)
    if prepared.settings.num_beams > 1:
        raise InputError("num_beams: beam search finds its tokens only at the end; stream with num_beams=1")
    return token_columns(*prepared, _generator(rng))


def settings_of(model: Any, given: Mapping[str, Any]) -> GenerationConfig:
    """The given settings; else what the checkpoint says, else the defaults.

    A checkpoint says it in `generation_config.json` (the model's `generation_config`), an older one in `config.json`. There,
    an encoder-decoder's own configuration goes before its decoder's.
    """
    if model.generation_config:
        sources = [model.generation_config]
    else:
        configs = [model.config.decoder, model.config] if _reads_first(model) else [model.config]
        sources = [config.to_dict() for config in configs]
    settings = settings_from(sources, given)
    if "eos_token_id" not in given:
        # A GPT-2 with a vocabulary of its own often keeps the end token of the first GPT-2, which it cannot write.
        written = [token for token in settings.eos_token_ids if token < model.head_config.vocab_size]
        if len(written) < len(settings.eos_token_ids):
            settings = dataclasses.replace(settings, eos_token_id=written or None)
    return settings


# ------------------------------------------------------------------------------------- from the arguments to the search


class _Prepared(NamedTuple):
    """What a search is handed."""

    next_logits: NextLogits
    prompts: Array  # [B, S]
    settings: GenerationConfig  # with the lengths settled


def _prepare(model: Any, input_ids: Any, options: Mapping[str, Any]) -> _Prepared:
    """Check everything before the first token is computed."""
    _check_that_it_writes(model)
    settings = settings_of(model, {name: value for name, value in options.items() if name in SETTING_NAMES})
    arrays = {name: value for name, value in options.items() if name not in SETTING_NAMES}
    config = model.config.decoder if _reads_first(model) else model.config
    if not config.num_hidden_layers:
        raise InputError("generate: a model without layers sees nothing of what it has written")
    checks.ids("eos_token_id", settings.eos_token_ids, config.vocab_size, rank=1)
    checks.ids("pad_token_id", [settings.token_after_end or 0], config.vocab_size, rank=1)
    return (_read_then_write if _reads_first(model) else _continue_prompts)(model, input_ids, arrays, settings)


def _check_that_it_writes(model: Any) -> None:
    """A model that writes has a method `generate` and a dictionary of stored settings."""
    settings = getattr(model, "generation_config", False)
    if not hasattr(model, "generate") or not isinstance(settings, Mapping | None):
        raise InputTypeError(
            f"generate: takes a BertLMHeadModel, a GPT2LMHeadModel or an EncoderDecoderModel, got {type(model).__name__}"
        )


def _reads_first(model: Any) -> bool:
    """Whether an encoder reads before a decoder writes."""
    return hasattr(model, "encoder") and hasattr(model, "decoder")


def _generator(rng: Rng) -> np.random.Generator:
    checks.generator("rng", rng)
    return np.random.default_rng() if rng is None else rng


# ------------------------------------------------------------------------------------------------------- a decoder alone

_CROSS_INPUTS = ("encoder_hidden_states", "encoder_attention_mask")
_PROMPT_INPUTS = ("input_ids", "attention_mask", "token_type_ids", *_CROSS_INPUTS)


def _continue_prompts(model: Any, input_ids: Any, arrays: Mapping[str, Any], settings: GenerationConfig) -> _Prepared:
    """A decoder alone goes on with the prompts."""
    config = model.config
    checks.known("generate", arrays, (*_PROMPT_INPUTS, *SETTING_NAMES))
    if not config.is_causal:
        raise InputError("generate: the model sees the tokens it is to write; set is_decoder=True in its config")
    prompts = _prompt_tokens(input_ids, config.vocab_size)  # [B, S]
    mask = _prompt_mask(arrays.get("attention_mask"), prompts, settings)  # [B, S]
    types = _prompt_types(arrays.get("token_type_ids"), prompts, config.type_vocab_size)  # [B, S] or None
    encoder = {name: arrays[name] for name in _CROSS_INPUTS if arrays.get(name) is not None}

    def inputs(tokens: Array, past: int) -> dict[str, Any]:
        mask_so_far = _mask_so_far(mask, tokens, past)  # [R, T]
        positions = np.where(mask_so_far == 0, 1, mask_so_far.cumsum(axis=1) - 1)  # [R, T]: padding does not count
        new_types = _for_rows(types[:, -1:], tokens) if past and types is not None else types  # [R, new]
        return {
            "input_ids": tokens,
            "attention_mask": mask_so_far,
            "position_ids": positions[:, past:],
            "token_type_ids": new_types,
            **(_only_mask(encoder, "encoder_attention_mask", tokens) if past else encoder),
        }

    # With absolute positions padding takes none; with relative ones every token of a row counts.
    length, longest = prompts.shape[1], config.max_position_embeddings
    used = int(mask.sum(axis=1).max()) if config.position_embedding_type == "absolute" else length
    settings = settle_lengths(
        settings, length, prompt_name="input_ids", positions_used=used, positions=longest, default_limit=longest
    )
    return _Prepared(_with_cache(model, inputs), prompts, settings)


def _prompt_tokens(input_ids: Any, vocabulary: int) -> Array:
    if input_ids is None:
        raise InputError("input_ids: there is no prompt")
    prompts = checks.ids("input_ids", input_ids, vocabulary)  # [B, S]
    if not prompts.size:
        raise InputError(f"input_ids: takes prompts of at least one token, got shape {list(prompts.shape)}")
    return prompts


def _prompt_types(given: Any, prompts: Array, number: int) -> Array | None:
    if given is None:
        return None
    types = checks.ids("token_type_ids", given, max(number, 1))
    return checks.with_shape("token_type_ids", types, prompts.shape)  # [B, S]


def _prompt_mask(given: Any, prompts: Array, settings: GenerationConfig) -> Array:
    """The checked mask of the prompts, `[B, S]`; where none is given, padding tokens are masked."""
    mask = checks.mask("attention_mask", _without_padding(prompts, settings) if given is None else given, prompts.shape)
    mask = mask.astype(np.int64)
    if not mask[:, -1].all():
        warn("generate: prompts that end with padding; put it to the left, so that text goes on from text")
    return mask


# --------------------------------------------------------------------------------------------------- an encoder-decoder

_ENCODER_INPUTS = ("attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds", "encoder_outputs")
_DECODER_INPUTS = ("decoder_input_ids", "decoder_attention_mask")


def _read_then_write(model: Any, input_ids: Any, arrays: Mapping[str, Any], settings: GenerationConfig) -> _Prepared:
    """An encoder reads the input; a decoder writes from a start token on."""
    checks.known("generate", arrays, ("input_ids", *_ENCODER_INPUTS, *_DECODER_INPUTS, *SETTING_NAMES))
    encoder, batch = _encoder_inputs(model, input_ids, arrays, settings)
    prompts, mask = _decoder_prompts(model, batch, arrays, settings)  # [B, S]

    def inputs(tokens: Array, past: int) -> dict[str, Any]:
        return {
            "decoder_input_ids": tokens,
            "decoder_attention_mask": _mask_so_far(mask, tokens, past),
            **(_only_mask(encoder, "attention_mask", tokens) if past else encoder),
        }

    length, longest = prompts.shape[1], model.config.decoder.max_position_embeddings
    settings = settle_lengths(
        settings, length, prompt_name="decoder_input_ids", positions_used=length, positions=longest, default_limit=longest + 1
    )
    return _Prepared(_with_cache(model, inputs), prompts, settings)


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


# ------------------------------------------------------------------------------------------------------------- the cache


def _with_cache(model: Any, inputs: Callable[[Array, int], dict[str, Any]]) -> NextLogits:
    """The function that a search is handed: it calls the model and keeps the cache from one call to the next.

    `inputs(tokens, past)` gives the model's other arguments for the newest tokens, which stand after `past` others.
    """
    cache: Cache | None = None

    def next_logits(tokens: Array, rows: Array) -> Array:
        nonlocal cache
        cache = None if cache is None else _rows_of(cache, rows)
        out = model(
            **inputs(tokens, 0 if cache is None else cache[0][0].shape[2]),
            past_key_values=cache,
            use_cache=True,
            output_attentions=False,
            output_hidden_states=False,
            return_dict=True,
        )
        cache = out.past_key_values
        return out.logits[:, -1]  # [R, V]

    return next_logits


def _rows_of(cache: Cache, rows: Array) -> Cache:
    """The cache of the rows that go on.

    Keys and values of an encoder are the same for all rows of a prompt, so they stay where they are while the number of rows
    does not change.
    """
    before = len(cache[0][0])
    if np.array_equal(rows, np.arange(before)):
        return cache
    moved = 2 if len(rows) == before else 4
    return tuple((*(x[rows] for x in layer[:moved]), *layer[moved:]) for layer in cache)


def _only_mask(encoder: Mapping[str, Any], name: str, tokens: Array) -> dict[str, Any]:
    """What the decoder needs of the encoder after the first step: the cache holds the rest."""
    return {name: _for_rows(encoder[name], tokens)} if name in encoder else {}


def _for_rows(x: Any, tokens: Array) -> Array:
    """Repeat what each prompt has, `[B, ...]`, for each of its rows: `[R, ...]`, as many rows as `tokens` has."""
    return np.repeat(x, len(tokens) // len(x), axis=0)


def _mask_so_far(prompt_mask: Array, tokens: Array, past: int) -> Array:
    """The prompts' mask and then ones for everything written since: `[R, T]`."""
    written = past + tokens.shape[1] - prompt_mask.shape[1]
    return np.pad(_for_rows(prompt_mask, tokens), ((0, 0), (0, written)), constant_values=1)


def _without_padding(tokens: Array, settings: GenerationConfig) -> Array:
    """A mask for tokens that came without one: padding is 0, unless the padding token also ends sequences."""
    padding = settings.token_after_end
    if padding is None or padding in settings.eos_token_ids:
        return np.ones(tokens.shape, np.int64)
    return (tokens != padding).astype(np.int64)
