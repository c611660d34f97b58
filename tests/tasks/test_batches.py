"""How texts reach the model: little padding, answers in order, streams in constant memory, progress where it is seen."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npbert import InputError, InputTypeError, tasks
from npbert.tasks import batches, inputs, progress

from . import cases

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def texts_of(lengths: list[int]) -> list[str]:
    return [" ".join(itertools.islice(itertools.cycle(WORDS), length)) for length in lengths]


@given(st.lists(st.integers(1, 512), max_size=60), st.sampled_from([None, 1, 2, 7]), st.sampled_from([1, 256, 4096]))
def test_every_row_is_in_one_batch_and_no_batch_is_too_large(lengths: list[int], batch_size: int | None, tokens: int) -> None:
    made = list(batches._batches(lengths, batch_size, tokens))
    assert sorted(itertools.chain(*made)) == list(range(len(lengths)))
    for batch in made:
        widths = [lengths[number] for number in batch]
        assert len(batch) == 1 or (len(batch) <= batch_size if batch_size else len(batch) * max(widths) <= tokens)
        assert max(widths) - min(widths) <= max(4, max(widths) // 16)


def test_little_padding_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = texts_of([int(length) for length in np.clip(rng.lognormal(2.7, 0.7, 300), 1, 100)])
    model, tokenizer = cases.model("base"), cases.tokenizer()
    seen: list[np.ndarray] = []
    call = type(model).__call__

    def watched(self: Any, **arguments: Any) -> Any:
        seen.append(arguments["attention_mask"])
        return call(self, **arguments)

    monkeypatch.setattr(type(model), "__call__", watched)
    tasks.embed(model, tokenizer, texts)
    real = sum(len(ids) for ids in tokenizer(texts)["input_ids"])
    assert sum(int(mask.sum()) for mask in seen) == real
    assert sum(mask.size for mask in seen) < 1.12 * real
    assert len(seen) < 25


def test_answers_come_in_the_order_of_the_texts() -> None:
    model, tokenizer = cases.model("base"), cases.tokenizer()
    texts = texts_of([5, 90, 1, 40, 40, 2, 90, 0, 300])
    together = tasks.embed(model, tokenizer, texts)
    for text, vector in zip(texts, together, strict=True):
        assert np.abs(tasks.embed(model, tokenizer, text) - vector).max() < 1e-5


def test_padding_is_put_at_the_end_whatever_the_tokenizer_s_side() -> None:
    """On the left it would move every token of a shorter text to another position."""
    import copy

    left = copy.copy(cases.tokenizer())
    left.padding_side = "left"
    texts = texts_of([10, 7, 8])
    model = cases.model("base")
    expected = tasks.embed(model, cases.tokenizer(), texts)
    assert np.abs(tasks.embed(model, left, texts) - expected).max() < 1e-6


def test_a_stream_is_read_a_window_at_a_time() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield WORDS[number % len(WORDS)]

    answers = tasks.text_classification(cases.model("four"), cases.tokenizer(), endless())
    assert taken == 0
    first = [answer["label"] for answer in itertools.islice(answers, 700)]
    assert 700 <= taken <= 2 * batches.WINDOW_ITEMS
    assert first[: len(WORDS)] == first[len(WORDS) : 2 * len(WORDS)]


def test_with_batches_of_one_nothing_waits_for_the_next_text() -> None:
    taken = []

    def lines() -> Iterator[str]:
        for number in itertools.count():
            taken.append(number)
            yield "a line"

    vectors = tasks.embed(cases.model("base"), cases.tokenizer(), lines(), batch_size=1)
    for number in range(3):
        next(vectors)
        assert len(taken) == number + 1


def test_long_texts_close_a_window_early() -> None:
    text = "word " * (batches.WINDOW_CHARACTERS // 8)  # 5/8 of a window
    windows = list(batches._windows([inputs.Item("", {"text": text, "text_pair": text})] * 3, None))
    assert [len(window) for window in windows] == [1, 1, 1]
    assert [len(window) for window in batches._windows([inputs.Item("", text)] * 4, None)] == [2, 2]


def test_a_line_of_a_million_characters_is_read() -> None:
    line = "unbelievable things " * 50_000
    model, tokenizer = cases.model("base"), cases.tokenizer()
    vector = tasks.embed(model, tokenizer, line)
    assert np.abs(vector - tasks.embed(model, tokenizer, line[:5000])).max() < 1e-5


def test_every_kind_of_collection_is_taken() -> None:
    model, tokenizer = cases.model("four"), cases.tokenizer()
    expected = tasks.text_classification(model, tokenizer, WORDS)
    assert tasks.text_classification(model, tokenizer, dict.fromkeys(WORDS).keys()) == expected
    assert list(tasks.text_classification(model, tokenizer, iter(WORDS))) == expected
    file = io.StringIO("\n".join(WORDS))
    assert list(tasks.text_classification(model, tokenizer, map(str.strip, file))) == expected
    assert tasks.text_classification(model, tokenizer, []) == []
    assert tasks.embed(cases.model("base"), tokenizer, tuple(WORDS)).shape == (len(WORDS), 32)
    assert tasks.embed(cases.model("base"), tokenizer, []).shape == (0, 32)


@pytest.mark.parametrize("inputs", [None, 3, b"bytes", {"a": "b"}])
def test_what_holds_no_texts_is_refused(inputs: Any) -> None:
    with pytest.raises(InputTypeError, match=r"^inputs: takes"):
        tasks.embed(cases.model("base"), cases.tokenizer(), inputs)


@pytest.mark.parametrize("batch_size", [0, -1, True, 1.5, "8"])
def test_batch_size_is_checked(batch_size: Any) -> None:
    with pytest.raises((InputError, InputTypeError), match=r"^batch_size: takes"):
        tasks.embed(cases.model("base"), cases.tokenizer(), ["a"], batch_size=batch_size)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("seen", [True, False])
def test_long_work_shows_progress_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch, seen: bool) -> None:
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0)
    monkeypatch.setattr(sys, "stderr", Terminal() if seen else io.StringIO())
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    model, tokenizer = cases.model("base"), cases.tokenizer()
    tasks.embed(model, tokenizer, texts_of([1, 40, 90]))
    shown = sys.stderr.getvalue()
    assert ("/3" in shown) == seen
    assert bool(shown) == seen
    assert sys.stdout.getvalue() == ""


def test_rows_are_counted_and_their_number_is_known_once_all_texts_are_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[Any] = []

    class Bar:
        """Keeps what a bar is told."""

        def __init__(self, total: int | None) -> None:
            self.total, self.counted = total, 0
            bars.append(self)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *exception: object) -> None:
            pass

        def update(self, rows: int) -> None:
            self.counted += rows

    monkeypatch.setattr(batches, "progress_bar", Bar)
    long = "Ada Lovelace lived in London. " * 60
    tasks.token_classification(
        cases.model("names"), cases.tokenizer(), ["short", long], aggregation_strategy="simple", stride=4
    )
    assert bars[0].total == bars[0].counted > 2


def test_writing_shows_progress_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    tasks.text_generation(cases.model("writer"), cases.tokenizer(), ["a", "b"], do_sample=False, max_new_tokens=1)
    assert "/2" in sys.stderr.getvalue()


def test_a_stream_shows_progress_only_if_its_answers_go_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0)
    model, tokenizer = cases.model("base"), cases.tokenizer()
    shown = []
    for answers_on_screen in (True, False):
        monkeypatch.setattr(sys, "stderr", Terminal())
        monkeypatch.setattr(sys, "stdout", Terminal() if answers_on_screen else io.StringIO())
        list(tasks.embed(model, tokenizer, iter(texts_of([1, 40, 90]))))
        shown.append(sys.stderr.getvalue())
    assert shown[0] == ""
    assert "row" in shown[1]


def test_short_work_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    tasks.embed(cases.model("base"), cases.tokenizer(), ["a", "b"])
    assert sys.stderr.getvalue() == ""
