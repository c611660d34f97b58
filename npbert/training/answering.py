"""Learning to find answers in texts, from SQuAD's JSON (Rajpurkar et al. 2016; 2018 with questions that have no answer).

A context too long for the model is read in spans that overlap, as `npbert.question_answering` does. Of a span without the whole
answer the model learns to point at [CLS], which means "there is no answer here".
"""

from __future__ import annotations

import json
import re
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npbert.errors import FileError, shown
from npbert.models.base import PreTrainedModel
from npbert.tasks.answering import context_spans, question_answering
from npbert.tasks.rows import TokenRow
from npbert.text.tokenizer import BertTokenizer
from npbert.training.batches import in_batches, padded
from npbert.training.lessons import Lessons
from npbert.training.reading import read_text
from npbert.types import StrPath

LONGEST_ANSWER = 30  # tokens


class Question(NamedTuple):
    """A question, its context, and the answers that count as right: each with its first character. None: it has no answer."""

    question: str
    context: str
    answers: list[tuple[str, int]]
    place: str  # "data.json: data[0].paragraphs[1].qas[2]"


def read_questions(path: StrPath) -> list[Question]:
    """The questions of a file of SQuAD's format, version 1 or 2."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except RecursionError:
        raise FileError(f"{path}: is nested too deeply") from None
    except ValueError as error:
        raise FileError(f"{path}: is not JSON: {error}") from None
    found = []
    for article, inside in _entries(f"{path}: ", "data", content):
        for paragraph, below in _entries(f"{inside}.", "paragraphs", article):
            context = _text(below, "context", paragraph)
            for asked, place in _entries(f"{below}.", "qas", paragraph):
                found.append(Question(_text(place, "question", asked), context, _answers(place, asked, context), place))
    if not found:
        raise FileError(f"{path}: holds no question")
    return found


def _entries(before: str, name: str, parent: object) -> Iterator[tuple[Any, str]]:
    """The entries of a list inside an object, each with its place in the file."""
    entries = parent.get(name) if isinstance(parent, Mapping) else None
    if not isinstance(entries, list):
        where = before.rstrip(". :") or before
        raise FileError(f'{where}: takes an object with the list "{name}", as SQuAD has it')
    for number, entry in enumerate(entries):
        yield entry, f"{before}{name}[{number}]"


def _text(place: str, name: str, parent: object) -> str:
    value = parent.get(name) if isinstance(parent, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        raise FileError(f"{place}: {name}: takes a text that is not empty, got {shown(value)}")
    return value


def _answers(place: str, asked: Mapping[str, Any], context: str) -> list[tuple[str, int]]:
    if asked.get("is_impossible", False) is True:
        return []
    answers = []
    for answer, where in _entries(f"{place}.", "answers", asked):
        text, start = _text(where, "text", answer), answer.get("answer_start")
        if isinstance(start, bool) or not isinstance(start, int) or start < 0 or context[start : start + len(text)] != text:
            raise FileError(f"{where}: answer_start: the context has no {shown(text)} at {shown(start)}")
        answers.append((text, start))
    if not answers:
        raise FileError(f'{place}: has no answer; one that has none says "is_impossible": true')
    return answers


def answering_lessons(
    tokenizer: BertTokenizer,
    questions: Sequence[Question],
    held_out: Sequence[Question] = (),
    *,
    batch_size: int,
    max_length: int,
    stride: int,
) -> Lessons:
    """Spans of `max_length` tokens, the question among them, that overlap by `stride`."""

    def spans_of(asked: Question) -> list[TokenRow]:
        return context_spans(tokenizer, asked.question, asked.context, asked.place, max_length, stride)

    rows = [_row(span, asked) for asked in questions for span in spans_of(asked)]
    for asked in held_out:  # what cannot be read is an error now, not at the first evaluation
        spans_of(asked)

    def arguments(batch: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
        positions = {name: np.array([row[name] for row in batch]) for name in ("start_positions", "end_positions")}
        return {**padded(batch, tokenizer.pad_token_id or 0), **positions}

    def evaluate(model: PreTrainedModel) -> dict[str, float]:
        inputs = ({"question": asked.question, "context": asked.context} for asked in held_out)
        answers = question_answering(
            model,
            tokenizer,
            inputs,
            max_seq_len=max_length,
            doc_stride=stride,
            max_answer_len=LONGEST_ANSWER,
            handle_impossible_answer=any(not asked.answers for asked in held_out),
        )
        return answer_figures([[text for text, _ in asked.answers] for asked in held_out], [one["answer"] for one in answers])

    return Lessons(
        epoch=lambda rng: in_batches(rows, batch_size, rng),
        arguments=arguments,
        evaluate=evaluate if held_out else None,
        figure="f1",
        more_is_better=True,
    )


def _row(span: TokenRow, asked: Question) -> dict[str, Any]:
    """A span with the first and the last token of the answer; both 0, [CLS], where the answer is not wholly in it."""
    names = [name for name in ("input_ids", "token_type_ids") if name in span.inputs]
    row: dict[str, Any] = {name: span.inputs[name] for name in names}
    first, last = _tokens_of_answer(span, *asked.answers[0]) if asked.answers else (0, 0)
    return row | {"start_positions": first, "end_positions": last}


def _tokens_of_answer(span: TokenRow, text: str, start: int) -> tuple[int, int]:
    start, stop = start + len(text) - len(text.lstrip()), start + len(text.rstrip())  # no token holds the blanks at its edges
    offsets = span.encoding.offsets
    context = [token for token, part in enumerate(span.encoding.sequence_ids) if part == 1]
    inside = [token for token in context if offsets[token][0] < stop and offsets[token][1] > start]
    is_whole = bool(inside) and offsets[context[0]][0] <= start and stop <= offsets[context[-1]][1]
    return (inside[0], inside[-1]) if is_whole else (0, 0)


# --- figures ----------------------------------------------------------------------------------------------------------


def answer_figures(right: Sequence[Sequence[str]], given: Sequence[str]) -> dict[str, float]:
    """SQuAD's figures: the share of answers that equal a right one, and the mean F1 of their words, both after normalizing.

    Of several right answers the one counts that fits best. A question without an answer is answered right by an empty one.
    """
    exact, f1 = [], []
    for answers, answer in zip(right, given, strict=True):
        wanted = [text for text in map(normalized, answers) if text] or [""]
        exact.append(max(normalized(answer) == text for text in wanted))
        f1.append(max(_overlap(normalized(answer).split(), text.split()) for text in wanted))
    return {"exact_match": float(np.mean(exact)), "f1": float(np.mean(f1))}


def normalized(answer: str) -> str:
    """An answer in lower case, without punctuation and the articles a, an, the, with single blanks."""
    bare = answer.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def _overlap(words: Sequence[str], others: Sequence[str]) -> float:
    """The F1 of two answers' words: 2 * common / (all of both)."""
    if not words or not others:
        return float(words == others)
    return 2 * (Counter(words) & Counter(others)).total() / (len(words) + len(others))
