"""The mistakes that porters make in an optimizer's step, each as another rule for what becomes of a weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from npbert.golden.steps import Steps
from npbert.training.optimizer import clip_gradients
from npbert.types import Array

Gradients: TypeAlias = dict[str, Array]


@dataclass(frozen=True)
class Rule:
    """AdamW as `npbert.training` takes it, but for what a mistake changes."""

    mistake: str
    explanation: str
    corrects: tuple[bool, bool] = (True, True)  # the running mean, the running mean of the squares
    eps_inside: bool = False
    decay_in_gradient: bool = False
    decays_all: bool = False
    clip: Callable[[Gradients, float], object] = clip_gradients
    shift: int = 0  # by how many steps the schedule is read too late
    adds_up: bool = False  # gradients are never set to 0


@dataclass
class Memory:
    """What an optimizer knows from one step to the next."""

    step: int = 0
    means: Gradients = field(default_factory=dict)
    squares: Gradients = field(default_factory=dict)
    sums: Gradients = field(default_factory=dict)  # of all gradients so far


def _by_square(gradients: Gradients, most: float) -> None:
    """Clip with the sum of all squares in place of its root."""
    square = math.fsum(float(np.vdot(x, x)) for x in gradients.values())
    for x in gradients.values() if square > most else ():
        x *= most / square


def _each_alone(gradients: Gradients, most: float) -> None:
    """Clip each gradient by its own norm."""
    for name, x in gradients.items():
        clip_gradients({name: x}, most)


RIGHT = Rule("", "")

RULES = (
    Rule("adam-bias-correction-missing", "Adam's running means are not divided by 1 - beta^t.", corrects=(False, False)),
    Rule("adam-bias-correction-missing", "The mean of the gradients is not divided by 1 - beta1^t.", corrects=(False, True)),
    Rule("adam-bias-correction-missing", "The mean of the squares is not divided by 1 - beta2^t.", corrects=(True, False)),
    Rule("adam-eps-inside-root", "Adam adds eps to the mean of the squares: add it to the root of that.", eps_inside=True),
    Rule(
        "weight-decay-coupled",
        "Weight decay is added to the gradient (L2): take lr * decay * weight off the weight, beside Adam's step.",
        decay_in_gradient=True,
    ),
    Rule(
        "weight-decay-on-bias-and-layernorm",
        "Biases and the weights of LayerNorm decay as well: only matrices and tables do.",
        decays_all=True,
    ),
    Rule("clip-not-applied", "The gradients are not clipped to max_norm.", clip=lambda gradients, most: None),
    Rule(
        "clip-norm-squared",
        "The gradients are divided by the sum of their squares: the norm is the root of that.",
        clip=_by_square,
    ),
    Rule("learning-rate-off-by-one", "The learning rate is that of the next step: the first step has schedule(0).", shift=1),
    Rule("learning-rate-off-by-one", "The learning rate is that of the step before: the first step has schedule(0).", shift=-1),
    Rule(
        "gradient-accumulated-twice",
        "The gradients of the steps before are still in this one's: set them to 0 after each step.",
        adds_up=True,
    ),
)  # fmt: skip
"""A line here is all that another mistake in a step needs."""

MISTAKES = tuple(dict.fromkeys(rule.mistake for rule in RULES))


def stepped(rule: Rule, steps: Steps, weights: Mapping[str, Array], gradients: Gradients, memory: Memory) -> dict[str, Array]:
    """The weights after one more step. The memory is changed."""
    memory.step += 1
    if rule.adds_up:
        memory.sums = {name: memory.sums.get(name, 0.0) + x for name, x in gradients.items()}
        gradients = memory.sums
    gradients = {name: x.copy() for name, x in gradients.items()}
    if steps.max_norm is not None:
        rule.clip(gradients, steps.max_norm)
    rate = steps.rate(max(memory.step + rule.shift, 1))
    return {name: _moved(rule, steps, name, weights[name], x, rate, memory) for name, x in gradients.items()}


def _moved(rule: Rule, steps: Steps, name: str, weight: Array, gradient: Array, rate: float, memory: Memory) -> Array:
    decay = steps.weight_decay if weight.ndim > 1 or rule.decays_all else 0.0
    if rule.decay_in_gradient:
        gradient, decay = gradient + decay * weight, 0.0
    beta1, beta2 = steps.betas
    mean = memory.means[name] = beta1 * memory.means.get(name, 0.0) + (1 - beta1) * gradient
    square = memory.squares[name] = beta2 * memory.squares.get(name, 0.0) + (1 - beta2) * np.square(gradient)
    mean = mean / (1 - beta1**memory.step) if rule.corrects[0] else mean
    square = square / (1 - beta2**memory.step) if rule.corrects[1] else square
    root = np.sqrt(square + steps.eps) if rule.eps_inside else np.sqrt(square) + steps.eps
    with np.errstate(invalid="ignore"):  # without eps, 0 / 0 where there is no gradient
        return np.asarray(weight - rate * decay * weight - rate * np.nan_to_num(mean / root))
