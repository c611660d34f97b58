"""Optimizer steps in a pack: the weights after each of them, and the loss with these weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from npbert import checks
from npbert.errors import InputError, shown
from npbert.golden import models
from npbert.golden.kinds import step_name
from npbert.golden.passes import Backward, LookAtSpread, run, run_spread
from npbert.golden.precision import round_to
from npbert.tracing import WEIGHT_GRADIENT
from npbert.training import SCHEDULES, AdamW, clip_gradients
from npbert.types import Array

Weights = dict[str, Array]


@dataclass(frozen=True)
class Steps:
    """How the weights are changed. Each step takes the gradients of the pack's own call."""

    number: int  # of steps
    lr: float = 5e-5
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01  # of what is not a bias or a LayerNorm
    max_norm: float | None = None  # of the gradients, which are scaled down to it; None: as they are
    schedule: str = "constant"
    warmup: int = 0  # steps
    total: int | None = None  # steps of the schedule; None: number

    def __post_init__(self) -> None:
        checks.whole_number("steps", self.number, least=1)
        if self.optimizer != "adamw":
            raise InputError(f"optimizer: takes 'adamw', got {shown(self.optimizer)}")
        checks.choice("schedule", self.schedule, list(SCHEDULES))
        checks.whole_number("warmup", self.warmup, least=0)
        for name, value in {"lr": self.lr, "eps": self.eps, "weight_decay": self.weight_decay}.items():
            checks.number(name, value, least=0)
        if self.max_norm is not None:
            checks.number("max_norm", self.max_norm, above=0)
        if self.total is not None:
            checks.whole_number("total", self.total, least=self.number)

    def rate(self, step: int) -> float:
        """The learning rate of a step; the first one is 1."""
        return self.lr * SCHEDULES[self.schedule](self.warmup, self.total or self.number)(step - 1)

    def as_dict(self) -> dict[str, Any]:
        """The fields, and the learning rate of each step and of the one after."""
        return asdict(self) | {"rates": [self.rate(step) for step in range(1, self.number + 2)]}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Steps:
        """The inverse."""
        known = {name: value for name, value in fields.items() if name != "rates"}
        return cls(**known | {"betas": tuple(known["betas"])})


def run_steps(
    model: Any,
    inputs: Mapping[str, Any],
    precision: str,
    steps: Steps,
    backward: Backward,
    look: LookAtSpread,
    allowed: Callable[[str], float] | None = None,
) -> None:
    """Take the steps in a precision; `look` sees the weights after each of them, then the loss.

    `allowed(name)` is by how much the gradient of a weight may be off in another port. Adam divides gradients by their own
    size, so where one is about as small as what it may be off by, the weight may go the other way: that is the weight's spread.
    """
    ways = (0.0,) if allowed is None else (0.0, 1.0, -1.0)
    learners = [_learner(model, precision, steps) for _ in ways]
    pass_of = run if allowed is None else run_spread
    results = _gradients(partial(pass_of, model, inputs, precision, backward=backward), model, learners[0].model)
    for number in range(1, steps.number + 1):
        for way, learner in zip(ways, learners, strict=True):
            gradients = {name: x if allowed is None else _moved(x, way * allowed(name)) for name, x in results[0].items()}
            _take(learner, gradients, steps, number, precision)
        first, *others = (learner.model.weights for learner in learners)
        for name in results[0]:
            spread = None if not others else np.maximum(*(np.abs(other[name] - first[name]) for other in others))
            look(step_name(number, name), first[name], spread)
        results = _gradients(partial(pass_of, model, inputs, precision, backward=backward), model, learners[0].model)
        look(step_name(number), results[1], None)


def _moved(x: Array, by: float) -> Array:
    """x with a number added, but for zeros: what the loss does not reach has no gradient in any port."""
    return np.where(x == 0, x, x + x.dtype.type(by))


def _learner(model: Any, precision: str, steps: Steps) -> AdamW:
    """An optimizer with weights of its own."""
    dtype = np.float64 if precision == "float64" else np.float32
    own = {name: _in_precision(x.astype(dtype), precision) for name, x in models.weights_of(model).items()}
    return AdamW(
        models.computing_with(model, own),
        steps.lr,
        betas=steps.betas,
        eps=steps.eps,
        weight_decay=steps.weight_decay,
    )


def _gradients(run_pass: Callable[..., None], model: Any, learner: Any) -> tuple[Weights, Array]:
    """The gradients by the weights as they are now, and the loss."""
    seen: dict[str, Array] = {}

    def look(name: str, x: Array, spread: Array | None = None) -> None:
        if name.startswith(WEIGHT_GRADIENT) or name == "output:loss":
            seen[name] = np.array(x)

    run_pass(look, weights=models.under_all_names(model, learner.weights))
    loss = seen.pop("output:loss")
    return {name.removeprefix(WEIGHT_GRADIENT): x for name, x in seen.items()}, loss


def _take(learner: AdamW, gradients: Weights, steps: Steps, number: int, precision: str) -> None:
    """One step."""
    gradients = {name: np.array(x, dtype=learner.model.weights[name].dtype) for name, x in gradients.items()}
    if steps.max_norm is not None:
        clip_gradients(gradients, steps.max_norm)
    learner.lr = steps.rate(number)
    learner.step(gradients)
    rounded = {name: _in_precision(learner.model.weights[name], precision) for name in gradients}
    for name, x in rounded.items():
        learner.model.weights[name][...] = x


def _in_precision(x: Array, precision: str) -> Array:
    return x if precision == "float64" else round_to(x, precision)
