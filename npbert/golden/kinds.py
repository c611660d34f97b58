"""The kinds of names in a pack: values, their gradients, and what optimizer steps make of the weights.

NAME                  a value of the forward pass, or `output:NAME`
grad:NAME             the gradient of the loss by a value; `grad:output:NAME` is one that the pass begins with
grad:weight:NAME      the gradient of the loss by a weight
step:K:weight:NAME    a weight after K optimizer steps
step:K:loss           the loss with the weights after K steps
"""

from __future__ import annotations

import functools
import re

from npbert.tracing import GRADIENT, WEIGHT_GRADIENT

_STEP = re.compile(r"step:(\d+):(?:weight:)?(.+)")


def step_name(number: int, weight: str = "") -> str:
    """The name of a weight after so many steps, or of the loss."""
    return f"step:{number}:weight:{weight}" if weight else f"step:{number}:loss"


def step_of(name: str) -> int:
    """After how many optimizer steps the pack has what stands under a name."""
    match = _STEP.fullmatch(name)
    return int(match[1]) if match else 0


def is_gradient(name: str) -> bool:
    """Whether a name is that of a gradient."""
    return name.startswith(GRADIENT)


def is_forward(name: str) -> bool:
    """Whether a name belongs to the forward pass."""
    return not is_gradient(name) and not step_of(name)


def is_of_weight(name: str) -> bool:
    """Whether a name is that of a weight's gradient, or of a weight after a step."""
    return name.startswith(WEIGHT_GRADIENT) or ":weight:" in name


@functools.cache
def bare(name: str) -> str:
    """The value or the weight that a gradient, or what a step made, belongs to."""
    match = _STEP.fullmatch(name)
    return match[2] if match else name.removeprefix(WEIGHT_GRADIENT).removeprefix(GRADIENT)
