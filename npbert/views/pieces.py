"""The text as the model reads it: pieces, ids, types, positions, and the embeddings that they pick."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from npbert.types import Array
from npbert.views.one_pass import OnePass, Side
from npbert.views.pictures import picture


def data(done: OnePass) -> list[dict[str, Any]]:
    """For each side its tokens, and the embeddings as strips."""
    return [_of_side(done, side) for side in done.sides]


def _of_side(done: OnePass, side: Side) -> dict[str, Any]:
    found = {name: picture(x, (256, 128)) for name, x in strips(done, side).items()}
    ends = shared_ends({name: shown["largest"] for name, shown in found.items()})
    return {
        "title": side.title,
        "tokens": side.tokens,
        "ids": side.ids,
        "types": side.types,
        "positions": np.arange(len(side)),
        "special": side.is_special,
        "strips": [{"name": name, "picture": shown | {"largest": ends[name]}} for name, shown in found.items()],
    }


def strips(done: OnePass, side: Side) -> dict[str, Array]:
    """The terms of the embeddings and their sum, `[S, D]` each, under their names."""
    shape = done.values[side.names.start].shape
    return {name: np.broadcast_to(done.values[name], shape)[0] for name in side.names.terms if name in done.values}


def shared_ends(ends: Mapping[str, float]) -> dict[str, float]:
    """Where the colours of each strip end: the terms and their sum share a scale, so that one sees which of them is large."""
    *summed, last = ends
    return dict.fromkeys(summed, max((ends[name] for name in summed), default=1.0)) | {last: ends[last]}
