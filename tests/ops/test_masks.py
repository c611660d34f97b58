"""Masks by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from npbert import masks


def test_causal() -> None:
    np.testing.assert_array_equal(masks.causal(3, 3), [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(masks.causal(2, 4), [[1, 1, 1, 0], [1, 1, 1, 1]])
    np.testing.assert_array_equal(masks.causal(1, 3), [[1, 1, 1]])
    assert masks.causal(0, 3).shape == (0, 3)


def test_an_encoders_2d_mask_is_for_all_queries() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    result = masks.self_attention(mask, 3, is_decoder=False)
    assert result.shape == (2, 1, 1, 3)
    np.testing.assert_array_equal(result[:, 0, 0], mask)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_, np.float32, np.float64])
def test_a_decoders_2d_mask_is_multiplied_with_the_triangle(dtype: Any) -> None:
    mask = np.array([[0, 1, 1, 1], [1, 1, 1, 0]], dtype)
    result = masks.self_attention(mask, 2, is_decoder=True)
    assert result.shape == (2, 1, 2, 4)
    np.testing.assert_array_equal(result[0, 0], [[0, 1, 1, 0], [0, 1, 1, 1]])
    np.testing.assert_array_equal(result[1, 0], [[1, 1, 1, 0], [1, 1, 1, 0]])


@pytest.mark.parametrize("is_decoder", [False, True])
def test_a_3d_mask_is_taken_as_it_is(is_decoder: bool) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (2, 3, 4))
    result = masks.self_attention(mask, 3, is_decoder=is_decoder)
    assert result.shape == (2, 1, 3, 4)
    np.testing.assert_array_equal(result[:, 0], mask)


def test_cross_attention() -> None:
    flat, full = np.array([[1, 0]]), np.array([[[1, 0], [0, 1], [1, 1]]])
    assert masks.cross_attention(flat).shape == (1, 1, 1, 2)
    assert masks.cross_attention(full).shape == (1, 1, 3, 2)
    np.testing.assert_array_equal(masks.cross_attention(full)[0, 0], full[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given", [np.int64, np.uint8, np.bool_, np.float64])
def test_additive(dtype: Any, given: Any) -> None:
    result = masks.additive(np.array([[1, 0]], given), dtype)
    np.testing.assert_array_equal(result, [[0, -10000]])
    assert result.dtype == dtype
    np.testing.assert_array_equal(masks.additive(np.array([1, 0]), dtype, value=-7.5), [0, -7.5])
    assert masks.MASKED == -10000.0


def test_additive_of_a_weight_between() -> None:
    np.testing.assert_array_equal(masks.additive(np.array([0.25]), np.float32), [-7500])


def test_additive_with_the_smallest_float() -> None:
    smallest = float(np.finfo(np.float32).min)
    np.testing.assert_array_equal(
        masks.additive(np.array([1, 0]), np.float32, value=smallest), np.array([0, smallest], np.float32)
    )


def test_heads() -> None:
    shared = masks.heads(np.array([1, 0, 1]), 2, np.float32)
    assert shared.shape == (2, 3, 1, 1)
    assert shared.dtype == np.float32
    np.testing.assert_array_equal(shared[..., 0, 0], [[1, 0, 1], [1, 0, 1]])
    each = masks.heads(np.array([[1, 0], [0.5, 1], [1, 1]]), 3, np.float64)
    assert each.shape == (3, 2, 1, 1)
    np.testing.assert_array_equal(each[1, :, 0, 0], [0.5, 1])
    assert masks.heads(np.array([True, False]), 1, np.float32)[0, :, 0, 0].tolist() == [1, 0]
