"""Layer normalization (Ba et al. 2016), and its gradient."""

from __future__ import annotations

import numpy as np

from npbert.ops.blocks import in_blocks_of_rows
from npbert.types import Array


@in_blocks_of_rows
def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float = 1e-12) -> Array:
    """`(x - mean) / sqrt(variance + eps) * weight + bias`, over the last axis.

    The variance is the biased one (divided by D, not D - 1) and eps stands inside the root. Removing the mean first and
    squaring afterwards keeps the digits that `mean(x**2) - mean(x)**2` would cancel.
    """
    y = x - mean(x)  # [..., D]
    variance = mean(np.square(y))  # [..., 1]
    y /= np.sqrt(variance + eps)
    y *= weight
    y += bias
    return y


def layer_norm_backward(dy: Array, x: Array, weight: Array, *, eps: float = 1e-12) -> tuple[Array, Array, Array]:
    """The gradients by x, by the weight and by the bias.

    With n = (x - mean) / s, s = sqrt(variance + eps) and g = dy * weight, the gradient by n,

        dx = (g - mean(g) - n * mean(g * n)) / s

    x acts on n in three ways: directly; through the mean, which every element shares (second term); and through s, since the
    derivative of s by x_j is n_j / D, so that all n change in proportion to themselves (third term). The gradient by the
    weight is the sum of dy * n over all positions, the one by the bias the sum of dy.
    """
    n = x - mean(x)  # [..., D]
    s = np.sqrt(mean(np.square(n)) + eps)  # [..., 1]
    n /= s
    dx = dy * weight  # [..., D], g
    mean_g = mean(dx)  # [..., 1]
    mean_gn = np.einsum("...d,...d->...", dx, n)[..., None] / n.dtype.type(n.shape[-1])  # [..., 1]
    dx -= mean_g
    dx -= n * mean_gn
    dx /= s
    n *= dy
    size = x.shape[-1]
    return dx, n.reshape(-1, size).sum(axis=0), dy.reshape(-1, size).sum(axis=0)


def mean(x: Array) -> Array:
    """The mean over the last axis, which stays as an axis of size 1. NumPy's own mean says more and takes longer."""
    return np.add.reduce(x, axis=-1, keepdims=True) / x.dtype.type(x.shape[-1])
