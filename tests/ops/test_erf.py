"""npbert/erf.py against math.erf: how far off, and whether the order of its results can ever be wrong."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npbert import InputError, InputTypeError
from npbert.ops import erf as erf_module
from npbert.ops.erf import erf


def true_erf(x):
    return np.array([math.erf(value) for value in x.ravel().tolist()]).reshape(x.shape)


def ulps_off(x):
    """How far erf(x) is from math.erf, in distances between the floats of x's type there."""
    expected = true_erf(x)
    spacing = np.spacing(np.abs(expected).astype(x.dtype)).astype(np.float64)
    return np.abs(erf(x).astype(np.float64) - expected) / spacing


def neighbours(center, count, dtype=np.float64):
    """`count` consecutive floats with `center` in their middle."""
    integer = np.int64 if dtype == np.float64 else np.int32
    middle = int(np.array(center, dtype).view(integer))
    return np.arange(max(middle - count // 2, 0), middle + count // 2, dtype=integer).view(dtype)


def never_falls(x):
    result = erf(x)
    return bool(np.all(result[1:] >= result[:-1]))


def samples(dtype):
    """Where erf is curved, where it is straight, where it has arrived at 1, and down to the smallest numbers there are."""
    rng = np.random.default_rng(0)
    lowest = math.log10(np.finfo(dtype).smallest_subnormal)
    x = np.concatenate([rng.uniform(0, 1.3, 60_000), rng.uniform(0, 6.5, 60_000), 10 ** rng.uniform(lowest, 0, 30_000)])
    return (x * rng.choice([-1, 1], x.size)).astype(dtype)


@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 2), (np.float32, 4)])
def test_is_close_to_math_erf(dtype, bound):
    assert ulps_off(samples(dtype)).max() <= bound


@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 2), (np.float32, 4)])
def test_is_close_where_formulas_meet(dtype, bound):
    for center in (erf_module.SPLIT, erf_module.TAIL_END, erf_module.TINY_SQUARE**0.5, 0.4769, 1.0, 3.92, 5.87):
        assert ulps_off(neighbours(center, 2000, dtype)).max() <= bound, center


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_is_right_to_the_last_digit_at_the_smallest_numbers(dtype):
    smallest = np.finfo(dtype).smallest_subnormal
    count = np.arange(1, 3000)
    expected = np.rint(count * (2 / math.sqrt(math.pi)))  # math.erf itself is one off here and there
    np.testing.assert_array_equal(erf(count.astype(dtype) * smallest), expected.astype(dtype) * smallest)


# Fixed points of the table in Abramowitz & Stegun, Handbook of Mathematical Functions, table 7.1.
@pytest.mark.parametrize(("x", "value"), [(0.5, 0.5204998778), (1.0, 0.8427007929), (1.5, 0.9661051465), (2.0, 0.9953222650)])
def test_agrees_with_the_printed_table(x, value):
    assert abs(float(erf(x)) - value) < 6e-11
    assert abs(float(erf(np.float32(x))) - value) < 2e-7


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_special_values(dtype):
    big = np.finfo(dtype).max
    result = erf(np.array([0.0, -0.0, np.inf, -np.inf, np.nan, big, -big], dtype))
    np.testing.assert_array_equal(result, np.array([0, 0, 1, -1, np.nan, 1, -1], dtype))
    np.testing.assert_array_equal(np.signbit(result[:2]), [False, True])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_is_exactly_odd(dtype):
    x = samples(np.float64).astype(dtype)
    assert np.array_equal(erf(-x), -erf(x))


# Every float32 of a wide stretch: together with the positive coefficients this is not a sample but a proof, because numpy
# multiplies, adds, divides and takes roots to the last bit alike on every machine.
@pytest.mark.parametrize("start", [0.125, 0.25, 0.5, 1.0, 2.0, 4.0])
def test_float32_never_falls(start):
    first, last = np.array([start, 2 * start], np.float32).view(np.int32)
    assert never_falls(np.arange(first, last + 1, dtype=np.int32).view(np.float32))


def test_float32_never_falls_at_small_numbers():
    for center in (0.0, erf_module.TINY_SQUARE**0.5, np.finfo(np.float32).tiny, 1e-30, 1e-20, 1e-10, 1e-5, 1e-3, 0.03):
        assert never_falls(neighbours(center, 1 << 18, np.float32)), center


def test_float32_formula_keeps_the_order_by_construction():
    assert min(erf_module.CUBE_ROOT) > 0


def test_float64_never_falls_between_neighbours():
    rng = np.random.default_rng(1)
    corners = [0.0, erf_module.SPLIT, erf_module.TAIL_END, 0.4769, *(2.0**k for k in range(-6, 3)), 5.8, 5.87]
    for center in [*corners, *rng.uniform(0.3, 1.5, 60), *rng.uniform(1.5, 6, 30)]:
        assert never_falls(neighbours(center, 1 << 15)), center


@pytest.mark.parametrize("step", [1e-4, 1e-6])
def test_float64_never_falls_in_longer_steps(step):
    for start in range(7):
        assert never_falls(np.arange(start, start + 1.001, step))


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=50))
def test_sorted_stays_sorted(values):
    assert never_falls(np.sort(np.array(values)))
    with np.errstate(over="ignore"):
        assert never_falls(np.sort(np.array(values).astype(np.float32)))


def test_all_of_float16():
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = x[~np.isnan(x)]
    result = erf(x)
    assert result.dtype == np.float16
    assert ulps_off(x).max() <= 0.51
    assert never_falls(np.sort(x))


@pytest.mark.parametrize(
    ("given", "returned"),
    [(np.float16, np.float16), (np.float32, np.float32), (np.float64, np.float64), (">f4", np.float32), (">f8", np.float64)]
    + [(kind, np.float64) for kind in (np.int8, np.uint16, np.int64, np.bool_)],
)
def test_types(given, returned):
    x = np.array([0, 1, 1, 0], given)
    result = erf(x)
    assert result.dtype == np.dtype(returned)
    np.testing.assert_allclose(result.astype(float), true_erf(x.astype(float)), rtol=1e-3)


@pytest.mark.parametrize("x", [np.array([1j]), np.array(["1"]), np.array([None]), np.array([1], np.longdouble)])
def test_refuses_other_types(x):
    if x.dtype == np.float64:
        pytest.skip("long double is float64 here")
    with pytest.raises(InputTypeError, match="x is "):
        erf(x)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (7,), (2, 3, 5)])
def test_shapes(shape):
    x = np.full(shape, 0.5)
    result = erf(x)
    assert isinstance(result, np.ndarray)
    assert result is not x
    assert result.shape == shape
    np.testing.assert_allclose(result, math.erf(0.5), rtol=1e-15)
    np.testing.assert_array_equal(x, 0.5)


def test_numbers_and_lists():
    assert float(erf(0.5)) == pytest.approx(math.erf(0.5), rel=1e-15)
    np.testing.assert_allclose(erf([0.25, -2]), [math.erf(0.25), math.erf(-2)], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_any_memory_layout_gives_the_same(dtype):
    x = np.random.default_rng(2).normal(size=(40, 30, 20)).astype(dtype)
    expected = erf(x)
    np.testing.assert_array_equal(erf(x[::-2, :, 1::3]), expected[::-2, :, 1::3])
    np.testing.assert_array_equal(erf(x.T), expected.T)
    np.testing.assert_array_equal(erf(np.asfortranarray(x)), expected)
    np.testing.assert_array_equal(erf(np.broadcast_to(x[0, 0], (3, 20)))[2], expected[0, 0])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_element_of_a_long_array(dtype):
    """An element's result must not depend on the block that it falls into, nor on what else is in there."""
    count = 2 * erf_module.BLOCK_BYTES // np.dtype(dtype).itemsize + 17
    x = np.random.default_rng(3).normal(size=count).astype(dtype)
    x[::1000] = np.nan
    x[1::1000] = 3e-39
    result = erf(x)
    for piece in (slice(0, 2500), slice(count // 2 - 1500, count // 2 + 1500), slice(count - 2500, count)):
        nan = np.isnan(x[piece])
        np.testing.assert_array_equal(np.isnan(result[piece]), nan)
        np.testing.assert_array_equal(result[piece][~nan], erf(x[piece][~nan]))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_out(dtype):
    x = np.random.default_rng(4).normal(size=(300, 400)).astype(dtype)
    expected = erf(x)

    out = np.empty_like(x)
    assert erf(x, out=out) is out
    np.testing.assert_array_equal(out, expected)

    turned = np.empty(x.T.shape, dtype).T
    erf(x, out=turned)
    np.testing.assert_array_equal(turned, expected)

    in_place = x.copy()
    erf(in_place, out=in_place)
    np.testing.assert_array_equal(in_place, expected)

    shifted = np.concatenate([x, x[:1]])
    erf(shifted[:-1], out=shifted[1:])
    np.testing.assert_array_equal(shifted[1:], expected)


def test_refuses_an_out_of_another_kind():
    with pytest.raises(InputError, match="out is float32 of shape"):
        erf(np.zeros(3), out=np.zeros(3, np.float32))
    with pytest.raises(InputError, match=r"shape \(4,\)"):
        erf(np.zeros(3), out=np.zeros(4))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_raises_no_floating_point_warning(dtype):
    limits = np.finfo(dtype)
    extremes = [0, limits.smallest_subnormal, limits.tiny, 1e-3, 1, 4, 30, limits.max, np.inf, np.nan]
    with np.errstate(all="raise"):
        erf(np.array([extremes, np.negative(extremes)], dtype))


def test_coefficients_are_what_the_tool_derives(capsys):
    pytest.importorskip("mpmath")
    path = Path(__file__).parents[2] / "tools" / "fit_erf.py"
    spec = importlib.util.spec_from_file_location("fit_erf", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main()
    printed = {}
    exec(capsys.readouterr().out, printed)
    for name in ("CUBE_ROOT", "SLOPE_LESS_ONE", "TAIL_EXPONENT"):
        assert printed[name] == getattr(erf_module, name)
    assert float(tool.SPLIT) == erf_module.SPLIT
