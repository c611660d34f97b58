"""No mistake, but a shorter format than the port is compared in: of weights, of values, of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from npbert.configuration import ModelConfiguration
from npbert.golden.mistakes.hypothesis import SELF_MODULES, Hypothesis, ReplaceValue, ReplaceWeights
from npbert.golden.precision import cut_to_bfloat16, to_bfloat16, to_float16
from npbert.types import Array

Round = Callable[[Array], Array]

SHORTENED: list[tuple[str, str, Round]] = [
    ("float16", "rounded to float16", to_float16),
    ("bfloat16", "rounded to bfloat16", to_bfloat16),
    ("bfloat16", "cut off to bfloat16", cut_to_bfloat16),
]
"""A line here is all that another way to shorten numbers needs."""

VALUES = {
    SELF_MODULES: (".dropout", "the probabilities"),
    r".*\.intermediate": (".intermediate_act_fn", "the activations"),
}
"""The values that ports keep short alone."""


def hypotheses(config: ModelConfiguration) -> Iterator[Hypothesis]:
    """Every shorter format."""
    for precision, how, shorten in SHORTENED:
        advice = f"{how}. Compare with precision={precision!r}."
        for what, round_values in (("the weights", None), ("weights and values", shorten)):
            yield Hypothesis(
                "low-precision",
                f"No mistake: {what} are {advice}",
                r".+",
                weights=_rounded(shorten),
                shows_in=("",),
                only_together=True,
                precision=precision,
                round_values=round_values,
            )
        yield Hypothesis(
            "low-precision",
            f"No mistake: the weights of <module> are {advice}",
            r".+",
            weights=_rounded(shorten),
            shows_in=("",),
            is_rare=True,
            precision=precision,
        )
        for modules, (value, what) in VALUES.items():
            values = {value: _shortened(shorten)}
            yield Hypothesis("low-precision", f"No mistake: {what} are {advice}", modules, values, precision=precision)


def _rounded(shorten: Round) -> ReplaceWeights:
    def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        names = [f"{module}.weight", f"{module}.bias"]
        return {name: shorten(arrays[name].astype(np.float32)) for name in names if name in arrays}

    return weights


def _shortened(shorten: Round) -> ReplaceValue:
    return lambda site: shorten(site.value.astype(np.float32)).astype(np.float64)
