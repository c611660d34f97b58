"""What the model would say if it ended at each layer: the head, applied to every hidden state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from npbert.checks import whole_number
from npbert.ops import softmax, top_k
from npbert.types import Array
from npbert.views.blobs import blob, exact
from npbert.views.one_pass import OnePass
from npbert.views.stream import states

WORDS = 5


class Best(NamedTuple):
    """The best answers of one layer, for each position or once."""

    ids: Array  # [rows, k]
    logits: Array
    probs: Array
    answers: int  # how many there are


def data(done: OnePass, tokenizer: Any) -> list[dict[str, Any]]:
    """For each kind of logits: the best answers at each layer, and at each position where there is one for each."""
    model = head_of(done)
    found: dict[str, list[Best]] = {name: [] for name in model.logit_names}
    for state in states(done, done.speaker) if model.logit_names else ():
        for name, logits in zip(model.logit_names, head_on(model, state, done.speaker.names.last_norm), strict=True):
            found[name].append(_best(logits))
    return [_of_logits(name, layers, done, tokenizer) for name, layers in found.items()]


def head_of(done: OnePass) -> Any:
    """The model that has the head: of two models the decoder."""
    return done.model.decoder if len(done.sides) > 1 else done.model


def head_on(model: Any, state: Array, last_norm: str) -> list[Array]:
    """The logits that the head makes of a hidden state `[S, D]`, through the norm before it if there is one."""
    root = model.module()
    base = root.at(model.base_model_prefix)
    if last_norm:
        state = base.layer_norm(state, last_norm)
    pooled = base.pooler(state[None]) if model.has_pooler else None
    return [np.asarray(logits)[0] for logits in model.head(root, state[None], pooled)]


class Answers(NamedTuple):
    """The best answers with their probabilities, layer by layer, at one position; None where there is one answer for all."""

    position: int | None
    layers: list[list[tuple[str, float]]]


def best_words(done: OnePass, tokenizer: Any, position: int | None) -> Answers:
    """The best answers at each layer: where there are answers for each position, at this one or at the one that matters."""
    model = head_of(done)
    every = [_best(head_on(model, state, done.speaker.names.last_norm)[0]) for state in states(done, done.speaker)]
    places = len(every[0].ids)
    if position is None:
        position = position_that_matters(done, tokenizer) if places > 1 else 0
    row = whole_number("position", position, most=places - 1)
    layers = []
    for best in every:
        names = answer_names(done, best.answers, best.ids[row].tolist(), tokenizer)
        layers.append(list(zip(names, map(float, best.probs[row]), strict=True)))
    return Answers(row if places > 1 else None, layers)


def position_that_matters(done: OnePass, tokenizer: Any) -> int:
    """The first mask; without one the last token of a decoder, else the first that is not special."""
    side = done.speaker
    mask = getattr(tokenizer, "mask_token_id", None)
    if mask is not None and mask in side.ids:
        return int(np.flatnonzero(side.ids == mask)[0])
    if is_causal(side.config):
        return len(side) - 1
    return next((place for place, special in enumerate(side.is_special) if not special), 0)


def _best(logits: Array) -> Best:
    rows = logits if logits.ndim == 2 else logits[None]
    ids = top_k(rows, min(WORDS, rows.shape[-1]))
    logits, probs = (np.take_along_axis(x, ids, axis=-1) for x in (rows, softmax(rows)))
    return Best(ids, logits, probs, rows.shape[-1])


def _of_logits(name: str, layers: list[Best], done: OnePass, tokenizer: Any) -> dict[str, Any]:
    ids, answers = np.array([best.ids for best in layers]), layers[0].answers  # [L + 1, rows, k]
    used = np.unique(ids).tolist()
    return {
        "name": name,
        "per_position": ids.shape[1] == len(done.speaker) and answers != len(done.speaker),
        "ids": blob(ids.astype(np.int32)),
        "probs": exact(np.array([best.probs for best in layers])),
        "logits": exact(np.array([best.logits for best in layers])),
        "words": dict(zip(map(str, used), answer_names(done, answers, used, tokenizer), strict=True)),
        "causal": is_causal(done.speaker.config),
    }


def is_causal(config: Any) -> bool:
    """Whether each token sees only those before it."""
    return bool(config.model_type == "gpt2" or config.is_decoder)


def answer_names(done: OnePass, answers: int, numbers: Sequence[int], tokenizer: Any) -> list[str]:
    """What answers are called, of so many in all: words of the vocabulary, labels, or tokens of the text."""
    config = done.speaker.config
    if answers == config.vocab_size:
        known = len(tokenizer)  # a table may have more rows than the vocabulary has words
        words = iter(tokenizer.convert_ids_to_tokens([number for number in numbers if number < known]))
        return [next(words) if number < known else f"id {number}" for number in numbers]
    if answers == config.num_labels and config.id2label:
        return [str(config.id2label.get(number, number)) for number in numbers]
    return [done.speaker.tokens[number] if answers == len(done.speaker) else str(number) for number in numbers]
