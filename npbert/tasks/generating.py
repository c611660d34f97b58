"""Continuing a text: `npbert.generation` with text in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npbert.checks import choice, flag, known, unicode_text, whole_number
from npbert.errors import InputError, InputTypeError, shown
from npbert.generation import SETTING_NAMES, GenerationConfig
from npbert.tasks.inputs import Item, answer_in_kind, check_model, check_tokenizer
from npbert.tasks.progress import progress_bar
from npbert.types import Array

if TYPE_CHECKING:
    from npbert.models.encoder_decoder import EncoderDecoderModel
    from npbert.models.gpt2 import GPT2LMHeadModel
    from npbert.models.heads import BertLMHeadModel
    from npbert.text.byte_pairs import GPT2Tokenizer
    from npbert.text.tokenizer import BertTokenizer

ARRAY_OPTIONS = (
    *("token_type_ids", "encoder_hidden_states", "encoder_attention_mask"),
    *("position_ids", "head_mask", "decoder_input_ids", "decoder_attention_mask"),
)
GENERATE_OPTIONS = (*SETTING_NAMES, *ARRAY_OPTIONS)
"""The arguments of `generate` that may be given with a text; the others the text itself decides."""

NEW_TOKENS = 256
TEMPERATURE = 0.7
BEAMS = 4


def text_generation(
    model: BertLMHeadModel | GPT2LMHeadModel | EncoderDecoderModel,
    tokenizer: BertTokenizer | GPT2Tokenizer,
    inputs: str | Sequence[str] | Iterable[str],
    *,
    return_full_text: bool | None = None,
    return_text: bool | None = None,
    return_tensors: bool | None = None,
    stop_sequence: str | None = None,
    handle_long_generation: str | None = None,
    prefix: str | None = None,
    add_special_tokens: bool = True,
    clean_up_tokenization_spaces: bool = True,
    skip_special_tokens: bool = True,
    rng: np.random.Generator | None = None,
    batch_size: int | None = None,
    **generate_kwargs: Any,
) -> Any:
    """Continue each prompt: `[{"generated_text": ...}]`, one entry for each of `num_return_sequences`.

    A prompt without tokens begins with the model's `bos_token_id`, if it has one.

    A `BertLMHeadModel` or `GPT2LMHeadModel` continues the prompt; an `EncoderDecoderModel` reads it and writes a text of its
    own. `add_special_tokens` puts the prompt between [CLS] and [SEP], as in the reference.

    - An answer holds prompt and continuation; with `return_full_text=False` the continuation alone; with `return_tensors=True`
      their ids, `{"generated_token_ids": [...]}`. `return_text` is there for the reference's sake. Only one may be given
    - `stop_sequence`: a text ends where one of the tokens of this text was written
    - `handle_long_generation="hole"`: of a prompt that leaves no room for the new tokens the end is read, as much as fits
    - `prefix`: a text that is put before every prompt and stands in no answer (None: the configuration's `prefix`, if it has
      one). `max_length` and `min_length` do not count it
    - `batch_size` changes nothing: prompts are continued one after the other

    `generate_kwargs` are the other arguments of `npbert.generate`. Where neither they nor the checkpoint say otherwise, up to
    256 tokens are written, or as many as the model has positions for: drawn from `rng` at temperature 0.7 (`do_sample=False`
    takes the likeliest), or by an `EncoderDecoderModel` found with 4 beams.
    """
    from npbert.models.encoder_decoder import EncoderDecoderModel
    from npbert.models.generating import generate, settings_of

    check_model("text-generation", model, "BertLMHeadModel", "GPT2LMHeadModel", "EncoderDecoderModel")
    known("text-generation", generate_kwargs, GENERATE_OPTIONS)
    check_tokenizer(tokenizer)
    if batch_size is not None:
        whole_number("batch_size", batch_size, least=1)
    with_prompt, as_ids = _what_is_returned(return_full_text, return_text, return_tensors)
    cuts = choice("handle_long_generation", handle_long_generation, (None, "hole")) == "hole"
    if stop_sequence is not None:
        stops = tokenizer.encode(unicode_text("stop_sequence", stop_sequence), add_special_tokens=False)
        if not stops:
            raise InputError("stop_sequence: takes a text with a token at least")
        generate_kwargs = {**generate_kwargs, "eos_token_id": stops}
    skips = flag("skip_special_tokens", skip_special_tokens, default=True)
    cleans = flag("clean_up_tokenization_spaces", clean_up_tokenization_spaces, default=True)
    frames = flag("add_special_tokens", add_special_tokens, default=True)
    reads_first = isinstance(model, EncoderDecoderModel)
    config: Any = model.config
    longest = (config.encoder if reads_first else config).max_position_embeddings
    positions = (config.decoder if reads_first else config).max_position_embeddings  # of what writes
    options, length_is_said = _with_defaults(model, generate_kwargs, reads_first)
    before = unicode_text("prefix", (getattr(config, "prefix", None) if prefix is None else prefix) or "")
    if before and not reads_first:
        _lengthen(options, settings_of(model, {}), len(tokenizer(before, add_special_tokens=frames)["input_ids"]))

    def decode(tokens: Any) -> str:
        return tokenizer.decode(tokens, skips, cleans)

    def continue_prompt(item: Item) -> list[dict[str, Any]]:
        prompt = _prompt(*item)
        ids = tokenizer([before + prompt], add_special_tokens=frames, return_tensors="np", verbose=False)["input_ids"]
        if not ids.size:
            first = options.get("bos_token_id", settings_of(model, {}).bos_token_id)
            if first is None or reads_first:
                raise InputError(f"{item.name}: has no token to continue from")
            ids = np.full((1, 1), first)
        if cuts and not reads_first:
            ids = _without_beginning(ids, options, min(longest, tokenizer.model_max_length))
        if ids.shape[1] + (not reads_first) > longest:
            raise InputError(f"{item.name}: {ids.shape[1]} tokens leave no room in the {longest} that the model takes")
        given = dict(options)
        if not length_is_said:
            given["max_new_tokens"] = min(NEW_TOKENS, positions - (0 if reads_first else ids.shape[1]))
        sequences = generate(model, ids, attention_mask=np.ones_like(ids), rng=rng, **given)
        if as_ids:
            return [{"generated_token_ids": tokens} for tokens in sequences.tolist()]
        if reads_first:
            return [{"generated_text": decode(tokens)} for tokens in sequences]
        # The new text is what follows the decoded prompt, so that it keeps the blank between the two.
        length = len(decode(ids[0]))
        return [{"generated_text": (prompt if with_prompt else "") + decode(tokens)[length:]} for tokens in sequences]

    def answer(items: Iterable[Item], total: int | None) -> Iterator[list[dict[str, Any]]]:
        with progress_bar(total) as bar:
            for item in items:
                texts = continue_prompt(item)
                bar.update(1)
                yield texts

    return answer_in_kind(answer, inputs, is_one=isinstance(inputs, str))


def _prompt(name: str, value: object) -> str:
    """One text. The reference also takes a conversation, in words that the model's chat template arranges."""
    if isinstance(value, Mapping | list | tuple):
        raise InputTypeError(
            f"{name}: takes a text, got {shown(value)}; there are no chat templates: write out a conversation as one text"
        )
    return unicode_text(name, value)


def _lengthen(options: dict[str, Any], stored: GenerationConfig, number: int) -> None:
    """Let `max_length` and `min_length` count as many tokens more, those of a prefix."""
    longest = options.get("max_length", stored.max_length)
    if longest is not None and options.get("max_new_tokens", stored.max_new_tokens) is None:
        options["max_length"] = longest + number
    if options.get("min_length") is not None and options.get("min_new_tokens") is None:
        options["min_length"] += number


def _what_is_returned(full_text: Any, text: Any, tensors: Any) -> tuple[bool, bool]:
    """Whether an answer holds the prompt, and whether it holds ids instead of a text."""
    given = {"return_full_text": full_text, "return_text": text, "return_tensors": tensors}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise InputError(f"{names[1]}: an answer holds one thing; takes only one of {' and '.join(names)}")
    flag("return_text", text, default=True)
    return flag("return_full_text", full_text, default=True), flag("return_tensors", tensors, default=False)


def _without_beginning(ids: Array, options: Mapping[str, Any], longest: int) -> Array:
    """As many of the last tokens of a prompt `[1, S]` as leave room for the new ones among the `longest` that there may be."""
    new = options.get("max_new_tokens")
    if new is None:
        new = max(options.get("max_length", NEW_TOKENS + ids.shape[1]) - ids.shape[1], 0)
    if new >= longest:
        raise InputError(
            f"handle_long_generation: {new} new tokens leave no room for a prompt in the {longest} that there may be"
        )
    return ids[:, -(longest - new) :]


def _with_defaults(model: Any, given: dict[str, Any], reads_first: bool) -> tuple[dict[str, Any], bool]:
    """The options of a call, completed with how to search; and whether the call or the checkpoint says how long texts get."""
    from npbert.models.generating import settings_of

    stored, unset, options = settings_of(model, {}), GenerationConfig(), dict(given)
    lengths = (given.get("max_length"), stored.max_length, stored.max_new_tokens)
    length_is_said = "max_new_tokens" in given or any(length is not None for length in lengths)
    if reads_first:
        if stored.num_beams == unset.num_beams:
            options.setdefault("num_beams", BEAMS)
    elif options.setdefault("do_sample", True) and stored.temperature == unset.temperature:
        options.setdefault("temperature", TEMPERATURE)
    return options, length_is_said
