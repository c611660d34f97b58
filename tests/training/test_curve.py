"""The log as a picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree
from typing import Any

import pytest

from npbert import views
from npbert.training.curve import POINTS, charts_of, smoothed
from npbert.views.charts import ticks

SVG = "{http://www.w3.org/2000/svg}"


def log_of(count: int, *, every: int | None = None) -> list[dict[str, Any]]:
    log: list[dict[str, Any]] = []
    for step in range(1, count + 1):
        log.append({"step": step, "loss": 5 / step, "norm": 1.0, "lr": 0.1, "tokens": 9})
        if every and step % every == 0:
            log.append({"step": step, "eval_loss": 5.5 / step, "eval_masked_accuracy": step / count, "eval_f1": 0.5})
    return log


def curve_svg(log: list[dict[str, Any]]) -> str:
    return views.curves("Training", charts_of(log)).svg("curve")


def lines_of(svg: str) -> list[list[tuple[float, float]]]:
    root = xml.etree.ElementTree.fromstring(svg)
    return [
        [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]  # type: ignore[misc]
        for line in root.iter(f"{SVG}polyline")
    ]


def test_losses_and_evaluations_have_a_line_each() -> None:
    svg = curve_svg(log_of(100, every=10))
    labels = [text.text for text in xml.etree.ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert {"loss", "held out", "f1", "masked accuracy", "step", "0", "100"} <= set(labels)
    train, held_out, f1, accuracy = lines_of(svg)
    assert (len(train), len(held_out), len(f1), len(accuracy)) == (100, 10, 10, 10)
    assert [x for x, _ in train] == sorted(x for x, _ in train)
    assert [y for _, y in train] == sorted(y for _, y in train)  # the loss falls, and y counts downwards
    assert len({y for _, y in f1}) == 1
    assert [y for _, y in accuracy] == sorted((y for _, y in accuracy), reverse=True)
    assert "prefers-color-scheme: dark" in svg


def test_without_evaluation_there_is_one_panel() -> None:
    assert len(lines_of(curve_svg(log_of(3)))) == 1
    assert len(lines_of(curve_svg(log_of(1)))[0]) == 1


def test_everything_lies_inside_the_picture() -> None:
    svg = curve_svg(log_of(50, every=5))
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', svg).groups())  # type: ignore[union-attr]
    for x, y in [point for line in lines_of(svg) for point in line]:
        assert 0 <= x <= width
        assert 0 <= y <= height


def test_a_long_log_is_thinned_to_means() -> None:
    points = smoothed([(float(step), 0.0 if step % 2 else 2.0) for step in range(1, 10 * POINTS + 1)])
    assert len(points) == POINTS
    assert points[-1] == (10 * POINTS, 1.0)
    assert smoothed([]) == []


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (2.9, 4.1, [3, 3.5, 4]),
        (0, 7, [0, 2, 4, 6]),
        (0, 1e-3, [0, 2e-4, 4e-4, 6e-4, 8e-4, 1e-3]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)
