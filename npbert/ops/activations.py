"""Activation functions, each with its gradient below it.

Every gradient takes dy, the gradient by the result, and x, and returns dx = dy * f'(x): an element depends on itself alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from npbert.ops.blocks import in_blocks
from npbert.ops.erf import erf
from npbert.ops.normal import within
from npbert.types import Array


@in_blocks
def gelu(x: Array, *, out: Array | None = None) -> Array:
    """`x * Phi(x)`, Phi being the normal distribution function. With E(x) = erf(|x| / sqrt(2)) it is `(x + |x| E(x)) / 2`."""
    y = within(x)
    y *= np.abs(x)
    y += x
    return np.multiply(y, 0.5, out=out)


@in_blocks
def gelu_backward(dy: Array, x: Array) -> Array:
    """`dy * (Phi(x) + x * phi(x))`, phi being the normal density `exp(-x^2 / 2) / sqrt(2 pi)`, which is Phi's derivative.

    Phi(x) is 1/2 + E(x)/2 right of 0 and 1/2 - E(x)/2 left of it, so this is `dy * (1/2 ± (E(x) / 2 + |x| * phi(x)))`, with the
    sign of x.
    """
    with np.errstate(over="ignore"):
        density = np.square(x)
    density *= -0.5
    np.exp(density, out=density)
    density *= np.abs(x)
    density *= math.sqrt(0.5 / math.pi)
    dx = within(x)
    dx *= 0.5
    dx += density
    np.copysign(dx, x, out=dx)
    dx += 0.5
    dx *= dy
    return dx


def _gelu_by_tanh(x: Array, constant: float) -> Array:
    return 0.5 * x * (1 + np.tanh(constant * x * (1 + 0.044715 * x * x)))


def _gelu_by_tanh_backward(dy: Array, x: Array, constant: float) -> Array:
    """With t = tanh(c (x + 0.044715 x^3)): `dy/2 * (1 + t + x (1 - t^2) c (1 + 3 * 0.044715 x^2))`."""
    t = np.tanh(constant * x * (1 + 0.044715 * x * x))
    return 0.5 * dy * (1 + t + x * (1 - t * t) * constant * (1 + 3 * 0.044715 * x * x))


@in_blocks
def gelu_new(x: Array) -> Array:
    """The approximation `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`."""
    return _gelu_by_tanh(x, math.sqrt(2 / math.pi))


@in_blocks
def gelu_new_backward(dy: Array, x: Array) -> Array:
    """The derivative of the approximation, which is not quite that of `gelu`."""
    return _gelu_by_tanh_backward(dy, x, math.sqrt(2 / math.pi))


@in_blocks
def gelu_fast(x: Array) -> Array:
    """`gelu_new` with the constant written to ten digits, as checkpoints that name it were trained."""
    return _gelu_by_tanh(x, 0.7978845608)


@in_blocks
def gelu_fast_backward(dy: Array, x: Array) -> Array:
    """As `gelu_new_backward`, with the same ten digits."""
    return _gelu_by_tanh_backward(dy, x, 0.7978845608)


def gelu_10(x: Array) -> Array:
    """`gelu`, clipped to -10 .. 10 (for 8-bit quantization, Wu et al. 2020)."""
    return np.clip(gelu(x), -10, 10)


def gelu_10_backward(dy: Array, x: Array) -> Array:
    """The gradient of `gelu`, and 0 where the result is clipped."""
    return gelu_backward(dy, x) * (np.abs(gelu(x)) <= 10)


@in_blocks
def quick_gelu(x: Array) -> Array:
    """`x * sigmoid(1.702 x)`."""
    return x * sigmoid(1.702 * x)


@in_blocks
def quick_gelu_backward(dy: Array, x: Array) -> Array:
    """With s = sigmoid(1.702 x): `dy * (s + 1.702 x s (1 - s))`."""
    s = sigmoid(1.702 * x)
    return dy * (s + 1.702 * x * s * (1 - s))


def laplace(x: Array, *, mu: float = 0.707107, sigma: float = 0.282095) -> Array:
    """`(1 + erf((x - mu) / (sigma sqrt(2)))) / 2`: a smooth stand-in for relu2 (Ma et al. 2022)."""
    return 0.5 * (1 + erf((x - mu) / (sigma * math.sqrt(2))))


def laplace_backward(dy: Array, x: Array, *, mu: float = 0.707107, sigma: float = 0.282095) -> Array:
    """`dy * exp(-(x - mu)^2 / (2 sigma^2)) / (sigma sqrt(2 pi))`: dy times the normal density."""
    return dy * np.exp(-0.5 * np.square((x - mu) / sigma)) / (sigma * math.sqrt(2 * math.pi))


def leaky_relu(x: Array) -> Array:
    """`x` where positive, `0.01 x` elsewhere."""
    return np.where(x > 0, x, 0.01 * x)


def leaky_relu_backward(dy: Array, x: Array) -> Array:
    """`dy` where x is positive, `0.01 dy` elsewhere."""
    return np.where(x > 0, dy, 0.01 * dy)


def linear_activation(x: Array) -> Array:
    """`x`: no activation at all."""
    return x


def linear_activation_backward(dy: Array, x: Array) -> Array:
    """`dy`."""
    return dy


@in_blocks
def mish(x: Array) -> Array:
    """`x * tanh(log(1 + exp(x)))` (Misra 2019); the logarithm is `max(x, 0) + log(1 + exp(-|x|))`, which never overflows."""
    return x * np.tanh(_softplus(x))


@in_blocks
def mish_backward(dy: Array, x: Array) -> Array:
    """With t = tanh(log(1 + exp(x))): `dy * (t + x (1 - t^2) sigmoid(x))`; sigmoid is the logarithm's derivative."""
    t = np.tanh(_softplus(x))
    return dy * (t + x * (1 - t * t) * sigmoid(x))


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def relu(x: Array) -> Array:
    """`max(x, 0)`."""
    return np.maximum(x, 0)


def relu_backward(dy: Array, x: Array) -> Array:
    """`dy` where x is positive, 0 elsewhere."""
    return dy * (x > 0)


def relu2(x: Array) -> Array:
    """`max(x, 0)^2` (So et al. 2021)."""
    return np.square(relu(x))


def relu2_backward(dy: Array, x: Array) -> Array:
    """`dy * 2 max(x, 0)`."""
    return dy * (2 * relu(x))


def relu6(x: Array) -> Array:
    """`min(max(x, 0), 6)`."""
    return np.clip(x, 0, 6)


def relu6_backward(dy: Array, x: Array) -> Array:
    """`dy` where x lies between 0 and 6, 0 elsewhere."""
    return dy * ((x > 0) & (x < 6))


@in_blocks
def sigmoid(x: Array) -> Array:
    """`1 / (1 + exp(-x))`, as `exp(min(x, 0)) / (1 + exp(-|x|))`, which never overflows."""
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


@in_blocks
def sigmoid_backward(dy: Array, x: Array) -> Array:
    """With s = sigmoid(x): `dy * s (1 - s)`."""
    s = sigmoid(x)
    return dy * s * (1 - s)


def silu(x: Array) -> Array:
    """`x * sigmoid(x)`."""
    return x * sigmoid(x)


def silu_backward(dy: Array, x: Array) -> Array:
    """With s = sigmoid(x): `dy * s (1 + x (1 - s))`."""
    s = sigmoid(x)
    return dy * s * (1 + x * (1 - s))


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return np.tanh(x)


def tanh_backward(dy: Array, x: Array) -> Array:
    """`dy * (1 - tanh(x)^2)`."""
    return dy * (1 - np.square(np.tanh(x)))


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

ACTIVATIONS_BACKWARD: dict[Callable[[Array], Array], Callable[[Array, Array], Array]] = {
    gelu: gelu_backward,
    gelu_10: gelu_10_backward,
    gelu_fast: gelu_fast_backward,
    gelu_new: gelu_new_backward,
    laplace: laplace_backward,
    leaky_relu: leaky_relu_backward,
    linear_activation: linear_activation_backward,
    mish: mish_backward,
    quick_gelu: quick_gelu_backward,
    relu: relu_backward,
    relu2: relu2_backward,
    relu6: relu6_backward,
    sigmoid: sigmoid_backward,
    silu: silu_backward,
    tanh: tanh_backward,
}
"""The gradient of every activation: `backward(dy, x) -> dx`."""
