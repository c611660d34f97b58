"""Learning to label words: reading columns, what is learned, the figures of entities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npbert
from npbert.training import Run, Settings, steps
from npbert.training.tagging import Sentence, entities, entity_figures, labels_of, read_sentences, tagging_lessons

from .small import SIZES, WORDS, tokenizer_in

COLUMNS = """-DOCSTART- -X- O O

The DT B-NP O
cats\tNNS\tI-NP\tB-ANIMAL
sat VBD B-VP O

Moon NNP B-NP B-STAR
"""


def test_columns(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text(COLUMNS)
    found = read_sentences(path)
    assert [(sentence.words, sentence.labels) for sentence in found] == [
        (["The", "cats", "sat"], ["O", "B-ANIMAL", "O"]),
        (["Moon"], ["B-STAR"]),
    ]
    assert found[1].places == [f"{path}: line 7"]
    assert labels_of(found) == ["O", "B-ANIMAL", "B-STAR"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O\nb\n", "line 2: takes a word and a label, it has 'b' alone"),
        ("a X O\n\nb O\n", "line 3: takes 2 columns"),
        ("-DOCSTART- O\n\n", "holds no sentence"),
        ("\n\n", "holds no sentence"),
    ],
)
def test_bad_rows_name_file_and_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    path.write_text(text)
    with pytest.raises(npbert.FileError, match=message.replace("2 columns", "3 columns")) as error:
        read_sentences(path)
    assert "data.txt" in str(error.value)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("O B-A I-A O", [("A", 1, 2)]),
        ("B-A B-A I-A", [("A", 0, 0), ("A", 1, 2)]),
        ("I-A I-A O I-A", [("A", 0, 1), ("A", 3, 3)]),
        ("B-A I-B I-B", [("A", 0, 0), ("B", 1, 2)]),
        ("B-A O I-A", [("A", 0, 0), ("A", 2, 2)]),
        ("B-A I-A E-A I-A S-A E-A", [("A", 0, 2), ("A", 3, 3), ("A", 4, 4), ("A", 5, 5)]),
        ("B-X-Y I-X-Y B-X", [("X-Y", 0, 1), ("X", 2, 2)]),
        ("O O", []),
        ("", []),
    ],
)
def test_entities(labels: str, expected: list[tuple[str, int, int]]) -> None:
    assert entities(labels.split()) == expected


LABELS = st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B", "E-A", "S-B"])


@settings(max_examples=50)
@given(st.lists(LABELS, max_size=12))
def test_every_labelled_word_is_in_exactly_one_entity(labels: list[str]) -> None:
    covered = [place for _, first, last in entities(labels) for place in range(first, last + 1)]
    assert covered == [place for place, label in enumerate(labels) if label != "O"]
    assert all({labels[place][2:] for place in range(first, last + 1)} == {kind} for kind, first, last in entities(labels))


def test_figures_of_entities() -> None:
    right = [["B-A", "I-A", "O", "B-B"], ["B-A", "O"]]
    predicted = [["B-A", "I-A", "O", "B-A"], ["O", "O"]]
    assert entity_figures(right, predicted) == pytest.approx({"f1": 2 / 5, "precision": 1 / 2, "recall": 1 / 3})
    assert entity_figures(right, right) == {"f1": 1.0, "precision": 1.0, "recall": 1.0}
    assert entity_figures(right, [["O"] * 4, ["O"] * 2]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    assert entity_figures([["B-A", "I-A"]], [["B-A", "B-A"]])["f1"] == 0.0  # half an entity is none


def tagged(count: int, seed: int = 0) -> list[Sentence]:
    """Sentences in which "cats" and "sun moon" are entities."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        words, labels = [], []
        for _ in range(rng.integers(1, 8)):
            word = str(rng.choice([*WORDS[:13], "cats", "sun"]))
            words += ["sun", "moon"] if word == "sun" else [word]
            labels += ["B-STAR", "I-STAR"] if word == "sun" else ["B-ANIMAL" if word == "cats" else "O"]
        found.append(Sentence(words, labels, [f"data: line {number}"] * len(words)))
    return found


NAMES = ["O", "B-ANIMAL", "B-STAR", "I-STAR"]


def test_the_first_piece_of_a_word_has_its_label(tmp_path: Path) -> None:
    tokenizer = tokenizer_in(tmp_path)
    sentences = [Sentence(["the", "cats", "sat"], ["O", "B-ANIMAL", "O"], [""] * 3)]
    lessons = tagging_lessons(tokenizer, sentences, labels=NAMES, batch_size=4, max_length=40)
    (batch,) = lessons.epoch(np.random.default_rng(0))
    arguments = lessons.arguments(batch, np.random.default_rng(0))
    assert tokenizer.convert_ids_to_tokens(arguments["input_ids"][0]) == ["[CLS]", "the", "cat", "##s", "sat", "[SEP]"]
    assert arguments["labels"].tolist() == [[-100, 0, 1, -100, 0, -100]]


@settings(max_examples=25)
@given(st.integers(6, 40), st.integers(0, 20))
def test_long_sentences_are_read_in_parts_and_every_word_once(
    tmp_path_factory: pytest.TempPathFactory, length: int, seed: int
) -> None:
    tokenizer = tokenizer_in(tmp_path_factory.mktemp("vocabulary"))
    sentences = tagged(6, seed)
    sentences.append(Sentence(*[[entry for one in sentences for entry in one[part]] for part in range(3)]))
    lessons = tagging_lessons(tokenizer, sentences, labels=NAMES, batch_size=3, max_length=length)
    rows = [row for batch in lessons.epoch(np.random.default_rng(0)) for row in batch]
    assert max(len(row["input_ids"]) for row in rows) <= length
    seen = sorted((row["sentence"], word) for row in rows for word in row["words"].values())
    assert seen == [(number, word) for number, one in enumerate(sentences) for word in range(len(one.words))]
    for row in rows:
        for piece, word in row["words"].items():
            assert NAMES[row["labels"][piece]] == sentences[row["sentence"]].labels[word]
        assert sum(label != -100 for label in row["labels"]) == len(row["words"])


def test_figures_do_not_depend_on_how_sentences_are_read(tmp_path: Path) -> None:
    """A model that sees each word alone labels it the same in any part."""
    tokenizer, held_out = tokenizer_in(tmp_path), [*tagged(20, 5), Sentence(["\u200b", "cat"], ["O", "O"], ["", ""])]
    config = npbert.BertConfig(**SIZES, id2label=dict(enumerate(NAMES)), initializer_range=1.0)
    config.num_hidden_layers = 0
    model = npbert.BertForTokenClassification(config, rng=np.random.default_rng(0))
    model.weights["bert.embeddings.position_embeddings.weight"][:] = 0
    figures = []
    for length in (6, 40):
        lessons = tagging_lessons(tokenizer, tagged(3), held_out, labels=NAMES, batch_size=4, max_length=length)
        assert lessons.evaluate is not None
        assert (lessons.figure, lessons.more_is_better) == ("f1", True)
        figures.append(lessons.evaluate(model))
    assert figures[0] == pytest.approx(figures[1], rel=1e-5)
    assert 0 < figures[0]["accuracy"] < 1
    words = [word for sentence in held_out for word in sentence.words]
    labels = [label for sentence in held_out for label in sentence.labels]
    found = npbert.token_classification(
        model, tokenizer, [[word] for word in words[:-2]], is_split_into_words=True, ignore_labels=[]
    )
    predicted = [answer[0]["entity"] for answer in found]
    right = sum(a == b for a, b in zip(predicted, labels, strict=False)) + 1  # the word without a piece counts as outside
    right += (
        npbert.token_classification(model, tokenizer, ["cat"], is_split_into_words=True, ignore_labels=[])[0]["entity"] == "O"
    )
    assert figures[0]["accuracy"] == pytest.approx(right / len(words))


def test_labels_that_name_no_entities_are_judged_by_words(tmp_path: Path) -> None:
    sentences = [Sentence(["a", "cat"], ["DT", "NN"], ["", ""])]
    lessons = tagging_lessons(tokenizer_in(tmp_path), sentences, sentences, labels=["DT", "NN"], batch_size=4, max_length=40)
    model = npbert.BertForTokenClassification(npbert.BertConfig(**SIZES), rng=np.random.default_rng(0))
    assert lessons.evaluate is not None
    assert lessons.figure == "accuracy"
    assert set(lessons.evaluate(model)) == {"accuracy", "loss"}


def test_an_unknown_label_of_the_held_out_data_is_an_error(tmp_path: Path) -> None:
    held_out = [Sentence(["a"], ["B-CAR"], ["eval.txt: line 1"])]
    with pytest.raises(npbert.FileError, match=r"eval\.txt: line 1: the label 'B-CAR' is not among those"):
        tagging_lessons(tokenizer_in(tmp_path), tagged(3), held_out, labels=NAMES, batch_size=4, max_length=40)


def test_a_small_model_learns_to_find_entities(tmp_path: Path) -> None:
    lessons = tagging_lessons(tokenizer_in(tmp_path), tagged(200), tagged(50, 9), labels=NAMES, batch_size=16, max_length=40)
    config = npbert.BertConfig(**SIZES, num_labels=4, hidden_dropout_prob=0.0)
    run = Run(
        npbert.BertForTokenClassification(config, rng=np.random.default_rng(0)),
        lessons,
        Settings(steps=150, lr=1e-2, warmup=10),
    )
    list(steps(run))
    assert lessons.evaluate is not None
    assert lessons.evaluate(run.model)["f1"] > 0.9


def test_the_loss_of_a_single_word_is_that_word_s(tmp_path: Path) -> None:
    tokenizer = tokenizer_in(tmp_path)
    model = npbert.BertForTokenClassification(
        npbert.BertConfig(**SIZES, id2label=dict(enumerate(NAMES))), rng=np.random.default_rng(0)
    )
    lessons = tagging_lessons(tokenizer, tagged(3), [Sentence(["cat"], ["O"], [""])], labels=NAMES, batch_size=4, max_length=9)
    assert lessons.evaluate is not None
    given = tokenizer("cat", return_tensors="np")
    labels = np.array([[-100, NAMES.index("O"), -100]])
    assert lessons.evaluate(model)["loss"] == pytest.approx(float(model(**given, labels=labels).loss), rel=1e-5)
