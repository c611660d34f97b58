"""The drawings that need no page: their geometry says what their numbers say."""

from __future__ import annotations

import re

import numpy as np
import pytest

from npbert.views import blobs, drawings, error_maps, heads
from npbert.views.charts import ticks


@pytest.mark.parametrize("largest", [0.02, 1.0, 37.0])
def test_bars_are_as_long_as_their_numbers(largest: float) -> None:
    drawn = drawings.bars("title", [("a", largest), ("b", -largest / 2), ("c", 0.0)], "light")
    widths = [float(width) for width in re.findall(r'<rect x="[^"]*" y="[^"]*" width="([^"]*)" height="13"', drawn)]
    assert widths == pytest.approx([160, 80, 0])


def test_what_is_not_a_number_has_no_bar() -> None:
    drawn = drawings.bars("title", [("a", 1.0), ("b", float("nan")), ("c", float("inf"))], "light")
    assert drawn.count('height="13"') == 1
    assert ">+nan<" in drawn


def test_bars_of_nothing_but_zeros() -> None:
    assert 'width="160"' not in drawings.bars("title", [("a", 0.0)], "light")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 5, [0, 1, 2, 3, 4, 5]),
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.3, 2.6, [0.5, 1, 1.5, 2, 2.5]),
        (-30, 30, [-20, 0, 20]),
        (7001, 7004, [7001, 7002, 7003, 7004]),
        (0, 0.004, [0, 0.001, 0.002, 0.003, 0.004]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_what_lies_past_the_scale_is_at_its_end() -> None:
    packed = blobs.shares(np.array([5.0, -5.0, 0.5, np.nan, 0.0]), 1.0)
    np.testing.assert_allclose(blobs.unpacked_shares(packed), [1, -1, 0.5, np.nan, 0], atol=0.005)
    np.testing.assert_array_equal(blobs.unpacked_shares(blobs.shares(np.zeros(3), 0.0)), [0, 0, 0])


def test_a_curve_lies_over_what_went_in() -> None:
    x = np.linspace(-3, 3, 20_001)
    curve = error_maps._curve(x, x**2, np.ones(x.shape, bool))
    assert len(curve["x"]) == error_maps.BINS
    inside = np.abs(curve["x"]) < 2.9  # at the ends bins also hold what lies past them
    np.testing.assert_allclose(curve["mean"][inside], curve["x"][inside] ** 2, atol=0.01)
    np.testing.assert_array_equal(curve["dots"][:, 1], curve["dots"][:, 0] ** 2)
    assert error_maps._curve(np.ones(4), np.arange(4.0), np.ones(4, bool))["mean"].tolist() == [1.5]


def test_the_layers_that_are_kept_whole_lie_far_apart() -> None:
    assert heads.wanted_layers(12, None) == [0, 11, 6, 3, 9, 1, 2, 4, 5, 7, 8, 10]
    assert heads.wanted_layers(2, None) == [0, 1]
    assert heads.wanted_layers(12, [7, 2]) == [7, 2]
