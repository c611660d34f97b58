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
from npbert.views.page import View, page
from npbert.views.pictures import Budget

SHORT_PAGE, LONG_PAGE = 3_800_000, 14_000_000
"""The largest page, in bytes, for texts of up to `heads.WHOLE` tokens and for longer ones."""

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
    layers: Sequence[int] | None = None,
    gradients: bool = True,
    position: int | None = None,
    logit: str | int | None = None,
) -> View:
    """One pass of a model over a text, to look into: pieces, heads, the arithmetic behind one number, every value.

    `pair` is a second text for models that read two; of an encoder-decoder it is what has been written so far. `other_text` or
    `other_model` makes a second pass, and attention is shown as a difference too. `layers` are kept whole where a page cannot
    hold all; `gradients=False` leaves out what takes long. `logit` is the word or label that is explained, `position` where it
    stands; without them they are the largest ones at the first mask.
    """
    choice = _Choice(layers, flag("gradients", gradients, True), position, logit)
    done = run(model, tokenizer, text, pair)
    _check_layers(layers, done)
    is_short = max(map(len, done.sides)) <= heads.WHOLE
    budget = Budget(SHORT_PAGE if is_short else LONG_PAGE)
    chosen = attribution.targets(done, tokenizer, position, logit) if choice.gradients else []
    passes = [_summary(done)]
    mattered = attribution.data(done, chosen, tokenizer) if chosen else None
    found = attribution.gradients_of_values(done, chosen[0]) if chosen else {}
    data: dict[str, Any] = {
        "kind": "look",
        "pieces": pieces.data(done),
        "walk": walk.data(done, found, is_short and len(done.values) < 120),
        "explains": chosen[0].label if chosen else "",
        "stream": stream.data(done),
        "lens": lens.data(done, tokenizer),
        "mattered": mattered,
    }
    budget.left -= _size(data) + 120_000  # styles and scripts
    data["attention"] = heads.data(done, layers, budget)
    if other_text is not None or other_model is not None:
        other = run(model if other_model is None else other_model, tokenizer, text if other_text is None else other_text, pair)
        passes.append(_summary(other))
        data["other"] = {"attention": heads.data(other, layers, budget), "tokens": [side.tokens for side in other.sides]}
    data["number"] = one_number.data(done, layers, budget)
    title = f"npbert look: {text[:80]}"
    shape = f"{type(model).__name__}, {len(done.reader)} tokens, {done.reader.config.num_hidden_layers} layers"
    return View(title, shape, page(title, data | {"passes": passes}, SCRIPTS), look_pictures.of_pass(done, tokenizer, mattered))


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


def _check_layers(layers: Sequence[int] | None, done: OnePass) -> None:
    count = min(side.config.num_hidden_layers for side in done.sides)
    for layer in layers or ():
        if not 0 <= layer < count:
            raise InputError(f"layers: takes 0 to {count - 1}, got {layer}")


def _size(value: Any) -> int:
    """About how many bytes a value takes on a page."""
    if isinstance(value, dict):
        return sum(len(str(key)) + 4 + _size(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return sum(2 + _size(inner) for inner in value)
    return len(str(value)) + 2 if isinstance(value, str) else 8 * getattr(value, "size", 1)
