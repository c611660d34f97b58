"""No mistake, but a shorter format than the port is compared in: every gradient is rounded to it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from npbert.configuration import ModelConfiguration
from npbert.golden.mistakes.backward.moment import Moment, slip
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.golden.precision import round_to
from npbert.types import Array


def hypotheses(config: ModelConfiguration) -> Iterator[Hypothesis]:
    """Every shorter format."""
    for precision in ("float16", "bfloat16"):
        says = f"No mistake: gradients are rounded to {precision}. Compare with precision={precision!r}."
        options = {"only_together": True, "precision": precision}
        yield slip("low-precision", says, r"grad:.*", partial(_rounded, precision=precision), **options)


def _rounded(at: Moment, precision: str) -> Array:
    return round_to(at.value.astype(np.float32), precision).astype(np.float64)
