"""Comparing a port with a pack: tensor by tensor in the order of execution, each with its own tolerance.

First come the values of the forward pass, then the gradients in the order of the backward pass, then what steps made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from npbert.errors import listed
from npbert.golden import proofs, verdicts
from npbert.golden.kinds import is_forward
from npbert.golden.layouts import Reading, written
from npbert.golden.maps import Names
from npbert.golden.matching import MatchedDump, match
from npbert.golden.models import part_of, parts_of_call
from npbert.golden.names import axes_of
from npbert.golden.pack import INPUT, Pack, open_pack
from npbert.golden.ports import Port
from npbert.golden.positions import SOFTMAX_REACH, Positions
from npbert.golden.precision import full_name
from npbert.golden.report import Report, Row
from npbert.golden.tolerance import Tolerance
from npbert.golden.verdicts import is_within, tolerance_of
from npbert.golden.whole_numbers import coarser_than
from npbert.types import Array, StrPath


def compare(
    pack: Pack | StrPath, port: Port, *, names: Names = None, precision: str = "float32", allow_unused: bool = False
) -> Report:
    """Compare what a port dumped with a pack.

    `port` is a mapping from names to arrays, a `.safetensors` or `.npz` file or a directory of `.npy` files; it may hold any
    part of the pack, in any floating-point type, in many layouts (`npbert.golden.layouts`). `names` maps its own names to the
    pack's, as a mapping or a JSON file (`npbert.golden.maps`). `precision` is what the port computes in, one of
    `npbert.golden.precision.STORED_IN`. That most of a dump has names that are in no pack is an error, unless `allow_unused`.

    Positions that the mask hides may hold anything where they cannot matter: rows of padding, and scores that softmax makes 0
    (which must then be far below the others, however the port gets them there).
    """
    precision = full_name(precision)
    return compare_matched(match(open_pack(pack), port, names, allow_unused=allow_unused), precision)


def compare_matched(dump: MatchedDump, precision: str) -> Report:
    """Compare a dump whose names have been matched with the pack's."""
    pack = dump.pack
    rows = [
        _row(dump, name, precision) if name in dump.arrays else _unusable(dump, name, precision)
        for name in (*pack.input_arrays, *pack)
        if name in dump.own_names
    ]
    coarser = partial(coarser_than, dump=dump)
    values = partial(_values_that_count, dump, rows)
    other = verdicts.other_precision(pack, rows, precision, values, partial(proofs.shown, dump=dump), coarser)
    return Report(
        precision,
        rows,
        dump.not_in_port,
        dump.not_in_pack,
        _what_is_hidden(pack.positions),
        other_precision=None if other is None else other.name,
        shows_precision=other is not None and other.is_shown,
        coarser=(coarser(precision) if all(row.ok for row in rows) else "") if other is None else other.coarser,
        dump_at_fault=verdicts.dump_at_fault(pack, rows),
        questions=_questions(dump, rows),
    )


def _values_that_count(dump: MatchedDump, rows: Sequence[Row]) -> Iterator[Array]:
    """What the port computed, one tensor after the other."""
    for row in rows:
        if row.name in dump.pack and not row.problem:
            yield dump.value(row.name)[dump.pack.counted(row.name)].astype(np.float32)


def _row(dump: MatchedDump, name: str, precision: str) -> Row:
    first, *others = dump.readings[name]
    row = _read_row(dump, name, first, precision)
    if not row.ok:
        right = next((other for other in others if _read_row(dump, name, other, precision).ok), None)
        row = replace(row, right_as="" if right is None else right.layout)
    return row


def _read_row(dump: MatchedDump, name: str, reading: Reading, precision: str) -> Row:
    pack, truth, value = dump.pack, dump.truth(name), dump.value(name, reading)
    bounds = tolerance_of(pack, name, precision)
    counts = _counted(pack, name, truth)
    if name.endswith(":masked_scores") and is_forward(name):
        counts = counts | not_hidden(pack.positions[part_of(pack.positions, name)], truth, value, counts)
    row = _measured(name, truth, value, counts, bounds)
    place = "" if not row.not_finite else _first_place(dump, name, counts & ~np.isfinite(value))
    return replace(row, first_not_finite=place, assumed=reading.assumed)


def _unusable(dump: MatchedDump, name: str, precision: str) -> Row:
    problem = str(dump.unusable[name]).removeprefix(f"port: {name} ")
    bounds = tolerance_of(dump.pack, name, precision)
    return Row(name, dump.truth(name).shape, math.nan, math.nan, math.nan, *bounds, 0, 0, False, problem=problem)


def _counted(pack: Pack, name: str, truth: Array) -> Array:
    """Which elements are compared: of the inputs all but ids of padding, which no pass depends on."""
    if name not in pack.input_arrays:
        return pack.counted(name)
    ids = ("input_ids", "token_type_ids", "position_ids")
    query = pack.positions[part_of(pack.positions, name.removeprefix(INPUT))].query
    if name.endswith(ids) and truth.size == query.size:
        return np.asarray(query.reshape(truth.shape))
    return np.ones(truth.shape, np.bool_)


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
    ok = is_within(bounds, max_abs, rms)
    return Row(name, truth.shape, max_abs, rms, cosine, *bounds, true.size, broken, ok, nan=int(np.isnan(seen).sum()))


def _first_place(dump: MatchedDump, name: str, chosen: Array) -> str:
    """The first of the chosen elements, in words."""
    index = np.unravel_index(int(chosen.argmax()), chosen.shape)
    place = dict(zip(axes_of(name, chosen.ndim), map(int, index), strict=True))
    words = f"at [{', '.join(map(str, map(int, index)))}]"
    if "B" not in place or "S" not in place:
        return words
    calls = parts_of_call(dump.pack.config, dump.pack.inputs)
    inputs = calls[part_of(calls, name)].inputs
    token = f", id {inputs['input_ids'][place['B'], place['S']]}" if "input_ids" in inputs else ""
    return f"{words} (text {place['B']}, token {place['S']}, counted from 0{token})"


def _questions(dump: MatchedDump, rows: Sequence[Row]) -> list[str]:
    """What only the user can answer: in which layout a tensor is, where sizes are equal and another layout makes it right."""
    questions = []
    for layout in dict.fromkeys(row.right_as for row in rows if row.right_as):
        asked = [row for row in rows if row.right_as == layout]
        others_too = any(row.ok and any(other.layout == layout for other in dump.readings[row.name][1:]) for row in rows)
        own = dump.own_names[asked[0].name] if others_too or len(asked) == 1 else "*"
        answer = json.dumps({own: {"layout": layout}}, ensure_ascii=False)
        questions.append(
            f"is it {written(layout)}? The shape does not tell, and read so, {listed([row.name for row in asked], most=2)} "
            f"would be right; if the port holds it so, say it in the map: {answer}"
        )
    return questions


def _cosine(x: Array, y: Array) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = math.sqrt(float(np.vdot(x, x))) * math.sqrt(float(np.vdot(y, y)))
        if not lengths:
            return 1.0 if np.array_equal(x, y) else 0.0
        return float(np.clip(np.vdot(x, y) / lengths, -1, 1))  # the last bit may be rounded past 1


def not_hidden(visible: Positions, truth: Array, value: Array, counts: Array) -> Array:
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
