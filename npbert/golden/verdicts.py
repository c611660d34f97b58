"""What the rows of a comparison say together: another precision fits, or the dump is at fault and not the computation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from npbert.golden.kinds import is_forward
from npbert.golden.layers import layer_of, layer_that_reads
from npbert.golden.models import part_of
from npbert.golden.pack import INPUT, Pack
from npbert.golden.precision import EPSILON, round_to
from npbert.golden.report import Row
from npbert.golden.tolerance import Tolerance
from npbert.types import Array

SHARE_OF_ITS_OWN = 1 / 100
"""A port that computes in a precision is off by this share of what is allowed in it at least, in every tensor of the layers: by
a fortieth where one element is far larger than all others, which a bound has to allow for; elsewhere by a tenth and more."""

FAR_OFF = 1000.0
"""In tolerances. An error so large would show in all that is computed from the tensor."""

BEFORE_SOFTMAX = re.compile(
    r"(?P<attention>.*\.(?:self|attn|crossattention))"
    r"(?:(?P<of_keys>[.:]key|\.c_attn|:(?:relative_|masked_)?scores)|[.:]query|\.q_attn)"
)
"""Softmax does not see what is the same for all keys, such as a bias of the keys, and of a single key it sees nothing: there
only scores can tell."""

IDS = f"{INPUT}input_ids"

DEEP = 1 << 20
"""More layers than any model has."""


def is_within(bounds: Tolerance, max_abs: float, rms: float) -> bool:
    """Whether both errors are allowed."""
    return max_abs <= bounds.max_abs and rms <= bounds.rms


def tolerance_of(pack: Pack, name: str, precision: str) -> Tolerance:
    """What a port may be off by. Of the inputs whole numbers must be equal, others may be rounded."""
    if name not in pack.input_arrays:
        return pack.tolerances[name][precision]
    truth = pack.input_arrays[name]
    if truth.dtype.kind != "f" or not truth.size:
        return Tolerance(0.0, 0.0)
    bound = EPSILON[precision] * float(np.abs(truth).max())
    return Tolerance(bound, bound)


class OtherPrecision(NamedTuple):
    """A precision that a whole dump fits, where it does not fit the one that was asked for."""

    name: str
    is_shown: bool  # whether the numbers show that it is this precision, and not a mistake as small as its errors
    coarser: str = ""  # what shows that the port computes more coarsely, in words


def other_precision(
    pack: Pack,
    rows: Sequence[Row],
    precision: str,
    values: Callable[[], Iterable[Array]],
    shown: Callable[[Sequence[str]], str | None],
    coarser_than: Callable[[str], str],
) -> OtherPrecision | None:
    """Of the precisions that a whole dump fits, the one that its numbers are written in, or that its linear maps show. If there
    is none, the one that allows least: rather one that keeps values in float32, since the numbers are written in none that
    keeps them shorter."""
    if all(row.ok for row in rows):
        return None
    known = [other for other in EPSILON if all(other in pack.tolerances[name] for name in pack)]  # to the npbert that wrote it
    fitting = [other for other in known if other != precision and _fits(pack, rows, other)]
    fitting.sort(key=lambda other: sum(tolerance_of(pack, row.name, other).rms for row in rows))
    for other in fitting:
        if _is_short(other) and all(np.array_equal(round_to(x, other), x, equal_nan=True) for x in values()):
            return OtherPrecision(other, is_shown=True)
    computed_in = shown(fitting)
    if computed_in is not None:
        return OtherPrecision(computed_in, is_shown=True)
    fitting.sort(key=_is_short)
    imprecise = [other for other in fitting if _is_as_imprecise(pack, rows, other)]
    coarser = {other: coarser_than(other) for other in imprecise}
    nearest = next((other for other in imprecise if coarser[other]), next(iter(imprecise), None))
    return None if nearest is None else OtherPrecision(nearest, False, coarser[nearest])


def _fits(pack: Pack, rows: Sequence[Row], precision: str) -> bool:
    return all(is_within(tolerance_of(pack, row.name, precision), row.max_abs, row.rms) for row in rows)


def _is_short(precision: str) -> bool:
    """Whether values in this precision are kept in a format shorter than float32."""
    third = np.full(1, 1 / 3, np.float32)
    return not np.array_equal(round_to(third, precision), third)


def _is_as_imprecise(pack: Pack, rows: Sequence[Row], precision: str) -> bool:
    """Whether every tensor is about as far off as the precision makes it. A port that is far more exact in some of them
    computes more exactly, and made a mistake."""
    rows = [row for row in rows if is_forward(row.name) and row.compared]
    in_layers = [row for row in rows if layer_of(row.name, -1) >= 0]
    computed = in_layers or [row for row in rows if row.name not in pack.input_arrays]
    return all(row.rms >= SHARE_OF_ITS_OWN * tolerance_of(pack, row.name, precision).rms for row in computed)


def dump_at_fault(pack: Pack, rows: Sequence[Row]) -> list[str]:
    """The tensors that are far off while what is computed from them is right: they were not computed so, only dumped so."""
    rows = [row for row in rows if is_forward(row.name)]
    far_off = [index for index, row in enumerate(rows) if row.tolerance_used > FAR_OFF and not row.problem]
    return [rows[index].name for index in far_off if _is_refuted(pack, rows[index], rows[index + 1 :])]


def _is_refuted(pack: Pack, row: Row, later: Sequence[Row]) -> bool:
    if row.name == IDS:
        part = part_of(pack.positions, "input_ids")
        readers = [other for other in later if layer_of(other.name, -1) >= 0 and part_of(pack.positions, other.name) == part]
        return any(other.ok and other.compared for other in readers)
    before_softmax = BEFORE_SOFTMAX.fullmatch(row.name)
    if before_softmax and (before_softmax["of_keys"] or _has_one_key(pack, row.name)):
        attention = before_softmax["attention"]
        return any(other.ok and other.name in (f"{attention}:scores", f"{attention}:masked_scores") for other in later)
    layer = layer_of(row.name, -1)
    if layer < 0 and "embeddings" not in row.name:
        return False  # nothing but a head is computed from it
    layers = [layer_that_reads(other.name, DEEP) for other in later if other.ok and other.compared]
    return any(reader is not None and reader > layer for reader in layers)


def _has_one_key(pack: Pack, name: str) -> bool:
    """Whether each token has only one to look at, as in texts of one token."""
    positions = pack.positions[part_of(pack.positions, name)]
    visible = positions.cross_visible if ".crossattention" in name else positions.visible
    return bool((visible & positions.query[:, :, None]).sum(axis=2).max(initial=0) < 2)
