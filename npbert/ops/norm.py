"""Layer normalization (Ba et al. 2016), and its gradients."""

from __future__ import annotations

import numpy as np

from npbert.ops.blocks import in_blocks_of_rows
from npbert.types import Array


@in_blocks_of_rows
def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float = 1e-12, out: Array | None = None) -> Array:
    """`(x - mean) / sqrt(variance + eps) * weight + bias`, over the last axis."""
    y, _ = standardize(x, eps)  # [..., D]
    y *= weight
    return np.add(y, bias, out=out)


@in_blocks_of_rows
def layer_norm_backward(dy: Array, x: Array, weight: Array, *, eps: float = 1e-12) -> Array:
    """The gradient by x. With n = (x - mean) / s, s = sqrt(variance + eps) and g = dy * weight, the gradient by n, it is

        dx = (g - mean(g) - n * mean(g * n)) / s

    x acts on n in three ways: directly; through the mean, which every element shares (second term); and through s, since the
    derivative of s by x_j is n_j / D, so that all n change in proportion to themselves (third term).
    """
    n, s = standardize(x, eps)  # [..., D], [..., 1]
    dx = dy * weight  # [..., D], g
    mean_g = mean(dx)  # [..., 1]
    mean_gn = np.einsum("...d,...d->...", dx, n)[..., None] / n.dtype.type(n.shape[-1])  # [..., 1]
    dx -= mean_g
    n *= mean_gn
    dx -= n
    dx /= s
    return dx


def layer_norm_weight_backward(dy: Array, x: Array, *, eps: float = 1e-12) -> tuple[Array, Array]:
    """The gradients by the weight, the sum of dy * n over all positions, and by the bias, the sum of dy.

    Apart from the gradient by x, because frozen weights do not need them.
    """
    size = x.shape[-1]
    products, _ = standardize(x, eps)  # [..., D], n
    products *= dy
    return products.reshape(-1, size).sum(axis=0), dy.reshape(-1, size).sum(axis=0)  # [D], [D]


def standardize(x: Array, eps: float) -> tuple[Array, Array]:
    """`n = (x - mean) / s` and `s = sqrt(variance + eps)`, over the last axis.

    The variance is the biased one (divided by D, not D - 1) and eps stands inside the root. Removing the mean first and
    squaring afterwards keeps the digits that `mean(x**2) - mean(x)**2` would cancel.
    """
    n = x - mean(x)  # [..., D]
    s = np.sqrt(mean(np.square(n)) + eps)  # [..., 1]
    n /= s
    return n, s


def mean(x: Array) -> Array:
    """The mean over the last axis, which stays as an axis of size 1. NumPy's own mean says more and takes longer."""
    return np.add.reduce(x, axis=-1, keepdims=True) / x.dtype.type(x.shape[-1])
