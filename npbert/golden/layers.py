"""Layers, as the names of values and weights tell them."""

from __future__ import annotations

import functools
import re

_IN_LAYER = re.compile(r"(.*\bencoder\.layer\.|(?:.*\.)?h\.)(\d+)(.*)")  # BERT's layers, GPT-2's
_GPT2_EMBEDDINGS = re.compile(r"(?:transformer\.)?(?:wte|wpe)|(?:transformer)?:(?:sum|token_types)")
_FIRST_STATES = ("embeddings", "drop")


@functools.cache
def layer_of(name: str, default: int) -> int:
    """The number of the layer that a name lies in."""
    match = _IN_LAYER.fullmatch(name)
    return int(match[2]) if match else default


@functools.cache
def renumbered(name: str, by: int) -> str:
    """A name with its layer's number raised."""
    match = _IN_LAYER.fullmatch(name)
    return f"{match[1]}{int(match[2]) + by}{match[3]}" if match and by else name


@functools.cache
def without_layer(name: str) -> str:
    """A name without the number of its layer: what all layers have in common."""
    return re.sub(r"\b(layer|h)\.\d+", r"\1", name)


@functools.cache
def is_hidden_state(name: str) -> bool:
    """Whether a value is what one layer hands to the next: all that the rest of the pass knows of the values before it."""
    match = _IN_LAYER.fullmatch(name)
    return not match[3] if match else name.rpartition(".")[2] in _FIRST_STATES


def layer_that_reads(name: str, depth: int) -> int | None:
    """The layer that reads the hidden state `name`: `depth` for what the last layer hands on, None for other values."""
    match = _IN_LAYER.fullmatch(name)
    if match and match[3] in ("", ".output"):
        return int(match[2]) + 1
    if name in ("encoder", "bert.encoder", "bert"):
        return depth
    return 0 if is_first_state(name) else None


@functools.cache
def is_first_state(name: str) -> bool:
    """Whether a value is what the first layer of a plain model reads."""
    return name in ("embeddings", "bert.embeddings", "drop", "transformer.drop")


def state_before(first_state: str, layer: int) -> str:
    """The hidden state that a layer reads, told from the name of the first one."""
    base, _, own = first_state.rpartition(".")
    layers = "encoder.layer" if own == "embeddings" else "h"
    return ".".join(filter(None, [base, f"{layers}.{layer - 1}"])) if layer else first_state


@functools.cache
def makes_first_state(name: str) -> bool:
    """Whether a value lies before what the first layer of a plain model reads."""
    return name.startswith(("embeddings", "bert.embeddings")) or bool(_GPT2_EMBEDDINGS.fullmatch(name))
