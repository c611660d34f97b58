"""Losses, each with its gradient below it: what pushes the logits, and how hard."""

from __future__ import annotations

import numpy as np

from npbert.ops.activations import sigmoid
from npbert.ops.attention import softmax
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


def cross_entropy_backward(logits: Array, labels: Array, *, ignore_index: int = -100) -> Array:
    """The gradient by the logits: `(softmax(logits) - 1 at the label) / n` in the n rows that count, 0 in the others.

    The derivative of log(sum(exp(z))) by z_i is softmax(z)_i, and the label's own logit is subtracted once.
    """
    counted = labels != ignore_index  # [...]
    dlogits = np.zeros_like(logits)  # [..., C]
    rows = softmax(logits[counted])  # [rows, C]
    rows[np.arange(len(rows)), labels[counted]] -= 1
    rows /= rows.dtype.type(max(len(rows), 1))
    dlogits[counted] = rows
    return dlogits


def mean_squared_error(predictions: Array, targets: Array) -> Array:
    """The mean of `(predictions - targets)^2`."""
    return mean(np.square(predictions - targets))


def mean_squared_error_backward(predictions: Array, targets: Array) -> Array:
    """The gradient by the predictions: `2 (predictions - targets) / n`."""
    return (predictions - targets) * predictions.dtype.type(2 / max(predictions.size, 1))


def binary_cross_entropy_with_logits(logits: Array, targets: Array) -> Array:
    """The mean of `-y log(sigmoid(z)) - (1 - y) log(1 - sigmoid(z))`, as `max(z, 0) - z y + log(1 + exp(-|z|))`."""
    return mean(np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits))))


def binary_cross_entropy_with_logits_backward(logits: Array, targets: Array) -> Array:
    """The gradient by the logits: `(sigmoid(z) - y) / n`."""
    return (sigmoid(logits) - targets) / logits.dtype.type(max(logits.size, 1))


def mean(x: Array) -> Array:
    """The mean of all elements; of none it is nan, without NumPy's warning."""
    return x.sum() / x.dtype.type(x.size) if x.size else x.dtype.type(np.nan)
