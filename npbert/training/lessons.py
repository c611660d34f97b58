"""What a loop learns from: the task's part of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Lessons(NamedTuple):
    """A task as the loop sees it. Everything random comes from the generators that the functions are handed."""

    epoch: Callable[[np.random.Generator], Sequence[Any]]
    """Once through the data: the batches in the order in which they are to be learned."""
    arguments: Callable[[Any, np.random.Generator], Mapping[str, Any]]
    """What `model.gradients` takes, for one of these batches."""
    evaluate: Callable[[Any], dict[str, float]] | None = None
    """How good a model is on data that it does not learn from, as figures by name."""
    figure: str = "loss"
    """The figure that decides which model is the best."""
    more_is_better: bool = False
