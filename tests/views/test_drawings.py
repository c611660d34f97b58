"""The drawings that need no page: their geometry says what their numbers say."""

from __future__ import annotations

import re

import pytest

from npbert.views import drawings


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
