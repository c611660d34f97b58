"""Mistakes in the residual connection around a block."""

from __future__ import annotations

from collections.abc import Iterator

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import OUTPUT_MODULES, Hypothesis
from npbert.golden.mistakes.site import Site
from npbert.types import Array


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get a residual connection wrong."""
    yield Hypothesis(
        "residual-missing",
        "The residual is not added: LayerNorm is taken of dense(x) plus what came into the block.",
        OUTPUT_MODULES,
        {":residual": _block},
    )
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
