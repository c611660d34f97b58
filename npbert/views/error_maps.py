"""Where in a tensor an error sits, and of which kind it is: what a cell of the comparison opens.

All numbers here are shares: the error of an element over the largest that is allowed, so 1 is the bound. They are computed from
full precision and only then made small enough for a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from npbert.errors import listed
from npbert.golden.matching import MatchedDump
from npbert.golden.models import parts_of_config
from npbert.golden.names import axes_of
from npbert.golden.report import Row
from npbert.types import Array
from npbert.views.blobs import pooled, shares
from npbert.views.permutations import permutation

DECADES, TINY = 4.0, 1e-300
"""Maps show shares from 10**-4 to 10**4."""

LARGE, SMALL = (128, 96), (48, 48)
"""The most rows and columns of a map: of a wrong tensor, and of a right one."""

WORDS = {"B": "text", "N": "head", "S": "token", "T": "key", "E": "key", "V": "word", "C": "class", "O": "output", "I": "input"}
HISTOGRAM = np.linspace(-6, 5, 45)
BINS, DOTS = 80, 240

INPUTS = {
    ".intermediate_act_fn": ".dense",
    ".transform_act_fn": ".dense",
    "pooler.activation": "pooler.dense",
    ".mlp.act": ".mlp.c_fc",
    ".attn_dropout": ":masked_scores",
    "output.LayerNorm": "output:residual",
    "embeddings.LayerNorm": "embeddings:sum",
    ":masked_scores": ":scores",
    ".self.dropout": ".self:masked_scores",
}
"""What went into a step that works on each number, or each row, alone: the ends of both names."""


class Plane(NamedTuple):
    """A tensor as rows and columns: along other axes the largest share."""

    title: str
    row_axis: str
    col_axis: str
    rows: list[str]
    cols: list[str]
    values: Array  # [rows, cols]; NaN where nothing counts


def detail(dump: MatchedDump, row: Row) -> dict[str, Any]:
    """Everything that the page shows of one tensor."""
    name = row.name
    truth, seen = (np.asarray(x, np.float64) for x in (dump.truth(name), dump.value(name)))
    counts = dump.pack.counted(name) if name in dump.pack else np.ones(truth.shape, np.bool_)
    with np.errstate(invalid="ignore", divide="ignore"):
        wrong = np.where((seen == truth) | (np.isnan(seen) & np.isnan(truth)), 0.0, seen - truth)
        share = np.where(np.isfinite(wrong), np.abs(wrong) / (row.tolerance or 1.0), np.inf)
    axes = axes_of(name, truth.ndim)
    most = SMALL if row.ok else LARGE
    found: dict[str, Any] = {
        "planes": [_packed(plane, most) for plane in planes(np.where(counts, share, np.nan), axes, dump)],
        "histogram": _histogram(share[counts]),
        "uncounted": int((~counts).sum()),
        "uncounted_differs": int((~counts & (share > 1)).sum()),
        "where": _where(counts & (share > 1), counts, axes, _head_size(dump)),
    }
    if not row.ok:
        found["input"], x = _what_went_in(dump, name, truth)
        found["curve"] = _curve(x, wrong, counts)
        found["quantiles"] = _quantiles(truth[counts], seen[counts])
        found["permutation"] = permutation(truth, seen, counts, axes, row)
    return found


# --------------------------------------------------------------------------------------------------------------------- maps


def planes(share: Array, axes: Sequence[str], dump: MatchedDump) -> list[Plane]:
    """The maps of a tensor: its tokens alone, tokens by what each token holds, and heads by tokens where there are heads."""
    if axes[:2] == ["B", "N"]:  # [B, N, S or T, ...]
        strip = _token_strip(dump, share, 2)
        by_head = _largest(share, -1).transpose(1, 0, 2)  # [N, B, S]
        tokens = _largest(share, 1)  # [B, S, T or H]
        across = WORDS.get(axes[3], "feature")
        return [
            strip,
            Plane("heads by tokens", "head", "token", _numbers(share.shape[1]), _tokens(dump, share, 2), _merged(by_head, 1)),
            Plane(
                f"tokens by {across}s", "token", across, _tokens(dump, share, 2), _numbers(share.shape[3]), _merged(tokens, 0)
            ),
        ]
    if share.ndim == 3 and axes[0] in ("B", "1"):  # [B, S, D]
        strip = _token_strip(dump, share, 1)
        features = Plane(
            "tokens by features", "token", "feature", _tokens(dump, share, 1), _numbers(share.shape[2]), _merged(share, 0)
        )
        if axes[-1] != "N*H":
            return [strip, features]
        heads = _largest(share.reshape(*share.shape[:2], -1, _head_size(dump)), -1).transpose(2, 0, 1)  # [N, B, S]
        heads_plane = Plane(
            "heads by tokens", "head", "token", _numbers(len(heads)), _tokens(dump, share, 1), _merged(heads, 1)
        )
        return [strip, heads_plane, features]
    if share.ndim == 2 and axes[0] != "B":
        rows, cols = share.shape
        return [Plane("rows by columns", "row", "column", _numbers(rows), _numbers(cols), share)]
    if share.ndim == 2:
        across = WORDS.get(axes[1], "feature")
        return [Plane(f"texts by {across}s", "text", across, _numbers(len(share)), _numbers(share.shape[1]), share)]
    flat = share.reshape(1, -1)
    return [Plane("all numbers", "", "number", [""], _numbers(flat.shape[1]), flat)]


def _token_strip(dump: MatchedDump, share: Array, axis: int) -> Plane:
    """The largest share of each token of each text, under the token's id where the texts do not share a column."""
    batch, length = share.shape[0], share.shape[axis]
    moved = np.moveaxis(share, axis, 1).reshape(batch, length, -1)
    texts, tokens = _numbers(batch), _tokens(dump, share, axis) if batch == 1 else _numbers(length)
    return Plane("texts by tokens", "text", "token", texts, tokens, _largest(moved, -1))


def _largest(x: Array, axis: int) -> Array:
    """The largest of what counts; NaN where nothing does."""
    found = np.where(np.isnan(x), -1.0, x).max(axis=axis, initial=-1.0)
    return np.where(found < 0, np.nan, found)


def _merged(x: Array, axis: int) -> Array:
    """The axis and the one behind it as one."""
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def _tokens(dump: MatchedDump, share: Array, axis: int) -> list[str]:
    """What the tokens of all texts are called: their places, with their ids where the pack says which those are."""
    batch, length = share.shape[0], share.shape[axis]
    ids = dump.pack.inputs.get("input_ids")
    known = [] if ids is None or ids.size != batch * length else [f" id {number}" for number in ids.reshape(-1)]
    return [
        (f"{place // length}:" if batch > 1 else "") + str(place % length) + (known[place] if known else "")
        for place in range(batch * length)
    ]


def _head_size(dump: MatchedDump) -> int:
    return next(iter(parts_of_config(dump.pack.config).values())).head_size


def _packed(plane: Plane, most: tuple[int, int]) -> dict[str, Any]:
    """A map as the page takes it: the logarithm of the shares."""
    rows, cols = plane.values.shape
    # What does not count is below 0, and so little that anything that counts is chosen before it.
    filled = np.where(np.isnan(plane.values), -TINY, np.maximum(plane.values, TINY))
    small = pooled(filled, most)
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.where(small < 0, np.nan, np.clip(np.log10(small), -DECADES, DECADES))
    return {
        "title": plane.title,
        "row_axis": plane.row_axis,
        "col_axis": plane.col_axis,
        "rows": _labels(plane.rows, small.shape[0]),
        "cols": _labels(plane.cols, small.shape[1]),
        "shape": [rows, cols],
        "values": shares(logarithm, DECADES),
    }


def _labels(texts: Sequence[str], kept: int) -> list[str]:
    """The labels of what was pooled: the first of each block, with the last."""
    if kept == len(texts):
        return list(texts)
    starts = [*np.linspace(0, len(texts), kept, endpoint=False).astype(np.int64), len(texts)]
    return [f"{texts[a]}–{texts[b - 1]}" if b - a > 1 else texts[a] for a, b in pairwise(starts)]


# ------------------------------------------------------------------------------------------------------------------- kinds


def _histogram(share: Array) -> dict[str, Any]:
    """How many elements have which error, by the logarithm of their share."""
    with np.errstate(divide="ignore"):
        logarithm = np.clip(np.log10(share), HISTOGRAM[0], HISTOGRAM[-1])
    counts, _ = np.histogram(logarithm, HISTOGRAM)
    return {"middles": 10 ** ((HISTOGRAM[1:] + HISTOGRAM[:-1]) / 2), "counts": counts, "exact": int((share == 0).sum())}


def _where(wrong: Array, counts: Array, axes: Sequence[str], head_size: int) -> list[str]:
    """In words: the few heads, tokens or texts that hold every wrong element; nothing where they are everywhere."""
    if axes[-1:] == ["N*H"]:
        wrong, counts = (x.reshape(*x.shape[:-1], -1, head_size) for x in (wrong, counts))
        axes = [*axes[:-1], "N", "H"]
    told = []
    for axis, letter in enumerate(axes):
        others = tuple(other for other in range(wrong.ndim) if other != axis)
        there, possible = np.flatnonzero(wrong.any(axis=others)), np.flatnonzero(counts.any(axis=others))
        if 0 < len(there) <= len(possible) / 2:
            told.append(f"{WORDS.get(letter, 'feature')} {listed(_ranges(there), most=6)} of {len(possible)}")
    return told


def _ranges(numbers: Array) -> list[str]:
    """Neighbours as one: 3, 5, 6, 7 is 3 and 5–7."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    return [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]


def _what_went_in(dump: MatchedDump, name: str, truth: Array) -> tuple[str, Array]:
    """The values that a step read, where it works on each alone; else the right values of the step itself."""
    for end, start in INPUTS.items():
        other = name.removesuffix(end) + start
        if name.endswith(end) and other in dump.pack and dump.pack[other].shape == truth.shape:
            value = dump.value(other) if other in dump.arrays else dump.pack[other]
            return other, np.asarray(value, np.float64)
    return name, truth


def _curve(x: Array, wrong: Array, counts: Array) -> dict[str, Any]:
    """The mean signed error over what went in, and some single elements."""
    chosen = counts & np.isfinite(wrong) & np.isfinite(x)
    x, wrong = x[chosen], wrong[chosen]
    if not x.size:
        return {"x": [], "mean": [], "dots": []}
    low, high = np.quantile(x, [0.0005, 0.9995])
    edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    place = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
    number = np.bincount(place, minlength=len(edges) - 1)
    total = np.bincount(place, wrong, minlength=len(edges) - 1)
    there = number > 0
    pick = np.random.default_rng(0).choice(x.size, min(DOTS, x.size), replace=False)
    return {
        "x": ((edges[1:] + edges[:-1]) / 2)[there],
        "mean": total[there] / number[there],
        "dots": np.stack([x[pick], wrong[pick]], axis=1),
    }


def _quantiles(truth: Array, seen: Array) -> dict[str, Any]:
    """Both tensors' values sorted: where they agree so and not otherwise, the right numbers are in other places."""
    finite = seen[np.isfinite(seen)]
    if not finite.size:
        return {"truth": [], "port": []}
    at = np.linspace(0, 1, 61)
    return {"truth": np.quantile(truth, at), "port": np.quantile(finite, at)}
