"""Running a model over any number of texts: a window at a time, sorted by length, in batches with little padding, in order.

Every task is three functions around the model: `encode` makes rows of token ids from an item, one or, for a long text, several;
`read` takes from the model's output what the task needs of each row; `finish` makes the answer to an item from what was read.
What lies between them is here.

A window holds a few hundred items at most, so a stream of a million texts runs in constant memory.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from npbert.errors import InputError, InputTypeError, NpbertError

if TYPE_CHECKING:
    from tokenizers import Encoding

    from npbert.models.base import PreTrainedModel
    from npbert.text.tokenizer import BatchEncoding, BertTokenizer

WINDOW_ITEMS = 512
WINDOW_CHARACTERS = 2**20
TOKENS_PER_BATCH = 2048  # enough that the products are large; the attention of 4 rows of 512 tokens stays near 50 MB
BAR_AFTER_SECONDS = 2.0

Read = TypeVar("Read")
Answer = TypeVar("Answer")


class Item(NamedTuple):
    """Something to answer, and what error messages call it."""

    name: str
    value: Any


@dataclasses.dataclass
class Row:
    """What the model is called with for one text, or for one piece of a long one."""

    inputs: dict[str, list[int]]
    encoding: Encoding  # which characters each token came from

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])


class Batch(NamedTuple):
    """Rows of one call, padded at their ends: every array is `[B, S]`."""

    arguments: dict[str, Any]  # input_ids, attention_mask and, where the tokenizer has them, token_type_ids
    lengths: list[int]


Encode: TypeAlias = Callable[[Sequence[Item]], "list[list[Row]]"]


# ------------------------------------------------------------------------------------------------------------ checking


def check_text(name: str, value: object) -> str:
    """The value, if it is text that can be encoded."""
    if not isinstance(value, str):
        raise InputTypeError(f"{name}: takes a string, got {type(value).__name__} {_short(value)}")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"{name}: holds a lone surrogate, {value[error.start]!r} at index {error.start}, which is no character"
            ) from None
    return value


def check_count(name: str, value: object, least: int = 1) -> int:
    """The value, if it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputTypeError(f"{name}: takes a whole number, got {_short(value)}")
    if value < least:
        raise InputError(f"{name}: takes {least} or more, got {value}")
    return int(value)


def check_model(task: str, model: object, *names: str) -> None:
    """Refuse a model without the head that the task reads. By name, so that subclasses pass."""
    if not any(kind.__name__ in names for kind in type(model).__mro__):
        raise InputTypeError(f"model: {task} takes a {' or '.join(names)}, got {type(model).__name__}")


def text_or_pair(name: str, value: object) -> str | tuple[str, str]:
    """A text, or two: `{"text": ..., "text_pair": ...}` or `(text, text_pair)`. An empty second text counts as none."""
    if isinstance(value, Mapping):
        if "text" not in value or not value.keys() <= {"text", "text_pair"}:
            raise InputError(f'{name}: a pair is {{"text": ..., "text_pair": ...}}, got the keys {sorted(map(str, value))}')
        value = (value["text"], value["text_pair"]) if value.get("text_pair") is not None else value["text"]
    if isinstance(value, tuple):
        if len(value) != 2:
            raise InputError(f"{name}: a pair has two texts, got {len(value)}")
        first, second = (check_text(f"{name}[{place}]", text) for place, text in enumerate(value))
        return (first, second) if second else first
    return check_text(name, value)


def longest_row(model: PreTrainedModel, tokenizer: BertTokenizer) -> int:
    """How many tokens the model takes, by its positions and by what its tokenizer says."""
    return min(model.config.max_position_embeddings, tokenizer.model_max_length)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


# ------------------------------------------------------------------------------------------------------------ encoding


def rows_of(tokenizer: BertTokenizer, encoding: BatchEncoding) -> list[Row]:
    """The rows of what the tokenizer answered, with the inputs that the tokenizer says the model takes."""
    names = [name for name in tokenizer.model_input_names if name in encoding]
    encodings = encoding.encodings or []
    return [Row({name: encoding[name][number] for name in names}, encodings[number]) for number in range(len(encodings))]


TOKENIZER_OPTIONS = ("truncation", "max_length", "padding", "add_special_tokens")


def encode_texts(model: PreTrainedModel, tokenizer: BertTokenizer, options: Mapping[str, Any] | None = None) -> Encode:
    """An `encode` that makes one row of each text or pair, with some of the tokenizer's options.

    None is an option's default. `truncation` cuts to what the model takes where `max_length` does not say. `padding=True`
    pads a text to its own length: it is taken, since the reference takes it, and there is nothing to do.
    """
    given = {name: value for name, value in (options or {}).items() if value is not None}
    for name in given:
        if name not in TOKENIZER_OPTIONS:
            raise InputTypeError(f"unknown argument {name!r}; of the tokenizer's are taken {', '.join(TOKENIZER_OPTIONS)}")
    if given.get("padding") in (True, "longest", "do_not_pad"):
        del given["padding"]
    if given.get("truncation", False) not in (False, "do_not_truncate") or given.get("padding") == "max_length":
        given.setdefault("max_length", longest_row(model, tokenizer))

    def encode(items: Sequence[Item]) -> list[list[Row]]:
        texts = [text_or_pair(*item) for item in items]
        return [[row] for row in rows_of(tokenizer, tokenizer(texts, verbose=False, **given))]

    return encode


# ------------------------------------------------------------------------------------------------------------- running


def answer_all(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    inputs: Any,
    *,
    is_one: bool,
    encode: Encode,
    read: Callable[[Any, Batch], Sequence[Read]],
    finish: Callable[[Item, list[Row], list[Read]], Answer],
    batch_size: int | None = None,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    name: str = "inputs",
    hint: str = "truncation=True reads the beginning",
) -> Any:
    """Answer one input with its answer, a collection with a list of answers, an iterator (a generator, a file) with another.

    `batch_size` is the most rows in one call of the model; None lets their length decide.
    """
    if batch_size is not None:
        check_count("batch_size", batch_size)

    def rows_for(items: Sequence[Item]) -> list[list[Row]]:
        rows = encode(items)
        _check_lengths(model, items, rows, hint)
        return rows

    def answer(items: Sequence[Item], rows: list[list[Row]], bar: Bar) -> Iterator[Answer]:
        flat = [row for of_item in rows for row in of_item]
        bar.expect(len(items), len(flat))
        results = iter(_run(model, tokenizer, flat, read, batch_size, tokens_per_batch, bar))
        for item, of_item in zip(items, rows, strict=True):
            yield finish(item, of_item, [next(results) for _ in of_item])

    def stream(items: Iterable[Item], total: int | None) -> Iterator[Answer]:
        with Bar(total) as bar:
            for window in _windows(items, batch_size):
                try:
                    rows = rows_for(window)
                except NpbertError:
                    if total is None:  # a stream hands out what it has up to the item that cannot be answered
                        for item in window:
                            yield from answer([item], rows_for([item]), bar)
                    raise
                yield from answer(window, rows, bar)

    return deliver(stream, inputs, is_one=is_one, name=name)


def deliver(
    stream: Callable[[Iterable[Item], int | None], Iterator[Answer]], inputs: Any, *, is_one: bool, name: str = "inputs"
) -> Any:
    """Call `stream(items, how many)` and hand its answers on as the inputs came: one, a list, or an iterator."""
    if is_one:
        return next(stream([Item(name, inputs)], 1))
    if not isinstance(inputs, Iterable) or isinstance(inputs, str | bytes | Mapping):
        raise InputTypeError(f"{name}: takes one item, a list or an iterator, got {type(inputs).__name__} {_short(inputs)}")
    items = (Item(f"{name}[{number}]", value) for number, value in enumerate(inputs))
    return list(stream(items, len(inputs))) if isinstance(inputs, Sized) else stream(items, None)


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


def _check_lengths(model: PreTrainedModel, items: Sequence[Item], rows: Sequence[Sequence[Row]], hint: str) -> None:
    longest = model.config.max_position_embeddings
    for item, of_item in zip(items, rows, strict=True):
        length = max(map(len, of_item), default=0)
        if length > longest:
            raise InputError(f"{item.name}: {length} tokens, the model takes {longest}; {hint}")


def _run(
    model: PreTrainedModel,
    tokenizer: BertTokenizer,
    rows: Sequence[Row],
    read: Callable[[Any, Batch], Sequence[Read]],
    batch_size: int | None,
    tokens_per_batch: int,
    bar: Bar,
) -> list[Read]:
    results: dict[int, Read] = {}
    for numbers in _batches([len(row) for row in rows], batch_size, tokens_per_batch):
        batch = _pad([rows[number] for number in numbers], tokenizer.pad_token_id or 0)
        results.update(zip(numbers, read(model(**batch.arguments), batch), strict=True))
        bar.advance(len(numbers))
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


def _pad(rows: Sequence[Row], pad_id: int) -> Batch:
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


# ------------------------------------------------------------------------------------------------------------ progress


class Bar:
    """A progress bar on standard error, once work has taken a while, where somebody is there to see it.

    It counts rows, because one long text can be thousands of them. How many there will be is known exactly when all texts
    are encoded and estimated from the texts so far before that. A stream has no end to count towards, and what it yields may
    go to the same screen: there the bar shows only if standard output goes elsewhere.
    """

    def __init__(self, total: int | None) -> None:
        self._total_items = total
        self._items = self._rows = self._done = 0
        self._start = time.monotonic()
        self._bar: Any = None
        self._visible = sys.stderr is not None and sys.stderr.isatty()
        if total is None and sys.stdout is not None and sys.stdout.isatty():
            self._visible = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def expect(self, items: int, rows: int) -> None:
        """So many more items were encoded to so many rows."""
        self._items += items
        self._rows += rows
        if self._bar is not None:
            self._bar.total = self._expected()

    def _expected(self) -> int | None:
        return None if self._total_items is None else round(self._rows / self._items * self._total_items)

    def advance(self, rows: int) -> None:
        """The model has seen so many more rows."""
        self._done += rows
        if self._bar is not None:
            self._bar.update(rows)
        elif self._visible and time.monotonic() - self._start > BAR_AFTER_SECONDS:
            from tqdm import tqdm

            self._bar = tqdm(total=self._expected(), initial=self._done, unit="row", leave=False, file=sys.stderr)
