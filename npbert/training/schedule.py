"""How large the steps are: the learning rate rises at the beginning, and falls towards the end.

A schedule is a function from the number of steps done so far to a factor of the learning rate. The rise (warm-up) keeps the
first steps small, while Adam's running means rest on few gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

Schedule: TypeAlias = Callable[[int], float]


def linear(warmup: int, total: int) -> Schedule:
    """From 0 to 1 in `warmup` steps, then down to 0 at step `total`, both in a straight line (as BERT was trained)."""
    return lambda step: _rise(step, warmup) if step < warmup else max(0.0, (total - step) / max(1, total - warmup))


def cosine(warmup: int, total: int) -> Schedule:
    """From 0 to 1 in `warmup` steps in a straight line, then along half a cosine down to 0 at step `total`."""

    def factor(step: int) -> float:
        if step < warmup:
            return _rise(step, warmup)
        done = min(1.0, (step - warmup) / max(1, total - warmup))
        return (1 + math.cos(math.pi * done)) / 2

    return factor


def constant(warmup: int, total: int) -> Schedule:
    """From 0 to 1 in `warmup` steps in a straight line, and 1 from there on, to any `total`."""
    return lambda step: _rise(step, warmup) if step < warmup else 1.0


def _rise(step: int, warmup: int) -> float:
    return step / max(1, warmup)


SCHEDULES: dict[str, Callable[[int, int], Schedule]] = {"linear": linear, "cosine": cosine, "constant": constant}
"""The schedules by name; each takes the number of warm-up steps and of all steps."""
