"""Learning to label the words of a sentence: names, places, parts of speech.

The data is in CoNLL's columns: a word a line, the word first and its label last, with blanks or tabs between; an empty line
between sentences. Lines that begin with -DOCSTART- are left out.

A word of several pieces is learned by its first piece, as BERT's authors did; the other pieces have no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from npbert.checks import IGNORED
from npbert.errors import FileError, shown
from npbert.models.base import PreTrainedModel
from npbert.text.tokenizer import BertTokenizer
from npbert.training.batches import Row, in_batches, padded
from npbert.training.lessons import Lessons
from npbert.training.reading import read_lines
from npbert.types import StrPath

OUTSIDE = "O"


class Sentence(NamedTuple):
    """Words with their labels."""

    words: list[str]
    labels: list[str]
    places: list[str]  # "data.txt: line 7", for each word


Entity: TypeAlias = tuple[str, int, int]
"""What it is, its first word, its last."""


def read_sentences(path: StrPath) -> list[Sentence]:
    """The sentences of a file."""
    sentences = [Sentence([], [], [])]
    columns = 0
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if not fields or fields[0] == "-DOCSTART-":
            if sentences[-1].words:
                sentences.append(Sentence([], [], []))
            continue
        place = f"{path}: line {number}"
        if len(fields) < 2:
            raise FileError(f"{place}: takes a word and a label, it has {shown(line.strip())} alone")
        columns = columns or len(fields)
        if len(fields) != columns:
            raise FileError(f"{place}: takes {columns} columns, as the lines before it have, it has {len(fields)}")
        for entries, entry in zip(sentences[-1], (fields[0], fields[-1], place), strict=True):
            entries.append(entry)
    found = [sentence for sentence in sentences if sentence.words]
    if not found:
        raise FileError(f"{path}: holds no sentence")
    return found


def labels_of(sentences: Sequence[Sentence]) -> list[str]:
    """The labels that occur: "O" first, then by the alphabet."""
    return sorted({label for sentence in sentences for label in sentence.labels}, key=lambda label: (label != OUTSIDE, label))


def tagging_lessons(
    tokenizer: BertTokenizer,
    sentences: Sequence[Sentence],
    held_out: Sequence[Sentence] = (),
    *,
    labels: Sequence[str],
    batch_size: int,
    max_length: int,
) -> Lessons:
    """`labels` in the order of the model's outputs. A sentence of more than `max_length` tokens is read in parts.

    Labels that name entities are judged by the entities, others by the words.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    rows = _rows(tokenizer, sentences, numbers, max_length)
    held_out_rows = _rows(tokenizer, held_out, numbers, max_length)
    has_entities = all(label == OUTSIDE or label[:2] in ("B-", "I-", "E-", "S-") for label in labels)

    def arguments(batch: Sequence[Row], rng: np.random.Generator | None = None) -> dict[str, Any]:
        return padded(batch, tokenizer.pad_token_id or 0)

    def evaluate(model: PreTrainedModel) -> dict[str, float]:
        loss, learned = 0.0, 0
        # A word without a piece, such as a control character, cannot be labelled: it counts as outside.
        predicted = [[OUTSIDE] * len(sentence.words) for sentence in held_out]
        for batch in in_batches(held_out_rows, batch_size, np.random.default_rng(0)):
            given = arguments(batch)
            out = model(**given)
            counted = given["labels"] != IGNORED  # [B, S]
            loss, learned = loss + float(out.loss) * int(counted.sum()), learned + int(counted.sum())
            for row, best in zip(batch, out.logits.argmax(axis=-1), strict=True):
                for piece, word in row["words"].items():
                    predicted[row["sentence"]][word] = labels[best[piece]]
        right = [sentence.labels for sentence in held_out]
        pairs = [pair for both in zip(right, predicted, strict=True) for pair in zip(*both, strict=True)]
        figures = {"accuracy": sum(label == other for label, other in pairs) / len(pairs), "loss": loss / max(learned, 1)}
        return entity_figures(right, predicted) | figures if has_entities else figures

    return Lessons(
        epoch=lambda rng: in_batches(rows, batch_size, rng),
        arguments=arguments,
        evaluate=evaluate if held_out else None,
        figure="f1" if has_entities else "accuracy",
        more_is_better=True,
    )


def _rows(
    tokenizer: BertTokenizer, sentences: Sequence[Sentence], numbers: dict[str, int], max_length: int
) -> list[dict[str, Any]]:
    """Rows with a label for the first piece of each word; `words` says which word begins at a piece."""
    for sentence in sentences:
        for label, place in zip(sentence.labels, sentence.places, strict=True):
            if label not in numbers:
                raise FileError(f"{place}: the label {shown(label)} is not among those that are learned")
    if not sentences:
        return []
    encoding = tokenizer(
        [sentence.words for sentence in sentences],
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        return_overflowing_tokens=True,
    )
    names = [name for name in ("input_ids", "token_type_ids") if name in encoding]
    rows = []
    seen: set[tuple[int, int]] = set()  # words whose first piece was met: a word may lie on the edge of two parts
    for number, sentence in enumerate(encoding["overflow_to_sample_mapping"]):
        words: dict[int, int] = {}
        for piece, word in enumerate(encoding.word_ids(number)):
            if word is not None and (sentence, word) not in seen:
                seen.add((sentence, word))
                words[piece] = word
        row: dict[str, Any] = {name: encoding[name][number] for name in names}
        row["labels"] = [IGNORED] * len(row["input_ids"])
        for piece, word in words.items():
            row["labels"][piece] = numbers[sentences[sentence].labels[word]]
        if words:
            rows.append(row | {"words": words, "sentence": sentence})
    return rows


# --- figures ----------------------------------------------------------------------------------------------------------


def entity_figures(right: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
    """Precision, recall and their harmonic mean F1 over all entities: one counts as found if its words and its kind are right.

    As seqeval counts by default, and CoNLL's own script before it.
    """
    wanted = {(number, entity) for number, labels in enumerate(right) for entity in entities(labels)}
    found = {(number, entity) for number, labels in enumerate(predicted) for entity in entities(labels)}
    hits = len(wanted & found)
    precision, recall = hits / len(found) if found else 0.0, hits / len(wanted) if wanted else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"f1": f1, "precision": precision, "recall": recall}


def entities(labels: Sequence[str]) -> list[Entity]:
    """The entities that a sentence's labels name.

    "B-" and "S-" begin one. "I-" and "E-" go on with the entity before them, if that is of the same kind and did not end with
    "S-" or "E-"; else they begin one too.
    """
    found: list[Entity] = []
    before, kind_before = OUTSIDE, ""
    for place, label in enumerate(labels):
        prefix, _, kind = label.partition("-")
        if prefix != OUTSIDE:
            if prefix in "BS" or before in "OES" or kind != kind_before:
                found.append((kind, place, place))
            else:
                found[-1] = (kind, found[-1][1], place)
        before, kind_before = prefix, kind
    return found
