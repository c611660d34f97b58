"""Losses."""

from __future__ import annotations

import numpy as np

from npbert.types import Array


def cross_entropy(logits: Array, labels: Array, *, ignore_index: int = -100) -> Array:
    """The mean of `log(sum(exp(logits))) - logits[label]`, over the rows whose label is not `ignore_index`.

    Logits `[..., C]`, labels `[...]`, result a scalar. When every label is ignored there is nothing to average: nan.
    """
    counted = labels != ignore_index  # [...]
    rows = logits[counted]  # [rows, C], a copy
    rows -= rows.max(axis=-1, keepdims=True, initial=-np.inf)
    right = np.take_along_axis(rows, labels[counted][:, None], axis=-1)[:, 0]  # [rows]
    log_sums = np.log(np.exp(rows, out=rows).sum(axis=-1))  # [rows]
    return mean(log_sums - right)


def mean_squared_error(predictions: Array, targets: Array) -> Array:
    """The mean of `(predictions - targets)^2`."""
    return mean(np.square(predictions - targets))


def binary_cross_entropy_with_logits(logits: Array, targets: Array) -> Array:
    """The mean of `-y log(sigmoid(z)) - (1 - y) log(1 - sigmoid(z))`, as `max(z, 0) - z y + log(1 + exp(-|z|))`."""
    return mean(np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits))))


def mean(x: Array) -> Array:
    """The mean of all elements; of none it is nan, without NumPy's warning."""
    return x.sum() / x.dtype.type(x.size) if x.size else x.dtype.type(np.nan)
