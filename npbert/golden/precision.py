"""Short floating-point formats, emulated: every float32 rounded to what the format can hold, and kept as a float32.

    format     sign  exponent  fraction    largest     smallest normal
    float32       1         8        23    3.4e38              1.2e-38
    float16       1         5        10    65504               6.1e-5
    bfloat16      1         8         7    3.4e38              1.2e-38

All round to the nearest, ties to the even fraction (IEEE 754, roundTiesToEven); what is too large becomes infinite, what is
small becomes subnormal. bfloat16 is the upper half of a float32. TF32 has float32's exponents and float16's fraction.

A port stores its values in one of the three. Some compute products with shorter operands than they store: these precisions have
names of their own and store float32 (`npbert.golden.arithmetic` says what each does).
"""

from __future__ import annotations

import numpy as np

from npbert.errors import InputError
from npbert.types import Array

STORED_IN = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "tf32": "float32",
    "bfloat16-products": "float32",
    "int8": "float32",
    "int8-per-row": "float32",
    "int8-tables": "float32",
}
"""Every precision that a port may compute in, and the format in which it keeps its values."""

_EPSILON = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
EPSILON = {precision: _EPSILON[stored] for precision, stored in STORED_IN.items()}
"""The distance from 1 to the next number of the format that values are kept in; rounding is wrong by half of it at most."""

_SHORT_NAMES = {
    "fp32": "float32",
    "f32": "float32",
    "fp16": "float16",
    "f16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "bf16-products": "bfloat16-products",
    "tensorfloat32": "tf32",
    "i8": "int8",
}


def full_name(precision: str) -> str:
    """The name of a precision, from that or a short one (`bf16`)."""
    name = _SHORT_NAMES.get(precision, precision) if isinstance(precision, str) else ""
    if name not in STORED_IN:
        raise InputError(f"precision: takes {', '.join(STORED_IN)}, or short {', '.join(_SHORT_NAMES)}; got {precision!r}")
    return name


def to_float16(x: Array) -> Array:
    """x `float32`, each element rounded to float16."""
    with np.errstate(over="ignore", under="ignore"):
        return x.astype(np.float16).astype(np.float32)


def to_bfloat16(x: Array) -> Array:
    """x `float32`, each element rounded to bfloat16."""
    return _without_last_bits(x, 16)


def cut_to_bfloat16(x: Array) -> Array:
    """x `float32`, the last 16 bits of each element cut off: what some ports do instead of rounding."""
    return _cut(x, 16)


def to_tf32(x: Array) -> Array:
    """x `float32`, each element rounded to TF32."""
    return _without_last_bits(x, 13)


def cut_to_tf32(x: Array) -> Array:
    """x `float32`, the last 13 bits of each element cut off: what hardware may do when it reads float32 as TF32."""
    return _cut(x, 13)


def _cut(x: Array, number: int) -> Array:
    bits = np.asarray(x, np.float32).view(np.uint32)
    cut: Array = (bits & ~np.uint32((1 << number) - 1)).view(np.float32)
    return cut


def _without_last_bits(x: Array, number: int) -> Array:
    """x rounded to numbers whose last bits are 0.

    Half of the last bit that stays, less one where that bit is 0, carries into it exactly when rounding goes up; a carry out
    of the fraction is the next exponent, and out of the largest exponent it is infinity.
    """
    lost = np.uint32((1 << number) - 1)
    bits = np.asarray(x, np.float32).view(np.uint32)
    rounded = np.right_shift(bits, np.uint32(number), out=np.empty_like(bits))
    rounded &= np.uint32(1)
    rounded += lost >> np.uint32(1)
    rounded += bits
    rounded &= ~lost
    is_nan = np.isnan(x)
    if is_nan.any():  # one whose bits all lie below would become infinite
        quiet = bits & ~lost | np.uint32(0x00400000)
        np.copyto(rounded, quiet, where=is_nan)
    return rounded.view(np.float32)


def round_to(x: Array, precision: str) -> Array:
    """x `float32`, each element rounded to the format that the precision keeps values in."""
    return {"float32": lambda y: y, "float16": to_float16, "bfloat16": to_bfloat16}[STORED_IN[precision]](x)
