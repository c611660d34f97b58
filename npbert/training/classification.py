"""Learning to label texts, or pairs of texts.

The data is a table with the columns `text`, `label` and, for pairs, `text_pair`. In a TSV file tabs stand between the fields,
which are taken as they are; a CSV file quotes a field that holds a comma, a quote or a line feed. Both begin with a line of the
columns' names. In JSON lines every line is an object with these keys.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npbert.checkpoints.reading import parse_json
from npbert.errors import FileError, InputError, listed, shown, warn
from npbert.models.base import PreTrainedModel
from npbert.text.tokenizer import BertTokenizer
from npbert.training.batches import Row, in_batches, padded
from npbert.training.lessons import Lessons
from npbert.training.reading import read_lines, read_text
from npbert.types import StrPath

COLUMNS = ("text", "text_pair", "label")
ENDINGS = (".tsv", ".csv", ".jsonl")


class Example(NamedTuple):
    """A text, or a pair, with its label."""

    text: str
    text_pair: str | None
    label: str
    place: str  # "data.tsv: line 2"


def read_examples(path: StrPath) -> list[Example]:
    """The rows of a table; its name's ending says of which kind it is."""
    name = os.fspath(path)
    readers = {".tsv": _tab_rows, ".csv": _comma_rows, ".jsonl": _json_rows}
    read = next((read for ending, read in readers.items() if name.lower().endswith(ending)), None)
    if read is None:
        raise InputError(f"{name}: takes a file that ends in {', '.join(ENDINGS)}")
    examples = [_example(place, row) for place, row in read(name)]
    if not examples:
        raise FileError(f"{name}: holds no row")
    return examples


def _tab_rows(path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    lines = read_lines(path)
    yield from _table(path, ((number, line.split("\t")) for number, line in enumerate(lines, 1)))


def _comma_rows(path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)

    def records() -> Iterator[tuple[int, list[str]]]:
        start = 1  # a record may have several lines
        try:
            for record in reader:
                yield start, record
                start = reader.line_num + 1
        except csv.Error as error:
            raise FileError(f"{path}: line {start}: {error}") from None

    yield from _table(path, records())


def _table(path: str, records: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    number, columns = next(records, (1, []))
    if sorted(columns) not in (["label", "text"], ["label", "text", "text_pair"]):
        raise FileError(
            f"{path}: line {number}: takes the names of the columns, text and label, or text, text_pair and label; "
            f"it has {listed([shown(column, 20) for column in columns])}"
        )
    for number, record in records:
        place = f"{path}: line {number}"
        if not any(record):
            continue
        if len(record) != len(columns):
            raise FileError(f"{place}: takes {len(columns)} fields ({', '.join(columns)}), it has {len(record)}")
        yield place, dict(zip(columns, record, strict=True))


def _json_rows(path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(read_lines(path), 1):
        place = f"{path}: line {number}"
        if line.strip():
            row = parse_json(line.encode(), place)
            if not isinstance(row, dict):
                raise FileError(f'{place}: takes an object, {{"text": ..., "label": ...}}, got {shown(row)}')
            if unknown := row.keys() - set(COLUMNS):
                raise FileError(f"{place}: takes the keys {', '.join(COLUMNS)}, it has {listed(sorted(unknown))} too")
            yield place, row


def _example(place: str, row: Mapping[str, Any]) -> Example:
    text, text_pair, label = (row.get(column) for column in COLUMNS)
    if isinstance(label, int) and not isinstance(label, bool):
        label = str(label)
    if not isinstance(label, str) or not label.strip():
        raise FileError(f"{place}: label: takes a word or a whole number, got {shown(label)}")
    if not isinstance(text, str) or not text.strip():
        raise FileError(f"{place}: text: takes a text that is not empty, got {shown(text)}")
    if text_pair is not None and not isinstance(text_pair, str):
        raise FileError(f"{place}: text_pair: takes a text, got {shown(text_pair)}")
    return Example(text, text_pair or None, label.strip(), place)


def labels_of(examples: Sequence[Example]) -> list[str]:
    """The labels that occur, in order: whole numbers by their size, else by the alphabet."""
    labels = {example.label for example in examples}
    if len(labels) < 2:
        raise InputError(f"label: takes two different labels or more, all rows have {listed(labels)}")
    are_numbers = all(label.removeprefix("-").isdecimal() for label in labels)
    return sorted(labels, key=lambda label: (int(label) if are_numbers else 0, label))


def classification_lessons(
    tokenizer: BertTokenizer,
    examples: Sequence[Example],
    held_out: Sequence[Example] = (),
    *,
    labels: Sequence[str],
    batch_size: int,
    max_length: int,
) -> Lessons:
    """`labels` in the order of the model's outputs. Longer texts are cut to `max_length` tokens, with a warning."""
    numbers = {label: number for number, label in enumerate(labels)}
    rows = _rows(tokenizer, examples, numbers, max_length)
    held_out_rows = _rows(tokenizer, held_out, numbers, max_length)

    def arguments(batch: Sequence[Row], rng: np.random.Generator | None = None) -> dict[str, Any]:
        return {**padded(batch, tokenizer.pad_token_id or 0), "labels": np.array([row["label"] for row in batch])}

    def evaluate(model: PreTrainedModel) -> dict[str, float]:
        right, loss = 0, 0.0
        for batch in in_batches(held_out_rows, batch_size, np.random.default_rng(0)):
            given = arguments(batch)
            out = model(**given)
            loss += float(out.loss) * len(batch)
            right += int((out.logits.argmax(axis=-1) == given["labels"]).sum())
        return {"accuracy": right / len(held_out_rows), "loss": loss / len(held_out_rows)}

    return Lessons(
        epoch=lambda rng: in_batches(rows, batch_size, rng),
        arguments=arguments,
        evaluate=evaluate if held_out else None,
        figure="accuracy",
        more_is_better=True,
    )


def _rows(tokenizer: BertTokenizer, examples: Sequence[Example], numbers: Mapping[str, int], max_length: int) -> list[Row]:
    for example in examples:
        if example.label not in numbers:
            raise FileError(f"{example.place}: the label {shown(example.label)} is not among those that are learned")
    if not examples:
        return []
    texts = [example.text if example.text_pair is None else (example.text, example.text_pair) for example in examples]
    encoding = tokenizer(texts, truncation=True, max_length=max_length, return_overflowing_tokens=True)
    rows_of_text = Counter(encoding["overflow_to_sample_mapping"])  # more than one where a text is cut
    if cut := sum(count > 1 for count in rows_of_text.values()):
        warn(f"{cut} of {len(texts)} texts have more than {max_length} tokens, and only their beginnings are read")
    first = [0, *itertools.accumulate(rows_of_text[text] for text in range(len(texts)))]
    names = [name for name in ("input_ids", "token_type_ids") if name in encoding]
    return [
        {**{name: encoding[name][first[text]] for name in names}, "label": numbers[example.label]}
        for text, example in enumerate(examples)
    ]
