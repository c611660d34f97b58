"""Layouts: the orders of axes in which a port may hold a tensor, and how each of them is read as the pack's own.

A layout is a text: axes between blanks, in the letters of `npbert.golden.names`, with `*` between axes that are merged into
one. So `S B D` has the tokens before the texts, `B*S N*H` has one row for each token, and `I O` is a weight turned round. Axes
of size 1 may be left out or added anywhere. A port may also leave out the padding (one row for each real token), or pad to
another length; then the positions that it lacks are filled from the pack, because they do not count, or in gradients are 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from npbert.types import Array

REAL = "U"
"""The axis of a port that computes the real tokens alone: those of the first text, then those of the second, and so on."""


class Target(NamedTuple):
    """A tensor of a pack, as what a port's array is to be read."""

    truth: Array
    axes: list[str]  # as `npbert.golden.names` has them
    head_size: int
    real: Array  # [B, S]: which tokens are not padding
    batch_may_be_shared: bool  # the same rows for all texts: token types, positions
    is_gradient: bool = False

    @property
    def sizes(self) -> dict[str, int]:
        """The size of each axis, by its letter."""
        sizes: dict[str, int] = {}
        for axis, size in zip(self.axes, self.truth.shape, strict=True):
            sizes |= {"N": size // self.head_size, "H": self.head_size} if axis == "N*H" else {axis: size}
        return sizes

    @property
    def layout(self) -> str:
        """The pack's own layout."""
        return " ".join(self.axes)


class Reading(NamedTuple):
    """One way to read a port's array."""

    layout: str
    assumed: str  # what is assumed of the array, in words; "" where it has the pack's own shape
    read: Callable[[Array], Array]  # to the pack's shape


def readings(shape: tuple[int, ...], target: Target, layout: str | None = None) -> list[Reading]:
    """Every way to read an array of this shape, the likeliest first; `layout` is what the user says that it has."""
    layouts = [target.layout, *_others(target.axes)] if layout is None else [_in_letters_of(target, layout)]
    found = [_exactly(x, target, shape) for x in layouts if _fits(shape, x, target.sizes)]
    if not found:
        found = [
            *_once_or_repeated(shape, target),
            *_padded_otherwise(shape, target, layouts),
            *_unpadded(shape, target, layouts),
        ]
    return _all_different(found, target)


def applies(layout: str, target: Target) -> bool:
    """Whether a layout has just the axes of a tensor."""
    return sorted(_letters(_in_letters_of(target, layout))) == sorted(_letters(target.layout))


# --------------------------------------------------------------------------------------------------------------- layouts


def _others(axes: Sequence[str]) -> list[str]:
    """The layouts that ports are known to use for a tensor with these axes, the usual ones first."""
    if len(axes) >= 2 and axes[0] == "B" and axes[1] in "SE":
        length, rest = axes[1], " ".join(axes[2:])
        rows = [f"{length} B {rest}", f"B*{length} {rest}", f"{length}*B {rest}"]
        return [layout.strip() for layout in rows] + (_with_heads(length) if rest == "N*H" else [])
    if axes[:2] == ["B", "N"] and axes[3] == "H":
        return _with_heads(axes[2])
    if axes[:3] == ["B", "N", "S"]:
        return [layout.replace("T", axes[3]) for layout in ("B*N S T", "N B S T", "B S N T")]
    if axes == ["O", "I"]:
        return ["I O"]
    return []


def _with_heads(length: str) -> list[str]:
    layouts = ("B N S H", "B S N*H", "B S N H", "S B N*H", "S B N H", "B*S N*H", "S*B N*H", "B*S N H", "B*N S H", "N B S H")
    return [layout.replace("S", length) for layout in layouts]


def _in_letters_of(target: Target, layout: str) -> str:
    """A user's layout with the target's own letters: `S B D` may be said of whatever has one axis of features."""
    letters = _letters(target.layout)
    own = next((axis for axis in target.axes if axis in ("D", "F", "V", "C")), "N*H" if "H" in letters else "D")
    layout = re.sub(r"\b[DFVC]\b", own, layout)
    length = next((axis for axis in "STE" if axis in letters), "S")
    return layout if length in layout or "S" in letters else layout.replace("S", length)


def _letters(layout: str) -> list[str]:
    return re.findall(r"[^ *]+", layout)


def _shape(layout: str, sizes: dict[str, int]) -> tuple[int, ...]:
    return tuple(math.prod(sizes[letter] for letter in axis.split("*")) for axis in layout.split())


def _fits(shape: tuple[int, ...], layout: str, sizes: dict[str, int]) -> bool:
    """Whether an array has a layout; axes of size 1 do not matter."""
    return set(_letters(layout)) <= set(sizes) and _without_ones(shape) == _without_ones(_shape(layout, sizes))


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _all_different(found: Sequence[Reading], target: Target) -> list[Reading]:
    """Each reading once: layouts that differ in axes of size 1 alone, or in what is merged, are read alike."""
    different: dict[tuple[str, ...], Reading] = {}
    for reading in found:
        different.setdefault(tuple(x for x in _letters(reading.layout) if target.sizes.get(x) != 1), reading)
    return list(different.values())


def written(layout: str) -> str:
    """A layout as a shape is written: `[S, B, D]`."""
    return f"[{', '.join(layout.split())}]"


# -------------------------------------------------------------------------------------------------------------- readings


def _exactly(layout: str, target: Target, shape: tuple[int, ...]) -> Reading:
    assumed = written(layout)
    if layout == target.layout:
        assumed = "" if shape == target.truth.shape else f"{assumed}, but for axes of size 1"
    return Reading(layout, assumed, partial(_reordered, layout=layout, target=target))


def _reordered(x: Array, layout: str, target: Target) -> Array:
    return _split(x, layout, target.layout, target.sizes).reshape(target.truth.shape)


def _split(x: Array, layout: str, wanted: str, sizes: dict[str, int]) -> Array:
    """The array with every merged axis split, its axes in the order of the `wanted` layout."""
    letters = _letters(layout)
    split = x.reshape([sizes[letter] for letter in letters])
    return split.transpose([letters.index(letter) for letter in _letters(wanted)])


def _padded_otherwise(shape: tuple[int, ...], target: Target, layouts: Sequence[str]) -> list[Reading]:
    """The readings of an array that is padded to another length than the pack."""
    sizes, length = target.sizes, target.real.shape[1]
    padded = [letter for letter in "ST" if sizes.get(letter) == length]  # T is longer where there is a cache
    side = _side_of_padding(target.real)
    if not padded or side is None:
        return []
    known = math.prod(size for letter, size in sizes.items() if letter not in padded)
    theirs = round((math.prod(shape) / known) ** (1 / len(padded))) if known else 0
    if theirs < int(target.real.sum(axis=1).max(initial=0)) or theirs == length:
        return []
    new = sizes | dict.fromkeys(padded, theirs)
    kept = min(theirs, length)
    piece = slice(0, kept) if side == "end" else slice(-kept, None)
    read = partial(_cut, target=target, sizes=new, pieces=dict.fromkeys(padded, piece))
    words = f"padded to {theirs} tokens at the {side}"
    return [
        Reading(layout, f"{written(layout)} {words}", partial(read, layout=layout))
        for layout in layouts
        if _fits(shape, layout, new)
    ]


def _side_of_padding(real: Array) -> str | None:
    """Where the padding stands: "end" or "start"; None where there are gaps, or nothing real."""
    if not real.any():
        return None
    if np.array_equal(real, np.logical_and.accumulate(real, axis=1)):
        return "end"
    return "start" if np.array_equal(real, np.logical_or.accumulate(real, axis=1)) else None


def _cut(x: Array, layout: str, target: Target, sizes: dict[str, int], pieces: dict[str, slice]) -> Array:
    filled = _copy_of_truth(x, target)
    place = tuple(pieces.get(letter, slice(None)) for letter in _letters(target.layout))
    filled[place] = _split(x, layout, target.layout, sizes)[place]
    return filled.reshape(target.truth.shape)


def _copy_of_truth(x: Array, target: Target) -> Array:
    """The truth in numbers that hold the port's too, with every merged axis split."""
    dtype = np.result_type(x, target.truth)
    return np.array(target.truth, dtype).reshape([target.sizes[letter] for letter in _letters(target.layout)])


def _unpadded(shape: tuple[int, ...], target: Target, layouts: Sequence[str]) -> list[Reading]:
    """The readings of an array with one row for each real token."""
    number, sizes = int(target.real.sum()), target.sizes
    length = next((letter for letter in "ST" if (sizes.get("B"), sizes.get(letter)) == target.real.shape), None)
    if length is None or {"S", "T"} <= set(sizes) or number == target.real.size:
        return []
    new = sizes | {REAL: number}
    rows = [layout.replace(f"B*{length}", REAL) for layout in layouts if f"B*{length}" in layout]
    if target.axes[0] == "B":
        rows.append(target.layout.replace(f"B {length}", REAL))
    return [
        Reading(layout, f"{written(layout)} with one row for each of the {number} tokens that are not padding", read)
        for layout in dict.fromkeys(rows)
        if _fits(shape, layout, new)
        for read in [partial(_padded_again, layout=layout, target=target, sizes=new, length=length)]
    ]


def _padded_again(x: Array, layout: str, target: Target, sizes: dict[str, int], length: str) -> Array:
    filled, letters = _copy_of_truth(x, target), _letters(target.layout)
    others = [letter for letter in letters if letter not in ("B", length)]
    rows = filled.transpose([letters.index(letter) for letter in ("B", length, *others)])  # a view
    rows[target.real] = _split(x, layout, " ".join((REAL, *others)), sizes)
    return filled.reshape(target.truth.shape)


def _once_or_repeated(shape: tuple[int, ...], target: Target) -> list[Reading]:
    """The readings of rows that are the same for all texts: the port has them once and the pack for each, or the reverse."""
    if not target.batch_may_be_shared:
        return []
    batch, rest = target.real.shape[0], target.truth.shape[1:]
    if target.truth.shape[0] == 1 and _without_ones(shape) == _without_ones((batch, *rest)):
        read = partial(_added_up if target.is_gradient else _furthest_off, target=target)
        return [Reading(target.layout, "once for each text", read)]
    if _without_ones(shape) == _without_ones(rest) and not target.is_gradient:
        return [Reading(target.layout, "once for all texts", lambda x: np.broadcast_to(x.reshape(rest), target.truth.shape))]
    return []


def _added_up(x: Array, target: Target) -> Array:
    """The gradient by what all texts share is the sum of theirs."""
    return x.reshape(-1, *target.truth.shape[1:]).sum(axis=0, keepdims=True)  # [1, S, D]


def _furthest_off(x: Array, target: Target) -> Array:
    """Of the rows that the texts have for one position, the one that is furthest off, so that no text can hide another's."""
    rows = x.reshape(-1, *target.truth.shape[1:])  # [B, S, D]
    off = np.abs(rows - target.truth).max(axis=2)  # [B, S]
    worst = np.where(target.real, off, -1.0).argmax(axis=0)  # [S]
    return rows[worst, np.arange(rows.shape[1])][None]
