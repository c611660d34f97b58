"""Another operand: a step that reads or adds another value of the same shape, leaves a term out, or adds it twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes import steps
from npbert.golden.mistakes.hypothesis import Hypothesis, ReplaceValue
from npbert.golden.mistakes.site import Site
from npbert.golden.mistakes.steps import Step
from npbert.types import Array

NEARBY = (
    "<hidden>",
    "<layer>.attention.self",
    "<layer>.attention.output.dense",
    "<layer>.attention.output:residual",
    "<layer>.attention",
    "<layer>.intermediate.dense",
    "<layer>.output.dense",
    "<layer>.attention.self.query",
    "<layer>.attention.self.key",
    "<layer>.attention.self.value",
    "<hidden-1>",
    "<hidden-2>",
    "<layer-1>.attention",
    "<layer-1>.attention.self",
    "<layer-1>.attention.output.dense",
    "<layer-1>.attention.output:residual",
    "<layer-1>.output.dense",
    "<layer-1>.output:residual",
    "<layer-1>.intermediate.dense",
    "<layer-1>.intermediate",
    "<base>.embeddings",
    "<base>.embeddings:sum",
    "<base>.embeddings.word_embeddings",
    "<base>.embeddings.token_type_embeddings",
    "<base>.embeddings.position_embeddings",
)
"""Where a port may take a value from by mistake."""


SUMS = [
    ("residual-doubled", "The residual is added twice", (1.0, 2.0)),
    ("dense-doubled", "The block's own result is added twice", (2.0, 1.0)),
    ("dense-missing", "The block's own result is not added", (0.0, 1.0)),
    ("residual-scaled", "The residual is halved", (1.0, 0.5)),
    ("residual-scaled", "The residual is subtracted", (1.0, -1.0)),
    ("dense-scaled", "The block's own result is halved", (0.5, 1.0)),
    ("dense-scaled", "The block's own result is subtracted", (-1.0, 1.0)),
]
"""Factors of what a block computes and of the residual. A line here is all that others need."""


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every other operand of the linear maps and of the sums."""
    for step in steps.of_kind("sum"):
        yield from _sums(step)
    for step in steps.of_kind("linear"):
        yield from _inputs(step)


def _sums(step: Step) -> Iterator[Hypothesis]:
    block, residual = step.operands
    says = f"LayerNorm is taken of {block} + {residual}"
    for mistake, what, factors in SUMS:
        yield Hypothesis(mistake, f"{what}: {says}.", step.modules, {step.value: _weighted(step, factors)})
    for source in NEARBY:
        if source not in (block, residual):
            yield Hypothesis(
                "residual-from-elsewhere",
                f"Adds {source} instead of {residual}.",
                step.modules,
                {step.value: reading(step, (block, source))},
                is_rare=True,
            )
            yield Hypothesis(
                "residual-from-elsewhere",
                f"Adds {source} although only {block} and {residual} belong to the sum.",
                step.modules,
                {step.value: reading(step, (block, residual, source))},
                is_rare=True,
            )


def _inputs(step: Step) -> Iterator[Hypothesis]:
    (own,) = step.operands
    for source in NEARBY:
        if source != own and source not in own.split(" | "):
            yield Hypothesis(
                "input-from-elsewhere",
                f"<module>{step.value} reads {source} instead of {own}.",
                step.modules,
                {step.value: reading(step, (source,))},
                is_rare=True,
            )


def reading(step: Step | None, operands: tuple[str, ...]) -> ReplaceValue:
    """The step computed from these places; without a step, what is at the place itself."""

    def value(site: Site) -> Array | None:
        home = site if step is None else step.home(site)
        read = [home.at(place) for place in operands]
        own = site.value if step is None or step.kind == "sum" else home.at(step.operands[0])
        if own is None or any(x is None or not _fits(x, own) for x in read):
            return None
        arrays = [np.broadcast_to(x, own.shape) for x in read if x is not None]
        return arrays[0] if step is None else step.compute(site, *arrays)

    return value


def _fits(x: Array, own: Array) -> bool:
    return x.shape == own.shape or (x.ndim == own.ndim and x.shape[0] == 1 and x.shape[1:] == own.shape[1:])


def _weighted(step: Step, factors: tuple[float, float]) -> ReplaceValue:
    """The sum with factors."""

    def value(site: Site) -> Array | None:
        terms = [step.home(site).at(place) for place in step.operands]
        if any(x is None for x in terms):
            return None
        return np.sum([factor * x for factor, x in zip(factors, terms, strict=True) if x is not None], axis=0)

    return value
