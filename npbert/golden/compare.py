"""Holding a port against a pack: tensor by tensor in the order of execution, each by its own tolerance."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from npbert.golden import ports, positions
from npbert.golden.pack import Pack, read_pack
from npbert.golden.positions import Positions
from npbert.golden.precision import EPSILON, full_name
from npbert.golden.tolerance import Tolerance
from npbert.types import Array, StrPath

UNREACHABLE = 60.0
"""A score so far below the largest of its row is hidden, whatever the port adds where the mask hides: exp(-60) is 1e-26."""

NEIGHBOURS = 3
WIDTH = 118  # of a report's notes, about as wide as its table


@dataclass(frozen=True)
class Row:
    """One tensor of the port against the pack's."""

    name: str
    shape: tuple[int, ...]
    max_abs: float  # the largest difference; infinite where the port holds NaN or infinity and the pack does not
    rms: float  # the root of the mean square of the differences
    cosine: float  # of the angle between the two tensors as vectors
    tolerance: float  # of max_abs
    rms_tolerance: float
    compared: int  # how many elements: those that the mask hides may hold anything
    not_finite: int  # how many of them are NaN or infinite in the port alone
    ok: bool

    @property
    def strain(self) -> float:
        """How much of what it is allowed the tensor takes: above 1 it is wrong."""
        pairs = ((self.max_abs, self.tolerance), (self.rms, self.rms_tolerance))
        return max(wrong / bound if bound else (math.inf if wrong else 0.0) for wrong, bound in pairs)


@dataclass(frozen=True)
class Report:
    """What a comparison found; `str(report)` is a table of what matters in it."""

    precision: str
    rows: list[Row]  # in the order of execution
    not_in_port: list[str]  # names of the pack; what equals a tensor that was compared is not counted
    not_in_pack: list[str]  # names of the port
    hidden: str  # what was not compared because the mask hides it; "" where nothing was

    @property
    def ok(self) -> bool:
        """Whether every tensor that the port dumped is right."""
        return all(row.ok for row in self.rows)

    @property
    def first_divergence(self) -> str | None:
        """The name of the first wrong tensor in the order of execution."""
        return next((row.name for row in self.rows if not row.ok), None)

    def to_json(self) -> str:
        """The whole report as a JSON text; what is NaN or infinite is null."""
        rows = [{field: _in_json(value) for field, value in vars(row).items()} for row in self.rows]
        fields = {
            "ok": self.ok,
            "precision": self.precision,
            "first_divergence": self.first_divergence,
            "rows": rows,
            "not_in_port": self.not_in_port,
            "not_in_pack": self.not_in_pack,
            "hidden": self.hidden,
        }
        return json.dumps(fields, ensure_ascii=False)

    def __str__(self) -> str:
        bad = [index for index, row in enumerate(self.rows) if not row.ok]
        nearest = max(range(len(self.rows)), key=lambda index: self.rows[index].strain)
        centre = bad[0] if bad else nearest
        start, stop = max(0, centre - NEIGHBOURS), centre + NEIGHBOURS + 1
        lines = _table(self.rows[start:stop])
        if start:
            lines.insert(1, f"    ... {_count(self.rows[:start])}")
        if stop < len(self.rows):
            lines.append(f"    ... {_count(self.rows[stop:])}")
        row = self.rows[centre]
        lines.append("")
        if bad:
            lines.append(f"first divergence: {row.name}; {len(bad)} of {len(self.rows)} tensors differ as {self.precision}")
        else:
            lines.append(
                f"ok: {len(self.rows)} tensors are right as {self.precision}; {row.name} comes nearest to its bound, "
                f"{row.strain:.0%} of it"
            )
        notes = [f"not compared: {self.hidden}"] if self.hidden else []
        for where, names in (("port", self.not_in_port), ("pack", self.not_in_pack)):
            if names:
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                notes.append(f"not in the {where}: {', '.join(names[:5])}{more}")
        for note in notes:
            lines.append(wrapped(note))
        return "\n".join(lines)


def wrapped(text: str, indent: str = "") -> str:
    """A sentence on as many lines as a terminal wants; names stay whole."""
    more = indent + "    "
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=more, break_long_words=False, break_on_hyphens=False
    )


def compare(pack: Pack | StrPath, port: ports.Port, *, names: ports.Names = None, precision: str = "float32") -> Report:
    """Hold what a port dumped against a pack.

    `port` is a mapping from names to arrays, a `.safetensors` or `.npz` file or a directory of `.npy` files; it may hold any
    part of the pack, in any floating-point type, with heads split or merged. `names` maps its own names to the pack's (a
    mapping, or a JSON file of one). `precision` is what the port computes in: `float32`, `float16` or `bfloat16`.

    Positions that the mask hides may hold anything where they cannot matter: rows of padding, and scores that softmax makes 0
    (which must then be far below the others, however the port gets them there).
    """
    precision = full_name(precision)
    opened = pack if isinstance(pack, Pack) else read_pack(pack)
    found = ports.find(opened, port, names)
    arguments = ports.inputs(opened)
    visible = positions.of_call(opened.config, opened.inputs)
    rows = []
    for name, load in found.values.items():
        truth = arguments[name] if name in arguments else opened[name]
        value = ports.in_shape(name, load(), truth.shape)
        if name in arguments:
            bounds = _of_input(truth, precision)
            counts = np.ones(truth.shape, np.bool_)
        else:
            bounds = opened.tolerances[name][precision]
            counts = np.broadcast_to(positions.counted(visible, name, truth.shape), truth.shape)
            if name.endswith(":masked_scores"):
                counts = counts | _reachable(positions.part_of(visible, name), truth, value, counts)
        rows.append(_row(name, truth, value, counts, bounds))
    return Report(precision, rows, found.not_in_port, found.not_in_pack, _describe(visible))


def _row(name: str, truth: Array, value: Array, counts: Array, bounds: Tolerance) -> Row:
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


def _of_input(truth: Array, precision: str) -> Tolerance:
    """What an input may be off by: whole numbers not at all, others by their rounding."""
    if truth.dtype.kind != "f" or not truth.size:
        return Tolerance(0.0, 0.0)
    bound = EPSILON[precision] * float(np.abs(truth).max())
    return Tolerance(bound, bound)


def _reachable(visible: Positions, truth: Array, value: Array, counts: Array) -> Array:
    """Masked scores of queries that count which the mask should hide and which are not far below the others of their row."""
    rows = visible.query[:, None, :, None]  # [B, 1, S, 1]
    largest = np.where(counts, truth, -np.inf).max(axis=-1, keepdims=True, initial=-np.inf)  # [B, N, S, 1]
    return rows & ~counts & ~(value <= largest - UNREACHABLE)  # a NaN is not below anything


def _describe(parts: Mapping[str, Positions]) -> str:
    """What the mask hides, in words."""
    texts = []
    hidden = sum(int((~part.query).sum()) for part in parts.values())
    if hidden:
        texts.append(f"{hidden} of {sum(part.query.size for part in parts.values())} positions, which are padding")
    pairs = 0
    for part in parts.values():
        rows = part.query[:, :, None]  # [B, S, 1]
        pairs += int((rows & ~part.visible).sum() + (rows & ~part.cross_visible).sum())
    if pairs:
        texts.append(f"{pairs} scores of each head that the mask hides; of the masked ones only that they are hidden")
    return "; ".join(texts)


def _table(rows: list[Row]) -> list[str]:
    shapes = [str(list(row.shape)) for row in rows]
    width, wide = max(len(row.name) for row in rows), max(map(len, shapes))
    lines = [f"    {'tensor':<{width}}  {'shape':<{wide}}   max_abs   allowed       rms   allowed     cosine"]
    for row, shape in zip(rows, shapes, strict=True):
        numbers = f"{row.max_abs:8.2e}  {row.tolerance:8.2e}  {row.rms:8.2e}  {row.rms_tolerance:8.2e}  {row.cosine:9.7f}"
        broken = f"  {row.not_finite} NaN or infinite" if row.not_finite else ""
        lines.append(f"{'ok ' if row.ok else 'BAD'} {row.name:<{width}}  {shape:<{wide}}  {numbers}{broken}")
    return lines


def _count(rows: list[Row]) -> str:
    bad = sum(not row.ok for row in rows)
    good = len(rows) - bad
    parts = [f"{good} more {'is' if good == 1 else 'are'} ok"] if good else []
    parts += [f"{bad} more {'differs' if bad == 1 else 'differ'}"] if bad else []
    return " and ".join(parts)


def _in_json(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
