"""The error function, which NumPy lacks. GELU needs it (in float32 it has a formula of its own, see `npbert.ops.normal`).

    erf(x) = 2 / sqrt(pi) * integral of exp(-s^2) ds from 0 to x

It rises from -1 to 1, is odd, looks like 2 / sqrt(pi) * x near 0, and comes so close to 1 so fast that 1 - erf(x) is
roughly exp(-x^2). A polynomial follows the beginning well and the arrival at 1 badly, so the formulas below give the
polynomial something tame to follow and leave the arrival to a power, in float32, or to exp, in float64.

The rest is rounding. Every operation may be off by half an ulp (the distance between neighbouring floats), and where erf is
flat, moving by less than that from one float to the next, such errors could make the result fall while x rises. The two
precisions escape in different ways, told at `float32_kernel` and `float64_kernel`. The coefficients are minimax fits, whose
largest error is as small as that many coefficients allow; tools/fit_erf.py derives them.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from npbert.errors import InputError, InputTypeError

# P(t) = 1 + t * (c0 + c1 t + ...), the cube root of 1 / (1 - erf(x)^2) at t = x^2, for x to 3.92 and beyond.
CUBE_ROOT = (0.4244132, 0.07730996, 0.0084643265, 0.0007753773, 6.5901613e-05, 8.8086662e-08, 4.1787294e-07)

# S(t) = erf(x) / x - 1 at t = x^2, for x to SPLIT.
SLOPE_LESS_ONE = (
    0.1283791670955126,
    -0.37612638903183715,
    0.11283791670952481,
    -0.026866170644402464,
    0.005223977615122112,
    -0.000854832616908034,
    0.00012055288776829058,
    -1.4924176628760742e-05,
    1.6430388110392592e-06,
    -1.5937599316753977e-07,
    1.1463755927012954e-08,
)

# Q(d) = -log(1 - erf(SPLIT + d)), for SPLIT + d to TAIL_END.
TAIL_EXPONENT = (
    1.241867260678887,
    2.2258736679806765,
    0.8078515419199223,
    0.05289998956543262,
    -0.012705625083282827,
    0.002270446022892451,
    -0.00012961380052117872,
    -0.0001059029073234533,
    5.431761252454314e-05,
    -1.4356366373010144e-05,
    1.4379486491338746e-06,
    7.038471433975788e-07,
    -4.7168073802161774e-07,
    1.6248960768833788e-07,
    -3.863896791680477e-08,
    6.554962473603459e-09,
    -7.63231142069949e-10,
    5.478844904699385e-11,
    -1.827151580099144e-12,
)

SLOPE = 2 / np.sqrt(np.pi)
TINY_SQUARE = 2.0**-100  # below it erf(x) is SLOPE * x, and x^2 is on its way to underflow
SIGN_BIT = np.int32(-(2**31))
SPLIT = 0.75
TAIL_END = 5.95  # from 5.87 on erf rounds to 1

# A block, its result and the scratch arrays stay in a core's cache through all passes over them, and the passes are long
# enough not to be dominated by the cost of starting one.
BLOCK_BYTES = 1 << 18


def erf(x: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """erf of each element of x, as a new array of the same shape, or in `out`, which may be x itself.

    float64 stays float64 and lies within 2 ulp of the true value; float32 stays float32 and lies within 4; float16 is
    computed in float32 and rounded; integers become float64. erf(-x) is exactly -erf(x), erf never falls where x rises,
    erf(+-0) is +-0, erf(+-inf) is +-1, erf(nan) is nan, and no floating-point warning is ever raised.
    """
    array = np.asarray(x)
    dtype = np.dtype(np.float64) if array.dtype.kind in "biu" else array.dtype.newbyteorder("=")
    if dtype not in (np.float16, np.float32, np.float64):
        raise InputTypeError(f"erf: x is {array.dtype}; it takes float16, float32, float64 and integers")
    if out is None:
        out = np.empty(array.shape, dtype)
    elif out.shape != array.shape or out.dtype != dtype:
        raise InputError(f"erf: out is {out.dtype} of shape {out.shape}; for this x it takes {dtype} of shape {array.shape}")

    working_dtype = np.result_type(dtype, np.float32)
    kernel = float32_kernel if working_dtype == np.float32 else float64_kernel
    # A kernel reads its block of x before it writes that block of out, so the two may be one array, but not overlap askew.
    overlap = out is not array and np.may_share_memory(out, array)
    direct = out.flags.c_contiguous and out.dtype == working_dtype and not overlap
    with np.errstate(all="ignore"):  # the formulas pass through infinity on purpose
        source = np.ascontiguousarray(array, working_dtype).reshape(-1)
        target = out.reshape(-1) if direct else np.empty_like(source)
        step = BLOCK_BYTES // working_dtype.itemsize
        scratch = np.empty((3, min(step, source.size)), working_dtype)
        for start in range(0, source.size, step):
            block = source[start : start + step]
            kernel(block, target[start : start + step], scratch[:, : block.size])
        if not direct:
            out[...] = target.reshape(out.shape)
    return out


def float32_kernel(x: NDArray[Any], out: NDArray[Any], scratch: NDArray[Any]) -> None:
    """erf(x) = sign(x) * sqrt(1 - 1 / P(x^2)^3), one formula for every x.

    1 - erf(x)^2 falls almost like exp(-x^2); P, the cube root of its inverse, rises gently enough for a polynomial, and all
    coefficients of that polynomial come out positive. That is the point: each single operation below then takes larger
    numbers to larger ones (or, twice, to smaller ones). Rounding never turns the order of two numbers around, so the
    result never falls where |x| rises, whatever the rounding errors are.

    Those stay small too. With v = P^3 - 1, the number under the root is v / (1 + v): the nearer erf is to 1, the less an
    error of v matters, and the root halves what is left of it.
    """
    t, u, v = scratch
    np.multiply(x, x, out=t)
    horner(CUBE_ROOT, t, out=u)
    u *= t  # P - 1
    np.add(u, 3, out=v)
    v *= u
    v += 3
    v *= u  # (1 + u)^3 - 1, multiplied out: after 1 + u the digits of a small u would be lost
    np.divide(1, v, out=v)
    v += 1
    np.divide(1, v, out=v)  # v / (1 + v), but with v in one place only, or the order might be lost
    np.sqrt(v, out=v)

    if np.fmin.reduce(t) < TINY_SQUARE:  # fmin, not min: a nan elsewhere in the block must not hide it
        np.abs(x, out=u)
        u *= np.float32(SLOPE)
        np.copyto(v, u, where=t < TINY_SQUARE)

    sign, bits = t.view(np.int32), v.view(np.int32)  # np.copysign would do, but takes three times as long
    np.bitwise_and(x.view(np.int32), SIGN_BIT, out=sign)
    np.bitwise_or(sign, bits, out=out.view(np.int32))


def float64_kernel(x: NDArray[Any], out: NDArray[Any], scratch: NDArray[Any]) -> None:
    """erf(x) = x + x * S(x^2) up to SPLIT, and sign(x) * (1 - exp(-Q(|x| - SPLIT))) beyond.

    Both end by adding a correction to a number that is exact. That addition's own half ulp is the larger part of the error,
    and being a rounding it cannot turn the order of two results around. The errors of the correction could, and so have to
    stay below half of what erf gains from one x to the next. This is what SPLIT is for: x * S is small enough for that
    until erf flattens, towards 1; Q, written in |x| - SPLIT, begins with an exact term and a product that is still small.
    """
    t, correction, magnitude = scratch
    np.multiply(x, x, out=t)
    horner(SLOPE_LESS_ONE, t, out=correction)
    correction *= x
    np.abs(x, out=magnitude)
    beyond = np.flatnonzero(magnitude > SPLIT)
    signed = x.take(beyond)
    np.add(x, correction, out=out)
    if beyond.size:
        d = magnitude.take(beyond)
        np.minimum(d, TAIL_END, out=d)
        d -= SPLIT
        tail = np.empty_like(d)
        horner(TAIL_EXPONENT, d, out=tail)
        np.negative(tail, out=tail)
        np.exp(tail, out=tail)
        np.subtract(1, tail, out=tail)
        out[beyond] = np.copysign(tail, signed, out=tail)


def horner(coefficients: tuple[float, ...], t: NDArray[Any], *, out: NDArray[Any]) -> None:
    """The polynomial c0 + c1 t + c2 t^2 + ... at each t."""
    *inner, last = coefficients
    np.multiply(t, last, out=out)
    for coefficient in inner[:0:-1]:
        out += coefficient
        out *= t
    out += inner[0]
