"""Which of some labels fits a text? Asked of a model that has learned when one sentence follows from another.

Each label becomes a sentence ("This example is sports."), and the model says whether the text entails it (Yin et al. 2019,
"Benchmarking zero-shot text classification").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npbert import ops
from npbert.checks import flag, text, text_list, unicode_text
from npbert.errors import InputError, listed, shown, warn
from npbert.tasks.batches import answer_all
from npbert.tasks.inputs import Item, check_model, check_tokenizer
from npbert.tasks.rows import TokenRow, longest_row, token_rows
from npbert.types import Array

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel
    from npbert.text.tokenizer import BertTokenizer


def zero_shot_classification(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: str | Sequence[str] | Iterable[str],
    *,
    candidate_labels: str | Sequence[str],
    hypothesis_template: str = "This example is {}.",
    multi_label: bool = False,
    multi_class: bool | None = None,
    batch_size: int | None = None,
) -> Any:
    """How well each label fits a text: `{"sequence": text, "labels": [best, ...], "scores": [...]}`.

    `candidate_labels` is a list, or one text with commas between the labels. `hypothesis_template` makes a sentence of a label.
    The scores are probabilities over the labels; with `multi_label`, or for a single label, each is the probability that the
    text entails the sentence and does not contradict it. Which label of the model means that, its name says ("entailment"); as
    in the reference the first label, or else the last, is taken for the contradiction. A text that is too long is cut.
    `multi_class` is the reference's older name for `multi_label`.
    """
    check_model("zero-shot-classification", model, "BertForSequenceClassification", "GPT2ForSequenceClassification")
    check_tokenizer(tokenizer)
    labels = _labels(candidate_labels)
    hypotheses = [_filled(hypothesis_template, label) for label in labels]
    multi_label = flag("multi_label", multi_label, default=False) or flag("multi_class", multi_class, default=False)
    alone = multi_label or len(labels) == 1
    entailment = entailment_label(model.config.label2id)
    if entailment == -1:
        names = listed(model.config.label2id)
        warn(f"zero-shot classification: no label of the model begins with 'entail', the last is taken for it: {names}")
    contradiction = -1 if entailment == 0 else 0
    longest = longest_row(model, tokenizer)

    def encode(items: Sequence[Item]) -> list[list[TokenRow]]:
        texts = [unicode_text(*item) for item in items]
        for item in items:
            if not item.value:
                raise InputError(f"{item.name}: takes a text, this one is empty")
        pairs = [(one, hypothesis) for one in texts for hypothesis in hypotheses]
        rows = token_rows(tokenizer, tokenizer(pairs, truncation="only_first", max_length=longest, verbose=False))
        return [rows[start : start + len(labels)] for start in range(0, len(rows), len(labels))]

    def finish(item: Item, rows: list[TokenRow], logits: list[Array]) -> dict[str, Any]:
        of_labels = np.stack(logits)  # [candidates, num_labels]
        if alone:
            scores = ops.softmax(of_labels[:, [contradiction, entailment]])[:, 1]  # [candidates]
        else:
            scores = ops.softmax(of_labels[:, entailment])
        order = scores.argsort()[::-1].tolist()  # among equal ones the order is the reference's
        return {
            "sequence": item.value,
            "labels": [labels[place] for place in order],
            "scores": scores[order].tolist(),
        }

    return answer_all(
        model,
        tokenizer,
        inputs,
        is_one=isinstance(inputs, str),
        encode=encode,
        read=lambda out, batch: list(out.logits),
        finish=finish,
        batch_size=batch_size,
    )


def _labels(given: object) -> list[str]:
    labels = [label.strip() for label in given.split(",")] if isinstance(given, str) else text_list("candidate_labels", given)
    labels = [label for label in labels if label]
    if not labels:
        raise InputError("candidate_labels: takes one label or more")
    return labels


def _filled(template: object, label: str) -> str:
    """The sentence for a label."""
    words = text("hypothesis_template", template)
    try:
        sentence = words.format(label)
    except (IndexError, KeyError, ValueError):
        sentence = words
    if sentence == words:
        raise InputError(f"hypothesis_template: takes a sentence with {{}} for the label, got {shown(template)}")
    return sentence


def entailment_label(label2id: dict[str, int]) -> int:
    """The number of the label that says that a text entails the sentence; -1, the last, where no label says so."""
    for label, number in label2id.items():
        if label.lower().startswith("entail"):
            return number
    return -1
