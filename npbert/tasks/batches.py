"""Running a model over any number of texts: a window at a time, sorted by length, in batches with little padding, in order.

Every task is three functions around the model: `encode` makes rows of token ids from an item, one or, for a long text, several;
`read` takes from the model's output what the task needs of each row; `finish` makes the answer to an item from what was read.
`answer_all` does what lies between them.

A window holds a few hundred items at most, so a stream of a million texts runs in constant memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from npbert.checks import whole_number
from npbert.errors import InputError, NpbertError
from npbert.tasks.inputs import Answer, Item, answer_in_kind
from npbert.tasks.progress import progress_bar
from npbert.tasks.rows import Encode, TokenRow
from npbert.types import Array

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel
    from npbert.text.tokenizer import BertTokenizer

WINDOW_ITEMS = 512
WINDOW_CHARACTERS = 2**20
TOKENS_PER_BATCH = 2048  # enough that the products are large; the attention of 4 rows of 512 tokens stays near 50 MB

Read = TypeVar("Read")


class Batch(NamedTuple):
    """Rows of one call, padded at their ends: every array is `[B, S]`."""

    arguments: dict[str, Any]  # input_ids, attention_mask and, where the tokenizer has them, token_type_ids
    lengths: list[int]

    def without_padding(self, output: Array) -> list[Array]:
        """The rows of an output `[B, S, ...]`, each cut to its own length."""
        return [row[:length] for row, length in zip(output, self.lengths, strict=True)]


def answer_all(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: Any,
    *,
    is_one: bool,
    encode: Encode,
    read: Callable[[Any, Batch], Sequence[Read]],
    finish: Callable[[Item, list[TokenRow], list[Read]], Answer],
    batch_size: int | None = None,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    hint: str = "truncation=True reads the beginning",
) -> Any:
    """The answer to one input, the list of answers to a collection, or an iterator of answers to an iterator.

    `batch_size` is the most rows in one call of the model; None lets their length decide. `hint` says in an error how to
    have a text read that is too long.
    """
    if batch_size is not None:
        whole_number("batch_size", batch_size, least=1)

    def encode_checked(items: Sequence[Item]) -> list[list[TokenRow]]:
        rows = encode(items)
        _check_lengths(model, items, rows, hint)
        return rows

    def answer_window(items: Sequence[Item], rows: list[list[TokenRow]], bar: Any) -> Iterator[Answer]:
        all_rows = [row for of_item in rows for row in of_item]
        results = iter(_run(model, tokenizer, all_rows, read, batch_size, tokens_per_batch, bar))
        for item, of_item in zip(items, rows, strict=True):
            yield finish(item, of_item, [next(results) for _ in of_item])

    def answer(items: Iterable[Item], total: int | None) -> Iterator[Answer]:
        items_read = rows_read = 0
        with progress_bar(total) as bar:
            for window in _windows(items, batch_size):
                try:
                    rows = encode_checked(window)
                except NpbertError:
                    if total is None:  # a stream yields its answers up to the item that is wrong
                        for item in window:
                            yield from answer_window([item], encode_checked([item]), bar)
                    raise
                items_read += len(window)
                rows_read += sum(map(len, rows))
                if total is not None:
                    bar.total = round(rows_read / items_read * total)  # exact when all are read, before that an estimate
                yield from answer_window(window, rows, bar)

    return answer_in_kind(answer, inputs, is_one=is_one)


def _windows(items: Iterable[Item], batch_size: int | None) -> Iterator[list[Item]]:
    """Items in groups that are encoded and sorted together. With `batch_size=1` nothing waits for what comes after it."""
    most = WINDOW_ITEMS if batch_size is None else batch_size * (16 if batch_size > 1 else 1)
    window: list[Item] = []
    characters = 0
    for item in items:
        window.append(item)
        characters += _characters(item.value)
        if len(window) >= most or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


def _characters(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list | tuple) else 0


def _check_lengths(model: PreTrainedModel, items: Sequence[Item], rows: Sequence[Sequence[TokenRow]], hint: str) -> None:
    longest = model.config.max_position_embeddings
    for item, of_item in zip(items, rows, strict=True):
        length = max(map(len, of_item), default=0)
        if length > longest:
            raise InputError(f"{item.name}: {length} tokens, the model takes {longest}; {hint}")


def _run(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    rows: Sequence[TokenRow],
    read: Callable[[Any, Batch], Sequence[Read]],
    batch_size: int | None,
    tokens_per_batch: int,
    bar: Any,
) -> list[Read]:
    """What `read` takes from the model's output for each row."""
    results: dict[int, Read] = {}
    for numbers in _batches([len(row) for row in rows], batch_size, tokens_per_batch):
        batch = _pad([rows[number] for number in numbers], tokenizer.pad_token_id or 0)
        results.update(zip(numbers, read(model(**batch.arguments), batch), strict=True))
        bar.update(len(numbers))
    return [results[number] for number in range(len(rows))]


def _batches(lengths: Sequence[int], batch_size: int | None, tokens: int) -> Iterator[list[int]]:
    """The numbers of the rows of each batch, longest rows first.

    A batch ends when it is full, or when the next row is so much shorter that padding it would cost more than it brings.
    """
    batch: list[int] = []
    width = 0
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        most = max(1, tokens // max(width, 1)) if batch_size is None else batch_size
        if batch and (len(batch) >= most or width - lengths[number] > max(4, width // 16)):
            yield batch
            batch = []
        if not batch:
            width = lengths[number]
        batch.append(number)
    if batch:
        yield batch


def _pad(rows: Sequence[TokenRow], pad_id: int) -> Batch:
    """Rows as arrays, padded at the end whatever the tokenizer's side: there it moves no token to another position."""
    lengths = [len(row) for row in rows]
    fills = {name: pad_id if name == "input_ids" else 0 for name in rows[0].inputs}
    arrays = {name: np.full((len(rows), max(lengths)), fill, np.int64) for name, fill in fills.items()}  # [B, S]
    mask = arrays.setdefault("attention_mask", np.zeros((len(rows), max(lengths)), np.int64))
    for number, row in enumerate(rows):
        mask[number, : len(row)] = 1
        for name, values in row.inputs.items():
            arrays[name][number, : len(row)] = values
    return Batch(arrays, lengths)
