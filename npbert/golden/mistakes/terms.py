"""Which terms a sum was made of, and with which factors: found by least squares in what the port dumped.

A step that is linear in its terms gives as many equations as the port's tensor has numbers, for a few unknown factors. It
counts when the factors are plain numbers (0, 1, 2, 1/2, sqrt(D) ...) and at least one of the right terms is there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes import steps
from npbert.golden.mistakes.hypothesis import LAYER_MODULES, SELF_MODULES, Hypothesis, ReplaceValue
from npbert.golden.mistakes.operands import NEARBY
from npbert.golden.mistakes.site import Site
from npbert.golden.mistakes.steps import Step
from npbert.types import Array

Terms = dict[str, Array]
"""What may be added, by what it is called."""

EQUATIONS = 4096  # are enough
EQUATIONS_FOR_EACH_TERM = 8  # are needed
PRECISION = 1e-3  # of a factor
DEPENDENT = 1e-4  # the share of a term that others must leave unexplained


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Other terms in every step that is linear in them, the outputs of attention and of whole layers included."""
    for step in steps.STEPS:
        if step.kind in OWN_TERMS:
            yield _with_other_terms(step.modules, step.value, partial(_own_terms, step))
    for modules in (SELF_MODULES, LAYER_MODULES):
        yield _with_other_terms(modules, "", lambda site: {"the right value": site.value})


def _with_other_terms(modules: str, value: str, own_terms: Callable[[Site], Terms]) -> Hypothesis:
    return Hypothesis(
        "wrong-terms", f"<module>{value} is another sum.", modules, {value: _fitted(own_terms)}, is_last_resort=True
    )


# --------------------------------------------------------------------------------------------------------- the right terms


def _of_sum(step: Step, site: Site) -> Terms:
    return {place: np.broadcast_to(x, site.value.shape) for place in step.operands if (x := site.at(place)) is not None}


def _of_linear(step: Step, site: Site) -> Terms:
    x = site.at(step.operands[0])
    if x is None:
        return {}
    bias = site.weight(f"{step.value}.bias")
    return {"x @ W.T": site.linear(step.value, x) - bias, "bias": np.broadcast_to(bias, site.value.shape)}


def _of_norm(step: Step, site: Site) -> Terms:
    weight, bias = site.weight(".LayerNorm.weight"), site.weight(".LayerNorm.bias")
    normal = (site.value - bias) / np.where(weight == 0, 1, weight)
    return {"normalised * weight": normal * weight, "bias": np.broadcast_to(bias, site.value.shape)}


OWN_TERMS: dict[str, Callable[[Step, Site], Terms]] = {"sum": _of_sum, "linear": _of_linear, "norm": _of_norm}


def _own_terms(step: Step, site: Site) -> Terms:
    return OWN_TERMS[step.kind](step, step.home(site))


# ----------------------------------------------------------------------------------------------------------------- the fit


def _fitted(own_terms: Callable[[Site], Terms]) -> ReplaceValue:
    def value(site: Site) -> Array | None:
        seen = site.dumped(site.name)
        if seen is None or seen.shape != site.value.shape:
            return None
        own = own_terms(site)
        others = {place: x for place in NEARBY if (x := site.at(place)) is not None and x.shape == seen.shape}
        terms, counts = own | others, site.counts(site.name)
        factors = _factors(seen[counts], _independent({name: x[counts] for name, x in terms.items()}))
        factors = {name: _plain(factor, site) for name, factor in factors.items()}
        if not _makes_sense(factors, own):
            return None
        site.notes.append(f"It is {_written(factors)}; right is {_written(dict.fromkeys(own, 1.0))}.")
        return np.sum([factor * terms[name] for name, factor in factors.items()], axis=0)

    return value


def _independent(terms: Terms) -> Terms:
    """Without the terms that are sums of those before them: which of both was added cannot be told."""
    kept: Terms = {}
    axes: list[Array] = []  # at right angles to each other, each of length 1
    for name, x in terms.items():
        rest = x.copy()
        for axis in axes:
            rest -= np.vdot(axis, rest) * axis
        length = np.linalg.norm(rest)
        if length > DEPENDENT * np.linalg.norm(x):
            kept[name] = x
            axes.append(rest / length)
    return kept


def _factors(seen: Array, terms: Terms) -> dict[str, float]:
    """The factors other than 0; nothing where the terms do not add up to what the port holds."""
    if seen.size < EQUATIONS_FOR_EACH_TERM * len(terms) or not np.isfinite(seen).all():
        return {}
    chosen = slice(None, None, max(1, seen.size // EQUATIONS))
    names, wanted = list(terms), seen[chosen]
    while names:
        columns = np.stack([terms[name][chosen] for name in names], axis=1)
        found = np.linalg.lstsq(columns, wanted, rcond=None)[0]
        needed = [name for name, factor in zip(names, found, strict=True) if abs(factor) > PRECISION]
        if needed == names:
            is_exact = np.abs(columns @ found - wanted).max() <= PRECISION * np.abs(wanted).max()
            return dict(zip(names, map(float, found), strict=True)) if is_exact else {}
        names = needed
    return {}


def _plain(factor: float, site: Site) -> float:
    """The plain number that a factor is, or NaN."""
    width, head = site.config.hidden_size, site.config.head_size
    sizes = (1, 2, 3, 4, math.sqrt(2), math.sqrt(width), math.sqrt(head), width, head)
    for size in sizes:
        for number in (size, 1 / size, -size, -1 / size):
            if math.isclose(factor, number, rel_tol=PRECISION):
                return number
    return math.nan


def _makes_sense(factors: dict[str, float], own: Terms) -> bool:
    """Whether these are the terms of a port: not the right ones, and not all of them scaled by one factor."""
    if not factors or any(math.isnan(factor) for factor in factors.values()):
        return False
    right = [factors.get(name, 0.0) for name in own]
    return any(right) and not (len(factors) == len(own) and len(set(right)) == 1)


def _written(factors: dict[str, float]) -> str:
    return " + ".join(name if factor == 1 else f"{factor:.4g} * {name}" for name, factor in factors.items())
