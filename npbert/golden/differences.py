"""What can be said of a difference that no known mistake explains: where it lies, and of which kind it is."""

from __future__ import annotations

import numpy as np

from npbert.errors import listed
from npbert.golden.divergence import Divergence
from npbert.golden.likeness import what_it_is
from npbert.golden.models import part_of
from npbert.types import Array

AXES = {
    2: ("text", "channel"),
    3: ("text", "token", "channel"),
    4: ("text", "head", "token", "channel"),
}
FEW = 0.5
"""A place is told when the difference lies in at most this share of it."""


def described(divergence: Divergence, computed: Array) -> str:
    """Sentences on the first tensor that differs: which tensor it is, where it differs, by what."""
    name = divergence.first
    seen = divergence.value(name)
    if seen is None or seen.shape != computed.shape:
        return ""
    counts = divergence.counts(name)
    broken = counts & ~np.isfinite(seen) & np.isfinite(computed)
    if broken.any():
        return f"{int(broken.sum())} of {int(counts.sum())} numbers are NaN or infinite, the first at {_first(broken)}."
    sentences = [what_it_is(divergence, name), *_places(divergence, seen, computed, counts)]
    if not sentences[0]:
        sentences.append(_kind(divergence, seen, computed, counts))
    return " ".join(sentence for sentence in sentences if sentence)


def _first(places: Array) -> list[int]:
    return [int(index) for index in np.argwhere(places)[0]]


def _places(divergence: Divergence, seen: Array, computed: Array, counts: Array) -> list[str]:
    """Along which axes the difference lies in some places alone."""
    bound = divergence.pack.tolerances[divergence.first][divergence.precision].max_abs
    with np.errstate(invalid="ignore"):
        wrong = counts & (np.abs(seen - computed) > bound)
    if not wrong.any() or seen.ndim not in AXES:
        return []
    if int(wrong.sum()) == 1:
        return [f"A single number differs, at {_first(wrong)}."]
    told = []
    axes = AXES[seen.ndim]
    if seen.ndim == 4 and divergence.first.endswith(("scores", "probs", ".dropout")):
        axes = (*axes[:-1], "key")
    for axis, what in enumerate(axes):
        others = tuple(other for other in range(seen.ndim) if other != axis)
        there, possible = np.flatnonzero(wrong.any(axis=others)), np.flatnonzero(counts.any(axis=others))
        if len(possible) > 1 and len(there) <= FEW * len(possible):
            plural = "s" if len(there) > 1 else ""
            told.append(f"{what}{plural} {listed([str(index) for index in there])}")
    sentences = [f"The difference lies in {', '.join(told)} alone."] if told else []
    return sentences + _texts_with_padding(divergence, wrong)


def _texts_with_padding(divergence: Divergence, wrong: Array) -> list[str]:
    """Whether only padding differs, or only the texts that have some: then padding gets into the tokens."""
    if not (wrong & divergence.pack.counted(divergence.first)).any():
        return ["Only padding differs: scores that the mask hides."]
    positions = divergence.pack.positions[part_of(divergence.pack.positions, divergence.first)]
    is_padded: Array = np.any(~positions.query, axis=1)  # [B]
    if len(is_padded) != len(wrong) or is_padded.all() or not is_padded.any():
        return []
    is_wrong = wrong.any(axis=tuple(range(1, wrong.ndim)))
    return ["Only texts with padding differ: look at the mask."] if np.array_equal(is_wrong, is_padded) else []


def _kind(divergence: Divergence, seen: Array, computed: Array, counts: Array) -> str:
    """Whether the difference is a factor, an offset, or another order."""
    bound = divergence.pack.tolerances[divergence.first][divergence.precision].max_abs
    wrong = np.where(counts, seen - computed, 0)[counts]
    if wrong.size > 1 and np.ptp(wrong) <= 2 * bound + 1e-4 * np.abs(wrong).max():
        return f"{wrong.mean():.6g} is added to every number."
    rows = counts.any(axis=-1)
    offsets = (seen - computed)[rows]
    if seen.ndim > 2 and len(offsets) > 1 and np.ptp(offsets, axis=0).max() <= 2 * bound + 1e-4 * np.abs(offsets).max():
        return "The same vector is added to every token, as a bias is."
    if not seen[rows].any():
        return "All numbers are 0."
    if np.abs(np.sort(seen[rows], axis=-1) - np.sort(computed[rows], axis=-1)).max() <= 2 * bound:
        return "Each token has the right numbers in another order."
    if np.abs(np.sort(seen[counts]) - np.sort(computed[counts])).max() <= 2 * bound:
        return "All the right numbers are there, in another order."
    return ""
