"""The mathematics of BERT: pure functions of arrays.

Nothing here knows a weight's name, a configuration or a file; every function can be read, called and tested alone. No
argument is ever changed. Ids and labels are integers; everything else is float32 or float64, and so is the result.

    B  batch             N  heads               D = N*H  hidden size         V  vocabulary size
    S  query length      H  size of a head      F  intermediate size         M  longest sequence (position table)
    P  cached length     T = P + S  key length

Papers: Vaswani et al. 2017, "Attention is all you need" (attention); Devlin et al. 2018, "BERT" (the rest); Ba et al. 2016,
"Layer normalization"; Hendrycks & Gimpel 2016, "Gaussian error linear units"; Shaw et al. 2018 and Huang et al. 2020 (relative
positions).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .blocks import in_blocks
from .erf import erf
from .errors import InputError

Array: TypeAlias = NDArray[Any]


# --------------------------------------------------------------------------------------------------------------- layers


def embedding(ids: Array, table: Array) -> Array:
    """Look rows up: `table[ids]`. Ids `[...]` and table `[V, D]` give `[..., D]`.

    NumPy would read a negative id from the table's end; here it is out of range like one past the end.
    """
    if ids.size and not 0 <= ids.min() <= ids.max() < len(table):
        raise InputError(f"ids: got {ids.min()} to {ids.max()}, the table takes 0 to {len(table) - 1}")
    return table[ids]  # [..., D]


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """`x @ weight.T + bias`: x `[..., in]`, weight `[out, in]`, bias `[out]`, result `[..., out]`."""
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # one large product is faster than one for each sequence
    y = rows @ weight.T  # [rows, out]
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], len(weight))  # [..., out]


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


def dropout(x: Array, probability: float, rng: np.random.Generator | None) -> Array:
    """Zero each element with the given probability and divide the others by `1 - probability`; without rng, x itself."""
    if rng is None or probability == 0:
        return x
    if probability == 1:
        return np.zeros_like(x)
    kept = rng.random(x.shape, dtype=np.float32) >= probability
    return x * kept / x.dtype.type(1 - probability)


def apply_in_chunks(function: Callable[[Array], Array], x: Array, size: int, *, axis: int) -> Array:
    """`function(x)` computed over pieces of `size` along one axis; 0 means all at once, and the last piece may be shorter.

    For a function that treats the positions of that axis separately the result is the same, and what it needs in between
    exists for one piece at a time.
    """
    if size == 0 or size >= x.shape[axis]:
        return function(x)
    pieces = np.split(x, range(size, x.shape[axis], size), axis=axis)
    return np.concatenate([function(piece) for piece in pieces], axis=axis)


# ------------------------------------------------------------------------------------------------------------ attention


def split_heads(x: Array, head_size: int) -> Array:
    """`[B, S, N*H]` -> `[B, N, S, H]`: each position's vector is cut into N consecutive pieces, then heads come first."""
    batch, length, width = x.shape
    return x.reshape(batch, length, width // head_size, head_size).transpose(0, 2, 1, 3)  # [B, N, S, H]


def merge_heads(x: Array) -> Array:
    """`[B, N, S, H]` -> `[B, S, N*H]`: the inverse of `split_heads`."""
    batch, heads, length, head_size = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, length, heads * head_size)  # [B, S, N*H]


def attention_scores(query: Array, key: Array) -> Array:
    """How much each query looks at each key: `q k^T`, not yet scaled."""
    transposed = np.ascontiguousarray(key.transpose(0, 1, 3, 2))  # [B, N, H, T]; BLAS is slow on many small turned views
    return query @ transposed  # [B, N, S, T]


def relative_distances(distance_table: Array, query_length: int, key_length: int) -> Array:
    """`E[l, r] = distance_table[l - r + M - 1]`: one vector for each distance between a query and a key.

    The table `[2M - 1, H]` runs from distance -(M-1) to M-1. The queries are the last of the keys: with P = T - S cached
    keys before them they stand at positions P .. T-1.
    """
    queries = np.arange(key_length - query_length, key_length)  # [S]
    keys = np.arange(key_length)  # [T]
    longest = (len(distance_table) + 1) // 2  # M
    return embedding(queries[:, None] - keys + longest - 1, distance_table)  # [S, T, H]


def relative_query_scores(query: Array, distances: Array) -> Array:
    """What a query says about its distance to each key (Shaw et al.)."""
    return np.einsum("bhld,lrd->bhlr", query, distances, optimize=True)  # [B, N, S, T]


def relative_key_scores(key: Array, distances: Array) -> Array:
    """What a key says about its distance to each query (Huang et al.)."""
    return np.einsum("bhrd,lrd->bhlr", key, distances, optimize=True)  # [B, N, S, T]


def scale_and_mask(scores: Array, head_size: int, mask: Array | None = None) -> Array:
    """`scores / sqrt(H) + mask`, with an additive mask: 0 where a query may look, very negative where it may not."""
    scores = scores / math.sqrt(head_size)
    if mask is not None:
        scores += mask
    return scores  # [B, N, S, T]


def softmax(x: Array) -> Array:
    """`exp(x) / sum(exp(x))` over the last axis. The row's largest value is taken off first, so that exp never overflows."""
    y = x - x.max(axis=-1, keepdims=True, initial=-np.inf)  # [..., T]; initial: T may be 0
    np.exp(y, out=y)
    y /= y.sum(axis=-1, keepdims=True)
    return y


def scaled_dot_product_attention(query: Array, key: Array, value: Array, mask: Array | None = None) -> Array:
    """`softmax(q k^T / sqrt(H) + mask) v`, all four steps at once: q `[B, N, S, H]`, k and v `[B, N, T, H]`."""
    scores = attention_scores(query, key)  # [B, N, S, T]
    probs = softmax(scale_and_mask(scores, query.shape[-1], mask))  # [B, N, S, T]
    return probs @ value  # [B, N, S, H]


# ---------------------------------------------------------------------------------------------------------- activations


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


# --------------------------------------------------------------------------------------------------------------- losses


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
