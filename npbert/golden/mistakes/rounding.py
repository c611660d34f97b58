"""No mistake, but a shorter format than the port is compared in: weights in 16 bits, or weights and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from npbert.configuration import ModelConfiguration
from npbert.golden.mistakes.hypothesis import Hypothesis, ReplaceWeights
from npbert.golden.precision import round_to
from npbert.types import Array


def hypotheses(config: ModelConfiguration) -> Iterator[Hypothesis]:
    """Every shorter format."""
    for precision in ("float16", "bfloat16"):
        for what, rounds_values in (("the weights", False), ("weights and values", True)):
            yield Hypothesis(
                "low-precision",
                f"No mistake: {what} are rounded to {precision}. Compare with precision={precision!r}.",
                r".+",
                weights=_rounded(precision),
                shows_in=("",),
                only_together=True,
                precision=precision,
                rounds_values=rounds_values,
            )


def _rounded(precision: str) -> ReplaceWeights:
    def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        names = [f"{module}.weight", f"{module}.bias"]
        return {name: round_to(arrays[name].astype(np.float32), precision) for name in names if name in arrays}

    return weights
