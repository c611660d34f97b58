"""A run's log as lines to be drawn: the losses, and what the evaluations found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

POINTS = 300  # of a line at most: a pixel or two each

Points: TypeAlias = list[tuple[float, float]]


def charts_of(log: Sequence[dict[str, Any]]) -> dict[str, dict[str, Points]]:
    """For each chart its lines by name: the losses, and below them the other figures of the evaluations."""
    steps = [line for line in log if "lr" in line]
    evaluations = [line for line in log if "lr" not in line]
    losses = {"loss": smoothed([(line["step"], line["loss"]) for line in steps])}
    scores: dict[str, Points] = {}
    for name in sorted({name for line in evaluations for name in line if name.startswith("eval_")}):
        points = [(line["step"], line[name]) for line in evaluations if name in line]
        if name == "eval_loss":
            losses["held out"] = points
        else:
            scores[name.removeprefix("eval_")] = points
    return {"loss": losses, **({"held out": scores} if scores else {})}


def smoothed(points: Points) -> Points:
    """At most so many points: neighbours become their mean, at the last one's place."""
    size = math.ceil(len(points) / POINTS) or 1
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]
