"""A real pass as a page that one can look into."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from npbert.checks import flag
from npbert.errors import InputError
from npbert.golden.models import weights_of
from npbert.golden.pack import weights_sha256
from npbert.views import attribution, heads, lens, look_pictures, one_number, pieces, stream, walk
from npbert.views.one_pass import OnePass, run
from npbert.views.page import View, as_json, page

SHORT_PAGE, LONG_PAGE = 4_000_000, 15_000_000
"""A page is smaller than so many bytes: for texts of up to `heads.WHOLE` tokens, and for longer ones."""

SPARE = 100_000
"""Bytes that are left free, since some sizes are estimated."""

FOR_NUMBERS = 1 / 6
"""Of the room that attention and the numbers behind it share, at least so much is for the numbers."""

SCRIPTS = ("look.js", "look_text.js", "look_heads.js", "look_number.js", "look_layers.js", "look_mattered.js")


class _Choice(NamedTuple):
    """What of a pass is shown."""

    layers: Sequence[int] | None
    gradients: bool
    position: int | None
    logit: str | int | None


def look(
    model: Any,
    tokenizer: Any,
    text: str,
    pair: str | None = None,
    *,
    other_text: str | None = None,
    other_model: Any = None,
    other_tokenizer: Any = None,
    layers: Sequence[int] | None = None,
    gradients: bool = True,
    position: int | None = None,
    logit: str | int | None = None,
) -> View:
    """One pass of a model over a text, to look into: pieces, heads, the arithmetic behind one number, every value.

    `pair` is a second text for models that read two; of an encoder-decoder it is what has been written so far. `other_text` or
    `other_model`, with `other_tokenizer` where it has its own, makes a second pass, and attention is shown as a difference too.
    `layers` are kept whole where a page cannot hold all; `gradients=False` leaves out what takes long. `logit` is the word or
    label that is explained, `position` where it stands; without them they are the largest ones at the first mask.
    """
    choice = _Choice(layers, flag("gradients", gradients, True), position, logit)
    passes = [run(model, tokenizer, text, pair)]
    _check_layers(layers, passes[0])
    if other_text is not None or other_model is not None:
        another = model if other_model is None else other_model
        if other_tokenizer is None:
            _check_vocabulary(model, another)
            other_tokenizer = tokenizer
        passes.append(run(another, other_tokenizer, text if other_text is None else other_text, pair))
    mattered, data = _small_parts(passes, tokenizer, choice)
    title = f"npbert look: {text[:80]}"
    made = page(title, data | _large_parts(passes, choice, data["limit"] - len(page(title, data, SCRIPTS).encode())), SCRIPTS)
    done = passes[0]
    shape = f"{type(model).__name__}, {len(done.reader)} tokens, {done.reader.config.num_hidden_layers} layers"
    return View(title, shape, made, look_pictures.of_look(passes, tokenizer, mattered))


def _small_parts(passes: Sequence[OnePass], tokenizer: Any, choice: _Choice) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """What mattered, and all of the page but its attention."""
    done = passes[0]
    chosen = attribution.targets(done, tokenizer, choice.position, choice.logit) if choice.gradients else []
    mattered = attribution.data(done, chosen, tokenizer) if chosen else None
    found = attribution.gradients_of_values(done, chosen[0]) if chosen else {}
    is_short = all(len(side) <= heads.WHOLE for one in passes for side in one.sides)
    return mattered, {
        "kind": "look",
        "limit": SHORT_PAGE if is_short else LONG_PAGE,
        "passes": [_summary(one) for one in passes],
        "pieces": pieces.data(done),
        "walk": walk.data(done, found, is_short and len(done.values) < walk.FEW),
        "explains": chosen[0].label if chosen else "",
        "stream": stream.data(done),
        "lens": lens.data(done, tokenizer),
        "mattered": mattered,
    }


def _large_parts(passes: Sequence[OnePass], choice: _Choice, room: int) -> dict[str, Any]:
    """Attention, and the numbers behind it, as much of them as there is room for."""
    room -= SPARE
    attention, *others = heads.data(passes, choice.layers, int(room * (1 - FOR_NUMBERS)))
    room -= len(as_json([attention, others]))
    found = {"attention": attention, "number": one_number.data(passes[0], choice.layers, room)}
    return found | ({"other": {"attention": others[0]}} if others else {})


def _summary(done: OnePass) -> dict[str, Any]:
    """What the page says of a pass: its text, its model, the digest of its weights."""
    return {
        "text": done.label,
        "model": type(done.model).__name__,
        "from": done.model.name_or_path.replace("\\", "/").rstrip("/").rpartition("/")[2] if done.model.name_or_path else "",
        "digest": weights_sha256(weights_of(done.model)),
        "dtype": str(done.model.dtype),
        "parameters": done.model.num_parameters(),
        "sides": [{"title": side.title, "tokens": side.tokens, "special": side.is_special} for side in done.sides],
    }


def _check_vocabulary(model: Any, other: Any) -> None:
    here, there = (getattr(one.config, "vocab_size", None) for one in (model, other))
    if here != there:
        raise InputError(f"other_model: has a vocabulary of {there} words, not {here}; name its tokenizer as other_tokenizer")


def _check_layers(layers: Sequence[int] | None, done: OnePass) -> None:
    count = min(side.config.num_hidden_layers for side in done.sides)
    for layer in layers or ():
        if not 0 <= layer < count:
            raise InputError(f"layers: takes 0 to {count - 1}, got {layer}")
