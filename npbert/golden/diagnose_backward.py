"""Naming the mistake in a backward pass: each known one is tried in each place where it can have been made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from npbert.golden.attempts import Attempt
from npbert.golden.divergence import Divergence
from npbert.golden.judging import judge
from npbert.golden.layers import layer_of, without_layer
from npbert.golden.mistakes.backward import hypotheses
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.golden.replay import Replay
from npbert.golden.rerun import Rerun
from npbert.golden.search import FEW_LAYERS, ROUNDING, Fit, best_of_each_mistake, equally_good, suspect_of
from npbert.golden.suspects import Suspect
from npbert.golden.ties import what_tells, without_the_same

NORM = r"LayerNorm|\.ln_"
"""In the names of a LayerNorm's gradients; its biases are added elsewhere than those of linear maps."""


def find_backward_suspects(divergence: Divergence, rerun: Rerun, right: Replay) -> list[Suspect]:
    """The mistakes that reproduce the gradients of the port, the best first.

    A mistake is first tried everywhere at once, as porters make it, then in one kind of place, in a layer, in a single place.
    """
    found = [hypothesis for context in divergence.contexts.values() for hypothesis in hypotheses(context.config)]
    tried = list({(one.mistake, one.explanation, one.modules): one for one in found}.values())  # parts of a model share most
    fits = [fit for attempt in _attempts(divergence, right, tried) if (fit := _fit(divergence, rerun, right, attempt))]
    fits = [fit for fit in fits if not fit.attempt.hypothesis.precision] or fits
    order = {id(hypothesis): index for index, hypothesis in enumerate(tried)}

    def rank(fit: Fit) -> tuple[float, ...]:
        return (-fit.verdict.reproduced, -len(fit.attempt.modules), order[id(fit.attempt.hypothesis)])

    best = best_of_each_mistake(sorted(equally_good(fits), key=rank))
    if len(best) < 2:
        return [suspect_of(divergence, right, fit) for fit in best]
    passes = [(fit, rerun.run(fit.attempt.hypothesis, fit.attempt.modules, right, keep=True)) for fit in best]
    different = without_the_same(passes)
    tie = what_tells(divergence, right.order, [result.kept for _, result in different])
    return [suspect_of(divergence, right, fit, tie) for fit, _ in different]


def _attempts(divergence: Divergence, right: Replay, tried: Sequence[Hypothesis]) -> Iterator[Attempt]:
    """Each mistake, with each choice of names that it can be made in and that reaches the first tensor that differs."""
    from tqdm import tqdm

    until = {name: index for index, name in enumerate(right.order)}
    last = until[divergence.first]
    layers = {layer_of(name, -1) for name in right.order[: last + 1]} - {-1}
    choices = [(hypothesis, _choices(divergence, right, hypothesis, len(layers) <= FEW_LAYERS)) for hypothesis in tried]
    pairs = [(hypothesis, names) for hypothesis, each in choices for names in each if any(until[x] <= last for x in names)]
    for pair in tqdm(pairs, unit=" passes", desc="diagnosis", leave=False, delay=1, disable=None):
        yield Attempt(*pair)


def _choices(divergence: Divergence, right: Replay, hypothesis: Hypothesis, has_few_layers: bool) -> list[tuple[str, ...]]:
    """All names at once, those of LayerNorms and the others, those of each kind, of each layer, and each alone; not those that
    the port has right.

    What makes sense everywhere alone is tried everywhere, and refuted by what is right.
    """
    names = [name for name in right.order if re.fullmatch(hypothesis.modules, name)]
    if hypothesis.only_together:
        return [tuple(names)] if names else []
    names = [name for name in names if name not in divergence.right]
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(f"norm {bool(re.search(NORM, name))}", []).append(name)
        groups.setdefault(f"kind {without_layer(name)}", []).append(name)
        if has_few_layers:
            groups.setdefault(f"layer {layer_of(name, -1)}", []).append(name)
            groups.setdefault(f"name {name}", []).append(name)
    return list(dict.fromkeys(tuple(chosen) for chosen in (names, *groups.values()) if chosen))


def _fit(divergence: Divergence, rerun: Rerun, right: Replay, attempt: Attempt) -> Fit | None:
    """The attempt, if it reproduces the first tensor that differs and no later one refutes it."""
    result = rerun.run(attempt.hypothesis, attempt.modules, right)
    if result is None:
        return None
    verdict = judge(divergence, right, result)
    if not verdict.survives:
        return None
    tolerance = divergence.pack.tolerances[divergence.first][divergence.precision].rms
    return Fit(attempt, result, verdict, max(result.deviations[divergence.first].rms, ROUNDING * tolerance))
