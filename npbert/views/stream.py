"""The stream of states from layer to layer: what each block adds to each token's state."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from npbert.types import Array
from npbert.views.blobs import exact, pooled, shares
from npbert.views.one_pass import OnePass, Side

MOST_TOKENS = 128


class Block(NamedTuple):
    """One sum in the stream: what was there, and what a block adds."""

    label: str
    name: str  # of what is added, in the trace
    before: Array  # [S, D]
    added: Array  # [S, D]
    after: Array  # [S, D]


def data(done: OnePass) -> list[dict[str, Any]]:
    """For each side: norms and directions of what is added, and the similarity of tokens layer by layer."""
    return [_of_side(done, side) for side in done.sides]


def _of_side(done: OnePass, side: Side) -> dict[str, Any]:
    made = blocks(done, side)
    return {
        "title": side.title,
        "blocks": [{"label": block.label, "name": block.name} for block in made],
        "norm": exact(np.array([ratios(block) for block in made])),
        "direction": exact(np.array([cosines(block.added, block.before) for block in made])),
        "kept": exact(np.array([cosines(block.after, block.before) for block in made])),
        "similar": [shares(pooled(similarity(x), (MOST_TOKENS, MOST_TOKENS), "mean"), 1.0) for x in states(done, side)],
    }


def states(done: OnePass, side: Side) -> list[Array]:
    """What goes into the first layer and what each layer hands on, `[S, D]` each."""
    layers = range(side.config.num_hidden_layers)
    names = [side.names.start, *(side.names.layer.replace("*", str(layer)) for layer in layers)]
    return [done.values[name][0] for name in names]


def blocks(done: OnePass, side: Side) -> list[Block]:
    """Attention, cross-attention and feed-forward of each layer."""
    made: list[Block] = []
    state = done.values[side.names.start][0]
    for layer in range(side.config.num_hidden_layers):
        for label, *patterns in side.names.blocks:
            name, state_after = (pattern.replace("*", str(layer)) for pattern in patterns)
            if name in done.values:
                after = done.values[state_after][0]
                made.append(Block(f"{layer} {label}", name, state, done.values[name][0], after))
                state = after
    return made


def ratios(block: Block) -> Array:
    """How long what is added is, over how long the state was; a state of length 0 counts as 1."""
    lengths = np.linalg.norm(block.before, axis=-1)
    return np.asarray(np.linalg.norm(block.added, axis=-1) / np.where(lengths, lengths, 1.0))


def cosines(x: Array, y: Array) -> Array:
    """The cosine of the angle between the rows of two arrays."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    lengths = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    return np.asarray((x * y).sum(axis=-1) / np.where(lengths, lengths, 1.0))


def similarity(x: Array) -> Array:
    """The cosine between every two rows."""
    x = x.astype(np.float64)
    x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-30)
    return np.asarray(x @ x.T)
