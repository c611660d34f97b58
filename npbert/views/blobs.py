"""Arrays as a page carries them: compressed bytes in base64 inside JSON, which the page unpacks once when it is opened.

Attention is stored as `round(255 * sqrt(p))`, a byte each. Most weights are small: on a linear scale two thirds of them would
become 0, while the square root keeps everything from 4e-6 on.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

from npbert.types import Array

LEVEL = 6
KINDS = {"uint8": "u1", "int8": "i1", "float32": "f4", "int32": "i4"}


def blob(x: Array) -> dict[str, Any]:
    """An array of one of the KINDS, little endian."""
    kind = KINDS[x.dtype.name]
    data = zlib.compress(np.ascontiguousarray(x, x.dtype.newbyteorder("<")).tobytes(), LEVEL)
    return {"kind": kind, "shape": list(x.shape), "blob": base64.b64encode(data).decode("ascii")}


def size_of(packed: dict[str, Any]) -> int:
    """How many bytes a packed array takes on a page: its text, and about 100 for what says how to read it."""
    return len(packed["blob"]) + 100


def exact(x: Array) -> dict[str, Any]:
    """Numbers as float32."""
    return blob(np.asarray(x, np.float32))


def probabilities(p: Array) -> dict[str, Any]:
    """Numbers from 0 to 1 as a byte each, on the scale of their square roots."""
    return blob(np.round(255 * np.sqrt(np.clip(np.nan_to_num(p), 0, 1))).astype(np.uint8))


def shares(x: Array, largest: float) -> dict[str, Any]:
    """Numbers from -largest to largest as a byte each; the page knows `largest`, and -128 stands for no number."""
    with np.errstate(invalid="ignore"):
        steps = np.round(127 * np.clip(x / (largest or 1.0), -1, 1))
    packed = blob(np.where(np.isfinite(x), np.nan_to_num(steps), -128).astype(np.int8))
    return packed | {"largest": float(largest)}


def unpacked_shares(packed: dict[str, Any]) -> Array:
    """What `shares` packed, as exact as it kept it."""
    bytes_ = np.frombuffer(zlib.decompress(base64.b64decode(packed["blob"])), np.int8).reshape(packed["shape"])
    return np.where(bytes_ == -128, np.nan, bytes_ / 127 * packed["largest"])


def pooled(x: Array, most: tuple[int, ...], how: str = "max") -> Array:
    """An array made smaller along its axes, to `most` at most: the value that is largest (in magnitude) of each block, or the
    mean of the block."""
    for axis, limit in enumerate(most):
        size = x.shape[axis]
        if size <= limit:
            continue
        starts = np.linspace(0, size, limit, endpoint=False).astype(np.int64)
        if how == "mean":
            counts = np.diff([*starts, size]).reshape([-1 if other == axis else 1 for other in range(x.ndim)])
            x = np.add.reduceat(x, starts, axis=axis) / counts
        else:
            high, low = np.maximum.reduceat(x, starts, axis=axis), np.minimum.reduceat(x, starts, axis=axis)
            x = np.where(high >= -low, high, low)
    return x


def plain(value: Any) -> Any:
    """A value as JSON takes it: whole numbers and floats of Python, and texts for what is not finite."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)  # "nan", "inf", "-inf"
    return value
