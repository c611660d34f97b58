"""Which other tensor a wrong one is: another name's, of another layer, scaled, turned round, in another layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from npbert.golden.divergence import Divergence
from npbert.golden.layers import is_hidden_state, layer_of
from npbert.types import Array

TOLERANCES = 20.0
CLOSE = 1e-4
"""Two tensors are the same when they differ by this many tolerances, or by this much in relation to their size."""

Arrange = Callable[[Array], Array]

ARRANGEMENTS: list[tuple[str, tuple[int, ...], Arrange]] = [
    ("", (2, 3, 4), lambda x: x),
    ("with the batch in reverse order", (2, 3, 4), lambda x: x[::-1]),
    ("with the tokens in reverse order", (3, 4), lambda x: x[..., ::-1, :]),
    ("with the heads in reverse order", (4,), lambda x: x[:, ::-1]),
    ("with the channels in reverse order", (2, 3), lambda x: x[..., ::-1]),
    ("with its last two axes exchanged", (3, 4), lambda x: x.swapaxes(-1, -2)),
    ("with its tokens shifted by one to the right", (3, 4), lambda x: np.roll(x, 1, axis=-2)),
    ("with its tokens shifted by one to the left", (3, 4), lambda x: np.roll(x, -1, axis=-2)),
    ("written as [B, S, N, H] instead of [B, N, S, H]", (4,), lambda x: x.transpose(0, 2, 1, 3).reshape(x.shape)),
    (
        "read as [B, S, N, H] instead of [B, N, S, H]",
        (4,),
        lambda x: x.reshape(-1, *x.shape[2:0:-1], x.shape[3]).swapaxes(1, 2),
    ),
    ("written as [S, B, D] instead of [B, S, D]", (3,), lambda x: x.swapaxes(0, 1).reshape(x.shape)),
]
"""How a tensor may be turned round, with the ranks that this makes sense in. A line here is all that another needs."""


def what_it_is(divergence: Divergence, name: str) -> str:
    """A sentence on which tensor the port holds under a name; "" where it is none."""
    seen = divergence.value(name)
    if seen is None or seen.ndim == 0 or not np.isfinite(seen).all() or not seen.any():
        return ""
    counts = divergence.counts(name)
    for arrangement, ranks, arrange in ARRANGEMENTS:
        if seen.ndim not in ranks:
            continue
        for source, value in _sources(divergence, name):
            arranged = arrange(value) if value.ndim == seen.ndim else value
            if arranged.shape != seen.shape:
                continue
            factor = _factor(divergence, name, seen[counts], arranged[counts])
            if factor is not None:
                return _told(name, source, arrangement, factor)
    return ""


def _sources(divergence: Divergence, name: str) -> Iterator[tuple[str, Array]]:
    """The tensors of the pack, each once under its shortest name, those nearest to this one first."""
    pack = divergence.pack
    order = {other: index for index, other in enumerate(pack)}
    groups: dict[str, list[str]] = {}
    for other in pack:
        groups.setdefault(pack.aliases.get(other, other), []).append(other)
    here = order[name]
    for group in sorted(groups.values(), key=lambda group: min(abs(order[other] - here) for other in group)):
        shortest = name if name in group else min(group, key=lambda other: (other.startswith("output:"), len(other)))
        if pack[shortest].size == pack[name].size:
            yield shortest, pack[shortest].astype(np.float64)


def _factor(divergence: Divergence, name: str, seen: Array, value: Array) -> float | None:
    """By which factor a value has to be multiplied to be what the port holds; None where no factor does that."""
    size, own = math.sqrt(float(np.vdot(seen, seen))), float(np.vdot(value, value))
    if not size or not own or not math.isfinite(own) or seen.size < 4:
        return None
    factor = float(np.vdot(value, seen)) / own
    rest = seen - factor * value
    allowed = max(TOLERANCES * divergence.pack.tolerances[name][divergence.precision].rms, CLOSE * size / math.sqrt(seen.size))
    is_same = math.sqrt(float(np.vdot(rest, rest)) / rest.size) <= min(allowed, 0.01 * size / math.sqrt(seen.size))
    return factor if is_same else None


def _told(name: str, source: str, arrangement: str, factor: float) -> str:
    what = "the right tensor" if source == name else source
    how = f" {arrangement}" if arrangement else ""
    times = f" times {factor:.6g}" if abs(factor - 1) > 1e-3 else ""
    text = f"This is {what}{how}{times}"
    if not arrangement and not times and is_hidden_state(name) and is_hidden_state(source):
        by = layer_of(name, -1) - layer_of(source, -1)
        text += f": names are shifted by {'one' if abs(by) == 1 else abs(by)}"
    elif not arrangement and source != name and source.endswith(":residual"):
        text += ": perhaps an in-place += behind the hook"
    return f"{text}."
