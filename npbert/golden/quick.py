"""A quick look at a divergence: in float32, and at two texts alone. Most mistakes are refuted there already.

What survives is tried again in float64 on the whole dump, so the quick look may let too much through, but nothing too little.
The first and the last text are looked at: a port that mixes texts up takes one of these two for another.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from npbert.golden.compare import compare_matched
from npbert.golden.divergence import Divergence
from npbert.golden.matching import MatchedDump
from npbert.golden.names import axes_of
from npbert.golden.pack import Pack
from npbert.types import Array

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Calls with other arguments are looked at whole."""


def quick_look(divergence: Divergence) -> Divergence:
    """The same divergence in float32, and of the first and the last text, if it shows there."""
    dump = _of_two_texts(divergence.dump)
    if dump is not None:
        report = compare_matched(dump, divergence.precision)
        if report.first_divergence == divergence.row.name:
            return Divergence(dump, divergence.model, report, dtype=np.float32)
    return Divergence(divergence.dump, divergence.model, divergence.report, dtype=np.float32)


def _of_two_texts(dump: MatchedDump) -> MatchedDump | None:
    """The dump without all texts but the first and the last; None where there are no others or none can be left out."""
    pack = dump.pack
    texts = len(next(iter(pack.inputs.values())))
    if texts < 3 or not set(pack.inputs) <= set(INPUTS):
        return None
    every: dict[str, Array] = {**pack.input_arrays, **pack}
    if not all(_is_by_text(name, x, texts) for name, x in every.items()):
        return None
    narrow = Pack(pack.path, {name: _first_and_last(name, x) for name, x in every.items()}, pack.metadata)
    arrays: dict[str, Callable[[], Array]] = {name: partial(_first_and_last, name, dump.value(name)) for name in dump.arrays}
    readings = {name: [first._replace(read=lambda x: x)] for name, (first, *_) in dump.readings.items()}
    return dump._replace(pack=narrow, arrays=arrays, readings=readings)


def _is_by_text(name: str, x: Array, texts: int) -> bool:
    axes = axes_of(name, x.ndim)
    has_none = name.endswith((".position_embeddings", ".distance_embedding"))
    return has_none or ("B" in axes and x.shape[axes.index("B")] == texts)


def _first_and_last(name: str, x: Array) -> Array:
    axes = axes_of(name, x.ndim)
    return x.take([0, -1], axes.index("B")) if "B" in axes else x
