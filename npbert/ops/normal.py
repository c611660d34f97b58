"""The normal distribution, which GELU weighs its input by.

Phi(x) is the probability that a normal variable lies below x, phi(x) its density, `exp(-x^2 / 2) / sqrt(2 pi)`, the derivative
of Phi. What lies between -|x| and |x| is E(x) = erf(|x| / sqrt(2)), and

    Phi(x) = (1 + E(x)) / 2   where x is positive,   (1 - E(x)) / 2   where it is negative.
"""

from __future__ import annotations

import math

import numpy as np

from npbert.ops.erf import erf
from npbert.types import Array

# P(t) = 1 + t (c0 + c1 t + ...), the fourth root of 1 / (1 - E(x)^2) at t = x^2. tools/fit_erf.py derives the coefficients: the
# error of P makes one of at most 1.6e-7 in `gelu`.
FOURTH_ROOT = (0.15915424, 0.0102771915, 0.00039391705, 1.8527683e-05, 1.3148486e-07, 1.67788636e-08)


def within(x: Array) -> Array:
    """E(x), the probability that a normal variable lies between -|x| and |x|.

    In float64 it is erf. In float32 it is `sqrt(1 - 1 / P(x^2)^4)`: one formula for every x, of operations that processors do
    on many numbers at once. 1 - E^2 falls like exp(-x^2 / 2); the fourth root of its inverse rises gently enough for a
    polynomial. Near 0, where P is hardly more than 1, that difference would lose its digits. So P - 1 is what is computed, and
    from it v = P^4 - 1, with (1 + u)^2 - 1 = u (u + 2) twice; then E is `sqrt(1 / (1 + 1 / v))`.
    """
    if x.dtype != np.float32:
        return erf(np.abs(x) * math.sqrt(0.5))
    with np.errstate(over="ignore", divide="ignore"):  # v is infinite where E is 1, and 0 at 0
        t = np.square(x)
        v = t * FOURTH_ROOT[-1]
        for coefficient in FOURTH_ROOT[-2::-1]:
            v += coefficient
            v *= t
        for _ in range(2):
            np.add(v, 2, out=t)
            v *= t
        np.divide(1, v, out=v)
    v += 1
    np.divide(1, v, out=v)
    return np.sqrt(v, out=v)
