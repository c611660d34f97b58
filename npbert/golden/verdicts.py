"""What the rows of a comparison say together: another precision fits, or the dump is at fault and not the computation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from npbert.golden.layers import layer_of, layer_that_reads
from npbert.golden.pack import Pack
from npbert.golden.precision import EPSILON, round_to
from npbert.golden.report import Row
from npbert.golden.tolerance import Tolerance
from npbert.types import Array

SHARE_OF_ITS_OWN = 1 / 20
"""A port that computes in a precision is off by this share of what is allowed in it, in every tensor of the layers. One that is
far more exact in some of them computes more exactly, and made a mistake."""

FAR_OFF = 1000.0
"""In tolerances. An error so large would show in all that is computed from the tensor."""

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


def other_precision(pack: Pack, rows: Sequence[Row], precision: str) -> str | None:
    """The other precision that allows the least of those that the whole dump fits, where it does not fit this one."""
    if all(row.ok for row in rows):
        return None
    others = [other for other in EPSILON if other != precision and _fits(pack, rows, other)]
    return min(others, key=lambda other: sum(tolerance_of(pack, row.name, other).rms for row in rows), default=None)


def shows_precision(rows: Sequence[Row], values: Iterable[Array], precision: str) -> bool:
    """Whether a dump shows that it was computed in a precision that it fits, and not with a mistake as small as its errors: the
    first products of the first layer are off already, or every number is one that a shorter format can hold."""
    if any(not row.ok and re.search(r"\blayer\.0\.attention\.self[.:](query|key|value)$", row.name) for row in rows):
        return True
    third = np.full(1, 1 / 3, np.float32)
    is_short = bool(round_to(third, precision) != third)
    return is_short and all(np.array_equal(round_to(x, precision), x, equal_nan=True) for x in values)


def _fits(pack: Pack, rows: Sequence[Row], precision: str) -> bool:
    bounds = {row.name: tolerance_of(pack, row.name, precision) for row in rows}
    in_layers = [row for row in rows if layer_of(row.name, -1) >= 0 and row.compared]
    computed = in_layers or [row for row in rows if row.name not in pack.input_arrays and row.compared]
    return all(is_within(bounds[row.name], row.max_abs, row.rms) for row in rows) and all(
        row.rms >= SHARE_OF_ITS_OWN * bounds[row.name].rms for row in computed
    )


def dump_at_fault(rows: Sequence[Row]) -> list[str]:
    """The tensors that are far off while what is computed from them is right: they were not computed so, only dumped so."""
    return [row.name for index, row in enumerate(rows) if row.tolerance_used > FAR_OFF and _is_refuted(row, rows[index + 1 :])]


def _is_refuted(row: Row, later: Sequence[Row]) -> bool:
    if row.problem:
        return False
    module, _, value = row.name.rpartition(".self")
    if value in (".key", ":key", ":scores", ":relative_scores", ":masked_scores"):
        # Softmax does not see what is the same for all keys, such as a bias of the keys: only scores can tell.
        return any(other.ok and other.name in (f"{module}.self:scores", f"{module}.self:masked_scores") for other in later)
    layer = layer_of(row.name, -1)
    if layer < 0 and "embeddings" not in row.name:
        return False  # nothing but a head is computed from it
    readers = [layer_that_reads(other.name, DEEP) for other in later if other.ok and other.compared]
    return any(reader is not None and reader > layer for reader in readers)
