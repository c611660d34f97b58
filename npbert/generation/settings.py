"""How to generate: the settings, their checks, where they come from, and how long a text may become.

Keskar et al. 2019, "CTRL" (repetition penalty); Wu et al. 2016, "Google's neural machine translation system" (length
penalty); Fan et al. 2018, "Hierarchical neural story generation" (top-k); Holtzman et al. 2020, "The curious case of neural
text degeneration" (top-p).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npbert import checks
from npbert.checkpoints.limits import MAX_SEQUENCES
from npbert.errors import InputError, InputTypeError, MissingAttributeError, shown, warn

DEFAULT_NEW_TOKENS = 20
"""How many tokens are written when no setting says how many."""

LARGEST = 1e20
"""Scores are multiplied and divided by settings up to this size. In float32, whose largest number is 3e38, more would become
infinite and the answer nonsense."""


@dataclasses.dataclass
class GenerationConfig:
    """How to generate: the reference's names and defaults. None turns a setting off, where the setting takes it.

    `max_length` and `min_length` count the prompt. `max_new_tokens` and `min_new_tokens` do not, and win over them.
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
    bad_words_ids: list[list[int]] | None = None  # runs of tokens that are never written
    remove_invalid_values: bool = False  # True: a score that is not a number is 0, an infinite one the largest or smallest

    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None  # None: the first eos_token_id
    bos_token_id: int | None = None  # starts a decoder that has no decoder_start_token_id
    decoder_start_token_id: int | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_choices()

    def _check_numbers(self) -> None:
        for name, most in MAX_SEQUENCES.items():
            checks.whole_number(name, getattr(self, name), least=1)
            if getattr(self, name) > most:
                raise InputError(f"{name}: takes at most {most} for a prompt, got {shown(getattr(self, name))}")
        checks.number("length_penalty", self.length_penalty)
        for name in ("max_new_tokens", "max_length"):
            if getattr(self, name) is not None:
                checks.whole_number(name, getattr(self, name), least=1)
        for name in ("min_new_tokens", "min_length", "top_k", "no_repeat_ngram_size"):
            if getattr(self, name) is not None:
                checks.whole_number(name, getattr(self, name), least=0)
        for name in ("temperature", "repetition_penalty"):
            if getattr(self, name) is not None:
                checks.number(name, getattr(self, name), above=0)
                checks.number(name, getattr(self, name), least=1 / LARGEST, most=LARGEST)
        if self.top_p is not None:
            checks.number("top_p", self.top_p, least=0, most=1)

    def _check_choices(self) -> None:
        for name in ("pad_token_id", "bos_token_id", "decoder_start_token_id"):
            if getattr(self, name) is not None:
                checks.integers(name, getattr(self, name), 0)
        if self.eos_token_id is not None:
            checks.integers("eos_token_id", self.eos_token_id, (0, 1))
        self._check_bad_words()
        for name in ("do_sample", "remove_invalid_values"):
            checks.boolean(name, getattr(self, name))
        if not isinstance(self.early_stopping, bool) and (
            not isinstance(self.early_stopping, str) or self.early_stopping != "never"
        ):
            raise InputError(f'early_stopping: takes True, False or "never", got {shown(self.early_stopping)}')
        returned, beams = self.num_return_sequences, self.num_beams
        if beams > 1 and returned > beams:
            raise InputError(f"num_return_sequences: takes at most num_beams, {beams}; got {returned}")
        if beams == 1 and not self.do_sample and returned > 1:
            raise InputError("num_return_sequences: greedy search finds one sequence; set num_beams or do_sample=True")

    def _check_bad_words(self) -> None:
        words = self.bad_words_ids
        if words is None:
            return
        if not isinstance(words, list | tuple) or not words:
            raise InputError(f"bad_words_ids: takes a list of lists of tokens, got {shown(words)}")
        for number, tokens in enumerate(words):
            found = checks.integers(f"bad_words_ids[{number}]", tokens, 1)
            if not found.size or found.min() < 0:
                raise InputError(f"bad_words_ids[{number}]: takes one token or more, 0 or above, got {found.tolist()}")

    @property
    def eos_token_ids(self) -> list[int]:
        """The tokens that end a sequence."""
        return [] if self.eos_token_id is None else np.atleast_1d(self.eos_token_id).tolist()

    @property
    def rows_of_a_prompt(self) -> int:
        """How many sequences are written at once for each prompt."""
        return self.num_beams if self.num_beams > 1 else self.num_return_sequences

    def to_dict(self) -> dict[str, Any]:
        """Every setting by its name."""
        return dataclasses.asdict(self)

    @property
    def token_after_end(self) -> int | None:
        """The token that fills a row up after its end: the padding token, or else the first end token."""
        return self.eos_token_ids[0] if self.pad_token_id is None and self.eos_token_ids else self.pad_token_id


SETTING_NAMES = tuple(field.name for field in dataclasses.fields(GenerationConfig))


# ---------------------------------------------------------------------------------------------- where settings come from

NOT_APPLIED: dict[str, Any] = {
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
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
"""Settings of the reference that would change the text and that npbert does not have, each with the value that changes
nothing."""

STORED_DEFAULTS: dict[str, Any] = {
    **{field.name: field.default for field in dataclasses.fields(GenerationConfig)},
    **NOT_APPLIED,
    "max_length": DEFAULT_NEW_TOKENS,  # older configurations carry it along as a total length
}
"""What a stored setting holds when nobody has chosen its value."""

_ONLY_FOR_SAMPLING = ("temperature", "top_k", "top_p")
_ONLY_FOR_BEAMS = ("length_penalty", "early_stopping")


class StoredSettings(dict[str, Any]):
    """What a checkpoint says about generation, as its file says it. A setting can also be read and set as an attribute."""

    def __getattr__(self, name: str) -> Any:
        if name not in self and name not in STORED_DEFAULTS:
            raise MissingAttributeError(f"generation_config: no setting {name!r}; there are {', '.join(SETTING_NAMES)}")
        return self.get(name, STORED_DEFAULTS.get(name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in STORED_DEFAULTS:
            raise MissingAttributeError(f"generation_config: no setting {name!r}; there are {', '.join(SETTING_NAMES)}")
        self[name] = value

    def to_dict(self) -> dict[str, Any]:
        """The same as a plain dictionary."""
        return dict(self)


def as_fields(settings: Any) -> StoredSettings:
    """Settings as a checkpoint's file holds them, from a `GenerationConfig` or a dictionary; None is no setting at all."""
    if isinstance(settings, GenerationConfig):
        settings = {name: value for name, value in settings.to_dict().items() if value != getattr(GenerationConfig, name)}
    if not isinstance(settings, Mapping | None):
        raise InputTypeError(f"generation_config: takes a GenerationConfig or a dictionary, got {shown(settings)}")
    return StoredSettings(settings or {})


def settings_from(sources: Sequence[Mapping[str, Any]], given: Mapping[str, Any]) -> GenerationConfig:
    """The given settings; else what the stored sources say, the last one first; else the defaults.

    A source is a dictionary as a file holds it, with any other entries beside the settings. Where it holds None or a default,
    the source before it counts.
    """
    chosen: dict[str, Any] = {}
    for source in sources:
        chosen |= {name: source[name] for name, unset in STORED_DEFAULTS.items() if source.get(name) not in (None, unset)}
    not_applied = [name for name in chosen if name in NOT_APPLIED]
    stored = {name: value for name, value in chosen.items() if name not in NOT_APPLIED}
    settings = GenerationConfig(**{**stored, **given})
    if not_applied:
        warn(f"generate: the checkpoint's settings for {', '.join(not_applied)} are not applied")
    _warn_of_settings_without_effect(settings, given)
    return settings


def _warn_of_settings_without_effect(settings: GenerationConfig, given: Mapping[str, Any]) -> None:
    for ours, total in (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length")):
        if given.get(ours) is not None and given.get(total) is not None:
            warn(f"generate: {total} has no effect beside {ours}")
    for unused, names, remedy in (
        (not settings.do_sample, _ONLY_FOR_SAMPLING, "do_sample=True"),
        (settings.num_beams == 1, _ONLY_FOR_BEAMS, "num_beams"),
    ):
        without_effect = [name for name in names if given.get(name) not in (None, STORED_DEFAULTS[name])]
        if unused and without_effect:
            warn(f"generate: {', '.join(without_effect)} has no effect without {remedy}")


# ------------------------------------------------------------------------------------------------ how long a text may be


def settle_lengths(
    settings: GenerationConfig,
    prompt_length: int,
    *,
    prompt_name: str,
    positions_used: int,
    positions: int,
    default_limit: int,
    unlisted: int = 0,
) -> GenerationConfig:
    """The settings with `max_length` and `min_length` as numbers that count the prompt.

    Prompts of `prompt_length` tokens take `positions_used` of the model's `positions` (padding may take none). A text that
    would need more positions than there are is refused; its last token is never read, so that one needs none. Where no
    setting gives a length, the text ends at `default_limit` tokens at the latest. As in the reference, a `max_length` or
    `min_length` also counts the `unlisted` positions, those of vectors that stand in no sequence.
    """
    room = positions - positions_used + 1
    if room < 1:
        raise InputError(f"{prompt_name}: {positions_used} tokens, the model takes {positions}")
    if settings.max_new_tokens is not None:
        longest = prompt_length + settings.max_new_tokens
    elif settings.max_length is not None:
        longest = settings.max_length - unlisted
    elif unlisted:
        longest = DEFAULT_NEW_TOKENS - unlisted
    else:
        longest = min(prompt_length + DEFAULT_NEW_TOKENS, default_limit)
    new_tokens = longest - prompt_length
    if new_tokens < 1:
        raise InputError(
            f"max_length: {longest} counts the prompt, which has {prompt_length} tokens already; set max_new_tokens"
        )
    if new_tokens > room:
        raise InputError(
            f"{'max_length' if settings.max_new_tokens is None else 'max_new_tokens'}: {new_tokens} new tokens after "
            f"{positions_used} do not fit into the model's {positions} positions; at most {room} do"
        )
    penalty = settings.length_penalty
    if settings.num_beams > 1 and abs(penalty) * math.log(new_tokens) > math.log(LARGEST):
        raise InputError(f"length_penalty: {penalty} makes more than {LARGEST:g} of {new_tokens} tokens, or less than 1 / that")
    shortest = max((settings.min_length or 0) - unlisted, 0)
    if settings.min_new_tokens is not None:
        shortest = prompt_length + settings.min_new_tokens
    if shortest > longest:
        warn(f"generate: at least {shortest} tokens are asked for and at most {longest}; generation ends there")
    return dataclasses.replace(settings, max_length=longest, min_length=shortest)
