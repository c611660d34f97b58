"""Mistakes in where gradients go: a residual connection hands its gradient to both of its branches."""

from __future__ import annotations

import re
from collections.abc import Iterator

from npbert.configuration import ModelConfiguration
from npbert.golden.mistakes.backward.moment import Moment, slip
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.types import Array

READ_BY_A_BLOCK = r"grad:(?P<m>.*\.(?:cross)?attention|(?P<base>(?:.*\.)?)(?:encoder\.layer\.(?P<layer>\d+)|embeddings))"
"""The gradients of values that a block reads and adds to its result."""

PAST_MISSING = "The gradient that goes past the block, over the residual connection, is missing: add it to the one through it."
THROUGH_MISSING = "The gradient through the block is missing: only that of the residual connection arrives. Add both."


def hypotheses(config: ModelConfiguration) -> Iterator[Hypothesis]:
    """Each branch missing."""
    mistake = "residual-gradient-missing"
    yield slip(mistake, PAST_MISSING, READ_BY_A_BLOCK, lambda at: None if (past := _past(at)) is None else at.value - past)
    yield slip(mistake, THROUGH_MISSING, READ_BY_A_BLOCK, _past)


def _past(at: Moment) -> Array | None:
    """The gradient that goes past the block which reads the value; None where no block does."""
    found = at.match
    if found["base"] is not None:
        number = 0 if found["layer"] is None else int(found["layer"]) + 1
        blocks = [f"{found['base']}encoder.layer.{number}.attention"]
    else:
        layer = re.sub(r"\.(?:cross)?attention$", "", found["m"])
        blocks = [f"{layer}.crossattention", layer] if found["m"].endswith(".attention") else [layer]
    return next((at.gradient(x) for x in (f"{block}.output:residual" for block in blocks) if at.has_gradient(x)), None)
