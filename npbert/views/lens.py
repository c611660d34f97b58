"""What the model would say if it ended at each layer: the head, applied to every hidden state."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from npbert import checks
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
        for name, logits in zip(model.logit_names, head_on(model, state), strict=True):
            found[name].append(_best(logits))
    return [_of_logits(name, layers, done, tokenizer) for name, layers in found.items()]


def head_of(done: OnePass) -> Any:
    """The model that has the head: of two models the decoder."""
    return done.model.decoder if len(done.sides) > 1 else done.model


def head_on(model: Any, state: Array) -> list[Array]:
    """The logits that the head makes of a hidden state `[S, D]`."""
    root = model.module()
    pooled = root.at(model.base_model_prefix).pooler(state[None]) if model.has_pooler else None
    return [np.asarray(logits)[0] for logits in model.head(root, state[None], pooled)]


def best_words(done: OnePass, tokenizer: Any, position: int | None) -> list[list[tuple[str, float]]]:
    """The best answers at each layer with their probabilities: at one position where there are answers for each."""
    model, found = head_of(done), []
    for state in states(done, done.speaker):
        best = _best(head_on(model, state)[0])
        row = checks.whole_number("position", position or 0, most=len(best.ids) - 1)
        names = [answer_name(done, best.answers, int(number), tokenizer) for number in best.ids[row]]
        found.append(list(zip(names, map(float, best.probs[row]), strict=True)))
    return found


def _best(logits: Array) -> Best:
    rows = logits if logits.ndim == 2 else logits[None]
    ids = top_k(rows, min(WORDS, rows.shape[-1]))
    logits, probs = (np.take_along_axis(x, ids, axis=-1) for x in (rows, softmax(rows)))
    return Best(ids, logits, probs, rows.shape[-1])


def _of_logits(name: str, layers: list[Best], done: OnePass, tokenizer: Any) -> dict[str, Any]:
    ids, count = np.array([best.ids for best in layers]), layers[0].answers  # [L + 1, rows, k]
    return {
        "name": name,
        "per_position": ids.shape[1] == len(done.speaker) and count != len(done.speaker),
        "ids": blob(ids.astype(np.int32)),
        "probs": exact(np.array([best.probs for best in layers])),
        "logits": exact(np.array([best.logits for best in layers])),
        "words": {str(number): answer_name(done, count, int(number), tokenizer) for number in np.unique(ids)},
        "causal": bool(getattr(done.speaker.config, "is_decoder", False)),
    }


def answer_name(done: OnePass, count: int, number: int, tokenizer: Any) -> str:
    """What an answer is called: a word of the vocabulary, a label, or a token of the text."""
    config = done.speaker.config
    if count == config.vocab_size:
        token = tokenizer.convert_ids_to_tokens([number])[0] if number < len(tokenizer) else None
        return token if token is not None else f"id {number}"
    if count == config.num_labels and config.id2label:
        return str(config.id2label.get(number, number))
    return done.speaker.tokens[number] if count == len(done.speaker) else str(number)
