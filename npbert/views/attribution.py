"""How much each piece of a text moved one logit: gradient times input, and integrated gradients.

Integrated gradients (Sundararajan, Taly, Yan, 2017) follow the straight line from a baseline to the input:

    (x - baseline) * integral over a from 0 to 1 of  d logit / d x  at  baseline + a (x - baseline)

Summed over everything this is logit(x) - logit(baseline). The integral is a sum of `STEPS` gradients at the points of
Gauss and Legendre, so a rest stays unexplained; it is shown. The baseline has the word vector of [PAD] for every piece that is
not a special token, and the same types and positions.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from npbert.checks import whole_number
from npbert.errors import InputError
from npbert.ops import top_k
from npbert.tracing import GRADIENT, trace
from npbert.types import Array
from npbert.views.lens import answer_names, head_of, position_that_matters
from npbert.views.one_pass import OnePass

STEPS = 20
AT_ONCE = 512
"""Tokens in one pass."""

MOST_CHOICES = 3


class Target(NamedTuple):
    """One logit."""

    name: str  # of the output
    place: tuple[int, ...]  # in the output, without the axis of texts
    label: str


def targets(done: OnePass, tokenizer: Any, position: int | None, logit: str | int | None) -> list[Target]:
    """The logits that are explained: the largest ones at the position that matters, or the one that is asked for."""
    names = head_of(done).logit_names
    if not names:
        return []
    logits = np.asarray(done.output[names[0]])[0]  # [S, V], [labels], or [S] where tokens are the answers
    count = logits.shape[-1]
    row: tuple[int, ...] = ()
    if logits.ndim == 2:
        row = (
            position_that_matters(done, tokenizer)
            if position is None
            else whole_number("position", position, most=len(logits) - 1),
        )
    if logit is None:
        chosen = [int(number) for number in top_k(logits[row], min(MOST_CHOICES, count))]
    else:
        chosen = [_number(done, tokenizer, count, logit)]
    where = f" at token {row[0]} ({done.speaker.tokens[row[0]]})" if row else ""
    called = answer_names(done, count, chosen, tokenizer)
    return [Target(names[0], (*row, number), name + where) for number, name in zip(chosen, called, strict=True)]


def _number(done: OnePass, tokenizer: Any, count: int, logit: str | int) -> int:
    if isinstance(logit, str):
        labels = {name: number for number, name in done.speaker.config.id2label.items()}
        known = tokenizer.get_vocab() if count == done.speaker.config.vocab_size else labels
        if logit not in known:
            raise InputError(f"logit: there is no {logit!r}")
        return int(known[logit])
    return whole_number("logit", logit, most=count - 1)


def data(done: OnePass, chosen: list[Target], tokenizer: Any) -> dict[str, Any]:
    """For each logit: what it is with the text and with the baseline, and each piece's share of the difference."""
    model = without_weight_gradients(done.model)
    x = done.model.get_input_embeddings()[done.inputs["input_ids"]].astype(done.model.dtype)  # [1, S, D]
    special = np.array(done.reader.is_special)
    pad = tokenizer.pad_token_id or 0
    name = tokenizer.convert_ids_to_tokens([pad])[0]
    baseline = np.where(special[:, None], x, done.model.get_input_embeddings()[pad])
    return {
        "steps": STEPS,
        "baseline": f"the word vector of {name} for every piece that is not special; types and positions as they are",
        "tokens": done.reader.tokens,
        "special": special,
        "targets": [
            _explained(model, done, target, x, baseline)
            for target in tqdm(chosen, desc="integrated gradients", delay=1, leave=False, disable=None)
        ],
    }


def without_weight_gradients(model: Any) -> Any:
    """The same model, all of its weights frozen."""
    frozen = copy.copy(model)
    frozen.frozen = frozenset(model.expected_parameters())
    return frozen


def _explained(model: Any, done: OnePass, target: Target, x: Array, baseline: Array) -> dict[str, Any]:
    points, weights = np.polynomial.legendre.leggauss(STEPS)
    points, weights = (points + 1) / 2, weights / 2  # from 0 to 1
    at_once = max(1, AT_ONCE // x.shape[1])
    total = np.zeros(x.shape[1:])
    for start in range(0, STEPS, at_once):
        part = points[start : start + at_once, None, None]
        _, gradient = logit_and_gradient(model, done, target, baseline + part.astype(x.dtype) * (x - baseline))
        total += np.einsum("k,ksd->sd", weights[start : start + at_once], gradient.astype(np.float64))
    ends, at_text = logit_and_gradient(model, done, target, np.concatenate([baseline, x]))
    integrated = ((x - baseline)[0] * total).sum(axis=-1)
    return {
        "label": target.label,
        "output": ends[1],
        "baseline": ends[0],
        "integrated": integrated,
        "times_input": (at_text[1].astype(np.float64) * x[0]).sum(axis=-1),
        "rest": ends[1] - ends[0] - integrated.sum(),
    }


def logit_and_gradient(model: Any, done: OnePass, target: Target, embeds: Array) -> tuple[Array, Array]:
    """The logit of each text, `[B]`, and its gradient by the word vectors, `[B, S, D]`."""
    inputs = {name: np.repeat(value, len(embeds), axis=0) for name, value in done.inputs.items() if name != "input_ids"}
    shape = (len(embeds), *np.asarray(done.output[target.name]).shape[1:])
    single = np.zeros(shape, embeds.dtype)
    of_each_text: Any = (slice(None), *target.place)
    single[of_each_text] = 1.0
    out, gradients = model.gradients(
        inputs_embeds=embeds, output_gradients={target.name: single}, inputs_gradients=True, **inputs
    )
    return np.asarray(out[target.name])[of_each_text].astype(np.float64), gradients["inputs_embeds"]


def gradients_of_values(done: OnePass, target: Target) -> dict[str, Array]:
    """The gradient of one logit by every value of the pass, as `grad:NAME`."""
    single = np.zeros(np.asarray(done.output[target.name]).shape, done.model.dtype)
    single[0][target.place] = 1.0
    with trace() as kept:
        without_weight_gradients(done.model).gradients(
            **done.inputs, output_gradients={target.name: single}, inputs_gradients=True
        )
    return {name: x for name, x in kept.items() if name.startswith(GRADIENT)}
