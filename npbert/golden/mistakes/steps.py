"""The steps of BERT as data: each named value with the places that it is computed from.

The formulas are those of `npbert.ops`. A mistake is an edit of one step: another operand, another weight, another function.
`npbert.golden.mistakes.places` explains how places are written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from npbert import ops
from npbert.golden.mistakes import places
from npbert.golden.mistakes.site import Site
from npbert.types import Array


class Step(NamedTuple):
    """One named value of a kind of module."""

    kind: str  # "linear", "sum", "norm" or "activation"
    modules: str  # a regular expression for the modules that have it
    value: str  # its name inside the module
    operands: tuple[str, ...]

    def compute(self, site: Site, *operands: Array) -> Array:
        """The value, from other operands perhaps than its own."""
        return _FORMULAS[self.kind](self, self.home(site), *operands)

    def read(self, site: Site, place: str) -> Array | None:
        """What is at a place, also where that is a linear map that the pass computes later, from what is there already."""
        value = self.home(site).at(place)
        return _computed_early(self.home(site), place) if value is None else value

    def home(self, site: Site) -> Site:
        """The site of the module that has this step, where the mistake is made in the layer around it."""
        return site.inside(site.name.removesuffix(self.value))


def _linear(step: Step, site: Site, x: Array) -> Array:
    return site.linear(step.value, x)


def _sum(step: Step, site: Site, *terms: Array) -> Array:
    return sum(terms[1:], terms[0])


def _norm(step: Step, site: Site, x: Array) -> Array:
    return site.norm(x)


def _activation(step: Step, site: Site, x: Array) -> Array:
    function = ops.ACTIVATIONS[site.config.pooler_act] if step.value == ".activation" else site.config.activation
    return function(x)


_FORMULAS: dict[str, Callable[..., Array]] = {"linear": _linear, "sum": _sum, "norm": _norm, "activation": _activation}

_ATTENTION = r".*\.(?:cross)?attention"
SELF = rf"{_ATTENTION}\.self"
ATTENTION_OUTPUT = r".*\.attention\.output"
CROSS_OUTPUT = r".*\.crossattention\.output"
INTERMEDIATE = r".*\.intermediate"
FEED_FORWARD_OUTPUT = r".*layer\.\d+\.output"
EMBEDDINGS = r"(?:.*\.)?embeddings"
POOLER = r"(?:.*\.)?pooler"
TRANSFORM = r".*\.transform"

BEFORE_FEED_FORWARD = "<layer>.crossattention | <layer>.attention"

STEPS = (
    Step("linear", r".*\.attention\.self", ".query", ("<hidden>",)),
    Step("linear", r".*\.attention\.self", ".key", ("<hidden>",)),
    Step("linear", r".*\.attention\.self", ".value", ("<hidden>",)),
    Step("linear", ATTENTION_OUTPUT, ".dense", ("<layer>.attention.self",)),
    Step("sum", ATTENTION_OUTPUT, ":residual", ("<module>.dropout", "<hidden>")),
    Step("norm", ATTENTION_OUTPUT, ".LayerNorm", ("<module>:residual",)),
    Step("linear", r".*\.crossattention\.self", ".query", ("<layer>.attention",)),
    Step("linear", CROSS_OUTPUT, ".dense", ("<layer>.crossattention.self",)),
    Step("sum", CROSS_OUTPUT, ":residual", ("<module>.dropout", "<layer>.attention")),
    Step("norm", CROSS_OUTPUT, ".LayerNorm", ("<module>:residual",)),
    Step("linear", INTERMEDIATE, ".dense", (BEFORE_FEED_FORWARD,)),
    Step("activation", INTERMEDIATE, ".intermediate_act_fn", ("<module>.dense",)),
    Step("linear", FEED_FORWARD_OUTPUT, ".dense", ("<layer>.intermediate",)),
    Step("sum", FEED_FORWARD_OUTPUT, ":residual", ("<module>.dropout", BEFORE_FEED_FORWARD)),
    Step("norm", FEED_FORWARD_OUTPUT, ".LayerNorm", ("<module>:residual",)),
    Step("sum", EMBEDDINGS, ":sum", tuple(f"<module>.{kind}_embeddings" for kind in ("word", "token_type", "position"))),
    Step("norm", EMBEDDINGS, ".LayerNorm", ("<module>:sum",)),
    Step("activation", POOLER, ".activation", ("<module>.dense",)),
    Step("linear", TRANSFORM, ".dense", ("<base>.encoder",)),
    Step("activation", TRANSFORM, ".transform_act_fn", ("<module>.dense",)),
    Step("norm", TRANSFORM, ".LayerNorm", ("<module>.transform_act_fn",)),
)


def _computed_early(site: Site, place: str) -> Array | None:
    for name in places.names(place, site.module):
        for step in of_kind("linear"):
            module = name.removesuffix(step.value)
            if name.endswith(step.value) and re.fullmatch(step.modules, module):
                x = site.inside(module).at(step.operands[0])
                return None if x is None else site.inside(module).linear(step.value, x)
    return None


def of_kind(kind: str) -> list[Step]:
    """The steps of one kind."""
    return [step for step in STEPS if step.kind == kind]
