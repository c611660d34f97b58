"""Learning to label texts: reading tables, what is learned, the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.training import Run, Settings, steps
from npbert.training.classification import Example, classification_lessons, labels_of, read_examples

from .small import SIZES, WORDS, sentences, tokenizer_in


def written(directory: Path, name: str, text: str) -> Path:
    path = directory / name
    path.write_bytes(text.encode())
    return path


def test_the_same_table_in_three_formats(tmp_path: Path) -> None:
    tsv = written(tmp_path, "a.tsv", 'label\ttext\r\nx\tone, "two"\r\n\r\ny\tthree\r\n')
    csv = written(tmp_path, "a.CSV", 'text,label\n"one, ""two""",x\n\nthree,y\n')
    lines = written(tmp_path, "a.jsonl", '{"text": "one, \\"two\\"", "label": "x"}\n\n{"label": "y", "text": "three"}\n')
    for path in (tsv, csv, lines):
        found = read_examples(path)
        assert [example[:3] for example in found] == [('one, "two"', None, "x"), ("three", None, "y")]
        assert [example.place for example in found] == [
            f"{path}: line {2 - (path == lines)}",
            f"{path}: line {4 - (path == lines)}",
        ]


def test_pairs_labels_and_records_of_several_lines(tmp_path: Path) -> None:
    csv = written(tmp_path, "a.csv", '\ufefftext,text_pair,label\n"two\nlines",b,1\na,,0\n')
    found = read_examples(csv)
    assert [example[:3] for example in found] == [("two\nlines", "b", "1"), ("a", None, "0")]
    assert found[1].place.endswith("line 4")
    lines = written(tmp_path, "a.jsonl", '{"text": "a", "text_pair": "b", "label": 10}\n{"text": "a", "label": 9}')
    assert labels_of(read_examples(lines)) == ["9", "10"]
    assert labels_of([Example("a", None, label, "") for label in ("b", "10", "9", "b")]) == ["10", "9", "b"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "x", r"takes a file that ends in \.tsv, \.csv, \.jsonl"),
        ("a.tsv", "good film\tpos\n", "line 1: takes the names of the columns.*it has 'good film', 'pos'"),
        ("a.tsv", "text\tlabel\na\n", r"line 2: takes 2 fields \(text, label\), it has 1"),
        ("a.tsv", "text\tlabel\na\tx\n\nb\tc\td\n", "line 4: takes 2 fields"),
        ("a.tsv", "text\tlabel\na\t \n", "line 2: label: takes a word"),
        ("a.tsv", "text\tlabel\n\tx\n", "line 2: text: takes a text that is not empty"),
        ("a.tsv", "text\tlabel\n", "holds no row"),
        ("a.tsv", "text\tlabel\ttext\n", "names of the columns"),
        ("a.csv", 'text,label\na,x\n"b,y\n', "line 3: "),
        ("a.csv", 'text,label\n"a"b,x\n', "line 2: "),
        ("a.csv", "text,label\na,b,c\n", "line 2: takes 2 fields"),
        ("a.csv", "text,label\n" + "a" * 200_000 + ",b\n", "line 2: field larger"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "a"}', "line 2: label: takes a word or a whole number, got None"),
        ("a.jsonl", '{"text": "a", "label": true}', "line 1: label"),
        ("a.jsonl", '{"text": 3, "label": "x"}', "line 1: text"),
        ("a.jsonl", '{"text": "a", "text_pair": 3, "label": "x"}', "line 1: text_pair"),
        ("a.jsonl", '{"text": "a", "lable": "x"}', "line 1: takes the keys text, text_pair, label, it has lable too"),
        ("a.jsonl", '["a", "x"]', "line 1: takes an object"),
        ("a.jsonl", '{"text": "a"\n', "line 1: is not JSON"),
        ("a.tsv", "", "is empty"),
    ],
)
def test_bad_rows_name_file_and_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(npbert.NpbertError, match=message) as error:
        read_examples(written(tmp_path, name, text))
    assert name in str(error.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(b"text\tlabel\na\tx\n\xff\ty\n")
    with pytest.raises(npbert.FileError, match="line 3: is not UTF-8"):
        read_examples(path)


def test_one_label_alone_is_nothing_to_learn() -> None:
    with pytest.raises(npbert.InputError, match="two different labels"):
        labels_of([Example("a", None, "x", "")] * 3)


def labelled(count: int, seed: int = 0) -> list[Example]:
    """Texts labelled by whether there is a cat in them."""
    return [
        Example(text, None, "cat" if "cat" in text.split() else "none", f"line {number}")
        for number, text in enumerate(sentences(count, seed))
    ]


def test_rows_are_what_the_tokenizer_makes(tmp_path: Path) -> None:
    tokenizer = tokenizer_in(tmp_path)
    examples = [Example("the cat sat", "on the mat", "y", ""), Example("a dog", None, "x", "")]
    lessons = classification_lessons(tokenizer, examples, labels=["x", "y"], batch_size=2, max_length=40)
    (batch,) = lessons.epoch(np.random.default_rng(0))
    arguments = lessons.arguments(batch, np.random.default_rng(0))
    expected = tokenizer([("the cat sat", "on the mat"), "a dog"], padding=True, return_tensors="np")
    order = arguments["labels"].argsort()[::-1]
    assert arguments["labels"][order].tolist() == [1, 0]
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        np.testing.assert_array_equal(arguments[name][order], expected[name])


def test_long_texts_are_cut_with_a_warning(tmp_path: Path) -> None:
    examples = [
        Example(" ".join(WORDS), None, "x", ""),
        Example("a", None, "y", ""),
        Example(" ".join(WORDS * 9), None, "y", ""),
    ]
    with pytest.warns(UserWarning, match="2 of 3 texts have more than 10 tokens"):
        lessons = classification_lessons(tokenizer_in(tmp_path), examples, labels=["x", "y"], batch_size=1, max_length=10)
    rows = [row for batch in lessons.epoch(np.random.default_rng(0)) for row in batch]
    assert sorted(len(row["input_ids"]) for row in rows) == [3, 10, 10]
    long = next(row for row in rows if row["label"] == 0)
    assert long["input_ids"] == tokenizer_in(tmp_path)(" ".join(WORDS), truncation=True, max_length=10)["input_ids"]


def test_figures_are_those_of_the_task(tmp_path: Path) -> None:
    tokenizer, held_out = tokenizer_in(tmp_path), labelled(30, seed=3)
    lessons = classification_lessons(tokenizer, labelled(9), held_out, labels=["cat", "none"], batch_size=4, max_length=40)
    config = npbert.BertConfig(**SIZES, id2label={0: "cat", 1: "none"}, initializer_range=0.5)
    model = npbert.BertForSequenceClassification(config, rng=np.random.default_rng(0))
    assert lessons.evaluate is not None
    figures = lessons.evaluate(model)
    answers = npbert.text_classification(model, tokenizer, [example.text for example in held_out])
    right = [answer["label"] == example.label for answer, example in zip(answers, held_out, strict=True)]
    assert figures["accuracy"] == np.mean(right)
    assert 0 < figures["accuracy"] < 1
    inputs = tokenizer([example.text for example in held_out], padding=True, return_tensors="np")
    loss = model(**inputs, labels=np.array([example.label != "cat" for example in held_out]).astype(int)).loss
    assert figures["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_an_unknown_label_of_the_held_out_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(npbert.FileError, match=r"eval\.tsv: line 2: the label 'dog' is not among those"):
        classification_lessons(
            tokenizer_in(tmp_path),
            labelled(5),
            [Example("a", None, "dog", "eval.tsv: line 2")],
            labels=["cat", "none"],
            batch_size=4,
            max_length=40,
        )


def test_a_small_model_learns_to_find_a_word(tmp_path: Path) -> None:
    options: dict[str, Any] = {"labels": ["cat", "none"], "batch_size": 16, "max_length": 40}
    lessons = classification_lessons(tokenizer_in(tmp_path), labelled(300), labelled(100, seed=9), **options)
    config = npbert.BertConfig(**SIZES, num_labels=2, hidden_dropout_prob=0.0)
    run = Run(
        npbert.BertForSequenceClassification(config, rng=np.random.default_rng(0)),
        lessons,
        Settings(steps=120, lr=1e-2, warmup=10),
    )
    list(steps(run))
    assert lessons.evaluate is not None
    assert lessons.evaluate(run.model)["accuracy"] > 0.9
