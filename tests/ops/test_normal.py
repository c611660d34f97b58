"""The normal distribution by npbert.ops.normal, against math.erf."""

from __future__ import annotations

import math

import numpy as np
import pytest

from npbert import ops
from npbert.ops.normal import within


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 5e-7), (np.float64, 1e-15)])
def test_within(dtype: type, bound: float) -> None:
    x = np.concatenate([np.linspace(-9, 9, 20_001), 10.0 ** np.linspace(-30, 15, 500)]).astype(dtype)
    expected = np.array([math.erf(abs(float(v)) / math.sqrt(2)) for v in x])
    assert np.abs(within(x) - expected).max() <= bound
    small = np.abs(expected) < 0.1
    np.testing.assert_allclose(within(x)[small], expected[small], rtol=4e-6 if dtype is np.float32 else 1e-14, atol=1e-18)
    assert within(x).dtype == dtype


def test_gelu_of_float32_is_as_exact_as_the_format() -> None:
    """Of the error of 6e-7 up to 12, the formula's own part is 1.6e-7; half an ulp of 12 is 4.8e-7."""
    x = np.linspace(-12, 12, 200_001).astype(np.float32)
    expected = np.array([float(v) * math.erfc(-float(v) / math.sqrt(2)) / 2 for v in x])
    assert np.abs(ops.gelu(x) - expected).max() < 6.5e-7
    near = np.abs(x) < 1
    assert np.abs(ops.gelu(x) - expected)[near].max() < 2.5e-7


def test_the_ends_of_float32_without_a_warning() -> None:
    largest = np.finfo(np.float32).max
    x = np.array([0, -0.0, 1e-45, largest, -largest, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(within(x), np.array([0, 0, 0, 1, 1, 1, np.nan], np.float32))
    np.testing.assert_array_equal(ops.gelu_backward(np.ones_like(x[:5]), x[:5]), np.array([0.5, 0.5, 0.5, 1, 0], np.float32))
