"""Products and sums as other hardware computes them: what is shortened, and what is off by how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from npbert import ops
from npbert.golden.arithmetic import ROUNDING, UNIT, Arithmetic, WatchedArray
from npbert.golden.passes import run, run_spread
from npbert.golden.precision import EPSILON, STORED_IN

from ..builders import build, ids, tiny

RNG = np.random.default_rng(0)
X, W, BIAS = (RNG.normal(size=shape).astype(np.float32) for shape in ((2, 5, 64), (48, 64), (48,)))


def linear(precision: str, *, spread: bool = False, x: np.ndarray = X) -> np.ndarray:
    return np.asarray(ops.linear(Arithmetic(precision, spread=spread).array(x), W, BIAS))


def error(y: np.ndarray, x: np.ndarray = X) -> np.ndarray:
    return y - (x.astype(np.float64) @ W.T.astype(np.float64) + BIAS)


def test_float32_is_what_numpy_computes() -> None:
    assert np.array_equal(linear("float32"), ops.linear(X, W, BIAS))


def test_operands_are_shortened() -> None:
    def cut(x: np.ndarray, bits: int) -> np.ndarray:
        fraction, exponent = np.frexp(x.astype(np.float64))
        return np.ldexp(np.rint(fraction * 2**bits) / 2**bits, exponent)

    for precision, bits in (("tf32", 11), ("bfloat16-products", 8)):
        assert np.allclose(linear(precision), cut(X, bits) @ cut(W, bits).T + BIAS, rtol=0, atol=1e-5)


def test_int8_counts_in_whole_numbers() -> None:
    """Against arithmetic on integers, as the hardware does it: a zero point, 32-bit sums, one factor in the end."""
    for precision, largest in (("int8", np.abs(W).max()), ("int8-per-row", np.abs(W).max(axis=1))):
        w_step = np.broadcast_to(largest / 127, 48)
        w = np.rint(W / w_step[:, None]).astype(np.int32)
        x_step = (X.max() - X.min()) / 255
        x = np.rint(X / x_step).astype(np.int32)
        assert np.ptp(x) <= 255
        expected = (x @ w.T) * (x_step * w_step) + BIAS
        assert np.allclose(linear(precision), expected, rtol=0, atol=1e-5)
    assert np.square(error(linear("int8-per-row"))).mean() < np.square(error(linear("int8"))).mean()


def test_int8_of_nothing_is_nothing() -> None:
    zeros = np.zeros_like(X)
    assert np.array_equal(linear("int8", x=zeros), np.broadcast_to(BIAS, (2, 5, 48)))


def test_int8_leaves_attention_alone() -> None:
    q = RNG.normal(size=(2, 3, 5, 8)).astype(np.float32)
    watched = Arithmetic("int8", spread=False).array(q)
    assert np.array_equal(ops.attention_scores(watched, q), ops.attention_scores(q, q))


@pytest.mark.parametrize("precision", STORED_IN)
def test_the_spread_is_about_what_the_docstring_says(precision: str) -> None:
    arithmetic = Arithmetic(precision, spread=True)
    y = ops.linear(arithmetic.array(X), W)
    spread = arithmetic.spread_of(np.asarray(y))
    assert spread is not None
    assert (spread > 0).all()
    off = np.asarray(y) - linear(precision) + BIAS
    assert np.allclose(np.abs(off), spread, rtol=0.01, atol=1e-5)
    assert 0.4 < (off > 0).mean() < 0.6
    assert arithmetic.spread_of(np.asarray(y)) is None  # it is told once
    q = np.sqrt(np.square(X) @ np.square(W).T)
    exact = X @ W.T
    expected = {
        "float32": UNIT * np.sqrt(64 / 3 * (exact**2 + q**2)),
        "float16": ROUNDING * EPSILON["float16"] * np.abs(exact),
        "bfloat16": ROUNDING * EPSILON["bfloat16"] * np.abs(exact),
        "tf32": EPSILON["float16"] * np.sqrt(exact**2 / 2 + 2 * (ROUNDING * q) ** 2),
        "bfloat16-products": EPSILON["bfloat16"] * np.sqrt(exact**2 / 2 + 2 * (ROUNDING * q) ** 2),
    }
    if precision in expected:
        assert np.allclose(spread, expected[precision], rtol=0.02, atol=1e-9)
    else:  # as large as the error itself
        assert np.sqrt(np.square(spread).mean() / np.square(error(linear(precision))).mean()) == pytest.approx(1, abs=0.2)


def test_the_spread_covers_a_loop_with_a_huge_term() -> None:
    """However large one term is and wherever it stands, the sum in order is off by 4 times the spread at most."""
    ratios = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, w = rng.normal(size=(1, 600)).astype(np.float32), rng.normal(size=(1, 600)).astype(np.float32)
        x[0, rng.integers(600)] *= 10.0 ** rng.integers(0, 4)
        arithmetic = Arithmetic("float32", spread=True)
        spread = arithmetic.spread_of(np.asarray(ops.linear(arithmetic.array(x), w)))
        in_order = np.cumsum(x[0] * w[0], dtype=np.float32)[-1]
        ratios.append(abs(in_order - x[0].astype(np.float64) @ w[0].astype(np.float64)) / spread.item())
    assert 0.1 < np.sqrt(np.square(ratios).mean()) < 1
    assert max(ratios) < 4


def test_what_is_computed_from_it_is_watched_too() -> None:
    x = Arithmetic("float32", spread=True).array(X.copy())
    y = x - x.mean(axis=-1, keepdims=True)
    y /= np.sqrt(np.square(y).mean(axis=-1, keepdims=True) + 1e-12)
    assert type(y) is WatchedArray
    assert type(ops.softmax(x)) is WatchedArray
    assert np.allclose(y, ops.layer_norm(X, np.ones(64), np.zeros(64)), atol=1e-5)
    assert not np.array_equal(y, ops.layer_norm(X, np.ones(64, np.float32), np.zeros(64, np.float32)))


@pytest.mark.parametrize("position_type", ["absolute", "relative_key_query"])
@pytest.mark.parametrize("precision", STORED_IN)
def test_a_pass_sees_plain_arrays(precision: str, position_type: str) -> None:
    model: Any = build("BertForMaskedLM", tiny(position_embedding_type=position_type), dtype=np.float32)
    inputs = {"input_ids": ids(model.config, 2, 5)}
    plain: dict[str, np.ndarray] = {}
    moved: dict[str, np.ndarray] = {}
    spreads: dict[str, Any] = {}
    run(model, inputs, precision, lambda name, x: plain.update({name: x.copy()}))
    run_spread(
        model, inputs, precision, lambda name, x, spread: (moved.update({name: x.copy()}), spreads.update({name: spread}))
    )
    assert list(plain) == list(moved)
    for name, x in moved.items():
        assert type(x) is type(plain[name]) is np.ndarray
        assert x.dtype == np.float32
        assert spreads[name] is None or spreads[name].shape == x.shape
    linear_maps = [name for name in moved if name.endswith(("query", "key", "value", "dense", "decoder")) and ":" not in name]
    assert all(spreads[name] is not None for name in linear_maps)
    assert not np.array_equal(plain["output:logits"], moved["output:logits"])
