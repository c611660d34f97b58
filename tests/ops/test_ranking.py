"""Choosing the largest."""

from __future__ import annotations

import numpy as np
import pytest

from npbert import ops


@pytest.mark.parametrize("shape", [(7,), (5, 9), (2, 3, 8)])
def test_the_largest_first_and_of_equals_the_first(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for trial in range(200):
        x = rng.integers(0, 4, shape).astype(float) if trial % 2 else rng.normal(size=shape)
        for k in (1, 3, shape[-1]):
            np.testing.assert_array_equal(ops.top_k(x, k), np.argsort(-x, axis=-1, kind="stable")[..., :k])


def test_infinities() -> None:
    assert ops.top_k(np.array([-np.inf, 2, -np.inf, np.inf]), 3).tolist() == [3, 1, 0]
