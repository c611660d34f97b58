"""Comparing a port with a pack: tensor by tensor in the order of execution, each with its own tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from npbert.golden.matching import MatchedDump, Names, match
from npbert.golden.models import part_of
from npbert.golden.pack import Pack, open_pack
from npbert.golden.ports import Port
from npbert.golden.positions import SOFTMAX_REACH, Positions
from npbert.golden.precision import EPSILON, full_name
from npbert.golden.report import Report, Row
from npbert.golden.tolerance import Tolerance
from npbert.types import Array, StrPath


def compare(pack: Pack | StrPath, port: Port, *, names: Names = None, precision: str = "float32") -> Report:
    """Compare what a port dumped with a pack.

    `port` is a mapping from names to arrays, a `.safetensors` or `.npz` file or a directory of `.npy` files; it may hold any
    part of the pack, in any floating-point type, with heads split or merged. `names` maps its own names to the pack's (a
    mapping, or a JSON file of one). `precision` is what the port computes in: `float32`, `float16` or `bfloat16`.

    Positions that the mask hides may hold anything where they cannot matter: rows of padding, and scores that softmax makes 0
    (which must then be far below the others, however the port gets them there).
    """
    precision = full_name(precision)
    return compare_matched(match(open_pack(pack), port, names), precision)


def compare_matched(dump: MatchedDump, precision: str) -> Report:
    """Compare a dump whose names have been matched with the pack's."""
    rows = [_row(dump, name, precision) for name in dump.arrays]
    return Report(precision, rows, dump.not_in_port, dump.not_in_pack, _what_is_hidden(dump.pack.positions))


def _row(dump: MatchedDump, name: str, precision: str) -> Row:
    pack, truth, value = dump.pack, dump.truth(name), dump.value(name)
    if name in pack.input_arrays:
        return _measured(name, truth, value, np.ones(truth.shape, np.bool_), _tolerance_of_input(truth, precision))
    counts = pack.counted(name)
    if name.endswith(":masked_scores"):
        counts = counts | _not_hidden(pack.positions[part_of(pack.positions, name)], truth, value, counts)
    return _measured(name, truth, value, counts, pack.tolerances[name][precision])


def _measured(name: str, truth: Array, value: Array, counts: Array, bounds: Tolerance) -> Row:
    true = truth[counts].astype(np.float64)
    seen = value[counts].astype(np.float64)
    with np.errstate(invalid="ignore"):
        wrong = np.where(seen == true, 0.0, seen - true)  # equal infinities do not differ
    broken = int((~np.isfinite(wrong)).sum())
    if broken:
        max_abs = rms = math.inf
        cosine = math.nan
    elif not true.size:
        max_abs = rms = 0.0
        cosine = 1.0
    else:
        max_abs = float(np.abs(wrong).max())
        rms = math.sqrt(float(np.vdot(wrong, wrong)) / wrong.size)
        cosine = _cosine(true, seen)
    ok = max_abs <= bounds.max_abs and rms <= bounds.rms
    return Row(name, truth.shape, max_abs, rms, cosine, *bounds, true.size, broken, ok)


def _cosine(x: Array, y: Array) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = math.sqrt(float(np.vdot(x, x))) * math.sqrt(float(np.vdot(y, y)))
        if not lengths:
            return 1.0 if np.array_equal(x, y) else 0.0
        return float(np.clip(np.vdot(x, y) / lengths, -1, 1))  # the last bit may be rounded past 1


def _tolerance_of_input(truth: Array, precision: str) -> Tolerance:
    """Whole numbers must be equal, others may be rounded."""
    if truth.dtype.kind != "f" or not truth.size:
        return Tolerance(0.0, 0.0)
    bound = EPSILON[precision] * float(np.abs(truth).max())
    return Tolerance(bound, bound)


def _not_hidden(visible: Positions, truth: Array, value: Array, counts: Array) -> Array:
    """The masked scores that the mask should hide and that the port does not have far below the others of their row."""
    rows = visible.query[:, None, :, None]  # [B, 1, S, 1]
    largest = np.where(counts, truth, -np.inf).max(axis=-1, keepdims=True, initial=-np.inf)  # [B, N, S, 1]
    return rows & ~counts & ~(value <= largest - SOFTMAX_REACH)  # a NaN is not below anything


def _what_is_hidden(parts: Mapping[str, Positions]) -> str:
    """What the masks hide, in words."""
    texts = []
    hidden = sum(int((~part.query).sum()) for part in parts.values())
    if hidden:
        texts.append(f"{hidden} of {sum(part.query.size for part in parts.values())} positions, which are padding")
    pairs = 0
    for part in parts.values():
        rows = part.query[:, :, None]  # [B, S, 1]
        pairs += int((rows & ~part.visible).sum() + (rows & ~part.cross_visible).sum())
    if pairs:
        texts.append(f"{pairs} scores of each head that the mask hides (:masked_scores must be far below the others there)")
    return "; ".join(texts)
