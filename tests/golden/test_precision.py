"""Rounding to short formats, against exact arithmetic and against Python's own float16."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np
import pytest

from npbert import InputError
from npbert.golden.precision import EPSILON, full_name, round_to, to_bfloat16, to_float16, to_tf32

INFINITY = float("inf")


def patterns(number: int = 300) -> np.ndarray:
    """Float32 numbers of every size, and what lies halfway between two bfloat16 numbers or one bit beside it."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, number, dtype=np.uint64).astype(np.uint32)
    halves = (bits & 0xFFFF0000) | 0x8000
    tiny = rng.integers(0, 2**20, 300).astype(np.uint32)  # subnormal even as a float32
    edges = np.uint32([0x7F7F8000, 0x7F7F7FFF, 0xFF7F8000, 0x00008000, 0x00008001])  # of infinity and of zero
    return np.concatenate([bits, halves, halves + 1, halves - 1, tiny, edges]).astype(np.uint32).view(np.float32)


def nearest_bfloat16(x: float) -> float:
    """By trying all that is possible: numbers fraction * 2**exponent with 8 bits of fraction and exponents from -133 up."""
    exact = Fraction(x)
    if exact == 0:
        return x
    exponent = -133
    while abs(exact) >= Fraction(2) ** (exponent + 8):
        exponent += 1
    unit = Fraction(2) ** exponent
    rounded = round(exact / unit) * unit  # Python rounds fractions half to even
    return float(rounded) if abs(rounded) < Fraction(2) ** 128 else INFINITY * (1 if exact > 0 else -1)


def test_bfloat16_is_the_nearest() -> None:
    x = patterns()
    x = x[np.isfinite(x)]
    expected = np.array([nearest_bfloat16(float(value)) for value in x])
    assert np.array_equal(to_bfloat16(x), expected)
    assert np.isinf(expected).any()
    assert (expected[x != 0] == 0).any()


def test_float16_is_what_python_packs() -> None:
    rng = np.random.default_rng(1)
    small = (rng.normal(size=2000) * 10.0 ** rng.integers(-9, 5, 2000)).astype(np.float32)
    x = np.concatenate([small, np.float32([65504, -65504, 65519.996, 2.0**-24, 2.0**-25, 2.0**-25 * 1.0001, 6e-5, 1 + 2**-11])])
    expected = [
        struct.unpack("e", struct.pack("e", value))[0] if abs(value) < 65520 else np.sign(value) * INFINITY for value in x
    ]
    assert np.array_equal(to_float16(x), expected)


@pytest.mark.parametrize("round_", [to_bfloat16, to_float16])
def test_what_is_not_a_number(round_) -> None:
    x = np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0, 3.4e38, -3.4e38])
    y = round_(x)
    assert np.isnan(y[0])
    assert np.array_equal(y[1:], np.float32([np.inf, -np.inf, 0, 0, np.inf, -np.inf]))
    assert list(np.signbit(y[3:5])) == [False, True]
    hidden = np.uint32([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF]).view(np.float32)  # NaN in its last bits, or in all
    assert np.isnan(round_(hidden)).all()


def test_tf32_has_ten_bits_of_fraction() -> None:
    x = np.random.default_rng(3).normal(size=1000).astype(np.float32)
    x = np.concatenate([x, np.float32([1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-11 + 2**-20, 3.4e38])])
    fraction, exponent = np.frexp(x.astype(np.float64))
    with np.errstate(over="ignore"):
        assert np.array_equal(to_tf32(x), np.ldexp(np.rint(fraction * 2**11) / 2**11, exponent).astype(np.float32))
    hidden = np.uint32([0x7F800001, 0xFFFFFFFF]).view(np.float32)
    assert np.isnan(to_tf32(hidden)).all()
    assert not (to_tf32(hidden).view(np.uint32) & 0x1FFF).any()  # the bits that TF32 does not have


def test_rounding_keeps_shape_type_and_argument() -> None:
    x = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)
    before = x.copy()
    for precision in EPSILON:
        y = round_to(x, precision)
        assert (y.shape, y.dtype) == ((3, 4), np.float32)
        assert np.array_equal(round_to(y, precision), y)
        assert (np.abs(y - x) <= np.abs(x) * EPSILON[precision] / 2).all()
    assert np.array_equal(x, before)
    assert to_bfloat16(np.float32(1.01)).shape == ()
    assert to_bfloat16(x[:, ::2]).shape == (3, 2)


def test_names() -> None:
    names = ("float32", "bf16", "fp16", "bfloat16", "tf32", "bf16-products", "int8")
    assert [full_name(name) for name in names] == [
        "float32",
        "bfloat16",
        "float16",
        "bfloat16",
        "tf32",
        "bfloat16-products",
        "int8",
    ]
    with pytest.raises(InputError, match="float8"):
        full_name("float8")


@pytest.mark.parity
def test_as_the_framework_rounds() -> None:
    import torch

    x = patterns(20_000)
    for round_, dtype in ((to_bfloat16, torch.bfloat16), (to_float16, torch.float16)):
        expected = torch.from_numpy(x.copy()).to(dtype).float().numpy()
        assert np.array_equal(round_(x), expected, equal_nan=True)
