"""Derive the coefficients of `npbert/ops/erf.py` and `normal.py` and print them in the form in which they stand there.

    python tools/fit_erf.py

Needs mpmath, and nothing else; the run is deterministic. Four smooth functions are each fitted by a polynomial whose
largest weighted error is the smallest possible. Chebyshev's theorem says how to know such a polynomial: its error reaches
the same height, with alternating sign, at one point more than it has coefficients. Remez's exchange finds it: guess
those points, solve for the polynomial that errs by plus and minus the same height there, move each point to where the
error is really largest, and repeat until nothing moves.
"""

import struct
from collections.abc import Callable
from itertools import pairwise

from mpmath import cos, erf, erfc, lu_solve, matrix, mp, mpf, nstr, pi, polyval, sqrt
from mpmath import log as ln

mp.dps = 60

Function = Callable[[mpf], mpf]


def remez(f: Function, weight: Function, start: mpf, stop: mpf, size: int) -> tuple[list[mpf], mpf]:
    """The `size` coefficients c, lowest power first, that make max |weight(x) * (c(x) - f(x))| smallest, and that maximum."""
    # The extrema crowd at the ends, as those of a Chebyshev polynomial do: there the first points and the grid are densest.
    points = [chebyshev(start, stop, k, size) for k in range(size + 1)]
    grid = [chebyshev(start, stop, k, 60 * size) for k in range(60 * size + 1)]
    values = [(x, f(x), weight(x)) for x in grid]

    for _ in range(30):
        # One row a point: sum_j c_j x^j - (-1)^i height / weight(x) = f(x), for the coefficients and the height together.
        rows = [[x**j for j in range(size)] + [-((-1) ** i) / weight(x)] for i, x in enumerate(points)]
        solution = list(lu_solve(matrix(rows), matrix([f(x) for x in points])))
        coefficients, height = solution[:-1], abs(solution[-1])

        errors = [(x, w * (polyval(coefficients[::-1], x) - y)) for x, y, w in values]
        extrema = alternating_extrema(errors)
        while len(extrema) > size + 1:  # more than asked for: the smaller of the two outermost is no extremum of the theorem
            extrema.pop(0 if abs(extrema[0][1]) < abs(extrema[-1][1]) else -1)
        worst = max(abs(error) for _, error in errors)
        if worst < height * mpf("1.001"):
            return coefficients, worst
        points = [x for x, _ in extrema]
    raise RuntimeError(f"no equal heights after 30 exchanges: {nstr(worst, 5)} against {nstr(height, 5)}")


def chebyshev(start: mpf, stop: mpf, k: int, n: int) -> mpf:
    """Point k of the n + 1 where a Chebyshev polynomial of degree n, stretched over [start, stop], has its extrema."""
    return (start + stop) / 2 - (stop - start) / 2 * cos(pi * k / n)


def alternating_extrema(errors: list[tuple[mpf, mpf]]) -> list[tuple[mpf, mpf]]:
    """The largest error of each stretch over which the sign does not change."""
    turns = [i for i, (left, right) in enumerate(pairwise(errors), start=1) if (left[1] > 0) != (right[1] > 0)]
    stretches = [errors[i:j] for i, j in pairwise([0, *turns, len(errors)])]
    return [max(stretch, key=lambda error: abs(error[1])) for stretch in stretches]


# float32: one formula, 1 - erf(x)^2 = 1 / P(x^2)^3.


def cube_root(t: mpf) -> mpf:
    """(P(t) - 1) / t, that is ((1 - erf(x)^2)^(-1/3) - 1) / t, at t = x^2; at 0 its limit, 4 / (3 pi)."""
    x = sqrt(t)
    return ((erfc(x) * (1 + erf(x))) ** (-mpf(1) / 3) - 1) / t if t else 4 / (3 * pi)


def cube_root_weight(t: mpf) -> mpf:
    """The relative error of erf for each unit of error in `cube_root`: d log sqrt(1 - P^-3) / dP * dP / d cube_root."""
    p = 1 + t * cube_root(t)
    return 3 * t / (2 * p * (p**3 - 1)) if t else 1 / (2 * cube_root(t))


# float32 again, for gelu: E(x) = erf(x / sqrt(2)), 1 - E(x)^2 = 1 / P(x^2)^4.


def fourth_root(t: mpf) -> mpf:
    """(P(t) - 1) / t, that is ((1 - E^2)^(-1/4) - 1) / t, at t = x^2; at 0 its limit, 1 / (2 pi)."""
    x = sqrt(t / 2)
    return ((erfc(x) * (1 + erf(x))) ** (-mpf(1) / 4) - 1) / t if t else 1 / (2 * pi)


def fourth_root_weight(t: mpf) -> mpf:
    """The error of x E(x) / 2, and where x < 1 of E(x) / 2, for each unit of error in `fourth_root`."""
    p = 1 + t * fourth_root(t)
    tiny = mpf(10) ** -9  # at 0 no error reaches E, but a weight of 0 would be divided by
    return max(1, sqrt(t)) * t / (p**5 * sqrt(1 - p**-4)) + tiny if t else tiny


# float64: one formula up to SPLIT, another from there on.

SPLIT = mpf(3) / 4


def slope_less_one(t: mpf) -> mpf:
    """S(t) = erf(x) / x - 1 at t = x^2; at 0 its limit, 2 / sqrt(pi) - 1."""
    x = sqrt(t)
    return erf(x) / x - 1 if t else 2 / sqrt(pi) - 1


def slope_weight(t: mpf) -> mpf:
    """The relative error of erf for each unit of error in S."""
    return 1 / (1 + slope_less_one(t))


def tail_exponent(d: mpf) -> mpf:
    """Q(d) = -log(1 - erf(SPLIT + d))."""
    return -ln(erfc(SPLIT + d))


def tail_weight(d: mpf) -> mpf:
    """The error of erf for each unit of error in Q: 1 - erf = exp(-Q) itself."""
    return erfc(SPLIT + d)


def as_float32(value: mpf) -> str:
    """The shortest decimal that a float32 reads as the float32 nearest to `value`."""
    nearest: bytes = struct.pack("<f", float(value))
    return next(text for digits in range(6, 10) if struct.pack("<f", float(text := f"{float(value):.{digits}g}")) == nearest)


def as_float64(value: mpf) -> str:
    return repr(float(value))


def show(name: str, fit: tuple[list[mpf], mpf], write: Callable[[mpf], str]) -> None:
    coefficients, worst = fit
    print(f"{name} = (  # error 2**{nstr(ln(worst, 2), 4)}")
    print(*(f"    {write(c)}," for c in coefficients), ")", sep="\n")


def main() -> None:
    # From 3.92 on the float32 nearest to erf is 1, from 5.87 on the float64.
    show("CUBE_ROOT", remez(cube_root, cube_root_weight, mpf(0), mpf("3.92") ** 2, 7), as_float32)
    show("FOURTH_ROOT", remez(fourth_root, fourth_root_weight, mpf(0), mpf(28), 6), as_float32)
    show("SLOPE_LESS_ONE", remez(slope_less_one, slope_weight, mpf(0), SPLIT**2, 11), as_float64)
    show("TAIL_EXPONENT", remez(tail_exponent, tail_weight, mpf(0), mpf("5.95") - SPLIT, 19), as_float64)


if __name__ == "__main__":
    main()
