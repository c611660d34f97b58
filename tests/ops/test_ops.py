"""Each operation against its definition, computed another way: with Python's math, with loops, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from npbert import InputError, ops
from npbert.ops.blocks import BLOCK

from ..builders import examples

floats = st.floats(-50, 50, width=32)
vectors = hnp.arrays(np.float64, st.integers(2, 9), elements=floats)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# ---------------------------------------------------------------------------------------------------------------- layers


def test_embedding_looks_rows_up() -> None:
    table = draw(5, 3)
    np.testing.assert_array_equal(
        ops.embedding(np.array([[4, 0], [1, 1]]), table), [[table[4], table[0]], [table[1], table[1]]]
    )
    assert ops.embedding(np.zeros((0, 2), int), table).shape == (0, 2, 3)


@pytest.mark.parametrize("wrong", [-1, 5, 2**40])
def test_embedding_refuses_what_the_table_does_not_have(wrong: int) -> None:
    with pytest.raises(InputError, match=r"ids.*0 to 4"):
        ops.embedding(np.array([0, wrong]), draw(5, 3))


def test_linear_by_hand() -> None:
    weight, bias = np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([10.0, 20, 30])
    np.testing.assert_array_equal(ops.linear(np.array([[1.0, -1]]), weight, bias), [[9, 19, 29]])
    np.testing.assert_array_equal(ops.linear(np.array([1.0, -1]), weight), [-1, -1, -1])


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (2, 1, 3, 4), (0, 3, 4), (2, 0, 4)])
def test_linear_keeps_leading_axes(shape: tuple[int, ...]) -> None:
    x, weight, bias = draw(*shape), draw(5, 4, seed=1), draw(5, seed=2)
    before = x.copy()
    np.testing.assert_allclose(
        ops.linear(x, weight, bias), np.einsum("...i,oi->...o", x, weight) + bias, rtol=1e-13, atol=1e-13
    )
    np.testing.assert_array_equal(x, before)


def test_layer_norm_by_hand() -> None:
    # mean 2, biased variance (1 + 1 + 4) / 3 = 2, eps 0.25: the root of 2.25 is 1.5
    x = np.array([1.0, 1, 4])
    np.testing.assert_allclose(
        ops.layer_norm(x, np.array([3.0, 1, 3]), np.array([0.0, 10, 1]), eps=0.25), [-2, 10 - 2 / 3, 1 + 4], rtol=1e-15
    )


def test_layer_norm_takes_each_row_for_itself_and_changes_nothing() -> None:
    x, weight, bias = draw(2, 3, 5), draw(5, seed=1), draw(5, seed=2)
    before = x.copy()
    whole = ops.layer_norm(x, weight, bias)
    for i in range(2):
        for j in range(3):
            row = [float(v) for v in x[i, j]]
            mean = math.fsum(row) / 5
            root = math.sqrt(math.fsum((v - mean) ** 2 for v in row) / 5 + 1e-12)
            np.testing.assert_allclose(
                whole[i, j], [(v - mean) / root * w + b for v, w, b in zip(row, weight, bias, strict=True)]
            )
    np.testing.assert_array_equal(x, before)


def test_layer_norm_far_from_zero_keeps_its_digits() -> None:
    x = np.array([1e4 + 1, 1e4 - 1, 1e4 + 1, 1e4 - 1], np.float32)
    np.testing.assert_array_equal(ops.layer_norm(x, np.ones(4, np.float32), np.zeros(4, np.float32)), [1, -1, 1, -1])


def test_layer_norm_of_equal_numbers_is_its_bias() -> None:
    np.testing.assert_array_equal(ops.layer_norm(np.full((2, 4), 7.0), np.ones(4), np.arange(4.0)), [[0, 1, 2, 3]] * 2)


@given(vectors, floats, st.floats(0.125, 64))
@examples(30)
def test_layer_norm_does_not_see_shift_and_scale(x: np.ndarray, shift: float, scale: float) -> None:
    x = x + np.linspace(0, 1, len(x))
    one, zero = np.ones(len(x)), np.zeros(len(x))
    if x.std() > 0.05:
        y = ops.layer_norm(x, one, zero, eps=0)
        np.testing.assert_allclose(ops.layer_norm(x * scale + shift, one, zero, eps=0), y, atol=1e-9)
        np.testing.assert_allclose(ops.layer_norm(-x, one, zero, eps=0), -y, atol=1e-12)


def test_dropout_without_a_generator_is_nothing() -> None:
    x = draw(3, 4)
    assert ops.dropout(x, 0.5, None) is x
    assert ops.dropout(x, 0.0, np.random.default_rng(0)) is x


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_keeps_the_expectation(probability: float, dtype: Any) -> None:
    x = np.full((200, 500), 3.0, dtype)
    y = ops.dropout(x, probability, np.random.default_rng(0))
    assert y.dtype == dtype
    assert set(np.unique(y)) == {dtype(0), dtype(3) / dtype(1 - probability)}
    spread = math.sqrt(probability * (1 - probability) / x.size)  # of the fraction that is dropped
    assert abs((y == 0).mean() - probability) < 5 * spread
    assert (x == 3).all()
    np.testing.assert_array_equal(y, ops.dropout(x, probability, np.random.default_rng(0)))
    assert (y != ops.dropout(x, probability, np.random.default_rng(1))).any()


def test_dropout_of_everything() -> None:
    y = ops.dropout(np.array([1.0, np.inf]), 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(y, [0, 0])


@given(st.integers(0, 9), st.integers(1, 8), st.sampled_from([0, 1, 2, -1]))
@examples(40)
def test_chunks_make_no_difference_and_are_no_longer_than_asked(size: int, length: int, axis: int) -> None:
    x = np.random.default_rng(0).normal(size=(length, length, length))
    seen: list[int] = []

    def function(piece: np.ndarray) -> np.ndarray:
        seen.append(piece.shape[axis])
        return piece * 2 + 1

    np.testing.assert_array_equal(ops.apply_in_chunks(function, x, size, axis=axis), x * 2 + 1)
    assert sum(seen) == length
    assert max(seen) == (min(size, length) if size else length)
    assert len(seen) == (-(-length // size) if size else 1)


# ------------------------------------------------------------------------------------------------------------- attention


def test_heads_are_consecutive_pieces() -> None:
    x = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    split = ops.split_heads(x, 4)
    assert split.shape == (2, 2, 3, 4)
    np.testing.assert_array_equal(split[1, 1, 2], x[1, 2, 4:8])
    np.testing.assert_array_equal(split[0, 0, 1], x[0, 1, :4])
    np.testing.assert_array_equal(ops.merge_heads(split), x)


def test_scores_are_dot_products() -> None:
    query, key = draw(2, 3, 4, 5), draw(2, 3, 6, 5, seed=1)
    scores = ops.attention_scores(query, key)
    assert scores.shape == (2, 3, 4, 6)
    assert scores[1, 2, 3, 4] == pytest.approx(sum(q * k for q, k in zip(query[1, 2, 3], key[1, 2, 4], strict=True)))


@pytest.mark.parametrize(("queries", "keys"), [(3, 3), (1, 4), (2, 4), (4, 4), (0, 3)])
def test_relative_distances_count_from_the_queries_own_place(queries: int, keys: int) -> None:
    longest = 4
    table = np.arange(2 * longest - 1.0)[:, None] - (longest - 1)  # each row holds its own distance
    distances = ops.relative_distances(table, queries, keys)
    assert distances.shape == (queries, keys, 1)
    for query in range(queries):
        for key in range(keys):
            assert distances[query, key, 0] == (keys - queries + query) - key


def test_relative_scores_by_loops() -> None:
    query, key, distances = draw(2, 3, 4, 5), draw(2, 3, 6, 5, seed=1), draw(4, 6, 5, seed=2)
    by_query, by_key = ops.relative_query_scores(query, distances), ops.relative_key_scores(key, distances)
    assert by_query.shape == by_key.shape == (2, 3, 4, 6)
    for q in range(4):
        for k in range(6):
            np.testing.assert_allclose(by_query[:, :, q, k], (query[:, :, q] * distances[q, k]).sum(-1))
            np.testing.assert_allclose(by_key[:, :, q, k], (key[:, :, k] * distances[q, k]).sum(-1))


def test_scale_and_mask() -> None:
    scores = np.array([[[[3.0, 6, 9]]]])
    np.testing.assert_array_equal(ops.scale_and_mask(scores, 9, np.array([0.0, -100, 0])), [[[[1, -98, 3]]]])
    np.testing.assert_array_equal(ops.scale_and_mask(scores, 9), [[[[1, 2, 3]]]])
    np.testing.assert_array_equal(scores, [[[[3, 6, 9]]]])


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5), elements=floats), st.floats(-1e3, 1e3))
@examples(40)
def test_softmax(x: np.ndarray, shift: float) -> None:
    before = x.copy()
    y = ops.softmax(x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=1e-14)
    rows, results = x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1])
    for row, result in zip(rows, results, strict=True):
        total = math.fsum(math.exp(v) for v in row)
        np.testing.assert_allclose(result, [math.exp(v) / total for v in row], rtol=1e-12)
    np.testing.assert_allclose(ops.softmax(x + shift), y, rtol=1e-9, atol=1e-15)


def test_softmax_at_the_edges() -> None:
    np.testing.assert_array_equal(ops.softmax(np.array([1000.0, 1000, -1000])), [0.5, 0.5, 0])
    np.testing.assert_array_equal(ops.softmax(np.array([-3e38, -3e38], np.float32)), [0.5, 0.5])
    assert ops.softmax(np.zeros((2, 0))).shape == (2, 0)
    assert ops.softmax(np.zeros((0, 3), np.float32)).dtype == np.float32


def test_attention_by_loops() -> None:
    query, key, value = draw(1, 2, 3, 4), draw(1, 2, 5, 4, seed=1), draw(1, 2, 5, 6, seed=2)
    mask = np.where(draw(3, 5, seed=3) > 0, 0.0, -1e4)
    whole, probs = ops.scaled_dot_product_attention(query, key, value, mask)
    assert probs.shape == (1, 2, 3, 5)
    np.testing.assert_allclose(probs.sum(-1), 1)
    for head in range(2):
        for q in range(3):
            scores = [float(query[0, head, q] @ key[0, head, k]) / 2 + mask[q, k] for k in range(5)]
            top = max(scores)
            weights = [math.exp(s - top) for s in scores]
            expected = sum(w * value[0, head, k] for k, w in enumerate(weights)) / sum(weights)
            np.testing.assert_allclose(whole[0, head, q], expected, rtol=1e-12, atol=1e-14)
    assert not np.allclose(ops.scaled_dot_product_attention(query, key, value)[0], whole)


# ----------------------------------------------------------------------------------------------------------- activations

BY_MATH = {
    "gelu": lambda x: x * math.erfc(-x / math.sqrt(2)) / 2,
    "gelu_new": lambda x: x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "gelu_fast": lambda x: x / 2 * (1 + math.tanh(0.7978845608 * x * (1 + 0.044715 * x * x))),
    "gelu_10": lambda x: min(max(x * math.erfc(-x / math.sqrt(2)) / 2, -10), 10),
    "quick_gelu": lambda x: x / (1 + math.exp(-1.702 * x)),
    "laplace": lambda x: 0.5 * (1 + math.erf((x - 0.707107) / (0.282095 * math.sqrt(2)))),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "linear": lambda x: x,
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
}
SAME = {
    "gelu_accurate": "gelu_new",
    "gelu_python": "gelu",
    "gelu_python_tanh": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "swish": "silu",
}


def test_every_name_is_here() -> None:
    assert set(BY_MATH) | set(SAME) == set(ops.ACTIVATIONS)


@pytest.mark.parametrize("name", sorted(ops.ACTIVATIONS))
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 2e-15)])
def test_activation(name: str, dtype: Any, tolerance: float) -> None:
    x = np.concatenate([np.linspace(-15, 15, 301), [-300.0, 300.0]]).astype(dtype)
    expected = np.array([BY_MATH[SAME.get(name, name)](float(v)) for v in x])
    before = x.copy()
    y = ops.ACTIVATIONS[name](x)
    np.testing.assert_array_equal(x, before)
    assert y.dtype == dtype
    assert (np.abs(y - expected) <= tolerance * np.maximum(1, np.abs(expected))).all()
    np.testing.assert_array_equal(ops.ACTIVATIONS[name](x.reshape(3, -1)), y.reshape(3, -1))
    assert ops.ACTIVATIONS[name](np.zeros((2, 0, 3), dtype)).shape == (2, 0, 3)


@pytest.mark.parametrize("name", sorted(ops.ACTIVATIONS))
def test_activation_of_nan_is_nan_without_a_word(name: str) -> None:
    assert np.isnan(ops.ACTIVATIONS[name](np.array([np.nan, 1]))).tolist() == [True, False]


@pytest.mark.parametrize("name", sorted(ops.ACTIVATIONS))
def test_activation_of_a_large_array_is_that_of_its_pieces(name: str) -> None:
    x = (draw(3, BLOCK, seed=1) * 4).astype(np.float32)[:, ::-1]  # not contiguous either
    whole = ops.ACTIVATIONS[name](x)
    np.testing.assert_array_equal(whole, np.stack([ops.ACTIVATIONS[name](row) for row in x]))


@pytest.mark.parametrize("name", ["sigmoid", "silu", "quick_gelu", "mish", "tanh", "gelu"])
def test_activation_at_infinity(name: str) -> None:
    largest = np.finfo(np.float32).max
    y = ops.ACTIVATIONS[name](np.array([-largest / 2, largest / 2], np.float32))  # and no warning
    np.testing.assert_array_equal(y, [-1 if name == "tanh" else 0, 1 if name in ("sigmoid", "tanh") else largest / 2])


# ---------------------------------------------------------------------------------------------------------------- losses


def negative_log_likelihood(logits: np.ndarray, label: int) -> float:
    top = float(logits.max())
    return top + math.log(math.fsum(math.exp(float(z) - top) for z in logits)) - float(logits[label])


def test_cross_entropy_by_math() -> None:
    logits, labels = draw(2, 3, 5) * 3, np.array([[0, 4, -100], [2, -100, 1]])
    each = [negative_log_likelihood(logits[i, j], labels[i, j]) for i in range(2) for j in range(3) if labels[i, j] != -100]
    assert ops.cross_entropy(logits, labels) == pytest.approx(math.fsum(each) / 4, rel=1e-14)
    alone = negative_log_likelihood(logits[0, 0], 3)
    before = logits.copy()
    for one in (np.array(3), np.int64(3)):
        assert ops.cross_entropy(logits[0, 0], one) == pytest.approx(alone, rel=1e-14)
    np.testing.assert_array_equal(logits, before)
    every = [negative_log_likelihood(logits[i, j], max(labels[i, j], 0)) for i in range(2) for j in range(3)]
    assert ops.cross_entropy(logits, np.maximum(labels, 0), ignore_index=9) == pytest.approx(math.fsum(every) / 6, rel=1e-14)


def test_cross_entropy_of_large_logits_and_of_nothing() -> None:
    assert ops.cross_entropy(np.array([[1e4, 0.0]]), np.array([1])) == 1e4
    assert ops.cross_entropy(np.array([[1e4, 0.0]]), np.array([0])) == 0
    assert ops.cross_entropy(np.array([[1e4, 0.0], [-1e4, -1e4]]), np.array([0, 1])) == pytest.approx(math.log(2) / 2)
    nothing = ops.cross_entropy(np.zeros((2, 3), np.float32), np.array([-100, -100]))
    assert np.isnan(nothing)
    assert nothing.dtype == np.float32
    assert np.isnan(ops.cross_entropy(np.zeros((0, 3)), np.zeros(0, int)))


def test_mean_squared_error() -> None:
    assert ops.mean_squared_error(np.array([1.0, 2]), np.array([3.0, 1])) == 2.5


def test_binary_cross_entropy() -> None:
    logits, targets = np.array([[0.5, -2], [3, 0]]), np.array([[1.0, 0], [0.25, 1]])
    sigmoid = 1 / (1 + np.exp(-logits))
    expected = -(targets * np.log(sigmoid) + (1 - targets) * np.log(1 - sigmoid)).mean()
    assert ops.binary_cross_entropy_with_logits(logits, targets) == pytest.approx(expected, rel=1e-13)
    assert ops.binary_cross_entropy_with_logits(np.array([1e4, -1e4]), np.array([0.0, 1.0])) == 1e4


def test_losses_of_nothing_are_nan() -> None:
    nothing = np.zeros((0, 2))
    assert np.isnan(ops.mean_squared_error(nothing, nothing))
    assert np.isnan(ops.binary_cross_entropy_with_logits(nothing, nothing))


def test_activation_of_whole_numbers_does_not_depend_on_their_number() -> None:
    few, many = np.arange(-3, 4), np.resize(np.arange(-3, 4), BLOCK + 7)
    np.testing.assert_array_equal(ops.gelu(many)[:7], ops.gelu(few))
