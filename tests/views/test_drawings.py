"""The drawings that need no page: their geometry says what their numbers say."""

from __future__ import annotations

import re

import pytest

from npbert.views import drawings
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
