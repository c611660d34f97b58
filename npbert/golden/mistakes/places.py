"""Places: names of values and weights, told from where a module stands.

    <module>    the module itself: <module>.dense
    <layer>     the layer that the module lies in: <layer>.attention
    <layer-1>   the layer before that one, where there is one; likewise <layer+1>
    <hidden>    what came into the layer: the layer before, or the embeddings
    <base>      the model without its head: <base>.encoder

`a | b` is the first of two places that is there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection

_LAYER = re.compile(r"(?P<layers>(?P<base>(?:.*\.)?)encoder\.layer)\.(?P<index>\d+)(?:\..*)?")
_TAG = re.compile(r"<(module|layer|hidden|base)([+-]\d+)?>")


@functools.cache
def names(place: str, module: str) -> tuple[str, ...]:
    """The full names that a place stands for, seen from a module."""
    found = (_name(part, module) for part in place.split(" | "))
    return tuple(name for name in found if name is not None)


_IN_TEXT = r"<[^> ]+>[^ ,;()+*]*[^ ,;()+*.:]"


def named(text: str, module: str, known: Collection[str] = ()) -> str:
    """A text with the places in it written out; of alternatives, the first that is known."""

    def written(found: re.Match[str]) -> str:
        choices = names(found[0], module)
        return next((name for name in choices if name in known), choices[0] if choices else found[0])

    return re.sub(rf"{_IN_TEXT}(?: \| {_IN_TEXT})*|<[^> ]+>", written, text)


def _name(place: str, module: str) -> str | None:
    missing = False

    def written(tag: re.Match[str]) -> str:
        nonlocal missing
        text = _written(tag[1], int(tag[2] or 0), module)
        missing = missing or text is None
        return text or ""

    name = _TAG.sub(written, place)
    return None if missing else name.lstrip(".")


def _written(tag: str, shift: int, module: str) -> str | None:
    if tag == "module":
        return module
    match = _LAYER.fullmatch(module)
    if tag == "base":
        return (match["base"] if match else _base_of_others(module)).rstrip(".")
    if match is None:
        return None
    index = int(match["index"]) + shift
    if tag == "layer":
        return f"{match['layers']}.{index}" if index >= 0 else None
    if index > 0:
        return f"{match['layers']}.{index - 1}"
    return f"{match['base']}embeddings" if index == 0 else None


def _base_of_others(module: str) -> str:
    """The path of the base model, seen from the embeddings, the pooler or a head."""
    for part in ("embeddings", "pooler"):
        if module == part or module.endswith(f".{part}") or f"{part}." in module:
            return module.partition(part)[0]
    return re.sub(r"(?:cls|classifier|qa_outputs)(?:\..*)?$", "bert.", module)
