"""The scores of the next token: what the settings do to them before one is chosen.

Each function takes scores `[R, V]`, one row for each sequence, and returns new ones; a token with the score -inf cannot be
chosen. `apply_settings` puts them in the reference's order.

Keskar et al. 2019, "CTRL" (repetition penalty); Fan et al. 2018, "Hierarchical neural story generation" (top-k); Holtzman et
al. 2020, "The curious case of neural text degeneration" (top-p); Kool et al. 2019, "Stochastic beams and where to find them"
(drawing with Gumbel noise).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from npbert import ops
from npbert.errors import InputError
from npbert.generation.settings import GenerationConfig
from npbert.types import Array


def apply_settings(scores: Array, tokens: Array, settings: GenerationConfig) -> Array:
    """The scores `[R, V]` from which the token after `tokens` `[R, T]` is chosen."""
    if settings.repetition_penalty not in (None, 1):
        scores = penalize_repetition(scores, tokens, settings.repetition_penalty)
    if settings.no_repeat_ngram_size:
        scores = forbid_repeated_ngrams(scores, tokens, settings.no_repeat_ngram_size)
    if settings.bad_words_ids:
        scores = forbid_words(scores, tokens, settings.bad_words_ids, settings.eos_token_ids)
    if tokens.shape[1] < (settings.min_length or 0):
        scores = forbid_tokens(scores, settings.eos_token_ids)
    if settings.remove_invalid_values:
        scores = np.nan_to_num(scores)
    return _narrow_the_draw(scores, settings) if settings.do_sample else scores


def _narrow_the_draw(scores: Array, settings: GenerationConfig) -> Array:
    """Temperature, top-k and top-p, for sampling alone."""
    if np.isneginf(scores).all(axis=-1).any():
        raise InputError("generate: no token is possible any more; what forbids tokens forbids them all")
    # A beam must be able to go on even if every end token is among its best.
    at_least = 1 if settings.num_beams == 1 else max(len(settings.eos_token_ids), 1) + 1
    if settings.temperature not in (None, 1):
        scores = scores / scores.dtype.type(settings.temperature)
    if settings.top_k:
        scores = keep_top_k(scores, max(settings.top_k, at_least))
    if settings.top_p is not None and settings.top_p < 1:
        scores = keep_top_p(scores, settings.top_p, at_least=at_least)
    return scores


def penalize_repetition(scores: Array, tokens: Array, penalty: float) -> Array:
    """Divide the scores of tokens that their row holds already by `penalty`, or multiply them where they are negative.

    Scores `[R, V]`, tokens `[R, T]`, those of the prompt included. A token counts once, however often it is there.
    """
    seen = np.take_along_axis(scores, tokens, axis=1)  # [R, T]
    result = scores.copy()
    np.put_along_axis(result, tokens, np.where(seen < 0, seen * penalty, seen / penalty), axis=1)
    return result


def forbid_repeated_ngrams(scores: Array, tokens: Array, size: int) -> Array:
    """-inf for every token that would end a run of `size` tokens which its row holds already."""
    length = tokens.shape[1]
    if length < size:
        return scores
    runs = np.lib.stride_tricks.sliding_window_view(tokens, size, axis=1)  # [R, T - size + 1, size]
    last = tokens[:, length - size + 1 :]  # [R, size - 1]
    row, place = np.nonzero((runs[:, :, :-1] == last[:, None]).all(axis=2))
    result = scores.copy()
    result[row, runs[row, place, -1]] = -np.inf
    return result


def forbid_tokens(scores: Array, tokens: Sequence[int]) -> Array:
    """-inf for the given tokens."""
    result = scores.copy()
    result[:, list(tokens)] = -np.inf
    return result


def forbid_words(scores: Array, tokens: Array, words: Sequence[Sequence[int]], ends: Sequence[int]) -> Array:
    """-inf for every token that would complete one of the words, each a run of tokens. A token that ends a text stays."""
    result = scores.copy()
    for *first, last in words:
        if not first:
            if last not in ends:
                result[:, last] = -np.inf
        elif tokens.shape[1] >= len(first):
            result[(tokens[:, -len(first) :] == first).all(axis=1), last] = -np.inf
    return result


def keep_top_k(scores: Array, k: int) -> Array:
    """-inf for every token that scores less than the k-th best; tokens equal to the k-th best stay."""
    k = min(k, scores.shape[-1])
    kth_best = np.partition(scores, -k, axis=-1)[:, -k, None]  # [R, 1]
    return np.where(scores < kth_best, -np.inf, scores).astype(scores.dtype)


def keep_top_p(scores: Array, p: float, *, at_least: int = 1) -> Array:
    """-inf for the least likely tokens whose probabilities add up to at most `1 - p`; the `at_least` best always stay."""
    order = np.argsort(scores, axis=-1, kind="stable")  # [R, V], the least likely first
    ascending = np.take_along_axis(scores, order, axis=-1)  # [R, V]
    total = ops.softmax(ascending).cumsum(axis=-1, dtype=np.float64).astype(scores.dtype)  # [R, V]
    dropped = total <= scores.dtype.type(1 - p)
    dropped[:, -at_least:] = False
    result = scores.copy()
    np.put_along_axis(result, order, np.where(dropped, -np.inf, ascending), axis=-1)
    return result


def add_gumbel_noise(scores: Array, rng: np.random.Generator) -> Array:
    """Scores with noise that makes the largest a draw: its place is distributed as softmax(scores), and the places of the k
    largest are k draws without putting back."""
    return scores + rng.gumbel(size=scores.shape)
