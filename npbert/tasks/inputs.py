"""What a task takes: one input, a list or an iterator of inputs; and the checks that several tasks share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, NamedTuple, TypeVar

from npbert.checks import unicode_text
from npbert.errors import InputError, InputTypeError, listed, shown

Answer = TypeVar("Answer")


class Item(NamedTuple):
    """One input, and what error messages call it."""

    name: str
    value: Any


def answer_in_kind(
    answer: Callable[[Iterable[Item], int | None], Iterator[Answer]], inputs: Any, *, is_one: bool, name: str = "inputs"
) -> Any:
    """One answer for one input, a list of answers for a list, an iterator of answers for an iterator (a generator, a file).

    `answer(items, how_many)` makes an iterator of answers; `how_many` is None for an iterator of inputs.
    """
    if hasattr(inputs, "to_pylist"):  # a column of Arrow, whose values are objects of its own
        inputs = inputs.to_pylist()
    if is_one:
        return next(answer([Item(name, inputs)], 1))
    if not isinstance(inputs, Iterable) and hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__"):
        inputs = _by_number(inputs)
    if not isinstance(inputs, Iterable) or isinstance(inputs, str | bytes | Mapping) or not getattr(inputs, "shape", (1,)):
        raise InputTypeError(f"{name}: takes one input, a list or an iterator of inputs, got {shown(inputs)}")
    items = (Item(f"{name}[{number}]", value) for number, value in enumerate(inputs))
    return list(answer(items, len(inputs))) if isinstance(inputs, Sized) else answer(items, None)


def _by_number(data: Any) -> Iterator[Any]:
    """The entries of what can only be counted and asked by number, such as a PyTorch `Dataset`."""
    return (data[number] for number in range(len(data)))


def check_model(task: str, model: object, *names: str) -> None:
    """Refuse a model without the head that the task reads. The class is known by its name, so subclasses pass."""
    if not any(kind.__name__ in names for kind in type(model).__mro__):
        raise InputTypeError(f"model: {task} takes a {' or '.join(names)}, got {type(model).__name__}")


def check_tokenizer(tokenizer: object) -> None:
    """Refuse what is not a tokenizer of npbert."""
    if not any(kind.__name__ in ("BertTokenizer", "GPT2Tokenizer") for kind in type(tokenizer).__mro__):
        raise InputTypeError(f"tokenizer: takes a BertTokenizer or a GPT2Tokenizer, got {type(tokenizer).__name__}")


def text_or_pair(name: str, value: object) -> str | tuple[str, str]:
    """A text, or two: `{"text": ..., "text_pair": ...}`, `(text, text_pair)` or `[[text, text_pair]]`. An empty second text
    counts as none."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = tuple(value[0])
    if isinstance(value, Mapping):
        if "text" not in value or not value.keys() <= {"text", "text_pair"}:
            raise InputError(f'{name}: takes {{"text": ..., "text_pair": ...}} for a pair, got {listed(value)}')
        value = (value["text"], value["text_pair"]) if value.get("text_pair") is not None else value["text"]
    if isinstance(value, tuple):
        if len(value) != 2:
            raise InputError(f"{name}: takes two texts for a pair, got {len(value)}")
        first, second = (unicode_text(f"{name}[{place}]", text) for place, text in enumerate(value))
        return (first, second) if second else first
    return unicode_text(name, value)


def entries(name: str, value: object, *keys: str) -> list[Any]:
    """The values of a dictionary that has these keys and no others."""
    if not isinstance(value, Mapping) or value.keys() != set(keys):
        takes = ", ".join(f'"{key}": ...' for key in keys)
        got = f"a dictionary with {listed(value)}" if isinstance(value, Mapping) else shown(value)
        raise InputTypeError(f"{name}: takes {{{takes}}}, got {got}")
    return [value[key] for key in keys]
