"""Trying every known mistake in every place where the port can have made it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from npbert.golden.attempts import Attempt, Places
from npbert.golden.divergence import Divergence
from npbert.golden.judging import Verdict, judge
from npbert.golden.likeness import what_it_is
from npbert.golden.mistakes import hypotheses, places
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.golden.quick import quick_look
from npbert.golden.replay import Replay, computed_rightly, replay
from npbert.golden.suspects import Evidence, Suspect
from npbert.golden.ties import what_tells, without_the_same

FEW_LAYERS = 4
"""Single layers and rare mistakes are only tried where at most this many layers lie between two tensors of the port. With more
there would be too many attempts: the port should dump its hidden states."""

EQUALLY_GOOD = 3.0
"""Two mistakes are equally good when their errors in the first tensor that differs are within this factor."""

ROUNDING = 1 / 8
"""The part of a tolerance that the rounding of a port is expected to take. A smaller error makes no mistake more likely."""


class Fit(NamedTuple):
    """An attempt that reproduces the first tensor that differs and that no later one refutes."""

    attempt: Attempt
    result: Replay
    verdict: Verdict
    error: float  # in the first tensor that differs, or the rounding there where that is larger


def find_suspects(divergence: Divergence, right: Replay, is_tried: Callable[[Hypothesis], bool]) -> list[Suspect]:
    """The mistakes that reproduce the port, the best first.

    A mistake is first tried in all modules of a kind at once, as porters make it, then in single layers and modules.
    """
    tried = [
        (hypothesis, part)
        for part, context in divergence.contexts.items()
        for hypothesis in hypotheses(context.config)
        if is_tried(hypothesis)
    ]
    where = Places(divergence, right.order)
    has_few_layers = len(where.layers) <= FEW_LAYERS
    search = _Search(divergence, right, where)
    fits: list[Fit] = []
    for is_last_resort in (False, True):
        chosen = [
            (hypothesis, part)
            for hypothesis, part in tried
            if hypothesis.is_last_resort == is_last_resort and (has_few_layers or not hypothesis.is_rare)
        ]
        fits = fits or search.fits([attempt for pair in chosen for attempt in where.together(*pair)])
        if has_few_layers:
            fits = fits or search.fits([attempt for pair in chosen for attempt in where.alone(*pair)])
    order = {id(hypothesis): index for index, (hypothesis, _) in enumerate(tried)}

    def rank(fit: Fit) -> tuple[float, ...]:
        return (-fit.verdict.reproduced_everywhere, order[id(fit.attempt.hypothesis)], len(fit.attempt.modules))

    best = best_of_each_mistake(sorted(equally_good(fits), key=rank))
    told = what_it_is(divergence, divergence.first) if best and len(right.deviations) == 1 else ""
    may_be_dumped_wrong = bool(told) and "the right tensor" not in told  # nothing that was dumped is computed from it
    if len(best) + may_be_dumped_wrong < 2:
        return [suspect_of(divergence, right, fit) for fit in best]
    passes = [(fit, replay(divergence, fit.attempt.hypothesis, fit.attempt.modules, right, keep=True)) for fit in best]
    different = without_the_same(passes)
    values = [result.kept for _, result in different] + [computed_rightly(divergence)] * may_be_dumped_wrong
    tie = what_tells(divergence, right.order, values)
    suspects = [suspect_of(divergence, right, fit, tie) for fit, _ in different]
    return suspects + [_of_the_dump(divergence, told, tie)] * may_be_dumped_wrong


class _Search:
    """Tries attempts, each once. Attempts that are the same up to the first tensor that differs fail there together."""

    def __init__(self, divergence: Divergence, right: Replay, where: Places) -> None:
        self._divergence, self._right, self._where = divergence, right, where
        self._quick = quick_look(divergence)
        self._right_quickly = replay(self._quick, quick=True)
        self._tried: set[tuple[int, tuple[str, ...]]] = set()
        self._failed: set[tuple[int, tuple[str, ...]]] = set()

    def fits(self, attempts: Sequence[Attempt]) -> list[Fit]:
        """The attempts that reproduce the first tensor that differs and that no later one refutes."""
        from tqdm import tqdm

        bar = tqdm(attempts, unit=" passes", desc="diagnosis", leave=False, delay=1, disable=None)
        return [fit for attempt in bar if (fit := self._fit(attempt)) is not None]

    def _fit(self, attempt: Attempt) -> Fit | None:
        divergence, hypothesis = self._divergence, attempt.hypothesis
        whole, start = (id(hypothesis), attempt.modules), (id(hypothesis), self._where.reached(attempt))
        if whole in self._tried or start in self._failed:
            return None
        self._tried.add(whole)
        result = replay(divergence, hypothesis, attempt.modules, self._right) if self._is_promising(attempt) else None
        if result is None:
            self._failed.add(start)
            return None
        verdict = judge(divergence, self._right, result)
        if not verdict.survives and not hypothesis.precision:
            return None
        tolerance = divergence.pack.tolerances[divergence.first][divergence.precision].rms
        return Fit(attempt, result, verdict, max(result.deviations[divergence.first].rms, ROUNDING * tolerance))

    def _is_promising(self, attempt: Attempt) -> bool:
        """Whether a quick look does not refute an attempt, or cannot judge it."""
        hypothesis, right = attempt.hypothesis, self._right_quickly
        if right is None or hypothesis.precision or hypothesis.is_last_resort or hypothesis.needs_all:
            return True
        return replay(self._quick, hypothesis, attempt.modules, right, quick=True) is not None


def equally_good(fits: Sequence[Fit]) -> list[Fit]:
    """The fits that reproduce the most tensors, and of them those that come closest to the first."""
    most = max((fit.verdict.reproduced for fit in fits), default=0)
    closest = min((fit.error for fit in fits if fit.verdict.reproduced == most), default=0.0)
    return [fit for fit in fits if fit.verdict.reproduced == most and fit.error <= EQUALLY_GOOD * closest]


def best_of_each_mistake(fits: Sequence[Fit]) -> list[Fit]:
    """Of the fits, best first: one for each mistake."""
    best: dict[str, Fit] = {}
    for fit in fits:
        best.setdefault(fit.attempt.hypothesis.mistake, fit)
    return list(best.values())


def _of_the_dump(divergence: Divergence, told: str, tie: str) -> Suspect:
    """The suspect that the dump alone is wrong, beside mistakes that would make the same numbers."""
    name, row = divergence.first, divergence.row
    explanation = f"Or the dump is wrong, not the computation. {told}"
    return Suspect("dump-not-computation", name, explanation, Evidence(name, row.rms, math.inf, row.rms_tolerance, tie=tie))


def suspect_of(divergence: Divergence, right: Replay, fit: Fit, tie: str = "") -> Suspect:
    first, hypothesis = divergence.first, fit.attempt.hypothesis
    evidence = Evidence(
        first,
        right.deviations[first].rms,
        fit.result.deviations[first].rms,
        divergence.pack.tolerances[first][divergence.precision].rms,
        fit.verdict.reproduced,
        len(right.deviations),
        hypothesis.precision,
        tie,
        fit.verdict.unexplained[0] if fit.verdict.unexplained and not hypothesis.precision else "",
    )
    module = _first_module(fit)
    texts = [hypothesis.explanation, *fit.result.notes[:1]]
    told = " ".join(places.named(text, module, right.order) for text in texts)
    return Suspect(hypothesis.mistake, fit.result.where, told, evidence)


def _first_module(fit: Fit) -> str:
    """The module of the first value that the mistake makes wrong."""
    return next((module for module in fit.attempt.modules if fit.result.where.startswith(module)), fit.attempt.modules[0])
