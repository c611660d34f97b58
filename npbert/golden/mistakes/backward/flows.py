"""Mistakes in where gradients go: a residual connection hands its gradient to both of its branches."""

from __future__ import annotations

import re
from collections.abc import Iterator

from npbert.configuration import ModelConfiguration
from npbert.golden.mistakes.backward.moment import Edit, Moment, slip
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.types import Array

READ_BY_A_BLOCK = r"grad:(?P<m>.*\.(?:cross)?attention|(?P<base>(?:.*\.)?)(?:encoder\.layer\.(?P<layer>\d+)|embeddings))"
"""The gradients of values that a block reads and adds to its result."""

PAST_MISSING = "The gradient that goes past {}, over the residual connection, is missing: add it to the one through it."
THROUGH_MISSING = "The gradient through {} is missing: only that of the residual connection arrives. Add both."

BLOCKS = {"the block": "", "the attention": "attention", "the feed-forward": "feed-forward"}
"""The blocks that lack a branch: all, or those of a kind, which names do not tell: in a decoder with cross-attention the
feed-forward reads what cross-attention puts out, and in an encoder what self-attention does."""


def hypotheses(config: ModelConfiguration) -> Iterator[Hypothesis]:
    """Each branch missing."""
    mistake = "residual-gradient-missing"
    for block, kind in BLOCKS.items():
        yield slip(mistake, PAST_MISSING.format(block), READ_BY_A_BLOCK, _through(kind))
        yield slip(mistake, THROUGH_MISSING.format(block), READ_BY_A_BLOCK, _past(kind))


def _through(kind: str) -> Edit:
    past = _past(kind)
    return lambda at: None if (missing := past(at)) is None else at.value - missing


def _past(kind: str) -> Edit:
    """The gradient that goes past the block which reads the value; None where no block of the kind does."""

    def edit(at: Moment) -> Array | None:
        found = at.match
        if found["base"] is not None:
            number = 0 if found["layer"] is None else int(found["layer"]) + 1
            blocks = [f"{found['base']}encoder.layer.{number}.attention"]
        else:
            layer = re.sub(r"\.(?:cross)?attention$", "", found["m"])
            blocks = [f"{layer}.crossattention", layer] if found["m"].endswith(".attention") else [layer]
        block = next((x for x in blocks if at.has_gradient(f"{x}.output:residual")), None)
        if block is None or kind == ("feed-forward" if block.endswith("attention") else "attention"):
            return None
        return at.gradient(f"{block}.output:residual")

    return edit
