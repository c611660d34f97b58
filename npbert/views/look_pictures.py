"""The pictures of a pass as SVG, one for each view of its page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from npbert.checks import flag, whole_number
from npbert.errors import InputError, MissingNameError
from npbert.types import Array
from npbert.views import drawings, lens, pieces, stream
from npbert.views.drawings import Matrix
from npbert.views.heads import Attention, attentions
from npbert.views.number_picture import number_picture
from npbert.views.one_pass import OnePass
from npbert.views.pictures import as_rows, end_of_scale


def of_look(passes: Sequence[OnePass], tokenizer: Any, mattered: dict[str, Any] | None) -> dict[str, Callable[..., str]]:
    """Name to picture: of the first pass, or of the difference to the second."""
    done = passes[0]
    made: dict[str, Callable[..., str]] = {
        "pieces": partial(_pieces, done),
        "heads": partial(_heads, passes),
        "head": partial(_head, passes),
        "number": partial(_number, done),
        "value": partial(_value, done),
        "stream": partial(_stream, done),
    }
    if lens.head_of(done).logit_names:
        made["lens"] = partial(_lens, done, tokenizer)
    return made | ({"mattered": partial(_mattered, mattered)} if mattered is not None else {})


def _pieces(done: OnePass, theme: str = "light") -> str:
    """The embeddings of each piece and their sum on one scale, and what LayerNorm makes of the sum."""
    tokens = [f"{text}  {number}" for text, number in zip(done.reader.tokens, done.reader.ids, strict=True)]
    found = pieces.strips(done, done.reader)
    ends = pieces.shared_ends({name: end_of_scale(x) for name, x in found.items()})
    maps = [Matrix(name, tokens, [""] * x.shape[-1], x, "value", signed=True, largest=ends[name]) for name, x in found.items()]
    return drawings.matrices("pieces with their ids, and their embeddings", maps, theme)


def _heads(passes: Sequence[OnePass], theme: str = "light", kind: int = 0, difference: bool = False) -> str:
    """All heads of one kind of attention."""
    attention = attentions(passes[0])[_within("kind", kind, len(attentions(passes[0])))]
    maps = [list(_probs(passes, attention, layer, difference)) for layer in range(len(attention.paths))]
    rows = [f"layer {number}" for number in range(len(maps))]
    cols = [str(number) for number in range(max(map(len, maps)))]
    labels = " minus ".join(done.label[:60] for done in passes[: 1 + difference])
    what = f"{_what(difference)} (colour by its square root)"
    return drawings.grid(f"{attention.title}: {labels}", maps, rows, cols, what, theme, difference)


def _head(
    passes: Sequence[OnePass], theme: str = "light", layer: int = 0, head: int = 0, kind: int = 0, difference: bool = False
) -> str:
    """One head: query down, key across."""
    done = passes[0]
    attention = attentions(done)[_within("kind", kind, len(attentions(done)))]
    probs = _probs(passes, attention, _within("layer", layer, len(attention.paths)), difference)
    rows, cols = (done.sides[side].tokens for side in (attention.rows, attention.cols))
    title = f"{attention.paths[layer]}:probs, head {head} (query down, key across)"
    x = probs[_within("head", head, len(probs))]
    one = Matrix(title, rows, cols, x, _what(difference), signed=difference, largest=1.0, by_root=True)
    return drawings.matrices(title, [one], theme)


def _what(difference: bool) -> str:
    return "difference of weights, the first text minus the other" if difference else "weight"


def _probs(passes: Sequence[OnePass], attention: Attention, layer: int, difference: bool) -> Array:
    """The weights of all heads of a layer, `[N, S, T]`, or what they are more than those of the other pass."""
    name = f"{attention.paths[layer]}:probs"
    here = passes[0].values[name][0]
    if not flag("difference", difference, False):
        return here
    if len(passes) < 2:
        raise InputError("difference: there is one pass alone; look with other_text or other_model")
    there = passes[1].values.get(name)
    if there is None or there[0].shape != here.shape:
        raise InputError(f"difference: the other pass has no {name} of the same shape")
    return here - there[0]


def _number(
    done: OnePass, theme: str = "light", layer: int = 0, head: int = 0, query: int = 0, key: int = 0, kind: int = 0
) -> str:
    """The arithmetic behind one weight."""
    attention = attentions(done)[_within("kind", kind, len(attentions(done)))]
    heads, rows, cols = done.values[f"{attention.paths[_within('layer', layer, len(attention.paths))]}:probs"].shape[1:]
    query, key = _within("query", query, rows), _within("key", key, cols)
    return number_picture(done, attention, layer, _within("head", head, heads), query, key, theme)


def _value(done: OnePass, theme: str = "light", name: str | None = None) -> str:
    """Any value of the pass; without a name the embeddings."""
    name = done.reader.names.start if name is None else name
    if name not in done.values:
        raise MissingNameError(f"name: no {name!r} in the pass; there are {', '.join(list(done.values)[:3])}, ...")
    x = as_rows(done.values[name])
    labels = done.reader.tokens if len(x) == len(done.reader) else [str(number) for number in range(len(x))]
    return drawings.matrices(
        name, [Matrix(name, labels, [""] * x.shape[-1], x, "value", signed=True, largest=end_of_scale(x))], theme
    )


def _stream(done: OnePass, theme: str = "light") -> str:
    """How large what each block adds is, its direction, what is left of the state, and how alike the tokens are in the end."""
    made, tokens = stream.blocks(done, done.speaker), done.speaker.tokens
    labels = [block.label for block in made]
    ratio = np.array([stream.ratios(block) for block in made])
    direction = np.array([stream.cosines(block.added, block.before) for block in made])
    kept = np.array([stream.cosines(block.after, block.before) for block in made])
    alike = stream.similarity(stream.states(done, done.speaker)[-1])
    maps = [
        Matrix("how much each block adds: the length of it over that of the state", labels, tokens, ratio, "ratio of lengths"),
        Matrix("in which direction: what is added and the state", labels, tokens, direction, "cosine", True, 1.0),
        Matrix("what is left: the states before and after", labels, tokens, kept, "cosine", True, 1.0),
        Matrix("how alike the tokens are after the last layer", tokens, tokens, alike, "cosine", True, 1.0),
    ]
    return drawings.matrices("the stream", maps, theme)


def _lens(done: OnePass, tokenizer: Any, theme: str = "light", position: int | None = None) -> str:
    """The best answers at each layer: at the first mask, or at this position."""
    answers = lens.best_words(done, tokenizer, position)
    place = "" if answers.position is None else f" at token {answers.position} ({done.speaker.tokens[answers.position]})"
    return drawings.answers(f"what it would say now{place}", answers.layers, theme)


def _mattered(mattered: dict[str, Any], theme: str = "light", target: int = 0) -> str:
    """Baseline, the share of each piece, and what is unexplained: together the logit."""
    found = mattered["targets"][_within("target", target, len(mattered["targets"]))]
    bars = [("baseline", found["baseline"]), *zip(mattered["tokens"], found["integrated"], strict=True)]
    bars += [("unexplained rest", found["rest"]), ("= the logit", found["output"])]
    return drawings.bars(f"integrated gradients of {found['label']}, {mattered['steps']} steps", bars, theme)


def _within(name: str, value: int, count: int) -> int:
    return whole_number(name, value, most=count - 1)
