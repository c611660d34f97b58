"""The pictures of a pass as SVG, one for each view of its page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from npbert.checks import whole_number
from npbert.errors import MissingNameError
from npbert.types import Array
from npbert.views import drawings, lens, pieces, stream
from npbert.views.heads import attentions
from npbert.views.one_pass import OnePass
from npbert.views.pictures import as_rows


def of_pass(done: OnePass, tokenizer: Any, mattered: dict[str, Any] | None) -> dict[str, Callable[..., str]]:
    """Name to picture."""
    made: dict[str, Callable[..., str]] = {
        "pieces": partial(_pieces, done),
        "heads": partial(_heads, done),
        "head": partial(_head, done),
        "number": partial(_number, done),
        "value": partial(_value, done),
        "stream": partial(_stream, done),
    }
    if lens.head_of(done).logit_names:
        made["lens"] = partial(_lens, done, tokenizer)
    return made | ({"mattered": partial(_mattered, mattered)} if mattered is not None else {})


def _pieces(done: OnePass, theme: str = "light") -> str:
    """The sum of the embeddings of each piece."""
    name, x = next((name, x) for name, x in pieces.strips(done, done.reader).items() if name.endswith(":sum"))
    return drawings.matrix(name, done.reader.tokens, [""] * x.shape[-1], x, "embedding", theme, signed=True)


def _heads(done: OnePass, theme: str = "light", kind: int = 0) -> str:
    """All heads of one kind of attention."""
    attention = attentions(done)[_within("kind", kind, len(attentions(done)))]
    maps = [list(done.values[f"{path}:probs"][0]) for path in attention.paths]
    rows = [f"layer {number}" for number in range(len(maps))]
    cols = [str(number) for number in range(max(map(len, maps)))]
    return drawings.grid(f"{attention.title}: {done.label[:60]}", maps, rows, cols, "probability (square root)", theme)


def _one_head(done: OnePass, layer: int, head: int, kind: int) -> tuple[str, Array, list[str], list[str]]:
    attention = attentions(done)[_within("kind", kind, len(attentions(done)))]
    path = attention.paths[_within("layer", layer, len(attention.paths))]
    probs = done.values[f"{path}:probs"][0]
    rows, cols = done.sides[attention.rows].tokens, done.sides[attention.cols].tokens
    return path, probs[_within("head", head, len(probs))], rows, cols


def _head(done: OnePass, theme: str = "light", layer: int = 0, head: int = 0, kind: int = 0) -> str:
    """One head: query down, key across."""
    path, probs, rows, cols = _one_head(done, layer, head, kind)
    return drawings.matrix(f"{path}:probs, head {head} (query down, key across)", rows, cols, probs, "probability", theme)


def _number(
    done: OnePass, theme: str = "light", layer: int = 0, head: int = 0, query: int = 0, key: int = 0, kind: int = 0
) -> str:
    """The query, the key, and their products, whose sum is the score."""
    path, probs, rows, cols = _one_head(done, layer, head, kind)
    q = done.values[f"{path}:query"][0, head, _within("query", query, len(rows))]
    k = done.values[f"{path}:key"][0, head, _within("key", key, len(cols))]
    products = np.stack([q, k, q * k])
    title = (
        f"{path}, head {head}: {rows[query]} asks {cols[key]}; the products add up to {float(q @ k):.4g}, "
        f"probability {float(probs[query, key]):.4g}"
    )
    return drawings.matrix(
        title, ["query", "key", "product"], [str(n) for n in range(len(q))], products, "value", theme, signed=True
    )


def _value(done: OnePass, theme: str = "light", name: str | None = None) -> str:
    """Any value of the pass; without a name the embeddings."""
    name = done.reader.names.start if name is None else name
    if name not in done.values:
        raise MissingNameError(f"name: no {name!r} in the pass; there are {', '.join(list(done.values)[:3])}, ...")
    x = as_rows(done.values[name])
    labels = done.reader.tokens if len(x) == len(done.reader) else [str(number) for number in range(len(x))]
    return drawings.matrix(name, labels, [""] * x.shape[-1], x, "value", theme, signed=True)


def _stream(done: OnePass, theme: str = "light") -> str:
    """How large what each block adds is, beside what was there."""
    made = stream.blocks(done, done.speaker)
    x = np.array([np.linalg.norm(block.added, axis=-1) / np.linalg.norm(block.before, axis=-1) for block in made])
    labels = [block.label for block in made]
    return drawings.matrix("what each block adds, over what was there", labels, done.speaker.tokens, x, "ratio of norms", theme)


def _lens(done: OnePass, tokenizer: Any, theme: str = "light", position: int | None = None) -> str:
    """The best answers at each layer."""
    place = "" if position is None else f" at token {position}"
    return drawings.answers(f"what it would say now{place}", lens.best_words(done, tokenizer, position), theme)


def _mattered(mattered: dict[str, Any], theme: str = "light", target: int = 0) -> str:
    """Baseline, the share of each piece, and what is unexplained: together the logit."""
    found = mattered["targets"][_within("target", target, len(mattered["targets"]))]
    bars = [("baseline", found["baseline"]), *zip(mattered["tokens"], found["integrated"], strict=True)]
    bars += [("unexplained rest", found["rest"]), ("= the logit", found["output"])]
    return drawings.bars(f"integrated gradients of {found['label']}, {mattered['steps']} steps", bars, theme)


def _within(name: str, value: int, count: int) -> int:
    return whole_number(name, value, most=count - 1)
