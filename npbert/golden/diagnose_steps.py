"""Naming the mistake in an optimizer's step: each known rule is tried on the port's own weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from npbert.golden import models
from npbert.golden.divergence import Deviation, Divergence
from npbert.golden.kinds import step_name, step_of
from npbert.golden.mistakes.optimizer import RIGHT, RULES, Memory, Rule, stepped
from npbert.golden.passes import Backward, run
from npbert.golden.search import EQUALLY_GOOD, ROUNDING
from npbert.golden.suspects import Evidence, Suspect
from npbert.tracing import WEIGHT_GRADIENT
from npbert.types import Array

Deviations = dict[str, Deviation]

REPRODUCED = 3.0
"""A tensor is reproduced when it is off by at most this many tolerances."""


def find_step_suspects(divergence: Divergence) -> list[Suspect]:
    """The rules that reproduce everything that steps made of the weights, the best first; none where none does."""
    if divergence.pack.steps is None:
        return []
    passes = _Passes(divergence)
    right = passes.deviations(RIGHT)
    if right is None or divergence.first not in right:
        return []
    found: dict[str, tuple[float, Rule, Deviations]] = {}
    for rule in RULES:
        made = passes.deviations(rule)
        if made is not None and _survives(divergence, made, right) and rule.mistake not in found:
            found[rule.mistake] = (made[divergence.first].rms, rule, made)
    least = ROUNDING * divergence.pack.tolerances[divergence.first][divergence.precision].rms
    closest = min((max(error, least) for error, _, _ in found.values()), default=0.0)
    best = [(rule, made) for error, rule, made in found.values() if max(error, least) <= EQUALLY_GOOD * closest]
    tie = "This dump cannot tell these mistakes apart: other steps, or another schedule, decay or max_norm would." * (
        len(best) > 1
    )
    return [_suspect(divergence, rule, made, right, tie) for rule, made in best]


def _survives(divergence: Divergence, made: Deviations, right: Deviations) -> bool:
    """Whether a rule explains the first tensor that differs and reproduces all others, those before it among them."""
    first = divergence.first
    return divergence.explains(first, made[first], right[first]) and all(
        divergence.is_within(name, made[name], REPRODUCED) or made[name].rms * 10 <= right[name].rms for name in made
    )


def _suspect(divergence: Divergence, rule: Rule, made: Deviations, right: Deviations, tie: str) -> Suspect:
    first = divergence.first
    evidence = Evidence(
        first,
        right[first].rms,
        made[first].rms,
        divergence.pack.tolerances[first][divergence.precision].rms,
        sum(name not in divergence.right for name in made),
        sum(name not in divergence.right for name in right),
        tie=tie,
    )
    return Suspect(rule.mistake, first, rule.explanation, evidence)


class _Passes:
    """What each rule makes of the weights, step by step, each step from the port's own weights where it dumped them."""

    def __init__(self, divergence: Divergence) -> None:
        self._divergence = divergence
        self._first = {name: x.astype(np.float64) for name, x in models.weights_of(divergence.model).items()}
        self._known: dict[int, tuple[dict[str, Array], Array]] = {}  # of the steps whose weights were all dumped

    def deviations(self, rule: Rule) -> Deviations | None:
        """How far the port is off from the rule in all that steps made and that it dumped; None where there is nothing."""
        divergence = self._divergence
        steps = divergence.pack.steps
        assert steps is not None
        dumped = [name for name in divergence.pack if step_of(name) and divergence.value(name) is not None]
        if not dumped:
            return None
        found: Deviations = {}
        weights, memory = dict(self._first), Memory()
        gradients, _ = self._gradients(0, weights)
        for number in range(1, max(map(step_of, dumped)) + 1):
            weights |= stepped(rule, steps, weights, gradients, memory)
            for name in gradients:
                own = step_name(number, name)
                if own in dumped:
                    found[own] = self._deviation(own, weights[name])
                    weights[name] = self._own(own)
            gradients, loss = self._gradients(number, weights)
            if step_name(number) in dumped:
                found[step_name(number)] = self._deviation(step_name(number), loss)
        return found

    def _own(self, name: str) -> Array:
        value = self._divergence.value(name)
        assert value is not None
        return value

    def _deviation(self, name: str, computed: Array) -> Deviation:
        deviation = self._divergence.deviation(name, computed)
        assert deviation is not None
        return deviation

    def _gradients(self, number: int, weights: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
        """The gradients after so many steps, and the loss: the port's own gradients where it dumped them, before the first."""
        divergence = self._divergence
        if number in self._known:
            return self._known[number]
        seen: dict[str, Array] = {}

        def look(name: str, x: Array) -> None:
            if name.startswith(WEIGHT_GRADIENT) or name == "output:loss":
                seen[name] = np.asarray(x, np.float64)

        pack, model = divergence.pack, divergence.model
        under_all_names = models.under_all_names(model, weights)
        run(model, pack.inputs, "float64", look, weights=under_all_names, backward=pack.backward or Backward())
        loss = seen.pop("output:loss", np.asarray(math.nan))
        for name in seen if not number else ():
            own = divergence.value(name)
            seen[name] = seen[name] if own is None else own
        result = {name.removeprefix(WEIGHT_GRADIENT): x for name, x in seen.items()}, loss
        if not number or all(divergence.value(step_name(number, name)) is not None for name in result[0]):
            self._known[number] = result
        return result
