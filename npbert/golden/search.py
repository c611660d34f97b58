"""Trying every known mistake in every place where the port can have made it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from npbert.golden.divergence import Divergence
from npbert.golden.judging import Verdict, judge
from npbert.golden.layers import layer_of
from npbert.golden.mistakes import hypotheses, places
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.golden.models import part_of
from npbert.golden.replay import Replay, replay
from npbert.golden.suspects import Evidence, Suspect

FEW_LAYERS = 4
"""Single layers are only tried where at most this many lie between two tensors of the port. With more there would be too many
attempts: the port should dump its hidden states."""

EQUALLY_GOOD = 3.0
"""Two mistakes are equally good when their errors in the first tensor that differs are within this factor."""


class Attempt(NamedTuple):
    """A hypothesis, and the modules in which the mistake is made at once."""

    hypothesis: Hypothesis
    modules: list[str]


class Fit(NamedTuple):
    """An attempt that reproduces the first tensor that differs and that no later one refutes."""

    attempt: Attempt
    result: Replay
    verdict: Verdict
    error: float  # in the first tensor that differs, or the tolerance there where that is larger


def find_suspects(divergence: Divergence, right: Replay, is_tried: Callable[[Hypothesis], bool]) -> list[Suspect]:
    """The mistakes that reproduce the port, the best first.

    A mistake is first tried in all modules of a kind at once, as porters make it, then in single layers and modules.
    """
    candidates = [
        (hypothesis, _open_modules(divergence, right, hypothesis, part))
        for part, context in divergence.contexts.items()
        for hypothesis in hypotheses(context.config)
        if is_tried(hypothesis)
    ]
    together = [Attempt(hypothesis, chosen) for hypothesis, modules in candidates for chosen in _together(hypothesis, modules)]
    fits = _fits(divergence, right, together)
    if not fits and len({layer_of(name, -1) for name in right.order} - {-1}) <= FEW_LAYERS:
        alone = [Attempt(hypothesis, chosen) for hypothesis, modules in candidates for chosen in _alone(hypothesis, modules)]
        fits = _fits(divergence, right, [attempt for attempt in alone if attempt not in together])
    order = {id(hypothesis): index for index, (hypothesis, _) in enumerate(candidates)}

    def rank(fit: Fit) -> tuple[float, ...]:
        usual = order[id(fit.attempt.hypothesis)]
        return (-fit.verdict.reproduced, -fit.verdict.reproduced_everywhere, fit.error, usual, len(fit.attempt.modules))

    return [_suspect(divergence, right, fit) for fit in _best_of_each_mistake(sorted(fits, key=rank))]


def _best_of_each_mistake(fits: Sequence[Fit]) -> list[Fit]:
    """Of the fits, best first: those that are as good as the first one, one for each mistake and each result."""
    best: dict[str, Fit] = {}
    for fit in fits:
        is_as_good = fit.verdict.reproduced == fits[0].verdict.reproduced and fit.error <= EQUALLY_GOOD * fits[0].error
        if is_as_good and not any(_are_alike(fit.result, other.result) for other in best.values()):
            best.setdefault(fit.attempt.hypothesis.mistake, fit)
    return list(best.values())


def _are_alike(one: Replay, other: Replay) -> bool:
    return one.where == other.where and one.deviations == other.deviations


def _fits(divergence: Divergence, right: Replay, attempts: Sequence[Attempt]) -> list[Fit]:
    """The attempts that reproduce the first tensor that differs and that no later one refutes."""
    from tqdm import tqdm

    tolerance = divergence.pack.tolerances[divergence.first][divergence.precision].rms
    fits = []
    for attempt in tqdm(attempts, unit=" passes", desc="diagnosis", leave=False, delay=1, disable=None):
        result = replay(divergence, attempt.hypothesis, attempt.modules, right)
        verdict = None if result is None else judge(divergence, right, result)
        if result is not None and verdict is not None and (verdict.survives or attempt.hypothesis.precision):
            fits.append(Fit(attempt, result, verdict, max(result.deviations[divergence.first].rms, tolerance)))
    return fits


def _suspect(divergence: Divergence, right: Replay, fit: Fit) -> Suspect:
    first, hypothesis = divergence.first, fit.attempt.hypothesis
    evidence = Evidence(
        first,
        right.deviations[first].rms,
        fit.result.deviations[first].rms,
        divergence.pack.tolerances[first][divergence.precision].rms,
        fit.verdict.reproduced,
        len(right.deviations),
        hypothesis.precision,
    )
    explanation = places.named(hypothesis.explanation, _first_module(fit))
    return Suspect(hypothesis.mistake, fit.result.where, explanation, evidence)


def _first_module(fit: Fit) -> str:
    """The module of the first value that the mistake makes wrong."""
    return next((module for module in fit.attempt.modules if fit.result.where.startswith(module)), fit.attempt.modules[0])


# ------------------------------------------------------------------------------------------------- where a mistake can be made


def _open_modules(divergence: Divergence, right: Replay, hypothesis: Hypothesis, part: str) -> list[str]:
    """The modules in which a mistake can have been made: not those where the port has right what it would make wrong."""
    index = {name: number for number, name in enumerate(right.order)}
    pattern, last = re.compile(hypothesis.modules), index[divergence.first]
    modules = []
    for module in _modules(right.order):
        names = [module + name for name in hypothesis.wrong_values if module + name in index]
        if not names or part_of(divergence.contexts, module) != part or not pattern.fullmatch(module):
            continue
        is_open = min(names, key=index.__getitem__) not in divergence.right
        changes = hypothesis.values or (hypothesis.weights and hypothesis.weights(module, divergence.weights))
        if is_open and changes:
            modules.append(module)
    reaches_first = any(index.get(module + name, last + 1) <= last for module in modules for name in hypothesis.wrong_values)
    return modules if reaches_first else []


def _modules(names: Sequence[str]) -> list[str]:
    """The modules that these values lie in, or are."""
    both = (module for name in names for module in (name.partition(":")[0], name.rpartition(".")[0]))
    return list(dict.fromkeys(module for module in both if module))


def _together(hypothesis: Hypothesis, modules: list[str]) -> list[list[str]]:
    """All modules at once, those of each group, and those of each kind, which differ in the number of their layer."""
    kinds: dict[str, list[str]] = {}
    for module in modules:
        kinds.setdefault(re.sub(r"layer\.\d+", "layer", module), []).append(module)
    groups = [[module for module in modules if re.fullmatch(group, module)] for group in hypothesis.groups]
    choices: list[list[str]] = []
    for chosen in (modules, *groups, *([] if hypothesis.only_together else kinds.values())):
        if chosen and chosen not in choices:
            choices.append(chosen)
    return choices


def _alone(hypothesis: Hypothesis, modules: list[str]) -> list[list[str]]:
    """The modules of a single layer at once, then each module by itself."""
    if hypothesis.only_together:
        return []
    layers: dict[int, list[str]] = {}
    for module in modules:
        layers.setdefault(layer_of(module, -1), []).append(module)
    return [chosen for chosen in layers.values() if len(chosen) > 1] + [[module] for module in modules]
