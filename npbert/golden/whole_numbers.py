"""How many bits the linear maps of a port compute with, where it rounds their weights and inputs to whole numbers.

A map y = x W^T + b of rounded numbers is off by

    e = x dW^T + dx W^T          [tokens, out]

dW is the same for all tokens, dx is another for each. So along the directions in which x is large, found as x = U S V^T, the
weights make e large too, and the inputs make it as large as anywhere. Two factors are fitted to how large e is along each
direction: one on what 8 bits of weight cost there, one on what 8 bits of input cost. One bit less is a factor of 4.

Bounds alone cannot tell this. Where one input is far larger than all others, 8 bits of input cost so much that weights of 5
bits hide behind them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from npbert.golden.arithmetic import step_of_127
from npbert.golden.linear_maps import LinearMap, linear_maps
from npbert.golden.matching import MatchedDump
from npbert.types import Array

FEWEST_WEIGHT_BITS = 7.5
FEWEST_INPUT_BITS = 6.5
"""Fewer are coarser than int8. Weights have all 8 bits in honest ports; inputs have 7 in PyTorch's, which spares the last one.

Ports with 8, 7 and 6 bits of weight were measured to have 7.8 to 8.3, 6.9 to 7.1 and 5.9 to 6.0 of them, on all-MiniLM-L6-v2
and on random models, with inputs of 8 and 7 bits and of float32, with one step for a matrix and with one for each row."""

CERTAIN = 0.5
"""A linear map tells nothing of its weights' bits where chance moves the factor on 8 bits by more than this."""

FEWEST_DIRECTIONS = 4
"""Fewer do not tell two factors apart: the tokens are too few or too much alike."""

SAME = 1e-3
"""A direction is left out where x is this much smaller than in the largest: two tokens alike leave only rounding there."""

ITERATIONS = 100
ALMOST_NOTHING = 1e-9


class Bits(NamedTuple):
    """How many bits a linear map has."""

    of_weights: float  # NaN where that cannot be told
    of_inputs: float


def coarser_than(precision: str, dump: MatchedDump) -> str:
    """What is coarser in the port's linear maps than in int8, of whichever kind, in words; "" where nothing is, where the dump
    does not tell, and for other precisions."""
    if not precision.startswith("int8"):
        return ""
    bits = bits_of(precision, dump)
    if bits is None:
        return ""
    if bits.of_inputs < FEWEST_INPUT_BITS:  # coarse inputs may look like coarse weights too
        told = f"inputs of about {bits.of_inputs:.0f} bits"
    elif bits.of_weights < FEWEST_WEIGHT_BITS:
        told = f"weights of about {bits.of_weights:.0f} bits"
    else:
        return ""
    return f"its linear maps are off by as much as {told} would make them, where {precision} has 8"


def bits_of(precision: str, dump: MatchedDump) -> Bits | None:
    """How many bits the weights and inputs of the port's linear maps have, on the whole: the medians. None where the dump does
    not tell."""
    axis = 1 if precision == "int8-per-row" else None
    fits = [bits for x in linear_maps(dump) if (bits := _bits_of(x, step_of_127(x.weight, axis=axis))) is not None]
    if not fits:
        return None
    of_weights, of_inputs = np.array(fits).T
    known = of_weights[np.isfinite(of_weights)]
    return Bits(float(np.median(known)) if known.size else math.nan, float(np.median(of_inputs)))


def _bits_of(linear_map: LinearMap, w_step: Array) -> Bits | None:
    """How many bits weights and inputs have; None where that cannot be told. `w_step`, `[out, 1]` or `[1, 1]`, is that of
    weights in 8 bits."""
    if not linear_map.is_finite:
        return None
    x, y, weight, bias, x_step = linear_map
    u, sizes, _ = np.linalg.svd(x, full_matrices=False)
    kept = sizes > SAME * sizes[0]
    if kept.sum() < FEWEST_DIRECTIONS:
        return None
    directions = u[:, kept].T  # [directions, tokens]
    wrong = np.square(directions @ (y - x @ weight.T - bias)).sum(axis=1)
    by_weights = np.square(sizes[kept]) * np.square(np.broadcast_to(w_step, (len(weight), 1))).sum() / 12
    fits = []
    for bits in (8, 7, 6, 5):  # larger steps do not only make larger errors: they make more of the inputs 0
        step = x_step * 255 / (2**bits - 1)
        by_inputs = np.square(directions @ (np.rint(x / step) * step - x) @ weight.T).sum(axis=1)
        terms = np.maximum([by_weights, by_inputs], np.finfo(np.float64).tiny)
        (a, b), unlikeliness = _fitted(terms, wrong)
        of_weights = 8 - _bits_lost(a) if _chance(terms, b, len(weight)) < CERTAIN else math.nan
        fits.append((unlikeliness, Bits(of_weights, bits - _bits_lost(b))))
    return min(fits)[1]


def _fitted(terms: Array, wrong: Array) -> tuple[Array, float]:
    """The factors, from 0 on, with which two terms `[2, directions]` most likely add up to `wrong`, and how unlikely that is.

    Each number in `wrong` is a sum of squares of chances, so it may be off by a share of itself. The multiplication below
    leaves the most likely factors as they are, and brings all others nearer to them.
    """
    factors = wrong.sum() / terms.sum(axis=1)
    for _ in range(ITERATIONS):
        expected = factors @ terms
        factors = factors * (terms @ (wrong / np.square(expected))) / (terms @ (1 / expected))
    expected = factors @ terms
    return factors, float((np.log(expected) + wrong / expected).mean())


def _chance(terms: Array, of_inputs: float, outputs: int) -> float:
    """How far chance moves the factor of the weights where it is 1, as a standard deviation (from the Fisher information)."""
    relative = terms / (terms[0] + of_inputs * terms[1])
    information = relative @ relative.T * outputs / 2
    return math.sqrt(np.linalg.pinv(information)[0, 0])


def _bits_lost(factor: float) -> float:
    """How many bits less make the square of an error this many times larger."""
    return math.log(max(factor, ALMOST_NOTHING), 4)
