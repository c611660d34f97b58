"""How `npbert qa` prints answers."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import npbert
from npbert.cli import main

from ..builders import build, tiny

WORDS = [f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")]
WORDS += ["where", "did", "the", "cat", "dog", "sit", "sat", "on", "a", "very", "long", "and", "old", "mat", "."]
LONG = "the cat sat on a very long and old mat ."


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("qa")
    config = tiny(vocab_size=len(WORDS), max_position_embeddings=32, type_vocab_size=2)
    build("BertForQuestionAnswering", config, seed=3, dtype=np.float32, scale=0.6).save_pretrained(directory)
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return str(directory)


def test_answers_stand_in_a_table_of_their_own_for_each_text(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [LONG, "the dog sat ."]
    arguments = ["qa", "--model", checkpoint, "--question", "where did the cat sit", "--top-k", "4", *texts]
    assert main(arguments) == 0
    tables = capsys.readouterr().out.removesuffix("\n").split("\n\n")
    answers = npbert.pipeline("question-answering", model=checkpoint, top_k=4)
    expected = [answers(question="where did the cat sit", context=text) for text in texts]
    assert len(tables) == len(texts)
    for table, found in zip(tables, expected, strict=True):
        header, *rows = table.splitlines()
        assert header.split() == ["score", "from", "to", "answer"]
        numbers = [row.split(maxsplit=3)[:3] for row in rows]
        assert numbers == [[f"{one['score']:.4f}", str(one["start"]), str(one["end"])] for one in found]
        for column in range(3):  # numbers end at one place, the name of their column too
            ends = {[match.end() for match in re.finditer(r"\S+", row)][column] for row in (header, *rows)}
            assert len(ends) == 1, table
        assert [row[header.index("answer") :] for row in rows] == [one["answer"] for one in found]


def test_a_question_is_required_and_may_not_be_empty(checkpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["qa", "--model", checkpoint, LONG])
    assert "the following arguments are required: --question" in capsys.readouterr().err
    assert main(["qa", "--model", checkpoint, "--question", "", LONG]) == 2
    assert capsys.readouterr().err == "npbert: --question: takes a text, this one is empty\n"


@pytest.mark.parametrize("options", [{}, {"max_answer_len": 1}, {"max_question_len": 1}, {"handle_impossible_answer": True}])
def test_options_go_to_the_task(checkpoint: str, capsys: pytest.CaptureFixture[str], options: dict[str, int]) -> None:
    given = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in options.items()]
    asked = {"question": "where did the cat sit", "context": LONG}
    assert main(["qa", "--json", "--model", checkpoint, "--question", asked["question"], "--top-k", "2", *given, LONG]) == 0
    answers = npbert.pipeline("question-answering", model=checkpoint)(**asked, top_k=2, **options)
    assert json.loads(capsys.readouterr().out) == {**asked, "answers": answers}
