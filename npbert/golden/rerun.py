"""Running a backward pass again on a port's own values, with or without a mistake.

The forward pass runs once, on the port's own values wherever it dumped them: all of them are right. Every gradient that the
port dumped is measured and then replaces the computed one, so each step of the backward pass works on the port's own inputs,
as `npbert.golden.replay` does it for the forward pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from npbert.backward import Gradients
from npbert.golden import models
from npbert.golden.divergence import Deviation, Divergence
from npbert.golden.mistakes.backward.losses import LOSS, LossSlip
from npbert.golden.mistakes.backward.moment import Moment
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.golden.replay import Replay, refutes
from npbert.golden.stage import Stage
from npbert.tracing import WEIGHT_GRADIENT, Observer, observe
from npbert.types import Array


class Rerun:
    """The forward pass of a model, kept, and the backward pass to be run as often as wanted."""

    def __init__(self, divergence: Divergence) -> None:
        self.divergence = divergence
        self.values: dict[str, Array] = {}  # of the forward pass
        self.uses: Counter[str] = Counter()  # of each weight in a backward pass
        pack = divergence.pack
        stage = Stage(divergence.model, divergence.weights, pack.inputs, 0, pack.backward)
        self._model = stage.runner
        self._given = None if pack.backward is None else pack.backward.output_gradients
        rng = None if pack.backward is None else pack.backward.rng
        with np.errstate(all="ignore"), observe(self._keep):
            self._pass = models.kept_pass(self._model, stage.inputs, rng, self._gradients())
        done = self._pass.done
        self.loss: Array | None = None if done.labels is None else np.asarray(done.output["loss"])
        self._run(self._count)

    def _count(self, name: str, x: Array) -> Array:
        self.uses[name] += 1
        return x

    def _keep(self, name: str, x: Array) -> Array:
        if self.divergence.value(name) is not None:
            x = self.divergence.value_where_it_counts(name, x)
        self.values[name] = x
        return x

    def _gradients(self) -> Gradients:
        """By the weights whose gradients the port dumped, and by the lowest, so that the pass goes all the way."""
        dumped = [name for name in self._model.trainable_names() if self.divergence.value(WEIGHT_GRADIENT + name) is not None]
        lowest = [
            name for name in self._model.trainable_names() if name.endswith(("embeddings.LayerNorm.weight", "wpe.weight"))
        ]
        return Gradients([*dumped, *lowest], self._model.tied())

    def run(
        self,
        hypothesis: Hypothesis | None = None,
        names: Sequence[str] = (),
        right: Replay | None = None,
        *,
        keep: bool = False,
    ) -> Replay | None:
        """Run the backward pass, with a mistake made in the gradients of some names or with none. As `replay` does."""
        observer = _Observer(self, hypothesis, names, right, keep)
        with suppress(_EndOfPass):
            self._run(observer.see, hypothesis)
        if observer.is_refuted or observer.first is None:
            return None
        return Replay(observer.where, observer.order, observer.deviations, observer.first, observer.kept, observer.notes)

    def _run(self, see: Observer, hypothesis: Hypothesis | None = None) -> None:
        """Show the loss and run the backward pass; a mistake in the loss gives both another beginning."""
        given = None if self._given is None else {name: x.astype(np.float64) for name, x in self._given.items()}
        dlogits, *others = self._pass.output_gradients(given)
        with np.errstate(all="ignore"), observe(see):
            if self.loss is not None:
                loss = self.loss
                if isinstance(hypothesis, LossSlip):
                    loss, dlogits = hypothesis.compute(self._model, self._pass.done) or (loss, dlogits)
                see(LOSS, np.asarray(loss))
            self._pass.run_backward(self._gradients(), (dlogits, *others))


def can_run_again(divergence: Divergence) -> bool:
    """Whether the pack's inputs say what a backward pass begins with."""
    has_loss = any(name in divergence.pack.inputs for name in divergence.model.label_names)
    return has_loss or divergence.pack.backward is not None


class _EndOfPass(Exception):
    """Nothing more is wanted of the pass."""


class _Observer:
    """The observer of such a pass: it makes the mistake, puts the port's gradients in, and measures what comes out."""

    def __init__(
        self, rerun: Rerun, hypothesis: Hypothesis | None, names: Sequence[str], right: Replay | None, keep: bool
    ) -> None:
        self.where = ""  # this and the next five as in Replay
        self.order: list[str] = []
        self.deviations: dict[str, Deviation] = {}
        self.first: Array | None = None
        self.kept: dict[str, Array] = {}
        self.notes: list[str] = []
        self.is_refuted = False
        self._hypothesis, self._shown = hypothesis, Counter[str]()
        self._uses, self._divergence, self._names, self._right, self._keeps = rerun.uses, rerun.divergence, names, right, keep
        self._values = dict(rerun.values)
        self._right_loss = rerun.loss
        self._before: dict[str, Array] = {}  # of weights that are used twice, what the first use added

    def see(self, name: str, x: Array) -> Array:
        """See a gradient; the pass goes on with the result."""
        self._shown[name] += 1
        if self._shown[name] < self._uses[name]:
            self._before[name] = x
            return x
        x = self._with_mistake(name, x)
        if isinstance(self._hypothesis, LossSlip) and (name != LOSS or x != self._right_loss):
            self.where = self.where or name
        self.order.append(name)
        divergence = self._divergence
        is_right = name in divergence.right
        if self.where or not is_right:
            deviation = divergence.deviation(name, x)
            if deviation is not None and not is_right:
                self.deviations[name] = deviation
            if name == divergence.first:
                self.first = x
            if refutes(divergence, self._right, self.where, name, deviation):
                self.is_refuted = True
                raise _EndOfPass
        if divergence.value(name) is not None:
            x = divergence.value_where_it_counts(name, x)
        elif self._keeps:
            self.kept[name] = x.copy()
        self._values[name] = x
        return x

    def _with_mistake(self, name: str, x: Array) -> Array:
        if name not in self._names or self._hypothesis is None or not self._hypothesis.values:
            return x
        divergence = self._divergence
        context = divergence.contexts[models.part_of(divergence.contexts, name)]
        at = Moment(
            name,
            context,
            divergence.weights,
            self._values,
            divergence.value,
            divergence.truth,
            divergence.counts,
            self.notes,
            name,
            x,
        )
        at.before = self._before.get(name, np.zeros(()))
        wrong = self._hypothesis.values[""](at)
        if wrong is None or np.array_equal(wrong, x):
            return x
        assert wrong.shape == x.shape, f"{name}: {wrong.shape} for {x.shape}"
        self.where = self.where or name
        return wrong
