"""Writing text token by token: greedy search, beam search and sampling.

    generate(model, input_ids, max_new_tokens=40)                          # the likeliest token each time
    generate(model, input_ids, num_beams=4, length_penalty=2.0)            # the likeliest sequence, of several kept open
    generate(model, input_ids, do_sample=True, top_p=0.9, rng=rng)         # drawn
    for tokens in stream(model, input_ids): ...                            # one column at a time

The prompt goes through the model once; from then on each step feeds the newest token alone and finds the rest in the
cache of keys and values. A step is

    logits of the last position -> `processed` (penalties, minimum length, filters) -> a choice -> the next column

with the same order, the same arithmetic and the same stopping rules as the reference, so that greedy and beam search write
the same tokens.

    B  prompts        R  rows: sequences that are open at once, B * beams
    S  prompt length  L  length so far, prompt included            V  vocabulary size

Holtzman et al. 2020, "The curious case of neural text degeneration" (top-p); Fan et al. 2018, "Hierarchical neural story
generation" (top-k); Keskar et al. 2019, "CTRL" (repetition penalty); Wu et al. 2016, "Google's neural machine translation
system" (length penalty); Kool et al. 2019, "Stochastic beams and where to find them" (drawing with Gumbel noise).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from npbert import checks, ops
from npbert.errors import InputError, InputTypeError, warn
from npbert.models.bert import BertLMHeadModel
from npbert.models.encoder_decoder import EncoderDecoderModel
from npbert.models.outputs import Cache, ModelOutput
from npbert.types import Array, Rng

Step: TypeAlias = Callable[[Array, Cache | None], tuple[Array, Cache]]
"""Tokens `[R, new]` and the cache of what came before give the last position's logits `[R, V]` and the cache that now holds
all of it."""

NEW_TOKENS = 20  # how many tokens are written when nothing says how many
UNLIKELY = -1e9  # put on the score of a beam that is open only because there are too few others


# -------------------------------------------------------------------------------------------------------------- settings


@dataclasses.dataclass
class GenerationConfig:
    """How to generate: the reference's names and defaults. Where None is taken, it turns the setting off.

    `max_length` and `min_length` count the prompt, `max_new_tokens` and `min_new_tokens` do not and win over them.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None  # None: 20 new tokens, or as many as the model has positions for
    min_new_tokens: int | None = None
    min_length: int | None = 0

    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0  # scores are divided by length ** length_penalty: above 0, longer sequences gain
    early_stopping: bool | str = False  # True: stop at num_beams finished ones; "never": while a better one is possible

    do_sample: bool = False
    temperature: float | None = 1.0
    top_k: int | None = 50  # 0: all
    top_p: float | None = 1.0

    repetition_penalty: float | None = 1.0
    no_repeat_ngram_size: int | None = 0

    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None  # None: the first eos_token_id
    bos_token_id: int | None = None  # starts a decoder that has no decoder_start_token_id
    decoder_start_token_id: int | None = None

    def __post_init__(self) -> None:
        for name in ("num_beams", "num_return_sequences"):
            _check(name, getattr(self, name), int, at_least=1)
        for name in ("max_new_tokens", "max_length"):
            _check(name, getattr(self, name), int, at_least=1, optional=True)
        for name in ("min_new_tokens", "min_length", "top_k", "no_repeat_ngram_size"):
            _check(name, getattr(self, name), int, at_least=0, optional=True)
        for name in ("temperature", "repetition_penalty"):
            _check(name, getattr(self, name), float, above=0, optional=True)
        _check("length_penalty", self.length_penalty, float)
        _check("top_p", self.top_p, float, at_least=0, at_most=1, optional=True)
        if not isinstance(self.do_sample, bool):
            raise InputTypeError(f"do_sample: takes True or False, got {self.do_sample!r}")
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise InputError(f'early_stopping: takes True, False or "never", got {self.early_stopping!r}')
        if self.num_beams > 1 and self.num_return_sequences > self.num_beams:
            raise InputError(
                f"num_return_sequences: takes at most num_beams, {self.num_beams}; got {self.num_return_sequences}"
            )
        if self.num_beams == 1 and not self.do_sample and self.num_return_sequences > 1:
            raise InputError("num_return_sequences: greedy search finds one sequence; set num_beams or do_sample=True")

    @property
    def eos_token_ids(self) -> list[int]:
        """The tokens that end a sequence."""
        if self.eos_token_id is None:
            return []
        return np.atleast_1d(self.eos_token_id).tolist()

    @property
    def filler(self) -> int | None:
        """What fills a sequence up after its end."""
        return self.eos_token_ids[0] if self.pad_token_id is None and self.eos_token_ids else self.pad_token_id


OPTIONS = tuple(field.name for field in dataclasses.fields(GenerationConfig))

# Settings of the reference that change what it generates and have no counterpart here, with the value that changes nothing.
_FOREIGN: dict[str, Any] = {
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "sequence_bias": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "exponential_decay_length_penalty": None,
    "guidance_scale": None,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "penalty_alpha": None,
    "max_time": None,
    "stop_strings": None,
}

# What stored settings hold when nobody set them: the defaults, with the total length that older configurations carry along.
_UNSET = {**{field.name: field.default for field in dataclasses.fields(GenerationConfig)}, **_FOREIGN, "max_length": NEW_TOKENS}

_ONLY_FOR_SAMPLING = ("temperature", "top_k", "top_p")
_ONLY_FOR_BEAMS = ("length_penalty", "early_stopping")


def settings_of(model: BertLMHeadModel | EncoderDecoderModel, given: Mapping[str, Any]) -> GenerationConfig:
    """What is given, else what the checkpoint says, else the defaults.

    A checkpoint says it in `generation_config.json` (the model's `generation_config`), an older one in `config.json`; what the
    configuration of a whole leaves at its default, its decoder's may say.
    """
    stored = getattr(model, "generation_config", None)
    sources = [stored] if stored else [getattr(model.config, "decoder", model.config).to_dict(), model.config.to_dict()]
    found: dict[str, Any] = {}
    for source in sources:
        found |= {name: source[name] for name, unset in _UNSET.items() if source.get(name) not in (None, unset)}
    settings = GenerationConfig(**{name: value for name, value in {**found, **given}.items() if name in OPTIONS})

    foreign = [name for name in found if name in _FOREIGN]
    if foreign:
        warn(f"generate: the checkpoint's settings for {', '.join(foreign)} are not applied")
    changed = [name for name, value in given.items() if value not in (None, _UNSET[name])]
    for idle, names, remedy in (
        (not settings.do_sample, _ONLY_FOR_SAMPLING, "do_sample=True"),
        (settings.num_beams == 1, _ONLY_FOR_BEAMS, "num_beams"),
    ):
        without_effect = [name for name in names if name in changed]
        if idle and without_effect:
            warn(f"generate: {', '.join(without_effect)} has no effect without {remedy}")
    return settings


def _check(
    name: str,
    value: object,
    kind: type,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    optional: bool = False,
) -> None:
    """Refuse a setting that is no number, or out of range."""
    if optional and value is None:
        return
    accepted = int | np.integer if kind is int else int | float | np.integer | np.floating
    if not isinstance(value, accepted) or isinstance(value, bool):
        raise InputTypeError(f"{name}: takes {'a whole number' if kind is int else 'a number'}, got {value!r}")
    low = (above is not None and not value > above) or (at_least is not None and not value >= at_least)
    if low or not abs(value) < np.inf or (at_most is not None and value > at_most):
        bounds = "".join(f" {w} {n}" for w, n in (("above", above), ("from", at_least), ("to", at_most)) if n is not None)
        raise InputError(f"{name}: takes a number{bounds}, got {value}")


# ------------------------------------------------------------------------------------------------------- what users call


@dataclasses.dataclass(eq=False)
class GenerateOutput(ModelOutput):
    """Of `generate(..., return_dict_in_generate=True)`."""

    sequences: Array  # [B * num_return_sequences, L]
    sequences_scores: Array | None = None  # [B * num_return_sequences]: of beam search, sum of log probabilities / L ** penalty


def generate(
    model: BertLMHeadModel | EncoderDecoderModel,
    input_ids: Any = None,
    *,
    rng: Rng = None,
    return_dict_in_generate: bool = False,
    **options: Any,
) -> Any:
    """Continue each prompt; returns `[B * num_return_sequences, L]` with the prompts in front, filled up after the end token.

    Options are the fields of `GenerationConfig`; what is not given comes from the checkpoint's settings. `do_sample=True`
    draws from `rng`, a numpy.random.Generator, or from a fresh one.

    A `BertLMHeadModel` also takes `attention_mask` (0 for padding, which belongs to the left of a prompt; left out, it is read
    off the padding tokens), `token_type_ids`, `encoder_hidden_states` and `encoder_attention_mask`. For an
    `EncoderDecoderModel` the `input_ids` are what the encoder reads; it takes the encoder's arguments as well, or
    `encoder_outputs`, and `decoder_input_ids` with `decoder_attention_mask` to begin with. Its result is the decoder's tokens.
    """
    start = _start(model, input_ids, options)
    rng = _generator(rng)
    scores = None
    if start.settings.num_beams > 1:
        sequences, scores = _beam_search(start, rng)
    else:
        prompts = start.tokens.repeat(start.settings.num_return_sequences, axis=0)
        sequences = np.column_stack([prompts, *_columns(start, rng)])
    return GenerateOutput(sequences, scores) if return_dict_in_generate else sequences


def stream(
    model: BertLMHeadModel | EncoderDecoderModel, input_ids: Any = None, *, rng: Rng = None, **options: Any
) -> Iterator[Array]:
    """The tokens of `generate`, without the prompts, as they are found: one column `[B * num_return_sequences]` at a time.

    For greedy search and sampling; beam search knows its tokens only at the end.
    """
    start = _start(model, input_ids, options)
    if start.settings.num_beams > 1:
        raise InputError("num_beams: beam search finds its tokens only at the end; stream with num_beams=1")
    return _columns(start, _generator(rng))


def _generator(rng: Rng) -> np.random.Generator:
    checks.generator("rng", rng)
    return np.random.default_rng() if rng is None else rng


# ------------------------------------------------------------------------------------------------------------ the prompts


class Start(NamedTuple):
    """Where generation begins."""

    tokens: Array  # [B, S]
    step: Step
    settings: GenerationConfig  # max_length and min_length are settled


def _start(model: BertLMHeadModel | EncoderDecoderModel, input_ids: Any, options: dict[str, Any]) -> Start:
    """Check everything before the first token is computed."""
    if not isinstance(model, BertLMHeadModel | EncoderDecoderModel):
        raise InputTypeError(f"generate: takes a BertLMHeadModel or an EncoderDecoderModel, got {type(model).__name__}")
    settings = settings_of(model, {name: value for name, value in options.items() if name in OPTIONS})
    arrays = {name: value for name, value in options.items() if name not in OPTIONS}
    config = model.config if isinstance(model, BertLMHeadModel) else model.config.decoder
    if not config.num_hidden_layers:
        raise InputError("generate: a model without layers sees nothing of what it has written")
    for name, tokens in (("eos_token_id", settings.eos_token_ids), ("pad_token_id", [settings.filler or 0])):
        checks.ids(name, tokens, config.vocab_size, rank=1)
    of_kind = _continue_prompts if isinstance(model, BertLMHeadModel) else _read_then_write
    return of_kind(model, input_ids, arrays, settings)  # type: ignore[arg-type]


def _continue_prompts(model: BertLMHeadModel, input_ids: Any, arrays: dict[str, Any], settings: GenerationConfig) -> Start:
    """A decoder alone: it goes on with the prompts."""
    config = model.config
    encoder_inputs = ("encoder_hidden_states", "encoder_attention_mask")
    checks.known("generate", arrays, ("input_ids", "attention_mask", "token_type_ids", *encoder_inputs, *OPTIONS))
    if not config.is_decoder:
        raise InputError("generate: the model sees the tokens it is to write; set is_decoder=True in its config")
    if input_ids is None:
        raise InputError("input_ids: there is no prompt")
    tokens = checks.ids("input_ids", input_ids, config.vocab_size)  # [B, S]
    if not tokens.size:
        raise InputError(f"input_ids: takes prompts of at least one token, got shape {list(tokens.shape)}")
    given_mask = arrays.get("attention_mask")
    prompt_mask = _without_padding(tokens, settings) if given_mask is None else given_mask
    prompt_mask = checks.mask("attention_mask", prompt_mask, tokens.shape).astype(np.int64)  # [B, S]
    if not prompt_mask[:, -1].all():
        warn("generate: prompts that end with padding; put it to the left, so that text goes on from text")
    types = arrays.get("token_type_ids")
    if types is not None:
        types = checks.ids("token_type_ids", types, max(config.type_vocab_size, 1))
        types = checks.with_shape("token_type_ids", types, tokens.shape)  # [B, S]
    encoder: dict[str, Any] = {name: arrays[name] for name in encoder_inputs if arrays.get(name) is not None}

    def step(new: Array, cache: Cache | None) -> tuple[Array, Cache]:
        beams = len(new) // len(tokens)
        mask = _extended(prompt_mask.repeat(beams, axis=0), _length_of(cache) + new.shape[1])  # [R, T]
        positions = np.where(mask == 0, 1, mask.cumsum(axis=1) - 1)  # [R, T]: padding does not count
        read: dict[str, Any] = {name: x if cache is None else np.repeat(x, beams, axis=0) for name, x in encoder.items()}
        if cache is not None:
            read.pop("encoder_hidden_states", None)  # their keys and values are in the cache
        out = model(
            input_ids=new,
            attention_mask=mask,
            position_ids=positions[:, -new.shape[1] :],
            token_type_ids=None if types is None else (types if cache is None else types[:, -1:].repeat(beams, axis=0)),
            past_key_values=cache,
            use_cache=True,
            output_attentions=False,
            output_hidden_states=False,
            return_dict=True,
            **read,
        )
        return out.logits[:, -1], out.past_key_values

    length = tokens.shape[1]
    used = length if config.position_embedding_type != "absolute" else int(prompt_mask.sum(axis=1).max())
    longest = config.max_position_embeddings
    return Start(tokens, step, _with_lengths(settings, "input_ids", length, used, longest, default_end=longest))


def _read_then_write(model: EncoderDecoderModel, input_ids: Any, arrays: dict[str, Any], settings: GenerationConfig) -> Start:
    """An encoder reads the input; a decoder writes from a start token on."""
    of_encoder = ("attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds", "encoder_outputs")
    checks.known("generate", arrays, ("input_ids", *of_encoder, "decoder_input_ids", "decoder_attention_mask", *OPTIONS))
    config = model.config.decoder
    reads = {name: arrays[name] for name in of_encoder if arrays.get(name) is not None}
    if input_ids is not None:
        reads["input_ids"] = checks.ids("input_ids", input_ids, model.config.encoder.vocab_size)
        if "attention_mask" not in reads and "encoder_outputs" not in reads:
            reads["attention_mask"] = _without_padding(reads["input_ids"], settings)
    main = [name for name in ("encoder_outputs", "input_ids", "inputs_embeds") if name in reads]
    if not main:
        raise InputError("input_ids: there is nothing for the encoder to read")
    batch = len(reads[main[0]][0] if main[0] == "encoder_outputs" else checks.as_array(main[0], reads[main[0]]))
    if not batch:
        raise InputError(f"{main[0]}: takes at least one sequence, got none")

    starts = (settings.decoder_start_token_id, settings.bos_token_id, model.config.decoder_start_token_id)
    first = next((token for token in starts if token is not None), None)
    if first is None:
        raise InputError("decoder_start_token_id: neither given nor in the config, so the decoder has nothing to begin with")
    tokens = np.full((batch, 1), checks.ids("decoder_start_token_id", [first], config.vocab_size, rank=1)[0])  # [B, 1]
    prompt_mask = arrays.get("decoder_attention_mask")
    if arrays.get("decoder_input_ids") is not None:
        given = checks.ids("decoder_input_ids", arrays["decoder_input_ids"], config.vocab_size)
        if len(given) != batch or not given.size:
            raise InputError(f"decoder_input_ids: takes shape [{batch}, length], got {list(given.shape)}")
        begun = not (given[:, 0] != first).all()  # as the reference: it begins with the start token unless no row does
        tokens = given if begun else np.column_stack([tokens, given])  # [B, S]
        if prompt_mask is not None:
            prompt_mask = checks.mask("decoder_attention_mask", prompt_mask, given.shape)
            prompt_mask = prompt_mask if begun else np.column_stack([np.ones(batch, prompt_mask.dtype), prompt_mask])
    prompt_mask = np.ones(tokens.shape, np.int64) if prompt_mask is None else prompt_mask
    prompt_mask = checks.mask("decoder_attention_mask", prompt_mask, tokens.shape)  # [B, S]

    def step(new: Array, cache: Cache | None) -> tuple[Array, Cache]:
        beams = len(new) // len(tokens)
        if cache is None:
            read = reads
        else:  # what the decoder reads of the encoder is in the cache
            read = {"attention_mask": np.repeat(reads["attention_mask"], beams, axis=0)} if "attention_mask" in reads else {}
        out = model(
            decoder_input_ids=new,
            decoder_attention_mask=_extended(prompt_mask.repeat(beams, axis=0), _length_of(cache) + new.shape[1]),
            past_key_values=cache,
            use_cache=True,
            output_attentions=False,
            output_hidden_states=False,
            return_dict=True,
            **read,
        )
        return out.logits[:, -1], out.past_key_values

    length = tokens.shape[1]
    longest = config.max_position_embeddings
    return Start(tokens, step, _with_lengths(settings, "decoder_input_ids", length, length, longest, default_end=longest + 1))


def _with_lengths(
    settings: GenerationConfig, prompts: str, length: int, used: int, longest: int, *, default_end: int
) -> GenerationConfig:
    """Settle `max_length` and `min_length`, and refuse what would run out of positions on the way.

    Prompts of `length` take up `used` of the model's `longest` positions; the last token written is never read, so it takes
    none.
    """
    room = longest - used + 1
    if room < 1:
        raise InputError(f"{prompts}: {used} tokens, the model takes {longest}")
    if settings.max_new_tokens is not None:
        end = length + settings.max_new_tokens
    elif settings.max_length is not None:
        end = settings.max_length
    else:
        end = min(length + NEW_TOKENS, default_end)
    if end <= length:
        raise InputError(f"max_length: {end} counts the prompt, which has {length} tokens already; set max_new_tokens")
    if end - length > room:
        name = "max_length" if settings.max_new_tokens is None else "max_new_tokens"
        raise InputError(
            f"{name}: {end - length} new tokens after {used} do not fit into the model's {longest} positions; at most {room} do"
        )
    least = settings.min_length or 0 if settings.min_new_tokens is None else length + settings.min_new_tokens
    if least > end:
        warn(f"generate: at least {least} tokens are asked for and at most {end}; generation ends there")
    return dataclasses.replace(settings, max_length=end, min_length=least)


def _without_padding(tokens: Array, settings: GenerationConfig) -> Array:
    """A mask for tokens that came without one: padding is 0, unless the padding token also ends sequences."""
    padding = settings.filler
    if padding is None or padding in settings.eos_token_ids:
        return np.ones(tokens.shape, np.int64)
    return (tokens != padding).astype(np.int64)


def _extended(mask: Array, length: int) -> Array:
    """The prompts' mask and ones for everything written since: `[R, length]`."""
    return np.concatenate([mask, np.ones((len(mask), length - mask.shape[1]), mask.dtype)], axis=1)


def _length_of(cache: Cache | None) -> int:
    return 0 if not cache else cache[0][0].shape[2]


# -------------------------------------------------------------------------------------------------- the scores of a token


def penalize_repetition(scores: Array, tokens: Array, penalty: float) -> Array:
    """Divide the scores of tokens that stand in their row already by `penalty`, or multiply them where they are negative.

    Scores `[R, V]`, tokens `[R, L]`. A token counts once, however often it stands there; those of the prompt count too.
    """
    there = np.take_along_axis(scores, tokens, axis=1)  # [R, L]
    result = scores.copy()
    np.put_along_axis(result, tokens, np.where(there < 0, there * penalty, there / penalty), axis=1)
    return result


def forbid_repeated_ngrams(scores: Array, tokens: Array, size: int) -> Array:
    """-inf for every token that would end a run of `size` tokens which its row holds already."""
    length = tokens.shape[1]
    if length < size:
        return scores
    windows = np.lib.stride_tricks.sliding_window_view(tokens, size, axis=1)  # [R, L - size + 1, size]
    last = tokens[:, length - size + 1 :]  # [R, size - 1]
    row, place = np.nonzero((windows[:, :, :-1] == last[:, None]).all(axis=2))
    result = scores.copy()
    result[row, windows[row, place, -1]] = -np.inf
    return result


def keep_top_k(scores: Array, k: int) -> Array:
    """-inf for all that score less than the k-th best; equals of the k-th best stay."""
    k = min(k, scores.shape[-1])
    worst = np.partition(scores, -k, axis=-1)[:, -k, None]  # [R, 1]
    return np.where(scores < worst, -np.inf, scores).astype(scores.dtype)


def keep_top_p(scores: Array, p: float, *, at_least: int = 1) -> Array:
    """-inf for the least likely tokens whose probabilities together do not pass `1 - p`; the `at_least` best always stay."""
    order = np.argsort(scores, axis=-1, kind="stable")  # [R, V], the least likely first
    likelihood = ops.softmax(np.take_along_axis(scores, order, axis=-1))
    below = likelihood.cumsum(axis=-1, dtype=np.float64).astype(scores.dtype) <= scores.dtype.type(1 - p)
    below[:, -at_least:] = False
    result = scores.copy()
    np.put_along_axis(result, order, np.where(below, -np.inf, np.take_along_axis(scores, order, axis=-1)), axis=-1)
    return result


def processed(scores: Array, tokens: Array, settings: GenerationConfig) -> Array:
    """What the choice is made from: scores `[R, V]` after tokens `[R, L]`, by the settings and in the reference's order."""
    if settings.repetition_penalty not in (None, 1):
        scores = penalize_repetition(scores, tokens, settings.repetition_penalty)
    if settings.no_repeat_ngram_size:
        scores = forbid_repeated_ngrams(scores, tokens, settings.no_repeat_ngram_size)
    if tokens.shape[1] < (settings.min_length or 0) and settings.eos_token_ids:
        scores = scores.copy()
        scores[:, settings.eos_token_ids] = -np.inf
    if settings.do_sample:
        if np.isneginf(scores).all(axis=-1).any():
            raise InputError(
                "generate: no token is possible any more; no_repeat_ngram_size or the minimum length forbid them all"
            )
        # Of several beams each must be able to go on, whatever ends a sequence.
        at_least = 1 if settings.num_beams == 1 else max(len(settings.eos_token_ids), 1) + 1
        if settings.temperature not in (None, 1):
            scores = scores / scores.dtype.type(settings.temperature)
        if settings.top_k:
            scores = keep_top_k(scores, max(settings.top_k, at_least))
        if settings.top_p is not None and settings.top_p < 1:
            scores = keep_top_p(scores, settings.top_p, at_least=at_least)
    return scores


def _with_noise(scores: Array, rng: np.random.Generator) -> Array:
    """Scores plus Gumbel noise: the place of the largest is a draw from softmax(scores), and the places of the k largest are
    k draws without putting back."""
    return scores + rng.gumbel(size=scores.shape)


# --------------------------------------------------------------------------------------------------------------- searches


def _columns(start: Start, rng: np.random.Generator) -> Iterator[Array]:
    """Greedy search and sampling."""
    settings = start.settings
    assert settings.max_length is not None
    logits, cache = start.step(start.tokens, None)  # [B, V]
    times = settings.num_return_sequences
    sequences = start.tokens.repeat(times, axis=0)  # [R, S]
    if times > 1:
        logits, cache = logits.repeat(times, axis=0), _rows_of_cache(cache, np.arange(len(logits)).repeat(times))
    ended = np.zeros(len(sequences), bool)  # [R]
    while True:
        scores = processed(logits, sequences, settings)  # [R, V]
        tokens = (_with_noise(scores, rng) if settings.do_sample else scores).argmax(axis=-1)  # [R]
        if settings.eos_token_ids:
            tokens = np.where(ended, settings.filler, tokens)
            ended |= np.isin(tokens, settings.eos_token_ids)
        sequences = np.column_stack([sequences, tokens])  # [R, L]
        yield tokens
        if ended.all() or sequences.shape[1] == settings.max_length:
            return
        logits, cache = start.step(tokens[:, None], cache)


def _beam_search(start: Start, rng: np.random.Generator) -> tuple[Array, Array]:
    """Keep the `num_beams` best open sequences of each prompt, and the `num_beams` best that have ended.

    Of every prompt's beams * V continuations the best are looked at: so many that, even if each end token follows on each
    beam, `num_beams` of them stay open. Only those among the first `num_beams` that end are taken as results. Returns the
    sequences and their scores, the best of each prompt first.
    """
    settings = start.settings
    assert settings.max_length is not None
    batch, prompt_length = start.tokens.shape
    beams, ends = settings.num_beams, settings.eos_token_ids
    logits, cache = start.step(start.tokens, None)  # [B, V]
    vocabulary = logits.shape[-1]
    candidates = min(max(2, 1 + len(ends)) * beams, beams * vocabulary)
    first_rows = np.arange(batch)[:, None] * beams  # [B, 1]

    def rows(x: Array, which: Array) -> Array:
        """For each prompt its beams `which`: `[B, n, ...]`."""
        return x[np.arange(batch)[:, None], which]

    all_rows = np.arange(batch).repeat(beams)
    logits, cache = logits[all_rows], _rows_of_cache(cache, all_rows)  # [R, V]
    running = start.tokens[all_rows].reshape(batch, beams, prompt_length)  # [B, beams, L]
    running_scores = np.zeros((batch, beams), logits.dtype)
    running_scores[:, 1:] = UNLIKELY  # all beams begin alike: let the first one alone branch out

    # What the reference fills up with: a padding token 0 counts as none there.
    filler = (settings.pad_token_id or ends[0]) if ends else 0
    results = np.full((batch, beams, settings.max_length), filler)
    results[:, :, :prompt_length] = running
    lengths = np.full((batch, beams), prompt_length)
    scores = np.full((batch, beams), -np.inf, logits.dtype)
    improvable = np.ones(batch, bool)

    while True:
        log_probs = processed(ops.log_softmax(logits), running.reshape(batch * beams, -1), settings)  # [R, V]
        totals = (log_probs.reshape(batch, beams, vocabulary) + running_scores[:, :, None]).reshape(batch, -1)  # [B, beams * V]
        chosen = ops.top_k(_with_noise(totals, rng) if settings.do_sample else totals, candidates)  # [B, candidates]
        total = np.take_along_axis(totals, chosen, axis=1)
        origin, token = np.divmod(chosen, vocabulary)
        extended = np.concatenate([rows(running, origin), token[:, :, None]], axis=2)  # [B, candidates, L + 1]
        length = extended.shape[2]
        written = length - prompt_length
        ended = np.isin(token, ends) | (length == settings.max_length)  # [B, candidates]

        # Those that ended compete with the results so far.
        may_enter = ended & improvable[:, None] & (np.arange(candidates) < beams)
        if settings.early_stopping is True:
            may_enter &= ~np.isfinite(scores).all(axis=1, keepdims=True)
        entering = np.where(may_enter, total / written**settings.length_penalty, -np.inf)
        best = ops.top_k(np.concatenate([scores, entering], axis=1), beams)  # [B, beams]
        filled = np.full((batch, candidates, settings.max_length), filler)
        filled[:, :, :length] = extended
        results = rows(np.concatenate([results, filled], axis=1), best)
        lengths = rows(np.concatenate([lengths, np.full((batch, candidates), length)], axis=1), best)
        scores = rows(np.concatenate([scores, entering], axis=1), best).astype(logits.dtype)

        # The others go on; one that ended does only where too few others are possible at all.
        total = np.where(ended, total + total.dtype.type(UNLIKELY), total)
        onward = ops.top_k(total, beams)  # [B, beams]
        running, running_scores = rows(extended, onward), rows(total, onward)

        # A prompt is done when even its best open beam cannot outdo its worst result.
        far = settings.early_stopping == "never" and settings.length_penalty > 0
        hoped_length = settings.max_length - prompt_length if far else written
        hoped = running_scores[:, 0] / hoped_length**settings.length_penalty
        improvable &= (hoped > scores.min(axis=1)) | ~np.isfinite(scores).all(axis=1)
        enough = settings.early_stopping is True and np.isfinite(scores).all()
        if not improvable.any() or enough or ended.all():
            break
        newest_rows = (first_rows + rows(origin, onward)).reshape(-1)  # [R]
        logits, cache = start.step(running[:, :, -1].reshape(-1, 1), _rows_of_cache(cache, newest_rows, same_prompt=True))

    returned = settings.num_return_sequences
    longest = lengths[:, :returned].max()
    return results[:, :returned, :longest].reshape(batch * returned, -1), scores[:, :returned].reshape(-1)


def _rows_of_cache(cache: Cache, rows: Array, *, same_prompt: bool = False) -> Cache:
    """The cache of other rows. What a decoder keeps of the encoder is the same for all rows of a prompt."""
    kept = 2 if same_prompt else 4
    return tuple((*(x[rows] for x in layer[:kept]), *layer[kept:]) for layer in cache)
