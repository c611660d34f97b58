"""Rows in batches: nothing lost, nothing twice, little padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npbert.training.batches import in_batches, padded, similar_lengths


@settings(max_examples=60)
@given(st.lists(st.integers(1, 50), max_size=300), st.integers(1, 9), st.integers(0, 5))
def test_every_row_comes_exactly_once(lengths: list[int], size: int, seed: int) -> None:
    batches = similar_lengths(lengths, size, np.random.default_rng(seed))
    assert sorted(int(row) for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert len(batches) <= -(-len(lengths) // size) + len(lengths) // (50 * size) + 1


def test_neighbours_are_of_similar_length_and_the_order_is_chance() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 4000).tolist()
    batches = similar_lengths(lengths, 8, np.random.default_rng(1))
    spread = [max(lengths[row] for row in batch) - min(lengths[row] for row in batch) for batch in batches]
    assert np.mean(spread) < 4  # at random it would be nearly 80
    means = [np.mean([lengths[row] for row in batch]) for batch in batches]
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2
    others = similar_lengths(lengths, 8, np.random.default_rng(2))
    assert {tuple(sorted(batch)) for batch in batches} != {tuple(sorted(batch)) for batch in others}
    again = similar_lengths(lengths, 8, np.random.default_rng(1))
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]


def test_rows_are_padded_at_their_end() -> None:
    rows = [
        {"input_ids": [2, 7, 3], "token_type_ids": [0, 0, 1], "labels": [-100, 5, -100], "label": 4},
        {"input_ids": [2], "token_type_ids": [1], "labels": [6]},
    ]
    arrays = padded(rows, 9)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "input_ids": [[2, 7, 3], [2, 9, 9]],
        "token_type_ids": [[0, 0, 1], [1, 0, 0]],
        "labels": [[-100, 5, -100], [6, -100, -100]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
    }
    assert set(padded([{"input_ids": [1, 2]}], 0)) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("size", [1, 3, 100])
def test_rows_themselves_in_batches(size: int) -> None:
    rows = [{"input_ids": [1] * (1 + number % 4), "number": number} for number in range(10)]
    batches = in_batches(rows, size, np.random.default_rng(0))
    assert sorted(row["number"] for batch in batches for row in batch) == list(range(10))
