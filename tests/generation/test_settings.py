"""The settings: their checks, where they come from, and the lengths."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.generation import SETTING_NAMES, GenerationConfig, settings_from, settle_lengths
from npbert.generation.settings import NOT_APPLIED

from .helpers import WRONG_SETTINGS, decoder


def test_end_tokens_may_come_as_an_array() -> None:
    assert GenerationConfig(eos_token_id=np.array([3, 4])).eos_token_ids == [3, 4]  # type: ignore[arg-type]
    assert GenerationConfig(eos_token_id=[3, 4]).token_after_end == 3
    assert GenerationConfig(eos_token_id=3, pad_token_id=0).token_after_end == 0


@pytest.mark.parametrize(("options", "message"), [pytest.param(*case, id=case[1][:40]) for case in WRONG_SETTINGS])
def test_wrong_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises((npbert.InputError, npbert.InputTypeError), match=re.escape(message)):
        GenerationConfig(**options)


def test_the_last_source_that_says_something_counts() -> None:
    sources = [{"eos_token_id": 5, "num_beams": 3, "top_k": 7, "model_type": "bert"}, {"num_beams": 2, "top_k": None}]
    settings = settings_from(sources, {})
    assert (settings.eos_token_id, settings.num_beams, settings.top_k) == (5, 2, 7)
    assert settings_from([*sources, {"num_beams": 1, "max_length": 20}], {}) == settings  # defaults say nothing
    assert settings_from(sources, {"num_beams": 1, "max_length": 20}).num_beams == 1  # unless they are given
    assert settings_from(sources, {"max_length": 20}).max_length == 20
    assert settings_from([], {}) == GenerationConfig()


def test_lengths_count_the_prompt_once_they_are_settled() -> None:
    def settled(**settings: Any) -> tuple[int | None, int | None]:
        model = {"prompt_name": "input_ids", "positions_used": 2, "positions": 10, "default_limit": 9}
        found = settle_lengths(GenerationConfig(**settings), 4, **model)
        return found.max_length, found.min_length

    assert settled() == (9, 0)
    assert settled(max_new_tokens=3, max_length=5, min_new_tokens=2, min_length=7) == (7, 6)
    assert settled(max_length=5, min_length=3) == (5, 3)
    assert settled(max_new_tokens=9) == (13, 0)  # the last token takes no position
    with pytest.raises(npbert.InputError, match=r"max_length: 10 new tokens after 2 do not fit .* 10 positions; at most 9 do"):
        settled(max_length=14)
    with pytest.raises(npbert.InputError, match="max_length: 4 counts the prompt, which has 4 tokens already"):
        settled(max_length=4)
    with pytest.warns(UserWarning, match="at least 9 tokens are asked for and at most 6"):
        settled(max_new_tokens=2, min_new_tokens=5)


def test_a_length_penalty_that_leaves_no_number_to_compare_is_refused() -> None:
    model = {"prompt_name": "input_ids", "positions_used": 2, "positions": 600, "default_limit": 600}
    for penalty in (1e9, -1e9, 7.5):
        settings = GenerationConfig(length_penalty=penalty, num_beams=2, max_new_tokens=500)
        with pytest.raises(npbert.InputError, match=r"length_penalty: -?[0-9.]+ makes more than 1e\+20 of 500 tokens"):
            settle_lengths(settings, 2, **model)
        settle_lengths(GenerationConfig(length_penalty=penalty, max_new_tokens=500), 2, **model)  # greedy search has none
    assert settle_lengths(GenerationConfig(length_penalty=7.0, num_beams=2, max_new_tokens=500), 2, **model).max_length == 502


def test_settings_may_come_as_arrays() -> None:
    tokens = npbert.generate(decoder(), [[1, 2]], eos_token_id=np.array([5, 6]), max_new_tokens=3)
    assert tokens.tolist() == npbert.generate(decoder(), [[1, 2]], eos_token_id=[5, 6], max_new_tokens=3).tolist()
    with pytest.raises(npbert.InputError, match="early_stopping: takes True, False"):
        npbert.generate(decoder(), [[1, 2]], early_stopping=np.array([1, 2]))


@pytest.mark.parity
def test_parity_of_defaults() -> None:
    import transformers

    theirs = transformers.GenerationConfig()
    for name in SETTING_NAMES:
        if name != "max_length":  # 20 there, and taken for 20 new tokens when nobody set it
            assert getattr(GenerationConfig(), name) == getattr(theirs, name), name
    for name, unset in NOT_APPLIED.items():
        assert getattr(theirs, name) == unset, name
