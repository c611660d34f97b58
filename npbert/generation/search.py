"""The searches: greedy search and sampling write one token after another, beam search keeps several sequences open.

They know no model. They are handed a function that gives the logits of the next token, and repeat

    next_logits -> `apply_settings` (penalties, minimum length, filters) -> a choice -> the next token of every row

in the same order, the same arithmetic and the same stopping rules as the reference, so that greedy search and beam search
write the same tokens.

    B  prompts        R  rows: the sequences that are written at once, each prompt's side by side
    S  prompt length  T  length so far, prompt included  C  candidates of a prompt  V  vocabulary size

Wu et al. 2016, "Google's neural machine translation system" (length penalty); Kool et al. 2019, "Stochastic beams and where
to find them" (beam search that draws).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

from npbert import ops
from npbert.generation.scores import add_gumbel_noise, apply_settings
from npbert.generation.settings import GenerationConfig
from npbert.types import Array

NextLogits: TypeAlias = Callable[[Array, Array], Array]
"""`next_logits(tokens, rows)` reads the newest `tokens` `[R, new]` and returns the logits `[R, V]` of what follows them.

It remembers what it has read. `rows` `[R]` says of each sequence which row of the call before it continues, so a row may go
on several times or not at all. The first call reads the prompts; the rows of a prompt always stay side by side, the prompts
in order.
"""

NoteScores: TypeAlias = Callable[[Array], None]

LAST_RESORT = -1e9
"""Added to a beam's score so that the beam goes on only where there are too few others."""


# ------------------------------------------------------------------------------------------------ greedy search, sampling


def token_columns(
    next_logits: NextLogits,
    prompts: Array,
    settings: GenerationConfig,
    rng: np.random.Generator,
    note_scores: NoteScores | None = None,
) -> Iterator[Array]:
    """Greedy search or sampling: the tokens that follow the prompts `[B, S]`, one column `[B * num_return_sequences]` a step.

    `settings.max_length` counts the prompt. `note_scores` is told the scores `[R, V]` of each step.
    """
    batch = len(prompts)
    rows = np.arange(batch).repeat(settings.num_return_sequences)  # [R]: each row's prompt
    logits = next_logits(prompts, np.arange(batch))[rows]  # [R, V]
    sequences = prompts[rows]  # [R, T]
    ended = np.zeros(len(rows), bool)  # [R]
    while True:
        scores = apply_settings(logits, sequences, settings)  # [R, V]
        if note_scores is not None:
            note_scores(scores)
        tokens = (add_gumbel_noise(scores, rng) if settings.do_sample else scores).argmax(axis=-1)  # [R]
        if settings.eos_token_ids:
            tokens = np.where(ended, settings.token_after_end, tokens)
            ended |= np.isin(tokens, settings.eos_token_ids)
        sequences = np.column_stack([sequences, tokens])
        yield tokens
        if ended.all() or sequences.shape[1] == settings.max_length:
            return
        logits = next_logits(tokens[:, None], rows)
        rows = np.arange(len(rows))


# ------------------------------------------------------------------------------------------------------------ beam search


class Beams(NamedTuple):
    """The open sequences of each prompt, the best first."""

    tokens: Array  # [B, beams, T]
    scores: Array  # [B, beams]: sums of log probabilities
    rows: Array  # [B, beams, T - S]: the row in which each token was written


class Candidates(NamedTuple):
    """The best ways to extend each prompt's beams by one token, the best first."""

    tokens: Array  # [B, C, T + 1]
    scores: Array  # [B, C]: sums of log probabilities
    beams: Array  # [B, C]: which beam each extends
    ended: Array  # [B, C]
    rows: Array  # [B, C, T + 1 - S]


class Results(NamedTuple):
    """The best sequences of each prompt that have ended, the best first. Places that are still free score -inf."""

    tokens: Array  # [B, beams, max_length], filled up after the end
    lengths: Array  # [B, beams]
    scores: Array  # [B, beams]: sums of log probabilities / length ** length_penalty
    rows: Array  # [B, beams, max_length - S], -1 after the end


def beam_search(
    next_logits: NextLogits,
    prompts: Array,
    settings: GenerationConfig,
    rng: np.random.Generator,
    note_scores: NoteScores | None = None,
) -> tuple[Array, Array, Array]:
    """Keep the `num_beams` best open sequences of each prompt `[B, S]`, and the `num_beams` best that have ended.

    Returns sequences `[B * num_return_sequences, T]`, their scores, and for each new token the row that it was written in, the
    best sequence of each prompt first. `settings.max_length` counts the prompt. `note_scores` is told the log probabilities
    `[R, V]` of each step.
    """
    batch, prompt_length = prompts.shape
    rows = np.arange(batch).repeat(settings.num_beams)  # [R]: each row's prompt
    logits = next_logits(prompts, np.arange(batch))[rows]  # [R, V]
    beams = _first_beams(prompts, settings.num_beams, logits)
    results = _no_results(prompts, settings, logits)
    may_improve = np.ones(batch, bool)  # [B]
    while True:
        candidates = _extend(beams, logits, settings, rng, note_scores)
        results = _collect_ended(results, candidates, may_improve, prompt_length, settings)
        beams, continued = _choose_open(candidates, settings.num_beams)
        may_improve &= _may_improve(results, beams, prompt_length, settings)
        if _is_over(results, candidates, may_improve, settings):
            return _best(results, settings.num_return_sequences, prompt_length)
        logits = next_logits(beams.tokens[:, :, -1].reshape(-1, 1), rows[continued])
        rows = np.arange(len(rows))


def _first_beams(prompts: Array, num_beams: int, logits: Array) -> Beams:
    """Every beam begins with the prompt. They are all alike, so only the first of them may branch out."""
    scores = np.zeros((len(prompts), num_beams), logits.dtype)
    scores[:, 1:] = LAST_RESORT
    return Beams(prompts[:, None].repeat(num_beams, axis=1), scores, np.zeros((*scores.shape, 0), np.int64))


def _no_results(prompts: Array, settings: GenerationConfig, logits: Array) -> Results:
    batch, prompt_length = prompts.shape
    assert settings.max_length is not None, "the lengths are settled before the search"
    tokens = np.full((batch, settings.num_beams, settings.max_length), _token_after_end(settings))
    tokens[:, :, :prompt_length] = prompts[:, None]
    lengths = np.full((batch, settings.num_beams), prompt_length)
    rows = np.full((batch, settings.num_beams, settings.max_length - prompt_length), -1)
    return Results(tokens, lengths, np.full((batch, settings.num_beams), -np.inf, logits.dtype), rows)


def _extend(
    beams: Beams,
    logits: Array,
    settings: GenerationConfig,
    rng: np.random.Generator,
    note_scores: NoteScores | None,
) -> Candidates:
    """The best of each prompt's beams * V continuations, or a draw of them.

    There are enough candidates that `num_beams` stay open even if every end token follows on every beam.
    """
    batch, num_beams, length = beams.tokens.shape
    vocabulary = logits.shape[-1]
    ends = settings.eos_token_ids
    log_probs = apply_settings(ops.log_softmax(logits), beams.tokens.reshape(len(logits), length), settings)  # [R, V]
    if note_scores is not None:
        note_scores(log_probs)
    scores = (log_probs.reshape(batch, num_beams, vocabulary) + beams.scores[:, :, None]).reshape(batch, -1)  # [B, beams * V]
    count = min(max(2, 1 + len(ends)) * num_beams, num_beams * vocabulary)
    chosen = ops.top_k(add_gumbel_noise(scores, rng) if settings.do_sample else scores, count)  # [B, C]
    beam, token = np.divmod(chosen, vocabulary)
    tokens = np.concatenate([_pick(beams.tokens, beam), token[:, :, None]], axis=2)  # [B, C, T + 1]
    row = np.arange(batch)[:, None] * num_beams + beam  # [B, C]
    rows = np.concatenate([_pick(beams.rows, beam), row[:, :, None]], axis=2)  # [B, C, T + 1 - S]
    ended = np.isin(token, ends) | (tokens.shape[2] == settings.max_length)  # [B, C]
    return Candidates(tokens, _pick(scores, chosen), beam, ended, rows)


def _collect_ended(
    results: Results, candidates: Candidates, may_improve: Array, prompt_length: int, settings: GenerationConfig
) -> Results:
    """Let the candidates that have ended compete with the results so far.

    Only the first `num_beams` candidates may enter, and only for a prompt whose results may still improve.
    """
    batch, count, length = candidates.tokens.shape
    may_enter = candidates.ended & may_improve[:, None] & (np.arange(count) < settings.num_beams)  # [B, C]
    if settings.early_stopping is True:
        may_enter &= ~_full(results)[:, None]
    scores = candidates.scores / (length - prompt_length) ** settings.length_penalty  # [B, C]
    tokens = np.full((batch, count, results.tokens.shape[2]), _token_after_end(settings))  # [B, C, max_length]
    tokens[:, :, :length] = candidates.tokens
    rows = np.full((batch, count, results.rows.shape[2]), -1)  # [B, C, max_length - S]
    rows[:, :, : length - prompt_length] = candidates.rows
    entered = np.where(may_enter, scores, -np.inf).astype(scores.dtype)  # [B, C]
    entering = Results(tokens, np.full((batch, count), length), entered, rows)
    both = Results(*(np.concatenate(pair, axis=1) for pair in zip(results, entering, strict=True)))  # beams + C a prompt
    best = ops.top_k(both.scores, settings.num_beams)  # [B, beams]
    return Results(*(_pick(x, best) for x in both))


def _choose_open(candidates: Candidates, num_beams: int) -> tuple[Beams, Array]:
    """The best candidates go on; one that has ended does so only where there are too few others.

    Returns the beams and, for each of them in order, the row `[R]` that it continues.
    """
    scores = candidates.scores
    scores = np.where(candidates.ended, scores + scores.dtype.type(LAST_RESORT), scores)  # [B, C]
    best = ops.top_k(scores, num_beams)  # [B, beams]
    first_rows = np.arange(len(best))[:, None] * num_beams  # [B, 1]
    continued = (first_rows + _pick(candidates.beams, best)).reshape(-1)  # [R]
    return Beams(_pick(candidates.tokens, best), _pick(scores, best), _pick(candidates.rows, best)), continued


def _may_improve(results: Results, beams: Beams, prompt_length: int, settings: GenerationConfig) -> Array:
    """Whether a prompt's best open beam could still outdo its worst result, `[B]`.

    The beam counts with the score it has now. With "never" and a reward for length, it counts as if it reached the greatest
    length with that score.
    """
    hopes_for_the_longest = settings.early_stopping == "never" and settings.length_penalty > 0
    length = (results if hopes_for_the_longest else beams).tokens.shape[2]
    hoped = beams.scores[:, 0] / (length - prompt_length) ** settings.length_penalty  # [B]
    return (hoped > results.scores.min(axis=1)) | ~_full(results)


def _is_over(results: Results, candidates: Candidates, may_improve: Array, settings: GenerationConfig) -> bool:
    """Whether nothing can improve, every candidate has ended or, with `early_stopping=True`, there are enough results."""
    enough = settings.early_stopping is True and bool(_full(results).all())
    return enough or not may_improve.any() or bool(candidates.ended.all())


def _best(results: Results, count: int, prompt_length: int) -> tuple[Array, Array, Array]:
    """The best `count` results of each prompt, their scores and their rows, cut after the longest."""
    longest = int(results.lengths[:, :count].max())
    tokens = results.tokens[:, :count, :longest]  # [B, count, T]
    rows = results.rows[:, :count, : longest - prompt_length]  # [B, count, T - S]
    return tokens.reshape(-1, longest), results.scores[:, :count].reshape(-1), rows.reshape(-1, longest - prompt_length)


def _full(results: Results) -> Array:
    """Whether every place of a prompt's results is taken, `[B]`."""
    return np.all(np.isfinite(results.scores), axis=1)


def _token_after_end(settings: GenerationConfig) -> int:
    """As the reference's beam search has it: a padding token 0 counts as none, and without end tokens 0 fills up."""
    return (settings.pad_token_id or settings.eos_token_ids[0]) if settings.eos_token_ids else 0


def _pick(x: Array, which: Array) -> Array:
    """For each prompt the entries `which` `[B, n]` of `x` `[B, m, ...]`: `[B, n, ...]`."""
    return x[np.arange(len(x))[:, None], which]
