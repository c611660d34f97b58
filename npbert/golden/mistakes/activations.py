"""Other functions in the place of an activation: in the feed-forward, in the head of a language model, in the pooler."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from npbert import ops
from npbert.bert.config import BertConfig
from npbert.golden.mistakes import steps
from npbert.golden.mistakes.hypothesis import Hypothesis, ReplaceValue
from npbert.golden.mistakes.site import Site
from npbert.golden.mistakes.steps import Step
from npbert.ops.erf import erf
from npbert.types import Array

WHOLE = r".*\.(?:intermediate|transform)"

OTHERS: list[tuple[str, str, Callable[[Array], Array]]] = [
    ("gelu-tanh", "GELU is computed by its approximation with tanh", ops.gelu_new),
    ("gelu-sigmoid", "GELU is computed as x * sigmoid(1.702 x)", ops.quick_gelu),
    ("activation-relu", "The activation is ReLU", ops.relu),
    ("wrong-activation", "The activation is left out", ops.linear_activation),
    ("wrong-activation", "The activation is GELU with erf", ops.gelu),
    ("wrong-activation", "GELU lacks its half: x * (1 + erf(x / sqrt(2)))", lambda x: 2 * ops.gelu(x)),
    ("wrong-activation", "GELU lacks its sqrt(2): x * (1 + erf(x)) / 2", lambda x: x * (1 + erf(x)) / 2),
    ("wrong-activation", "GELU multiplies by sqrt(2): x * (1 + erf(x * sqrt(2))) / 2", lambda x: x * (1 + erf(x * 2**0.5)) / 2),
    ("wrong-activation", "GELU divides by 2, not sqrt(2): x * (1 + erf(x / 2)) / 2", lambda x: x * (1 + erf(x / 2)) / 2),
    ("wrong-activation", "GELU lacks its x: (1 + erf(x / sqrt(2))) / 2", lambda x: (1 + erf(x / 2**0.5)) / 2),
    ("wrong-activation", "GELU lacks its 1: x * erf(x / sqrt(2)) / 2", lambda x: x * erf(x / 2**0.5) / 2),
    ("activation-twice", "GELU is applied twice", lambda x: ops.gelu(ops.gelu(x))),
    ("wrong-activation", "The tanh of GELU lacks its cube: x * (1 + tanh(sqrt(2/pi) x)) / 2",
     lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * x)) / 2),
    ("wrong-activation", "The tanh of GELU lacks its sqrt(2/pi): x * (1 + tanh(x + 0.044715 x^3)) / 2",
     lambda x: x * (1 + np.tanh(x + 0.044715 * x**3)) / 2),
    ("wrong-activation", "The activation is SiLU, x * sigmoid(x)", ops.silu),
    ("wrong-activation", "The activation is tanh", ops.tanh),
    ("wrong-activation", "The activation is sigmoid", ops.sigmoid),
    ("wrong-activation", "The activation is leaky ReLU with the slope 0.01", ops.leaky_relu),
    ("wrong-activation", "The activation is ELU", lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    ("wrong-activation", "The activation is softplus, log(1 + exp(x))", lambda x: np.logaddexp(x, 0)),
    ("wrong-activation", "The activation is mish", ops.mish),
    ("wrong-activation", "The activation is ReLU squared", ops.relu2),
    ("wrong-activation", "The activation is ReLU6", ops.relu6),
    ("wrong-activation", "The activation is GELU clipped to -10 .. 10", ops.gelu_10),
    ("wrong-activation", "The activation is laplace", ops.laplace),
    ("wrong-activation", "The activation is softsign, x / (1 + |x|)", lambda x: x / (1 + np.abs(x))),
    ("wrong-activation", "The activation is softmax over the last axis", ops.softmax),
]  # fmt: skip
"""A line here is all that another function needs."""


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every other function, in every place of an activation."""
    feed_forward = [step for step in steps.of_kind("activation") if step.modules != steps.POOLER]
    yield from _functions(config, feed_forward, WHOLE)
    yield from _before_bias(feed_forward)
    pooler = [step for step in steps.of_kind("activation") if step.modules == steps.POOLER]
    own = ops.ACTIVATIONS[config.pooler_act]
    for _, what, function in OTHERS:
        if function is not own and function is not ops.linear_activation:  # the pooler's own file has that under its own name
            name = "wrong-activation"
            explanation = (
                f"{what.replace('The activation', 'The activation of the pooler')}: the pooler's is {config.pooler_act}."
            )
            yield Hypothesis(name, explanation, steps.POOLER, {step.value: _applied(step, function) for step in pooler})


def _functions(config: BertConfig, places: list[Step], modules: str) -> Iterator[Hypothesis]:
    wanted = config.hidden_act if isinstance(config.hidden_act, str) else "the configuration's own activation"
    formula = "x * (1 + erf(x / sqrt(2))) / 2" if config.activation is ops.gelu else "its own formula"
    is_tanh = config.activation in (ops.gelu_new, ops.gelu_fast)
    for mistake, what, function in OTHERS:
        name = "gelu-tanh" if is_tanh and function is ops.gelu else mistake
        if function is config.activation or (is_tanh and mistake == "gelu-tanh"):
            continue
        explanation = f"{what}: the configuration's hidden_act is {wanted!r}, {formula}."
        yield Hypothesis(name, explanation, modules, {step.value: _applied(step, function) for step in places})


def _before_bias(places: list[Step]) -> Iterator[Hypothesis]:
    """A port that exchanges both may dump its product without the bias, or the sum that belongs there."""
    explanation = (
        "The activation is applied before the bias is added: it belongs to the whole linear map, activation(x @ W.T + b)."
    )
    for dumps_product in (True, False):
        values: dict[str, ReplaceValue] = {step.value: _applied_before_bias(step, dumps_product) for step in places}
        if dumps_product:
            values[".dense"] = lambda site: site.value - site.weight(".dense.bias")
        yield Hypothesis("activation-before-bias", explanation, WHOLE, values)


def _applied(step: Step, function: Callable[[Array], Array]) -> ReplaceValue:
    (operand,) = step.operands

    def value(site: Site) -> Array | None:
        x = site.at(operand)
        return None if x is None else function(x)

    return value


def _applied_before_bias(step: Step, dumps_product: bool) -> ReplaceValue:
    (operand,) = step.operands

    def value(site: Site) -> Array | None:
        x = site.at(operand)
        if x is None:
            return None
        bias = site.weight(".dense.bias")
        return step.compute(site, x if dumps_product else x - bias) + bias

    return value
