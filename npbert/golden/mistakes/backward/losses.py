"""Mistakes in the loss: which labels count, and what their losses are divided by.

Every cross-entropy is a sum over rows, `sum(w * (log(sum(exp(z))) - z[label]))`, whose gradient is `w * (softmax(z) - 1 at the
label)`. The right weight w of a row is 1 / n for the n rows whose label counts, and 0 for the others; a mistake has others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from npbert import ops
from npbert.checks import IGNORED
from npbert.configuration import ModelConfiguration
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.models.kinds import CausalLanguageModel
from npbert.types import Array

LOSS = "output:loss"
BY_LOGITS = r"grad:(?:decoder|(?:decoder\.)?cls|cls\.seq_relationship|classifier|qa_outputs|lm_head|score)"

Logits: TypeAlias = tuple[Array, ...]
Compute: TypeAlias = Callable[[Any, Any], "tuple[Array, Logits] | None"]
"""From a model and what its forward pass left: another loss, and its gradients by the logits; None where it cannot be made."""


@dataclass(frozen=True)
class LossSlip(Hypothesis):
    """A mistake that gives another loss, and other gradients by the logits, from which the backward pass then begins."""

    compute: Compute = lambda model, done: None


class Rows(NamedTuple):
    """One cross-entropy of a loss."""

    logits: Array  # [..., C]
    labels: Array  # [...]
    ignored: int  # the label that does not count
    share: float  # of this cross-entropy in the loss

    @property
    def counted(self) -> Array:
        """Which rows count."""
        return self.labels != self.ignored


Weigh = Callable[[Rows], "tuple[Array, Array] | None"]
"""The labels and the weights of the rows that a mistake has."""


def _rows(model: Any, done: Any) -> list[Rows] | None:
    """The cross-entropies of a loss; None where it is another kind of loss."""
    logits, labels = done.logits, done.labels
    if "start_positions" in model.label_names:
        length = logits[0].shape[1]  # S
        return [Rows(x, np.clip(at, 0, length), length, 0.5) for x, at in zip(logits, labels, strict=True)]
    if isinstance(model, CausalLanguageModel):
        return [Rows(logits[0][:, :-1], labels[:, 1:], IGNORED, 1.0)]
    if isinstance(labels, tuple) and isinstance(labels[1], str):
        kind = labels[1]
        return [Rows(logits[0], labels[0].reshape(-1), IGNORED, 1.0)] if kind == "single_label_classification" else None
    each = labels if isinstance(labels, tuple) else (labels,)
    return [Rows(x, at.reshape(x.shape[:-1]), IGNORED, 1.0) for x, at in zip(logits, each, strict=True)]


def _computed(rows: Rows, labels: Array, weights: Array) -> tuple[Array, Array]:
    """The loss of the rows and its gradient by their logits."""
    known = np.clip(labels, 0, rows.logits.shape[-1] - 1)[..., None]
    right = np.take_along_axis(ops.log_softmax(rows.logits), known, axis=-1)[..., 0]
    gradient = ops.softmax(rows.logits)
    np.put_along_axis(gradient, known, np.take_along_axis(gradient, known, axis=-1) - 1, axis=-1)
    return -(weights * right).sum() * rows.share, gradient * weights[..., None] * rows.share


def _weighed(weigh: Weigh) -> Compute:
    def compute(model: Any, done: Any) -> tuple[Array, Logits] | None:
        rows = _rows(model, done)
        changed = [weigh(each) for each in rows or ()]
        if rows is None or None in changed:
            return None
        parts = [_computed(each, *pair) for each, pair in zip(rows, changed, strict=True) if pair is not None]
        gradients = [_whole(gradient, x) for (_, gradient), x in zip(parts, done.logits, strict=True)]
        return np.asarray(sum(loss for loss, _ in parts)), tuple(gradients)

    return compute


def _whole(gradient: Array, logits: Array) -> Array:
    """A gradient in the shape of the logits; the last position of a causal model predicts nothing."""
    if gradient.shape == logits.shape:
        return gradient
    whole = np.zeros_like(logits)
    whole[:, : gradient.shape[1]] = gradient
    return whole


def _summed(rows: Rows) -> tuple[Array, Array]:
    return rows.labels, rows.counted.astype(np.float64)


def _each_end_whole(rows: Rows) -> tuple[Array, Array] | None:
    weights = rows.counted / max(int(rows.counted.sum()), 1)
    return None if rows.share == 1 else (rows.labels, weights / rows.share)


def _divided_by_all(rows: Rows) -> tuple[Array, Array]:
    return rows.labels, rows.counted / rows.labels.size


def _ignored_as(label: Callable[[Rows], int]) -> Weigh:
    return lambda rows: (
        np.where(rows.counted, rows.labels, label(rows)),
        np.full(rows.labels.shape, 1 / rows.labels.size),
    )


def _text_by_text(rows: Rows) -> tuple[Array, Array] | None:
    if rows.labels.ndim != 2:
        return rows.labels, rows.counted / max(int(rows.counted.sum()), 1)
    of_text = rows.counted.sum(axis=1, keepdims=True)  # [B, 1]
    return rows.labels, rows.counted / np.maximum(of_text, 1) / max(int((of_text > 0).sum()), 1)


def _not_shifted(model: Any, done: Any) -> tuple[Array, Logits] | None:
    if not isinstance(model, CausalLanguageModel):
        return None
    rows = Rows(done.logits[0], done.labels, IGNORED, 1.0)
    loss, gradient = _computed(rows, rows.labels, rows.counted / max(int(rows.counted.sum()), 1))
    return loss, (gradient,)


def _gradient_alone(compute: Compute) -> Compute:
    """The right loss, with the gradient of the mistake."""

    def both(model: Any, done: Any) -> tuple[Array, Logits] | None:
        made = compute(model, done)
        return None if made is None else (done.output["loss"], made[1])

    return both


def _scaled_up(number: Callable[[Array], int]) -> Compute:
    """A mean of squares, or of yes and no, that is a sum."""

    def compute(model: Any, done: Any) -> tuple[Array, Logits] | None:
        if _rows(model, done) is not None:
            return None
        factor = number(done.logits[0])
        gradients = model.loss_backward(done.logits, done.labels)
        return np.asarray(done.output["loss"] * factor), tuple(x * factor for x in gradients)

    return compute


_TABLE: list[tuple[str, str, Compute]] = [
    ("loss-sum-for-mean", "The loss is the sum over all labels that count: it is their mean", _weighed(_summed)),
    ("loss-sum-for-mean", "The losses of both ends are added: the loss is their mean", _weighed(_each_end_whole)),
    ("loss-sum-for-mean", "The loss is the sum over all numbers: it is their mean", _scaled_up(lambda x: x.size)),
    ("loss-sum-for-mean", "The loss is summed over the labels of a text: it is the mean over all numbers",
     _scaled_up(lambda x: x.shape[-1])),
    ("loss-counts-ignored-labels", "The loss is divided by the number of all labels: those of -100 do not count",
     _weighed(_divided_by_all)),
    ("loss-counts-ignored-labels", "Labels of -100 are counted as class 0: they do not count at all",
     _weighed(_ignored_as(lambda rows: 0))),
    ("loss-counts-ignored-labels", "Labels of -100 are counted as a class from the end: they do not count at all",
     _weighed(_ignored_as(lambda rows: int(rows.ignored % rows.logits.shape[-1])))),
    ("loss-averaged-per-sequence",
     "The loss is averaged over each text, then over the texts: it is the mean over all labels that count",
     _weighed(_text_by_text)),
    ("loss-labels-not-shifted",
     "Each position is asked for its own token: it predicts the next one, logits[:, :-1] and labels[:, 1:]",
     _not_shifted),
]  # fmt: skip
"""A line here is all that another mistake in the loss needs."""


def hypotheses(config: ModelConfiguration) -> Iterator[Hypothesis]:
    """Every way to get the loss wrong."""
    for mistake, explanation, compute in _TABLE:
        yield LossSlip(mistake, f"{explanation}.", LOSS, only_together=True, compute=compute)
    for mistake, explanation, compute in _TABLE:
        says = f"The loss is right, but its gradient is another loss's. {explanation}."
        yield LossSlip(mistake, says, BY_LOGITS, only_together=True, compute=_gradient_alone(compute))
