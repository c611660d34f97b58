"""What GPT-2's order of steps changes: a block reads LayerNorm of a sum that also goes past it.

So the gradient by such a sum has two terms, that past the block and that through the block and its LayerNorm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from npbert.golden.mistakes.backward.flows import PAST_MISSING, THROUGH_MISSING
from npbert.golden.mistakes.backward.formulas import NORM_EXPLANATION, NORM_TERMS, Terms, through_norm
from npbert.golden.mistakes.backward.moment import Edit, Moment, slip
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.gpt2.config import GPT2Config
from npbert.types import Array

SUMS = r"grad:(?P<base>(?:transformer\.)?)(?:drop|h\.(?P<layer>\d+)(?P<behind>\.(?:cross)?att(?:n|ention):residual)?)"


class Reader(NamedTuple):
    """What reads a sum: a LayerNorm, and past its block the next sum; None behind the last layer."""

    norm: str
    past: str | None


def hypotheses(config: GPT2Config) -> Iterator[Hypothesis]:
    """Every way to get the gradient by a sum wrong."""
    for mistake, term, terms in NORM_TERMS:
        yield slip(mistake, NORM_EXPLANATION.format(term), SUMS, _normed(terms))
    mistake = "residual-gradient-missing"
    yield slip(mistake, PAST_MISSING, SUMS, lambda at: None if (past := _past(at)) is None else at.value - past)
    yield slip(mistake, THROUGH_MISSING, SUMS, _past)


def _reader(at: Moment) -> Reader:
    found = at.match
    base, behind = found["base"], found["behind"]
    if not behind:
        number = 0 if found["layer"] is None else int(found["layer"]) + 1
        layer = f"{base}h.{number}"
        return Reader(f"{layer}.ln_1", f"{layer}.attn:residual") if number < at.config.n_layer else Reader(f"{base}ln_f", None)
    layer = f"{base}h.{found['layer']}"
    if "crossattention" not in behind and at.has_gradient(f"{layer}.crossattention:residual"):
        return Reader(f"{layer}.ln_cross_attn", f"{layer}.crossattention:residual")
    return Reader(f"{layer}.ln_2", layer)


def _past(at: Moment) -> Array | None:
    past = _reader(at).past
    return None if past is None else at.gradient(past)


def _normed(terms: Terms) -> Edit:
    def edit(at: Moment) -> Array:
        through = through_norm(at, _reader(at).norm, at.forward(at.name.removeprefix("grad:")), terms)
        past = _past(at)
        return through if past is None else past + through

    return edit
