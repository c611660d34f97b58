"""The searches, handed the next token's logits by a table instead of a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from npbert import ops
from npbert.generation import GenerationConfig, beam_search, token_columns


def beams_by_table(after: Any, *, first: tuple[int, ...] = (0,), **settings: Any) -> tuple[list[list[int]], np.ndarray, int]:
    """Beam search where the next token depends on the last one alone, by a table [last, next] of probabilities.

    `first` are the prompts, one token each. Returns the sequences, their scores and the number of steps.
    """
    logits = np.log(np.array(after))
    steps = []

    def next_logits(tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
        steps.append(rows)
        return logits[tokens[:, -1]]

    prompts = np.array(first)[:, None]
    found, scores, _ = beam_search(next_logits, prompts, GenerationConfig(**settings), np.random.default_rng(0))
    return found.tolist(), scores, len(steps)


def test_end_tokens_do_not_crowd_out_the_open_beams() -> None:
    """Three likely end tokens and two beams: both beams stay open, and the less likely one turns out to be right."""
    after = np.tile([0.02, 0.3, 0.3, 0.3, 0.05, 0.03], (6, 1))
    after[5] = [0.02, 0.9, 0.02, 0.02, 0.02, 0.02]
    beams = {"num_beams": 2, "num_return_sequences": 2, "early_stopping": "never"}
    found, scores, _ = beams_by_table(after, max_length=3, eos_token_id=[1, 2, 3], length_penalty=8.0, **beams)
    assert found == [[0, 5, 1], [0, 4, 1]]
    np.testing.assert_allclose(scores, np.log([0.03 * 0.9, 0.05 * 0.3]) / 2**8)


@pytest.mark.parametrize(("early_stopping", "expected"), [(False, [[0, 1]]), ("never", [[0, 2, 1]])])
def test_never_hopes_for_the_longest(early_stopping: Any, expected: list[list[int]]) -> None:
    """The end is likelier than going on, but a long sequence would gain much: `never` waits for it."""
    after = [[0.0001, 0.6, 0.3999], [0.1, 0.5, 0.4], [0.05, 0.9, 0.05]]
    options = {"early_stopping": early_stopping, "length_penalty": 8.0, "eos_token_id": 1, "max_length": 3}
    assert beams_by_table(after, num_beams=1, **options)[0] == expected


def test_a_prompt_that_is_done_stays_as_it_is() -> None:
    """The first prompt has its result after one step; what would outdo it while the second one goes on comes too late."""
    after = [[0.0001, 0.6, 0.3998, 0.0001], [0.25] * 4, [0.05, 0.85, 0.05, 0.05], [0.0001, 0.0001, 0.9997, 0.0001]]
    options = {"num_beams": 1, "length_penalty": 8.0, "eos_token_id": 1, "pad_token_id": 3, "max_length": 3}
    assert beams_by_table(after, first=(0, 3), **options)[0] == [[0, 1, 3], [3, 2, 1]]


def test_early_stopping_stops_when_there_are_enough() -> None:
    after = np.tile([0.1, 0.5, 0.4], (3, 1))
    options = {"num_beams": 2, "num_return_sequences": 2, "eos_token_id": 1, "max_length": 30, "length_penalty": 8.0}
    found, _, steps = beams_by_table(after, early_stopping=True, **options)
    assert (len(found[0]), steps) == (3, 2)
    found, _, steps = beams_by_table(after, early_stopping="never", **options)
    assert (len(found[0]), steps) == (30, 29)


class Reader:
    """Gives logits that depend on all that a row has read, found again by the rows that a search says go on."""

    def __init__(self, prompts: np.ndarray) -> None:
        self.prompts, self.read = prompts, prompts[:, :0]

    def logits(self, row: np.ndarray) -> np.ndarray:
        return np.random.default_rng(row.tolist()).normal(0, 2, 7)

    def next_logits(self, tokens: np.ndarray, rows: np.ndarray) -> np.ndarray:
        self.read = np.column_stack([self.read[rows], tokens])
        # The rows of a prompt stay side by side.
        assert (self.read[:, : self.prompts.shape[1]] == self.prompts.repeat(len(rows) // len(self.prompts), axis=0)).all()
        return np.array([self.logits(row) for row in self.read])


PROMPTS = np.array([[3, 1], [5, 2], [0, 4]])


@pytest.mark.parametrize("do_sample", [False, True])
def test_columns_follow_what_each_row_has_read(do_sample: bool) -> None:
    reader = Reader(PROMPTS)
    drawn = {"do_sample": True, "num_return_sequences": 4} if do_sample else {}
    settings = GenerationConfig(max_length=7, **drawn)  # type: ignore[arg-type]
    columns = list(token_columns(reader.next_logits, PROMPTS, settings, np.random.default_rng(0)))
    assert len(columns) == 5
    written = np.column_stack([PROMPTS.repeat(settings.num_return_sequences, axis=0), *columns])
    assert (written[:, :-1] == reader.read).all()
    if do_sample:
        assert len({tuple(row) for row in written}) > 8
    else:
        assert all(row[i] == reader.logits(row[:i]).argmax() for row in written for i in range(2, 7))


@pytest.mark.parametrize("do_sample", [False, True])
def test_beams_follow_what_each_row_has_read(do_sample: bool) -> None:
    reader = Reader(PROMPTS)
    settings = GenerationConfig(max_length=8, num_beams=3, num_return_sequences=3, do_sample=do_sample, top_k=0)
    found, scores, _ = beam_search(reader.next_logits, PROMPTS, settings, np.random.default_rng(0))
    assert (found[:, :2] == PROMPTS.repeat(3, axis=0)).all()
    for row, score in zip(found, scores, strict=True):
        log_probs = [ops.log_softmax(reader.logits(row[:i]))[row[i]] for i in range(2, 8)]
        assert score == pytest.approx(sum(log_probs) / 6)
