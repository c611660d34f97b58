"""The loop: gradients of a batch, a step of the optimizer, and what people expect around it.

What is random in step s comes from a generator made of the run's seed and s, and the order of an epoch's batches from one made
of the seed and the epoch. So a run that continues from a saved state needs no generator's state, and goes the very same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npbert import checks
from npbert.errors import InputError
from npbert.models.base import PreTrainedModel
from npbert.training.lessons import Lessons
from npbert.training.optimizer import AdamW, clip_gradients
from npbert.training.schedule import SCHEDULES
from npbert.types import Array


@dataclass(frozen=True)
class Settings:
    """How a run goes. Two runs with the same settings, data and first weights end with the same weights."""

    steps: int
    lr: float = 5e-5
    schedule: str = "linear"
    warmup: int = 0  # steps
    accumulate: int = 1  # batches a step
    max_norm: float = 1.0  # of the gradients
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    bias_correction: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"steps": 1, "warmup": 0, "accumulate": 1, "seed": 0}.items():
            checks.whole_number(name, getattr(self, name), least=least)
        checks.choice("schedule", self.schedule, list(SCHEDULES))
        checks.number("max_norm", self.max_norm, above=0)


@dataclass
class Progress:
    """How far a run is. With the weights and the optimizer's running means this is all there is to know of it."""

    step: int = 0  # steps done
    epoch: int = 0
    place: int = 0  # batches of the epoch done
    best: float | None = None  # the best figure so far
    worse: int = 0  # evaluations since then


@dataclass
class Run:
    """A model that is being trained."""

    model: PreTrainedModel
    lessons: Lessons
    settings: Settings
    optimizer: AdamW = field(init=False)
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        chosen = self.settings
        self.optimizer = AdamW(
            self.model,
            chosen.lr,
            betas=chosen.betas,
            eps=chosen.eps,
            weight_decay=chosen.weight_decay,
            bias_correction=chosen.bias_correction,
        )


def steps(run: Run) -> Iterator[dict[str, float]]:
    """Train the model, step by step; each step yields its figures: `step`, `loss`, `norm` of the gradients, `lr`, and how many
    `tokens` were read, padding left out.

    A loss that is not a number ends the run with an error, before the weights have changed.
    """
    settings, optimizer, progress = run.settings, run.optimizer, run.progress
    factor = SCHEDULES[settings.schedule](settings.warmup, settings.steps)
    batches = batches_from(run)
    while progress.step < settings.steps:
        rng = np.random.default_rng([settings.seed, 1, progress.step])
        parts = [run.lessons.arguments(next(batches), rng) for _ in range(settings.accumulate)]
        with np.errstate(all="ignore"):  # a loss that is not a number is an error below, with the step's name
            loss, grads = mean_gradients(run.model, parts, rng)
            norm = clip_gradients(grads, settings.max_norm)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise InputError(
                f"step {progress.step + 1}: the loss is {loss} and the norm of the gradients {norm}; try a smaller lr"
            )
        optimizer.lr = settings.lr * factor(progress.step)
        optimizer.step(grads)
        progress.step += 1
        tokens = sum(int(part["attention_mask"].sum()) for part in parts)
        yield {"step": progress.step, "loss": loss, "norm": norm, "lr": optimizer.lr, "tokens": tokens}


def batches_from(run: Run) -> Iterator[Any]:
    """The batches from where the run stands, epoch after epoch; the run's progress moves along."""
    progress = run.progress
    while True:
        batches = run.lessons.epoch(_generator_of_epoch(run.settings.seed, progress.epoch))
        if not batches:
            raise InputError("data: holds nothing to learn from")
        while progress.place < len(batches):
            progress.place += 1
            yield batches[progress.place - 1]
        progress.epoch, progress.place = progress.epoch + 1, 0


def steps_of_epochs(lessons: Lessons, epochs: int, *, accumulate: int = 1, seed: int = 0) -> int:
    """How many steps go over the data exactly this often.

    An epoch need not have as many batches as the one before (sentences are paired anew, by chance), so the very epochs that the
    run will see are made and their batches counted. Where `accumulate` does not divide the sum, the last step takes the rest of
    its batches from the epoch after.
    """
    checks.whole_number("epochs", epochs, least=1)
    checks.whole_number("accumulate", accumulate, least=1)
    batches = sum(len(lessons.epoch(_generator_of_epoch(seed, epoch))) for epoch in range(epochs))
    return -(-batches // accumulate)


def mean_gradients(
    model: PreTrainedModel, parts: Sequence[Mapping[str, Any]], rng: np.random.Generator
) -> tuple[float, dict[str, Array]]:
    """The mean of the losses of some batches, and its gradients, batch by batch (gradient accumulation).

    Where all batches have as many labels, this is what one large batch would give, with the memory of a small one.
    """
    loss = 0.0
    grads: dict[str, Array] = {}
    for part in parts:
        out, more = model.gradients(**part, rng=rng)
        loss += float(out.loss) / len(parts)
        for name, gradient in more.items():
            if len(parts) > 1:
                gradient /= len(parts)
            if name in grads:
                grads[name] += gradient
            else:
                grads[name] = gradient
    return loss, grads


def _generator_of_epoch(seed: int, epoch: int) -> np.random.Generator:
    """What decides about an epoch's batches and their order."""
    return np.random.default_rng([seed, 0, epoch])
