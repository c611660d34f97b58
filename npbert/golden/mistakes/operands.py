"""Another operand: a step that reads or adds another value of the same shape; and linear maps applied otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from npbert import ops
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


Map = Callable[[Array], Array]

AGAIN: list[tuple[str, str, Callable[[Map, Array], Array]]] = [
    ("dense-missing", "<module>{value} is left out: what it reads is handed on as it is", lambda linear, x: x),
    ("dense-twice", "<module>{value} is applied twice, the second time to its own result", lambda linear, x: linear(linear(x))),
]
"""How else a linear map may be applied. A line here is all that another way needs."""

ADDED: dict[str, Map] = {"gelu": ops.gelu, "relu": ops.relu, "tanh": ops.tanh, "sigmoid": ops.sigmoid, "silu": ops.silu}
"""The activations that a port may apply where none belongs."""


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every other operand of the linear maps and of the sums."""
    for step in steps.of_kind("sum"):
        if step.modules != steps.EMBEDDINGS:
            yield from _residuals(step)
    for step in steps.of_kind("linear"):
        yield from _maps(step)
        yield from _inputs(step)
    for step in (*steps.of_kind("linear"), *steps.of_kind("activation")):
        yield from _activated(step, config)


def _residuals(step: Step) -> Iterator[Hypothesis]:
    """Every other value as the residual, or besides it."""
    block, residual = step.operands
    for source in NEARBY:
        if source not in (block, residual):
            for operands, says in (
                ((block, source), f"Adds {source} instead of {residual}."),
                ((block, residual, source), f"Adds {source} although only {block} and {residual} belong to the sum."),
            ):
                values = {step.value: reading(step, operands)}
                yield Hypothesis("residual-from-elsewhere", says, step.modules, values, is_rare=True)

    def normalised(site: Site) -> Array | None:
        dense, x = step.read(site, block), step.read(site, residual)
        return None if dense is None or x is None else dense + step.home(site).norm(x)

    says = f"Adds LayerNorm({residual}) instead of {residual}."
    yield Hypothesis("residual-from-elsewhere", says, step.modules, {step.value: normalised}, is_rare=True)


def _inputs(step: Step) -> Iterator[Hypothesis]:
    """Every other value as what a linear map reads."""
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


def _maps(step: Step) -> Iterator[Hypothesis]:
    """A linear map left out, applied twice."""

    def applied(change: Callable[[Map, Array], Array]) -> ReplaceValue:
        def value(site: Site) -> Array | None:
            x = step.read(site, step.operands[0])
            if x is None:
                return None
            is_square = x.shape == site.value.shape
            return change(lambda y: step.compute(site, y), x) if is_square else None

        return value

    for mistake, says, change in AGAIN:
        says = f"{says.format(value=step.value)}."
        yield Hypothesis(mistake, says, step.modules, {step.value: applied(change)}, is_rare=True)


def _activated(step: Step, config: BertConfig) -> Iterator[Hypothesis]:
    """A step that is followed by an activation."""
    added = ADDED if config.activation in ADDED.values() else {**ADDED, "the configuration's activation": config.activation}
    for name, function in added.items():
        says = f"An activation, {name}, is applied to the result of <module>{step.value}: none belongs there."
        values: dict[str, ReplaceValue] = {step.value: lambda site, function=function: function(site.value)}  # type: ignore[misc]
        yield Hypothesis("activation-added", says, step.modules, values, is_rare=True)


def reading(step: Step | None, operands: tuple[str, ...]) -> ReplaceValue:
    """The step computed from these places; without a step, what is at the place itself."""

    def value(site: Site) -> Array | None:
        home = site if step is None else step.home(site)
        read = [home.at(place) if step is None else step.read(site, place) for place in operands]
        own = site.value if step is None or step.kind == "sum" else home.at(step.operands[0])
        if own is None or any(x is None or not _fits(x, own) for x in read):
            return None
        arrays = [np.broadcast_to(x, own.shape) for x in read if x is not None]
        return arrays[0] if step is None else step.compute(site, *arrays)

    return value


def _fits(x: Array, own: Array) -> bool:
    return x.shape == own.shape or (x.ndim == own.ndim and x.shape[0] == 1 and x.shape[1:] == own.shape[1:])
