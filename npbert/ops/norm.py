"""Normalization."""

from __future__ import annotations

import numpy as np

from npbert.types import Array


def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float = 1e-12) -> Array:
    """`(x - mean) / sqrt(variance + eps) * weight + bias`, over the last axis.

    The variance is the biased one (divided by D, not D - 1) and eps stands inside the root. Removing the mean first and
    squaring afterwards keeps the digits that `mean(x**2) - mean(x)**2` would cancel.
    """
    y = x - x.mean(axis=-1, keepdims=True)  # [..., D]
    variance = np.square(y).mean(axis=-1, keepdims=True)  # [..., 1]
    y /= np.sqrt(variance + eps)
    y *= weight
    y += bias
    return y
