"""Running a pass again on a port's own values, with or without a mistake.

The pass begins at the last hidden state that the port has right (the model runs without the layers before it). Every value that
the port dumped, right or wrong, is measured and then replaces the computed one. So each step works on the port's own inputs:
what went wrong before it is not blamed on it, and each tensor up to the end of the dump says whether the mistake is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from npbert.golden import models
from npbert.golden.divergence import Deviation, Divergence
from npbert.golden.layers import is_first_state, is_hidden_state, makes_first_state, renumbered, state_before
from npbert.golden.mistakes.hypothesis import Hypothesis, ReplaceValue
from npbert.golden.mistakes.site import Site
from npbert.golden.pack import OUTPUT
from npbert.tracing import observe
from npbert.types import Array

STILL_RIGHT = 2.0
"""A mistake is refuted where it moves a tensor that the port has right by more than this many tolerances."""


class Replay(NamedTuple):
    """What one pass over the part of the model that matters has shown."""

    where: str  # the first value that the mistake changed; "" where none was made
    order: list[str]  # the names that were computed
    deviations: dict[str, Deviation]  # of what the port dumped, from the first tensor that differs on
    first: Array  # the first tensor that differs, as computed
    kept: dict[str, Array]  # where asked for: the values that the port did not dump
    notes: list[str]  # what the mistake found out on the way, such as factors


def replay(
    divergence: Divergence,
    hypothesis: Hypothesis | None = None,
    modules: Sequence[str] = (),
    right: Replay | None = None,
    *,
    keep: bool = False,
    quick: bool = False,
) -> Replay | None:
    """Run the pass, with a mistake made in some modules or with none.

    The answer is None where the first tensor that differs is never computed, and, as soon as that is seen, where the mistake is
    refuted up to there: it changes nothing, or what the port has right, or explains that tensor no better than `right` does.
    Later tensors are left to `npbert.golden.judging`. `keep` keeps the values that the port did not dump. A `quick` pass ends
    at the first tensor that differs, and refutes only what is far off there.
    """
    observer = _ReplayObserver(divergence, hypothesis, modules, right, keep, quick)
    if hypothesis and not observer.changes_anything:
        return None
    observer.run_pass()
    if observer.is_refuted or observer.first is None:
        return None
    return Replay(observer.where, observer.order, observer.deviations, observer.first, observer.kept, observer.notes)


def refutes(
    divergence: Divergence,
    right: Replay | None,
    where: str,
    name: str,
    deviation: Deviation | None,
    *,
    quick: bool = False,
) -> bool:
    """Whether a value shows that the port did not make a mistake that begins at `where`: it is right without the mistake, or is
    the first that differs and no better explained."""
    if name in divergence.right:
        allowed = STILL_RIGHT * (2 if quick else 1)
        return bool(where) and deviation is not None and not divergence.is_within(name, deviation, allowed)
    if name == divergence.first and right is not None:
        explains = divergence.may_explain if quick else divergence.explains
        return not where or deviation is None or not explains(name, deviation, right.deviations[name])
    return False


class _EndOfPass(Exception):
    """Nothing more is wanted of the pass. Only an exception can end a pass from within its observer."""


class _ReplayObserver:
    """The observer of such a pass: it makes the mistake, puts the port's values in, and measures what comes out."""

    def __init__(
        self,
        divergence: Divergence,
        hypothesis: Hypothesis | None,
        modules: Sequence[str],
        right: Replay | None,
        keep: bool,
        quick: bool,
    ) -> None:
        self.where = ""  # this and the next five as in Replay
        self.order: list[str] = []
        self.deviations: dict[str, Deviation] = {}
        self.first: Array | None = None
        self.kept: dict[str, Array] = {}
        self.notes: list[str] = []
        self.taken_over: set[str] | None = None  # the values of the port that the pass goes on with; None: all of them
        self.is_refuted = False

        self._divergence, self._hypothesis, self._right, self._keeps = divergence, hypothesis, right, keep
        self._is_quick = quick
        self._values: dict[str, Array] = {}  # those that later values can depend on
        self._replaced_weights: dict[str, Array] = {}
        self._replacements: dict[str, tuple[Site, ReplaceValue]] = {}  # by the full name of the value
        self._shows_in: set[str] = set()  # the first values that are computed from replaced weights
        for module in modules if hypothesis else ():
            self._plan(module)

    def _plan(self, module: str) -> None:
        """Note what the mistake replaces in a module."""
        divergence, hypothesis = self._divergence, self._hypothesis
        assert hypothesis is not None
        context = divergence.contexts[models.part_of(divergence.contexts, module)]
        site = Site(
            module, context, divergence.weights, self._values, divergence.value, divergence.truth, divergence.counts, self.notes
        )
        self._replacements |= {module + name: (site, value) for name, value in hypothesis.values.items()}
        if hypothesis.weights:
            given = hypothesis.weights(module, divergence.weights)
            changed = {name: x for name, x in given.items() if not np.array_equal(x, divergence.weights[name])}
            self._replaced_weights |= changed
            self._shows_in |= {module + name for name in hypothesis.shows_in if changed}

    @property
    def changes_anything(self) -> bool:
        """Whether the mistake replaces a weight or may replace a value."""
        return bool(self._replacements or self._replaced_weights)

    def run_pass(self) -> None:
        """Run the pass as far as it matters."""
        try:
            with np.errstate(all="ignore"), observe(self._observe):
                self._divergence.stage.run(self._replaced_weights, self._observe_output)
        except _EndOfPass:
            pass

    def _observe(self, name: str, x: Array) -> Array:
        """See a value of the pass, whose layers are numbered from the first that runs. The pass goes on with the result."""
        divergence = self._divergence
        if divergence.start is None:
            return self._look(name, x)
        if is_first_state(name):
            truth = divergence.pack[divergence.start].astype(divergence.dtype)
            state = self._rounded(divergence.value_where_it_counts(divergence.start, truth))
            self._values[state_before(name, divergence.first_layer)] = state
            if name.endswith("embeddings"):  # the pooler reads `encoder`, also where no layer is left to run
                self._values[f"{name.removesuffix('embeddings')}encoder"] = state
            return state
        if makes_first_state(name):
            return x
        return self._look(renumbered(name, divergence.first_layer), x)

    def _observe_output(self, name: str, x: Array) -> None:
        if name.startswith(OUTPUT) and self._divergence.value(name) is not None:
            self._look(name, x)

    def _look(self, name: str, x: Array) -> Array:
        """Make the mistake in a value, measure the result, and choose what the pass goes on with."""
        self.order.append(name)
        x = self._with_mistake(name, x)
        is_right = name in self._divergence.right
        deviation = self._divergence.deviation(name, x)
        if deviation is not None and not is_right:
            self.deviations[name] = deviation
        if name == self._divergence.first:
            self.first = x
        self.is_refuted = refutes(self._divergence, self._right, self.where, name, deviation, quick=self._is_quick)
        if self.is_refuted or (self._is_quick and name == self._divergence.first):
            raise _EndOfPass
        if deviation is not None and (self.taken_over is None or name in self.taken_over):
            x = self._divergence.value_where_it_counts(name, x)
        elif self._keeps:
            self.kept[name] = x.copy()
        x = self._rounded(x)
        if is_hidden_state(name):
            for known in [known for known in self._values if not is_hidden_state(known)]:
                del self._values[known]
        self._values[name] = x.copy()
        return x

    def _with_mistake(self, name: str, x: Array) -> Array:
        if name in self._shows_in:
            self.where = self.where or name
        if name not in self._replacements:
            return x
        site, replacement = self._replacements[name]
        site.name, site.value = name, x
        site.originals[name] = x
        wrong = replacement(site)
        if wrong is None or np.array_equal(wrong, x):
            return x
        assert wrong.shape == x.shape, f"{name}: {wrong.shape} for {x.shape}"
        self.where = self.where or name
        return wrong

    def _rounded(self, x: Array) -> Array:
        if self._hypothesis is not None and self._hypothesis.round_values is not None:
            x = self._hypothesis.round_values(x.astype(np.float32))
        return x.astype(self._divergence.dtype, copy=False)


def propagated(divergence: Divergence) -> dict[str, Deviation]:
    """How far each later tensor of the port is off from a right pass that goes on with what the port holds under the first name
    that differs, and with nothing else of the port."""
    observer = _ReplayObserver(divergence, None, (), None, False, False)
    observer.taken_over = {divergence.first, *divergence.right}
    observer.run_pass()
    return observer.deviations


def computed_rightly(divergence: Divergence) -> dict[str, Array]:
    """What a port computes whose dump alone is wrong, in the first tensor that differs: the values that it did not dump, in a
    right pass that does not go on with that tensor. Its other names are left out: they may be dumped as wrongly."""
    observer = _ReplayObserver(divergence, None, (), None, True, False)
    observer.taken_over = set(divergence.right)
    observer.run_pass()
    content = divergence.pack.aliases.get(divergence.first, divergence.first)
    return {name: x for name, x in observer.kept.items() if divergence.pack.aliases.get(name, name) != content}
