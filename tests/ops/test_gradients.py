"""Every gradient of the mathematics against central differences in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from npbert import ops
from npbert.ops import blocks

STEP = 1e-5


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, shape)


def by_differences(function: Callable[[np.ndarray], Any], x: np.ndarray, dy: np.ndarray | float) -> np.ndarray:
    """The gradient of `sum(function(x) * dy)` by x: two evaluations an element."""
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        ahead, behind = x.copy(), x.copy()
        ahead[place] += STEP
        behind[place] -= STEP
        gradient[place] = np.sum((function(ahead) - function(behind)) * dy) / (2 * STEP)
    return gradient


def assert_gradient(actual: np.ndarray, function: Callable[[np.ndarray], Any], x: np.ndarray, dy: np.ndarray | float) -> None:
    expected = by_differences(function, x, dy)
    assert actual.shape == expected.shape
    assert np.abs(expected).max() > 1e-3, "a gradient that is zero everywhere would prove nothing"
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=2e-8)


def test_embedding() -> None:
    ids, table, dy = np.array([[1, 3, 1], [0, 3, 3]]), draw(5, 4), draw(2, 3, 4, seed=1)
    gradient = ops.embedding_backward(dy, ids, 5)
    assert_gradient(gradient, lambda t: ops.embedding(ids, t), table, dy)
    np.testing.assert_allclose(gradient[3], dy[0, 1] + dy[1, 1] + dy[1, 2])
    assert not gradient[[2, 4]].any()
    padded = ops.embedding_backward(dy, ids, 5, padding_idx=3)
    assert not padded[3].any()
    np.testing.assert_array_equal(padded[[0, 1]], gradient[[0, 1]])
    assert not ops.embedding_backward(np.zeros((0, 4)), np.zeros(0, int), 5).any()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 3)])
def test_linear(shape: tuple[int, ...]) -> None:
    x, weight, bias, dy = draw(*shape, 4), draw(5, 4, seed=1), draw(5, seed=2), draw(*shape, 5, seed=3)
    dweight, dbias = ops.linear_weight_backward(dy, x)
    assert_gradient(ops.linear_backward(dy, weight), lambda y: ops.linear(y, weight, bias), x, dy)
    assert_gradient(dweight, lambda w: ops.linear(x, w, bias), weight, dy)
    assert_gradient(dbias, lambda b: ops.linear(x, weight, b), bias, dy)


@pytest.mark.parametrize("eps", [1e-12, 0.5])
def test_layer_norm(eps: float) -> None:
    x, weight, bias, dy = draw(2, 3, 6), draw(6, seed=1), draw(6, seed=2), draw(2, 3, 6, seed=3)
    before = [a.copy() for a in (dy, x, weight)]
    dx = ops.layer_norm_backward(dy, x, weight, eps=eps)
    dweight, dbias = ops.layer_norm_weight_backward(dy, x, eps=eps)
    assert_gradient(dx, lambda a: ops.layer_norm(a, weight, bias, eps=eps), x, dy)
    assert_gradient(dweight, lambda a: ops.layer_norm(x, a, bias, eps=eps), weight, dy)
    assert_gradient(dbias, lambda a: ops.layer_norm(x, weight, a, eps=eps), bias, dy)
    for array, copy in zip((dy, x, weight), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    if eps < 1e-6:
        np.testing.assert_allclose(dx.sum(axis=-1), 0, atol=1e-12)  # shifting all of x changes nothing
        np.testing.assert_allclose((dx * x).sum(axis=-1), 0, atol=1e-9)  # nor does scaling it, but for eps


@pytest.mark.parametrize("probability", [0.3, 1.0])
def test_dropout(probability: float) -> None:
    x, dy = draw(50, 4), draw(50, 4, seed=1)
    mask = ops.dropout_mask(x.shape, probability, np.random.default_rng(2))
    np.testing.assert_array_equal(
        ops.apply_dropout(x, mask, probability), ops.dropout(x, probability, np.random.default_rng(2))
    )
    gradient = ops.dropout_backward(dy, mask, probability)
    if probability == 1:
        assert not gradient.any()
    else:
        assert_gradient(gradient, lambda a: ops.apply_dropout(a, mask, probability), x, dy)


def test_attention_scores() -> None:
    query, key, dy = draw(2, 3, 4, 5), draw(2, 3, 6, 5, seed=1), draw(2, 3, 4, 6, seed=2)
    dquery, dkey = ops.attention_scores_backward(dy, query, key)
    assert_gradient(dquery, lambda a: ops.attention_scores(a, key), query, dy)
    assert_gradient(dkey, lambda a: ops.attention_scores(query, a), key, dy)


def test_relative_scores() -> None:
    query, key, table, dy = draw(2, 3, 3, 4), draw(2, 3, 5, 4, seed=1), draw(17, 4, seed=2), draw(2, 3, 3, 5, seed=3)
    distances = ops.relative_distances(table, 3, 5)
    dquery, by_query = ops.relative_query_scores_backward(dy, query, distances)
    dkey, by_key = ops.relative_key_scores_backward(dy, key, distances)
    assert_gradient(dquery, lambda a: ops.relative_query_scores(a, distances), query, dy)
    assert_gradient(dkey, lambda a: ops.relative_key_scores(a, distances), key, dy)
    assert_gradient(by_query, lambda a: ops.relative_query_scores(query, a), distances, dy)
    assert_gradient(by_key, lambda a: ops.relative_key_scores(key, a), distances, dy)
    dtable = ops.relative_distances_backward(by_query, 17)
    assert_gradient(dtable, lambda a: ops.relative_query_scores(query, ops.relative_distances(a, 3, 5)), table, dy)


def test_scale_and_mask() -> None:
    scores, dy, mask = draw(1, 2, 3, 4), draw(1, 2, 3, 4, seed=1), draw(4, seed=2)
    assert_gradient(ops.scale_and_mask_backward(dy, 9), lambda a: ops.scale_and_mask(a, 9, mask), scores, dy)


def test_softmax() -> None:
    x, dy = draw(2, 3, 5), draw(2, 3, 5, seed=1)
    gradient = ops.softmax_backward(dy, ops.softmax(x))
    assert_gradient(gradient, ops.softmax, x, dy)
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-15)  # adding a number to the whole row changes nothing


@pytest.mark.parametrize("changed", [False, True])
def test_attention_as_a_whole(changed: bool) -> None:
    query, key, value, dy = draw(2, 2, 3, 4), draw(2, 2, 5, 4, seed=1), draw(2, 2, 5, 6, seed=2), draw(2, 2, 3, 6, seed=3)
    mask = np.where(draw(3, 5, seed=4) > -0.5, 0.0, -1e4)
    distances = ops.relative_distances(draw(17, 4, seed=5), 3, 5)
    factor = np.random.default_rng(6).random((2, 2, 3, 5)) if changed else np.ones(1)
    kept: dict[str, np.ndarray] = {}

    def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        context, _ = ops.scaled_dot_product_attention(
            q,
            k,
            v,
            mask,
            relative_scores=lambda a, b: ops.relative_query_scores(a, distances) + ops.relative_key_scores(b, distances),
            change_probs=lambda probs: probs * factor,
            keep=lambda name, x: kept.setdefault(name, x),
        )
        return context

    attend(query, key, value)
    dquery, dkey, dvalue = ops.scaled_dot_product_attention_backward(
        dy,
        query,
        key,
        value,
        ops.softmax(kept[":masked_scores"]),
        kept[":probs"],
        change_probs_backward=lambda dprobs: dprobs * factor,
        relative_scores_backward=lambda ds: (
            ops.relative_query_scores_backward(ds, query, distances)[0],
            ops.relative_key_scores_backward(ds, key, distances)[0],
        ),
    )

    def fresh(*arrays: np.ndarray) -> np.ndarray:
        kept.clear()
        return attend(*arrays)

    assert_gradient(dquery, lambda a: fresh(a, key, value), query, dy)
    assert_gradient(dkey, lambda a: fresh(query, a, value), key, dy)
    assert_gradient(dvalue, lambda a: fresh(query, key, a), value, dy)


@pytest.mark.parametrize("name", sorted(ops.ACTIVATIONS))
def test_activations(name: str) -> None:
    function = ops.ACTIVATIONS[name]
    x = np.concatenate([draw(60, scale=2), [-30.0, 30.0, 6.5, 9.99, 10.01, -10.2]])  # no kink lies within a step of them
    dy = draw(len(x), seed=1)
    assert_gradient(ops.ACTIVATIONS_BACKWARD[function](dy, x), function, x, dy)


@pytest.mark.parametrize("name", sorted(ops.ACTIVATIONS))
def test_activations_in_float32_and_in_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function = ops.ACTIVATIONS[name]
    backward = ops.ACTIVATIONS_BACKWARD[function]
    x, dy = draw(7, 43, scale=3).astype(np.float32), draw(7, 43, seed=1).astype(np.float32)
    whole = backward(dy, x)
    assert (whole.dtype, whole.shape) == (np.float32, x.shape)
    np.testing.assert_allclose(whole, backward(dy.astype(float), x.astype(float)), rtol=2e-5, atol=2e-6)
    monkeypatch.setattr(blocks, "BLOCK", 16)
    np.testing.assert_array_equal(backward(dy, x), whole)


@pytest.mark.parametrize("name", sorted(ops.ACTIVATIONS))
def test_activations_far_out_raise_no_warning(name: str) -> None:
    x = np.array([-1e4, -100, 0, 100, 1e4], np.float32)
    gradient = ops.ACTIVATIONS_BACKWARD[ops.ACTIVATIONS[name]](np.ones(5, np.float32), x)
    assert np.isfinite(gradient).all()


def test_cross_entropy() -> None:
    logits, labels = draw(2, 3, 5), np.array([[1, -100, 4], [0, 0, -100]])
    gradient = ops.cross_entropy_backward(logits, labels)
    assert_gradient(gradient, lambda z: ops.cross_entropy(z, labels), logits, 1.0)
    assert not gradient[labels == -100].any()
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-16)
    ignored = ops.cross_entropy_backward(logits, np.full((2, 3), 7), ignore_index=7)
    assert not ignored.any()


def test_other_losses() -> None:
    x, y = draw(3, 4), draw(3, 4, seed=1)
    assert_gradient(ops.mean_squared_error_backward(x, y), lambda a: ops.mean_squared_error(a, y), x, 1.0)
    targets = (y > 0).astype(float)
    assert_gradient(
        ops.binary_cross_entropy_with_logits_backward(x, targets),
        lambda a: ops.binary_cross_entropy_with_logits(a, targets),
        x,
        1.0,
    )
