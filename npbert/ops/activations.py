"""Activation functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from npbert.ops.blocks import in_blocks
from npbert.ops.erf import erf
from npbert.types import Array


@in_blocks
def gelu(x: Array) -> Array:
    """`x * Phi(x)`, Phi being the normal distribution function: `x * (1 + erf(x / sqrt(2))) / 2`."""
    y = erf(x * math.sqrt(0.5))
    y += 1
    y *= x
    y *= 0.5
    return y


@in_blocks
def gelu_new(x: Array) -> Array:
    """The approximation `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


@in_blocks
def gelu_fast(x: Array) -> Array:
    """`gelu_new` with the constant written to ten digits, as checkpoints that name it were trained."""
    return 0.5 * x * (1 + np.tanh(0.7978845608 * x * (1 + 0.044715 * x * x)))


def gelu_10(x: Array) -> Array:
    """`gelu`, clipped to -10 .. 10 (for 8-bit quantization, Wu et al. 2020)."""
    return np.clip(gelu(x), -10, 10)


@in_blocks
def quick_gelu(x: Array) -> Array:
    """`x * sigmoid(1.702 x)`."""
    return x * sigmoid(1.702 * x)


def laplace(x: Array, *, mu: float = 0.707107, sigma: float = 0.282095) -> Array:
    """`(1 + erf((x - mu) / (sigma sqrt(2)))) / 2`: a smooth stand-in for relu2 (Ma et al. 2022)."""
    return 0.5 * (1 + erf((x - mu) / (sigma * math.sqrt(2))))


def leaky_relu(x: Array) -> Array:
    """`x` where positive, `0.01 x` elsewhere."""
    return np.where(x > 0, x, 0.01 * x)


def linear_activation(x: Array) -> Array:
    """`x`: no activation at all."""
    return x


@in_blocks
def mish(x: Array) -> Array:
    """`x * tanh(log(1 + exp(x)))` (Misra 2019); the logarithm is `max(x, 0) + log(1 + exp(-|x|))`, which never overflows."""
    return x * np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def relu(x: Array) -> Array:
    """`max(x, 0)`."""
    return np.maximum(x, 0)


def relu2(x: Array) -> Array:
    """`max(x, 0)^2` (So et al. 2021)."""
    return np.square(relu(x))


def relu6(x: Array) -> Array:
    """`min(max(x, 0), 6)`."""
    return np.clip(x, 0, 6)


@in_blocks
def sigmoid(x: Array) -> Array:
    """`1 / (1 + exp(-x))`, as `exp(min(x, 0)) / (1 + exp(-|x|))`, which never overflows."""
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


def silu(x: Array) -> Array:
    """`x * sigmoid(x)`."""
    return x * sigmoid(x)


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return np.tanh(x)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_10": gelu_10,
    "gelu_accurate": gelu_new,
    "gelu_fast": gelu_fast,
    "gelu_new": gelu_new,
    "gelu_python": gelu,
    "gelu_python_tanh": gelu_new,
    "gelu_pytorch_tanh": gelu_new,
    "laplace": laplace,
    "leaky_relu": leaky_relu,
    "linear": linear_activation,
    "mish": mish,
    "quick_gelu": quick_gelu,
    "relu": relu,
    "relu2": relu2,
    "relu6": relu6,
    "sigmoid": sigmoid,
    "silu": silu,
    "swish": silu,
    "tanh": tanh,
}
"""Every name that a configuration's `hidden_act` may hold; several are old names for one function."""
