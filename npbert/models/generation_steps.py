"""A generation's calls of the model: the cache between them, and what each of them put out.

B  prompts        R  rows: the sequences that are written at once, each prompt's side by side
S  prompt length  T  length so far, prompt included            V  vocabulary size
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from npbert.generation import NextLogits
from npbert.models.outputs import Cache
from npbert.types import Array

OF_EACH_STEP = ("attentions", "hidden_states", "decoder_attentions", "cross_attentions", "decoder_hidden_states")
OF_THE_FIRST_STEP = ("encoder_attentions", "encoder_hidden_states")


class Steps:
    """What the calls put out: lists with one entry a step. `asked` says what is kept beside the scores and logits."""

    def __init__(self, *, scores: bool = False, logits: bool = False, attentions: bool = False, hidden_states: bool = False):
        self.asked = {"output_attentions": attentions, "output_hidden_states": hidden_states}
        self.scores: list[Array] | None = [] if scores else None  # each [R, V]
        self.logits: list[Array] | None = [] if logits else None  # each [R, V]
        self.outputs: dict[str, Any] = {}
        self.cache: Cache | None = None

    def note_scores(self, scores: Array) -> None:
        """Keep the scores that a token was chosen from."""
        if self.scores is not None:
            self.scores.append(scores)

    def note_call(self, out: Any, copies: int) -> None:
        """Keep what a call put out. The first call reads each prompt once, for `copies` rows."""
        self.cache = out.past_key_values
        if self.logits is not None:
            self.logits.append(np.repeat(out.logits[:, -1], copies, axis=0))
        for name in OF_EACH_STEP:
            if name in out:
                layers = out[name] if copies == 1 else tuple(np.repeat(x, copies, axis=0) for x in out[name])
                self.outputs.setdefault(name, []).append(layers)
        for name in OF_THE_FIRST_STEP:
            if name in out:
                self.outputs.setdefault(name, out[name])

    def named(self) -> dict[str, Any]:
        """What was kept, under the names of `GenerateOutput`."""
        lists = {"scores": self.scores, "logits": self.logits, **self.outputs}
        return {name: tuple(value) for name, value in lists.items() if value is not None}


def with_cache(
    model: Any,
    inputs: Callable[[Array, int], dict[str, Any]],
    steps: Steps,
    *,
    copies: int,
    cache: Cache | None = None,
) -> NextLogits:
    """The function that a search is handed: it calls the model and keeps the cache from one call to the next.

    `inputs(tokens, past)` gives the model's other arguments for the newest tokens, which stand after `past` others. Each prompt
    becomes `copies` rows after the first call; of tokens that a `cache` from before holds, none is read again.
    """
    is_first = True
    last_only = {"logits_to_keep": 1} if "logits_to_keep" in getattr(model, "switches", ()) else {}

    def next_logits(tokens: Array, rows: Array) -> Array:
        nonlocal cache, is_first
        cache = None if cache is None else _rows_of(cache, rows)
        past = 0 if cache is None else cache[0][0].shape[2]
        out = model(
            **inputs(tokens[:, past:] if is_first else tokens, past),
            past_key_values=cache,
            use_cache=True,
            return_dict=True,
            **last_only,
            **steps.asked,
        )
        steps.note_call(out, copies if is_first else 1)
        cache, is_first = out.past_key_values, False
        return out.logits[:, -1]  # [R, V]

    return next_logits


def _rows_of(cache: Cache, rows: Array) -> Cache:
    """The cache of the rows that go on.

    Keys and values of an encoder are the same for all rows of a prompt, so they stay where they are while the number of rows
    does not change.
    """
    before = len(cache[0][0])
    if np.array_equal(rows, np.arange(before)):
        return cache
    moved = 2 if len(rows) == before else 4
    return tuple((*(x[rows] for x in layer[:moved]), *layer[moved:]) for layer in cache)


def only_mask(encoder: Mapping[str, Any], name: str, tokens: Array) -> dict[str, Any]:
    """What the decoder needs of the encoder after the first step: the cache holds the rest."""
    return {name: for_rows(encoder[name], tokens)} if name in encoder else {}


def for_rows(x: Any, tokens: Array) -> Array:
    """Repeat what each prompt has, `[B, ...]`, for each of its rows: `[R, ...]`, as many rows as `tokens` has."""
    return np.repeat(x, len(tokens) // len(x), axis=0)


def mask_so_far(prompt_mask: Array, tokens: Array, length: int) -> Array:
    """The prompts' mask and then ones for everything written since: `[R, length]`."""
    written = length - prompt_mask.shape[1]
    return np.pad(for_rows(prompt_mask, tokens), ((0, 0), (0, written)), constant_values=1)
