"""The scores of a token: by hand, by counting, and held against the reference."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import ops
from npbert.generation import GenerationConfig
from npbert.generation.scores import (
    add_gumbel_noise,
    apply_settings,
    forbid_repeated_ngrams,
    forbid_tokens,
    keep_top_k,
    keep_top_p,
    penalize_repetition,
)


def test_repetition_counts_once_and_by_sign() -> None:
    scores = np.array([[2.0, -3.0, 1.0, 4.0]])
    assert penalize_repetition(scores, np.array([[0, 1, 0, 0]]), 2.0).tolist() == [[1.0, -6.0, 1.0, 4.0]]
    assert scores.tolist() == [[2.0, -3.0, 1.0, 4.0]]


def test_no_run_of_tokens_comes_twice() -> None:
    rng = np.random.default_rng(0)
    for size, length in itertools.product((1, 2, 3), range(1, 9)):
        tokens = rng.integers(0, 3, (4, length))
        found = forbid_repeated_ngrams(np.zeros((4, 3)), tokens, size)
        for row in range(4):
            written = tokens[row].tolist()
            runs = [tuple(written[i : i + size]) for i in range(length - size + 1)]
            expected = [-np.inf if tuple([*written, token][-size:]) in runs else 0.0 for token in range(3)]
            assert found[row].tolist() == expected


def test_scores_that_are_no_numbers() -> None:
    scores = np.array([[np.nan, np.inf, -np.inf, 2.0]], np.float32)
    limits = np.finfo(np.float32)
    cleaned = apply_settings(scores, np.array([[0]]), GenerationConfig(remove_invalid_values=True))
    assert cleaned.tolist() == [[0, limits.max, limits.min, 2]]
    assert np.isnan(apply_settings(scores, np.array([[0]]), GenerationConfig())[0, 0])
    with pytest.raises(npbert.InputTypeError, match="remove_invalid_values: takes True or False, got 1"):
        GenerationConfig(remove_invalid_values=1)  # type: ignore[arg-type]


def test_top_k_keeps_ties() -> None:
    scores = np.array([[1.0, 3.0, 2.0, 2.0, 0.0]])
    inf = np.inf
    assert keep_top_k(scores, 2).tolist() == [[-inf, 3.0, 2.0, 2.0, -inf]]
    assert keep_top_k(scores, 1).tolist() == [[-inf, 3.0, -inf, -inf, -inf]]
    assert keep_top_k(scores, 9).tolist() == scores.tolist()


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    scores = np.log(np.array([[0.15, 0.5, 0.05, 0.3]]))

    def kept(p: float, at_least: int = 1) -> list[int]:
        return np.flatnonzero(np.isfinite(keep_top_p(scores, p, at_least=at_least)[0])).tolist()

    assert kept(0.4) == [1]
    assert kept(0.6) == [1, 3]
    assert kept(0.9) == [0, 1, 3]
    assert kept(0.99) == [0, 1, 2, 3]
    assert kept(0.0) == [1]
    assert kept(0.0, at_least=3) == [0, 1, 3]


def test_forbidden_tokens_are_impossible() -> None:
    scores = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert forbid_tokens(scores, [0, 2]).tolist() == [[-np.inf, 2.0, -np.inf], [-np.inf, 5.0, -np.inf]]
    assert forbid_tokens(scores, []).tolist() == scores.tolist() == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_a_beam_keeps_a_way_on_beside_the_ends() -> None:
    scores, tokens = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), np.array([[0]])
    for beams, ends, kept in ((1, [1, 2], 1), (2, None, 2), (2, [1], 2), (2, [1, 2], 3)):
        for name, value in (("top_k", 1), ("top_p", 0.0)):
            settings = GenerationConfig(**{"do_sample": True, "num_beams": beams, "eos_token_id": ends, name: value})
            assert np.isfinite(apply_settings(scores, tokens, settings)).sum() == kept


def test_draws_without_putting_back_have_the_right_probabilities() -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    scores = np.log(np.tile(p, (40000, 1)))
    pairs = ops.top_k(add_gumbel_noise(scores, np.random.default_rng(1)), 2)
    for a, b in itertools.permutations(range(4), 2):
        expected = p[a] * p[b] / (1 - p[a])
        found = ((pairs == [a, b]).all(axis=1)).mean()
        assert abs(found - expected) < 4 * np.sqrt(expected / 40000)


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(25))
def test_parity_of_the_scores_to_choose_from(seed: int) -> None:
    """The distribution that is drawn from, from rounded scores, so that there are ties."""
    import torch
    import transformers

    rng = np.random.default_rng(seed)
    vocabulary = int(rng.integers(3, 40))
    decimals = int(rng.integers(0, 4))
    scores = (rng.normal(size=(5, vocabulary)) * rng.choice([0.5, 3])).round(decimals).astype(np.float32)
    tokens = rng.integers(0, vocabulary, (5, int(rng.integers(1, 9))))
    options: dict[str, Any] = {"do_sample": True, "top_k": int(rng.integers(0, vocabulary + 3))}
    options |= {"top_p": float(rng.choice([0.0, 0.3, 0.5, 0.9, 1.0])), "temperature": float(rng.choice([0.3, 1.0, 2.0]))}
    options |= {"repetition_penalty": float(rng.choice([0.5, 1.0, 1.7])), "no_repeat_ngram_size": int(rng.integers(0, 4))}
    options |= {"num_beams": int(rng.integers(1, 3)), "eos_token_id": [1, 2][: int(rng.integers(1, 3))]}
    options |= {"min_length": int(rng.integers(0, 9))}
    config = transformers.GenerationConfig(**options)
    config._eos_token_tensor = torch.tensor(options["eos_token_id"])
    model = transformers.BertLMHeadModel(transformers.BertConfig(num_hidden_layers=0, vocab_size=3, hidden_size=12))
    processors = model._get_logits_processor(config, input_ids_seq_length=tokens.shape[1], device="cpu")
    expected = processors(torch.from_numpy(tokens), torch.from_numpy(scores)).numpy()
    if np.isneginf(expected).all(axis=-1).any():
        with pytest.raises(npbert.InputError, match="no token is possible"):
            apply_settings(scores, tokens, GenerationConfig(**options))
        return
    found = apply_settings(scores, tokens, GenerationConfig(**options))
    if options["top_p"] < 1:  # which of several equal ones it cuts is left open there: torch.sort is not stable
        found, expected = np.sort(found), np.sort(expected)
    assert np.array_equal(np.isfinite(found), np.isfinite(expected)), options
    np.testing.assert_allclose(found, expected, rtol=1e-6)
