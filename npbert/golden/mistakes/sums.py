"""Mistakes in sums: a term that is left out, doubled, subtracted; all of it multiplied; the residual added after LayerNorm."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes import steps
from npbert.golden.mistakes.hypothesis import OUTPUT_MODULES, Hypothesis, ReplaceValue
from npbert.golden.mistakes.site import Site
from npbert.golden.mistakes.steps import Step
from npbert.types import Array

TERMS = {
    "<module>.dropout": ("dense", "The block's own result"),
    "<hidden>": ("residual", "The residual"),
    "<module>.word_embeddings": ("words", "The word embedding"),
    "<module>.token_type_embeddings": ("token-types", "The token type embedding"),
    "<module>.position_embeddings": ("positions", "The position embedding"),
}
"""The terms of sums, each with the first half of a mistake's name; in all blocks the residual goes by its first place."""

FACTORS = {0.0: ("missing", "not added"), 2.0: ("doubled", "added twice"), 0.5: ("halved", "halved"),
           -1.0: ("subtracted", "subtracted")}  # fmt: skip
"""By what a port may multiply one term of a sum, with the second half of the name."""

WHOLE = {math.sqrt(0.5): "divided by sqrt(2)", 0.5: "halved", 2.0: "doubled"}
"""By what it may multiply all terms."""


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get a sum wrong."""
    embeddings, *blocks = sorted(steps.of_kind("sum"), key=lambda step: step.modules != steps.EMBEDDINGS)
    yield from _factors(blocks)
    yield from _factors([embeddings])
    yield from _residual_after_norm()


def _factors(group: list[Step]) -> Iterator[Hypothesis]:
    """Every term of some sums left out, doubled, ..., and the whole sums multiplied."""
    first = group[0]
    modules = "|".join(step.modules for step in group)
    number = len(first.operands)
    right = " + ".join(first.operands) if len(group) == 1 else "<module>.dropout + what came into the block"
    for factor, (edit, what) in FACTORS.items():
        for index, place in enumerate(first.operands):
            term, called = TERMS[place]
            factors = [factor if index == other else 1.0 for other in range(number)]
            says = f"{called} is {what}: <module>{first.value} is {right}."
            yield Hypothesis(f"{term}-{edit}", says, modules, {first.value: _weighted(group, factors)})
    for factor, what in WHOLE.items():
        says = f"The sum is {what}: <module>{first.value} is {right}."
        yield Hypothesis("sum-scaled", says, modules, {first.value: _weighted(group, [factor] * number)})


def _weighted(group: Sequence[Step], factors: Sequence[float]) -> ReplaceValue:
    """The sum with factors. Not every model has all terms: those with a factor other than 1 must be there."""

    def value(site: Site) -> Array | None:
        step = next(step for step in group if re.fullmatch(step.modules, site.module))
        terms = [(factor, site.at(place)) for factor, place in zip(factors, step.operands, strict=True)]
        if any(x is None and factor != 1 for factor, x in terms):
            return None
        added = [factor * x for factor, x in terms if x is not None and factor]
        return np.broadcast_to(sum(added[1:], added[0]), site.value.shape) if added else None

    return value


def _residual_after_norm() -> Iterator[Hypothesis]:
    # A port may dump either sum under the name `:residual`, what LayerNorm reads or what leaves the block, and either under
    # the name of LayerNorm.
    mistake = "residual-after-layernorm"
    explanation = "The residual is added after LayerNorm: BERT normalises the sum of both, LayerNorm(dense(x) + residual)."
    yield Hypothesis(
        mistake, explanation, OUTPUT_MODULES, {":residual": _block, ".LayerNorm": _norm_of_block, "": _added_at_the_end}
    )
    yield Hypothesis(
        mistake,
        explanation,
        OUTPUT_MODULES,
        {":residual": _added_after_norm, ".LayerNorm": _norm_of_block, "": lambda site: site[":residual"]},
    )
    yield Hypothesis(mistake, explanation, OUTPUT_MODULES, {":residual": _block, ".LayerNorm": _added_at_the_end})


def _block(site: Site) -> Array:
    """What the block computes, without what came in."""
    return site[".dropout"]


def _norm_of_block(site: Site) -> Array:
    return site.norm(site[".dropout"])


def _added_after_norm(site: Site) -> Array:
    """`:residual` as the sum of LayerNorm and what came in."""
    return site.norm(site[".dropout"]) + (site.value - site[".dropout"])


def _added_at_the_end(site: Site) -> Array:
    """The module's output as that sum, where `:residual` has been replaced already."""
    came_in = site.originals[f"{site.module}:residual"] - site[".dropout"]
    return site.norm(site[".dropout"]) + came_in
