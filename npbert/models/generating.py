"""Writing text token by token with a model.

    generate(model, input_ids, max_new_tokens=40)                          # the likeliest token each time
    generate(model, input_ids, num_beams=4, length_penalty=2.0)            # the likeliest sequence, of several kept open
    generate(model, input_ids, do_sample=True, top_p=0.9, rng=rng)         # drawn
    for tokens in stream(model, input_ids): ...                            # one column at a time

The prompt goes through the model once. From then on each step reads the newest token alone and finds the rest in the cache of
keys and values. The searches of `npbert.generation` know nothing of this: they are handed a `next_logits`, which
`npbert.models.prompts` makes of the arguments and `npbert.models.generation_steps` of the calls. The model classes call
`generate`, so this file must not import them; it looks at what a model has.

    B  prompts        R  rows: the sequences that are written at once, each prompt's side by side
    S  prompt length  T  length so far, prompt included            V  vocabulary size
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from npbert import checks
from npbert.errors import InputError, InputTypeError, warn
from npbert.generation import (
    SETTING_NAMES,
    GenerationConfig,
    as_fields,
    beam_search,
    settings_from,
    token_columns,
)
from npbert.models.generation_steps import Steps
from npbert.models.outputs import GenerateOutput
from npbert.models.prompts import Prepared, continue_prompts, read_then_write
from npbert.types import Array, Rng


def generate(
    model: Any,
    input_ids: Any = None,
    generation_config: GenerationConfig | Mapping[str, Any] | None = None,
    *,
    rng: Rng = None,
    use_cache: bool | None = None,
    return_dict_in_generate: bool | None = None,
    output_scores: bool | None = None,
    output_logits: bool | None = None,
    output_attentions: bool | None = None,
    output_hidden_states: bool | None = None,
    **options: Any,
) -> Any:
    """Continue each prompt; returns `[B * num_return_sequences, T]` with the prompts in front, filled up after the end token.

    Options are the fields of `GenerationConfig`; what is not given comes from `generation_config`, which is one or a
    dictionary, and then from the checkpoint's settings. `do_sample=True` draws from `rng`, a numpy.random.Generator, or from a
    fresh one.

    A `BertLMHeadModel` or `GPT2LMHeadModel` also takes `attention_mask` (0 for padding, which belongs to the left of a prompt;
    left out, it is read off the padding tokens), `token_type_ids`, `head_mask`, `encoder_hidden_states` and
    `encoder_attention_mask`. Without prompts a text begins with `bos_token_id`, or with `inputs_embeds` `[B, S, D]`, which are
    not part of the result. With `past_key_values` only those tokens of the prompts are read that the cache does not hold.

    For an `EncoderDecoderModel` the `input_ids` are what the encoder reads; it takes the encoder's arguments as well, or
    `encoder_outputs`, and `decoder_input_ids` with `decoder_attention_mask` to begin with. Its result is the decoder's tokens.

    `inputs` is the reference's name for the first argument, whatever it is.

    With `return_dict_in_generate=True` the result is a `GenerateOutput`. It has the `output_...` that are asked for, and the
    cache, unless `use_cache` is False; the cache is used in any case, because it changes no token.
    """
    _check_that_it_writes(model)
    if options.get("inputs") is not None:
        if input_ids is not None:
            raise InputError("inputs: is another name for input_ids, and both are given")
        input_ids = options["inputs"]
    options.pop("inputs", None)
    returns = _flags(
        model,
        return_dict_in_generate=return_dict_in_generate,
        output_scores=output_scores,
        output_logits=output_logits,
        output_attentions=output_attentions,
        output_hidden_states=output_hidden_states,
    )
    returns_dict = returns.pop("return_dict_in_generate")
    keeps_cache = checks.flag("use_cache", use_cache, True)
    steps = Steps(**{name.removeprefix("output_"): wanted for name, wanted in returns.items()})
    prepared = _prepare(model, input_ids, options, generation_config, steps)
    rng, settings = _generator(rng), prepared.settings
    scores = beam_indices = None
    if settings.num_beams > 1:
        sequences, scores, beam_indices = beam_search(*prepared, rng, steps.note_scores)
    else:
        columns = token_columns(*prepared, rng, steps.note_scores)
        sequences = np.column_stack([prepared.prompts.repeat(settings.num_return_sequences, axis=0), *columns])
    if not returns_dict:
        return sequences
    cache = steps.cache if keeps_cache else None
    return GenerateOutput(sequences, sequences_scores=scores, beam_indices=beam_indices, past_key_values=cache, **steps.named())


def _flags(model: Any, **given: bool | None) -> dict[str, bool]:
    """What a call is to return: what it says, else what the checkpoint's settings say."""
    flags = {name: checks.flag(name, value, bool(model.generation_config.get(name))) for name, value in given.items()}
    without_effect = [name for name, value in given.items() if value and not flags["return_dict_in_generate"]]
    if without_effect:
        warn(f"generate: {', '.join(without_effect)} has no effect without return_dict_in_generate=True")
    return flags


def stream(model: Any, input_ids: Any = None, *, rng: Rng = None, **options: Any) -> Iterator[Array]:
    """The tokens of `generate`, without the prompts, as they are found: one column `[B * num_return_sequences]` at a time.

    For greedy search and sampling; beam search knows its tokens only at the end.
    """
    _check_that_it_writes(model)
    prepared = _prepare(model, input_ids, options, None, Steps())
    if prepared.settings.num_beams > 1:
        raise InputError("num_beams: beam search finds its tokens only at the end; stream with num_beams=1")
    return token_columns(*prepared, _generator(rng))


def settings_of(model: Any, given: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> GenerationConfig:
    """The given settings; else those of `config`, else what the checkpoint says, else the defaults.

    A checkpoint says it in `generation_config.json` (the model's `generation_config`), an older one in `config.json`. There,
    an encoder-decoder's own configuration goes before its decoder's.
    """
    if model.generation_config:
        sources = [model.generation_config]
    else:
        configs = [model.config.decoder, model.config] if _reads_first(model) else [model.config]
        sources = [config.to_dict() for config in configs]
    settings = settings_from([*sources, config or {}], given)
    if "eos_token_id" not in given:
        # A GPT-2 with a vocabulary of its own often keeps the end token of the first GPT-2, which it cannot write.
        written = [token for token in settings.eos_token_ids if token < model.head_config.vocab_size]
        if len(written) < len(settings.eos_token_ids):
            settings = dataclasses.replace(settings, eos_token_id=written or None)
    return settings


# ------------------------------------------------------------------------------------- from the arguments to the search


_SETTING = "give the setting itself, such as repetition_penalty= or bad_words_ids="
_ONE_SEARCH = "npbert searches greedily, by drawing and with beams"
INSTEAD = {
    "streamer": "npbert.stream yields tokens as they are found",
    "logits_processor": _SETTING,
    "stopping_criteria": "give max_new_tokens= or eos_token_id=, or leave the loop over npbert.stream",
    "stop_strings": "give eos_token_id= the ids of the tokens to stop at",
    **dict.fromkeys(("assistant_model", "prompt_lookup_num_tokens", "constraints", "force_words_ids"), _ONE_SEARCH),
    **dict.fromkeys(("num_beam_groups", "diversity_penalty", "penalty_alpha", "custom_generate"), _ONE_SEARCH),
}
"""What to use in place of arguments of the reference's `generate`."""


def _prepare(model: Any, input_ids: Any, options: Mapping[str, Any], generation_config: Any, steps: Steps) -> Prepared:
    """Check everything before the first token is computed."""
    for name in INSTEAD:
        if options.get(name) is not None:
            raise InputTypeError(f"generate: npbert has no {name}: {INSTEAD[name]}")
    options = {name: value for name, value in options.items() if name not in INSTEAD}
    given = {name: value for name, value in options.items() if name in SETTING_NAMES}
    settings = settings_of(model, given, as_fields(generation_config))
    arrays = {name: value for name, value in options.items() if name not in SETTING_NAMES}
    config = model.config.decoder if _reads_first(model) else model.config
    if not config.num_hidden_layers:
        raise InputError("generate: a model without layers sees nothing of what it has written")
    checks.ids("eos_token_id", settings.eos_token_ids, config.vocab_size, rank=1)
    checks.ids("pad_token_id", [settings.token_after_end or 0], config.vocab_size, rank=1)
    for number, tokens in enumerate(settings.bad_words_ids or ()):
        checks.ids(f"bad_words_ids[{number}]", tokens, config.vocab_size, rank=1)
    return (read_then_write if _reads_first(model) else continue_prompts)(model, input_ids, arrays, settings, steps)


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
