"""Learning to find answers: SQuAD's files, spans, the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.training import Run, Settings, steps
from npbert.training.answering import Question, answer_figures, answering_lessons, normalized, read_questions

from .small import SIZES, WORDS, tokenizer_in


def squad(*asked: dict[str, Any], context: Any = "the cat sat on the mat .") -> dict[str, Any]:
    return {"version": "1.1", "data": [{"title": "x", "paragraphs": [{"context": context, "qas": list(asked)}]}]}


def question(text: str = "a dog", start: Any = 4, **fields: Any) -> dict[str, Any]:
    return {"id": "1", "question": "who ?", "answers": [{"text": text, "answer_start": start}], **fields}


def written(directory: Path, content: Any) -> Path:
    path = directory / "squad.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_file_of_both_versions(tmp_path: Path) -> None:
    impossible = {
        "question": "why ?",
        "answers": [],
        "is_impossible": True,
        "plausible_answers": [{"text": "x", "answer_start": 9}],
    }
    path = written(tmp_path, squad(question("cat"), question("the mat", 15), impossible))
    found = read_questions(path)
    assert [asked.answers for asked in found] == [[("cat", 4)], [("the mat", 15)], []]
    assert found[1].place == f"{path}: data[0].paragraphs[0].qas[1]"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"squad\.json: is not JSON"),
        ("[" * 100_000, r"squad\.json: (is nested too deeply|is not JSON)"),
        ([], 'json: takes an object with the list "data"'),
        ({"data": [{}]}, r'data\[0\]: takes an object with the list "paragraphs"'),
        ({"data": []}, "holds no question"),
        (squad(question("cat"), context=3), r"data\[0\].paragraphs\[0\]: context: takes a text"),
        (squad({"question": "", "answers": []}), r"qas\[0\]: question: takes a text that is not empty"),
        (squad({"question": "a"}), r'qas\[0\]: takes an object with the list "answers"'),
        (squad({"question": "a", "answers": []}), r'qas\[0\]: has no answer; one that has none says "is_impossible": true'),
        (squad(question("cat"), question("cat", 5)), r"qas\[1\].answers\[0\]: answer_start: the context has no 'cat' at 5"),
        (squad(question("cat", -1)), "has no 'cat' at -1"),
        (squad(question("cat", "4")), "has no 'cat' at '4'"),
        (squad(question("cat", None)), "has no 'cat' at None"),
        (squad(3), r"qas\[0\]"),  # type: ignore[arg-type]
    ],
)
def test_bad_entries_name_file_and_place(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(npbert.FileError, match=message):
        read_questions(written(tmp_path, content))


def spans(tmp_path: Path, asked: Question, *, max_length: int = 40, stride: int = 8) -> list[dict[str, Any]]:
    lessons = answering_lessons(tokenizer_in(tmp_path), [asked], batch_size=50, max_length=max_length, stride=stride)
    return [row for batch in lessons.epoch(np.random.default_rng(0)) for row in batch]


def test_positions_are_those_of_the_answer(tmp_path: Path) -> None:
    (row,) = spans(tmp_path, Question("a dog", "the cats sat on the mat .", [("cats sat", 4)], ""))
    pieces = tokenizer_in(tmp_path).convert_ids_to_tokens(row["input_ids"])
    assert pieces[row["start_positions"] : row["end_positions"] + 1] == ["cat", "##s", "sat"]
    (row,) = spans(tmp_path, Question("a dog", "the cats sat on the mat .", [(" cats ", 3)], ""))
    assert pieces[row["start_positions"] : row["end_positions"] + 1] == ["cat", "##s"]
    (row,) = spans(tmp_path, Question("a dog", "the cats sat", [], ""))
    assert (row["start_positions"], row["end_positions"]) == (0, 0)


def test_in_a_long_context_spans_without_the_whole_answer_point_at_cls(tmp_path: Path) -> None:
    context, tokenizer = " ".join(WORDS * 3), tokenizer_in(tmp_path)
    for first in range(0, 54, 3):
        words = (WORDS * 3)[first : first + 4]
        start = len(" ".join((WORDS * 3)[:first])) + (first > 0)
        rows = spans(tmp_path, Question("a dog", context, [(" ".join(words), start)], ""), max_length=20, stride=6)
        whole = [row for row in rows if row["start_positions"]]
        assert 1 <= len(whole) < len(rows)
        for row in whole:
            answer = row["input_ids"][row["start_positions"] : row["end_positions"] + 1]
            assert tokenizer.convert_ids_to_tokens(answer) == words
        assert {row["end_positions"] for row in rows if not row["start_positions"]} == {0}


def test_spans_are_those_of_question_answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Question("a dog", " ".join(WORDS * 3), [("sat", 14)], "")
    asked = asked._replace(answers=[("sat", asked.context.index("sat"))])
    rows = spans(tmp_path, asked, max_length=20, stride=6)
    model = npbert.BertForQuestionAnswering(npbert.BertConfig(**SIZES), rng=np.random.default_rng(0))
    seen: list[tuple[int, ...]] = []
    call = type(model).__call__

    def watching(self: Any, *arguments: Any, **options: Any) -> Any:
        mask = options["attention_mask"]
        seen.extend(tuple(ids[:length]) for ids, length in zip(options["input_ids"].tolist(), mask.sum(axis=1), strict=True))
        return call(self, *arguments, **options)

    monkeypatch.setattr(type(model), "__call__", watching)
    npbert.question_answering(
        model, tokenizer_in(tmp_path), question=asked.question, context=asked.context, max_seq_len=20, doc_stride=6
    )
    assert sorted(seen) == sorted(tuple(row["input_ids"]) for row in rows)


def test_a_question_that_leaves_no_room_is_an_error_at_once(tmp_path: Path) -> None:
    asked = Question(" ".join(WORDS), "the cat", [("cat", 4)], "squad.json: data[0].paragraphs[0].qas[0]")
    for sides in (([asked], []), ([], [asked])):
        with pytest.raises(npbert.InputError, match=r"squad\.json: data\[0\].*the question's 20 tokens leave"):
            answering_lessons(tokenizer_in(tmp_path), *sides, batch_size=2, max_length=20, stride=6)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("The  Cat's hat!", "cats hat"), ("an A the", ""), ("theatre and-a", "theatre anda"), ("", ""), ("Łódź, 3.5", "łódź 35")],
)
def test_normalized(answer: str, expected: str) -> None:
    assert normalized(answer) == expected


@pytest.mark.parametrize(
    ("right", "given", "exact", "f1"),
    [
        (["the cat"], "Cat.", 1, 1),
        (["black cat", "a dog"], "dog", 1, 1),
        (["a black cat"], "cat", 0, 2 / 3),
        (["cat cat dog"], "cat mouse", 0, 2 / 5),
        (["cat"], "", 0, 0),
        ([], "", 1, 1),
        ([], "cat", 0, 0),
        (["the"], "", 1, 1),  # nothing is left of it, so it counts as no answer
        (["cat"], "dog", 0, 0),
    ],
)
def test_figures(right: list[str], given: str, exact: float, f1: float) -> None:
    assert answer_figures([right], [given]) == pytest.approx({"exact_match": exact, "f1": f1})
    assert answer_figures([right, ["x"]], [given, "x"])["f1"] == pytest.approx((f1 + 1) / 2)


def asked_about(count: int, seed: int, *, impossible: bool = False) -> list[Question]:
    """Which colour? The answer is the word "red" or "blue" of the context; where there is none, there is no answer."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        words = rng.choice(WORDS[:15], 8).tolist()
        answers = []
        if not (impossible and number % 3 == 0):
            words[3 + number % 4] = str(rng.choice(["red", "blue"]))
            answers = [(words[3 + number % 4], len(" ".join(words[: 3 + number % 4])) + 1)]
        found.append(Question("big ?", " ".join(words), answers, f"{number}"))
    return found


def test_a_small_model_learns_to_answer(tmp_path: Path) -> None:
    tokenizer = tokenizer_in(tmp_path)
    for impossible in (False, True):
        held_out = asked_about(40, 9, impossible=impossible)
        lessons = answering_lessons(
            tokenizer, asked_about(240, 0, impossible=impossible), held_out, batch_size=16, max_length=40, stride=8
        )
        config = npbert.BertConfig(**SIZES, hidden_dropout_prob=0.0)
        run = Run(
            npbert.BertForQuestionAnswering(config, rng=np.random.default_rng(0)),
            lessons,
            Settings(steps=90, lr=1e-2, warmup=10),
        )
        assert lessons.evaluate is not None
        before = lessons.evaluate(run.model)
        list(steps(run))
        after = lessons.evaluate(run.model)
        assert before["exact_match"] < 0.4
        assert after["exact_match"] > 0.8
        assert after["f1"] >= after["exact_match"]


def test_one_held_out_question(tmp_path: Path) -> None:
    (asked,) = asked_about(1, 0)
    lessons = answering_lessons(tokenizer_in(tmp_path), [asked], [asked], batch_size=2, max_length=40, stride=8)
    model = npbert.BertForQuestionAnswering(npbert.BertConfig(**SIZES), rng=np.random.default_rng(0))
    assert lessons.evaluate is not None
    assert set(lessons.evaluate(model)) == {"exact_match", "f1"}
