"""Which zeros count as dropout: their share has to fit the scale of what is left."""

from __future__ import annotations

import numpy as np
import pytest

from npbert.golden.mistakes.dropout import _dropped

X = np.random.default_rng(0).normal(size=(40, 250))


def with_dropout(share: float, scale: float, x: np.ndarray = X) -> np.ndarray:
    """x with exactly this share of its elements at zero, and the others times a scale."""
    keep = np.ones(x.size, bool)
    keep[: round(share * x.size)] = False
    return np.where(np.random.default_rng(1).permutation(keep).reshape(x.shape), x * scale, 0)


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5])
def test_zeros_at_random_and_the_rest_scaled_up_are_dropout(probability: float) -> None:
    dumped = with_dropout(probability, 1 / (1 - probability))
    found = _dropped(X, dumped)
    assert found is not None
    np.testing.assert_allclose(found, dumped, rtol=1e-12)


@pytest.mark.parametrize(("off", "is_dropout"), [(4, True), (-4, True), (6, False), (-6, False)])
def test_the_share_may_be_off_by_five_standard_deviations(off: int, is_dropout: bool) -> None:
    share = 0.1 + off * np.sqrt(0.1 * 0.9 / X.size)
    assert (_dropped(X, with_dropout(share, 1 / 0.9)) is not None) == is_dropout


def test_what_is_not_dropout() -> None:
    assert _dropped(X, X) is None, "nothing is zero"
    assert _dropped(X, np.zeros_like(X)) is None, "everything is zero"
    assert _dropped(X, with_dropout(0.1, 1.0)) is None, "the rest is not scaled"
    assert _dropped(X, with_dropout(0.1, 0.9)) is None, "the rest is scaled down"
    assert _dropped(X, with_dropout(0.1, 1 / 0.9)[:, :-1]) is None, "another shape"


def test_what_was_zero_before_counts_neither_way() -> None:
    x = np.where(np.arange(X.size).reshape(X.shape) % 2 == 0, 0, X)
    half = x != 0
    dumped = np.zeros_like(x)
    dumped[half] = with_dropout(0.2, 1.25, x[half])
    found = _dropped(x, dumped)
    assert found is not None, "a fifth of what could be dropped"
    np.testing.assert_allclose(found, dumped, rtol=1e-12)


def test_a_few_zeros_of_few_elements_may_be_dropout() -> None:
    """The share of one element is as uncertain as one element."""
    x = np.arange(1.0, 11.0)
    dumped = np.where(x == 3, 0, x / 0.9)
    assert _dropped(x, dumped) is not None
