"""Everything together, on real text: a small BERT learns from WordNet's definitions what kind of thing they define."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.cli import main
from npbert.training.vocabulary import build_vocabulary

ROOT = Path(__file__).parents[2]
EXTRACT = ROOT / "tests" / "data" / "wordnet"


@pytest.fixture
def finetune(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script that does the same with the whole of WordNet."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    return importlib.import_module("finetune")


def test_a_small_model_learns_kinds_of_things(tmp_path: Path, capsys: pytest.CaptureFixture[str], finetune: Any) -> None:
    texts = [row.text for row in finetune.read_table(EXTRACT / "train.tsv")]
    (tmp_path / "vocab.txt").write_text("\n".join(build_vocabulary(texts, 900)) + "\n", "utf-8")
    tokenizer = npbert.BertTokenizer(tmp_path / "vocab.txt", model_max_length=100)
    tokenizer.save_pretrained(tmp_path / "start")
    config = npbert.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=100,
    )
    npbert.BertModel(config, rng=np.random.default_rng(0)).save_pretrained(tmp_path / "start")
    arguments = [str(EXTRACT / "train.tsv"), "--eval", str(EXTRACT / "held_out.tsv"), "--model", str(tmp_path / "start")]
    options = ["--epochs", "14", "--lr", "4e-3", "--eval-every", "50", "-o", str(tmp_path / "out"), "--json"]
    assert main(["train", "classify", *arguments, *options]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] > 0.5  # by chance it would be 0.25
    learned = finetune.read_table(EXTRACT / "train.tsv")[::6]
    answers = npbert.text_classification(npbert.load(tmp_path / "out"), tokenizer, [row.text for row in learned])
    assert np.mean([answer["label"] == row.label for answer, row in zip(answers, learned, strict=True)]) > 0.7


def test_counting_words_is_the_baseline(finetune: Any) -> None:
    parts = {name: finetune.read_table(EXTRACT / f"{name}.tsv") for name in ("train", "held_out")}
    assert not {row.text for row in parts["train"]} & {row.text for row in parts["held_out"]}
    assert all(row.is_held_out == (name == "held_out") for name, rows in parts.items() for row in rows)
    assert finetune.bag_of_words(parts["train"], parts["held_out"]) > 0.7
    assert finetune.bag_of_words(parts["train"], parts["train"]) > 0.95


def test_definitions_without_their_examples(finetune: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "packages" / "wordnet-base" / "usr" / "share" / "wordnet"
    folder.mkdir(parents=True)
    (folder / "data.noun").write_text(
        "  1 This software and database is being provided to you\n"
        '00003553 03 n 01 whole 0 000 | a thing; one of its kind; "the team is a unit"; "so"  \n'
        "00004258 05 n 01 cat 0 000 | a small animal  \n",
        "utf-8",
    )
    monkeypatch.setattr(finetune, "unpack", lambda home, packages: (home / "packages", {}))
    assert list(finetune.glosses(tmp_path)) == [("a thing; one of its kind", "Tops"), ("a small animal", "animal")]
