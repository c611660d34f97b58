"""Whether the numbers of a port show the precision that it computes its linear maps in.

Its bounds cannot show that: they say what the precision may cost, and other ports stay within them too, those with coarser
weights as well as those with a small mistake. So the maps are looked at, where a dump holds what they read and put out. Those
that read shortened numbers are computed again, from what the port says that they read. Of whole numbers the bits are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from npbert.golden.linear_maps import LinearMap, linear_maps
from npbert.golden.matching import MatchedDump
from npbert.golden.precision import cut_to_bfloat16, cut_to_tf32, to_bfloat16, to_tf32
from npbert.golden.whole_numbers import FEWEST_INPUT_BITS, FEWEST_WEIGHT_BITS, Bits, bits_of
from npbert.types import Array

Shorten = Callable[[Array], Array]

SHORTENED: dict[str, tuple[Shorten, ...]] = {
    "tf32": (to_tf32, cut_to_tf32),
    "bfloat16-products": (to_bfloat16, cut_to_bfloat16),
}
"""The ways in which ports shorten what they multiply in these precisions."""

LEFT_OF_ERRORS = 0.1
"""A way of shortening that leaves no more of the errors than this is the port's. What is left then is the rounding of sums in
float32, a hundredth and less; another way leaves about as much as there was."""

MOST_BITS = 8.75
"""Weights and inputs that both have more are not those of int8."""


def shown(precisions: Sequence[str], dump: MatchedDump) -> str | None:
    """The one of these precisions that the port's linear maps show that they are computed in; None where they show none."""
    for precision in precisions:
        if any(_shortens(dump, shorten) for shorten in SHORTENED.get(precision, ())):
            return precision
    measured = {precision: bits_of(precision, dump) for precision in precisions if precision.startswith("int8")}
    fitting = {precision: bits for precision, bits in measured.items() if bits is not None and _are_of_int8(bits)}
    return min(fitting, key=lambda precision: float(np.nan_to_num(abs(fitting[precision].of_weights - 8))), default=None)


def _shortens(dump: MatchedDump, shorten: Shorten) -> bool:
    """Whether most maps multiply numbers that are shortened so."""
    left = [_left_of_errors(x, shorten) for x in linear_maps(dump) if x.is_finite]
    return bool(left) and float(np.median(left)) <= LEFT_OF_ERRORS


def _left_of_errors(linear_map: LinearMap, shorten: Shorten) -> float:
    x, y, weight, bias, _ = linear_map
    wrong = y - (x @ weight.T + bias)
    left = y - (_shortened(x, shorten) @ _shortened(weight, shorten).T + bias)
    return float(np.linalg.norm(left) / max(np.linalg.norm(wrong), np.finfo(np.float64).tiny))


def _shortened(x: Array, shorten: Shorten) -> Array:
    return shorten(x.astype(np.float32)).astype(np.float64)


def _are_of_int8(bits: Bits) -> bool:
    """Whether weights and inputs are fine enough, and one of them is no finer. Some ports have the weights alone in 8 bits."""
    is_coarser = bits.of_inputs < FEWEST_INPUT_BITS or bits.of_weights < FEWEST_WEIGHT_BITS  # what is unknown, NaN, is not
    return not is_coarser and (bits.of_inputs <= MOST_BITS or bits.of_weights <= MOST_BITS)
