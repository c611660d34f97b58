"""The drawings that need no page: their geometry says what their numbers say."""

from __future__ import annotations

import re

import pytest

from npbert.views import drawings


@pytest.mark.parametrize("largest", [0.02, 1.0, 37.0])
def test_bars_are_as_long_as_their_numbers(largest: float) -> None:
    parts = [("a", largest), ("b", -largest / 2), ("c", 0.0), ("d", float("nan"))]
    drawn = drawings.bars("title", parts[:3], "light")
    widths = [float(width) for width in re.findall(r'<rect x="[^"]*" y="[^"]*" width="([^"]*)" height="13"', drawn)]
    assert widths == pytest.approx([160, 80, 0])
    assert drawings.bars("title", parts, "light").count("<rect") == drawn.count("<rect") + 1


def test_bars_of_nothing_but_zeros() -> None:
    assert 'width="160"' not in drawings.bars("title", [("a", 0.0)], "light")
