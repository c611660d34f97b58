"""The checkpoint that npbert carries, by its name; and what stands in for it while a copy of npbert carries none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import checkpoints
from npbert.checkpoints import local_files, safetensors
from npbert.cli import main

from ..training.small import checkpoint_in

carried = pytest.mark.skipif(
    not (local_files.PACKAGED / "config.json").is_file(), reason="this copy of npbert does not carry npbert-small"
)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny checkpoint in float16 where npbert looks for its own."""
    directory = checkpoint_in(tmp_path / "npbert-small")
    arrays = {name: array.astype(np.float16) for name, array in safetensors.read(directory / "model.safetensors").items()}
    safetensors.write(directory / "model.safetensors", arrays, {"format": "pt"})
    monkeypatch.setattr(local_files, "PACKAGED", directory)
    monkeypatch.chdir(tmp_path.parent)  # a directory of the name would come first
    return directory


def test_the_name_means_the_checkpoint_that_npbert_carries(stand_in: Path) -> None:
    assert checkpoints.find(checkpoints.NPBERT_SMALL).arrays_path == stand_in / "model.safetensors"
    model = npbert.load("npbert-small")
    assert type(model).__name__ == "BertForPreTraining"
    assert model.dtype == np.float32
    assert npbert.load("npbert-small", dtype=np.float64).dtype == np.float64
    assert npbert.BertTokenizer.from_pretrained("npbert-small")("the cat")["input_ids"]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [(["fill-mask", "the [MASK] sat ."], "guesses"), (["next-sentence", "the cat sat .", "a dog ran ."], "is_next")],
)
def test_verbs_with_its_heads_need_no_model(
    arguments: list[str], answer: str, stand_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert answer in printed
    assert main([*arguments, "--json", "--model", str(stand_in)]) == 0
    assert json.loads(capsys.readouterr().out) == printed


def test_training_begins_with_it(stand_in: Path, tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text("text\tlabel\nthe cat\tx\na dog\ty\n")
    assert main(["train", "classify", str(tmp_path / "data.tsv"), "-o", str(tmp_path / "out"), "--steps", "1"]) == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["model"] == "npbert-small"


def test_a_copy_without_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(local_files, "PACKAGED", tmp_path / "nothing")
    with pytest.raises(npbert.MissingFileError, match="this copy of npbert does not carry it"):
        npbert.load("npbert-small")
    assert main(["fill-mask", "a [MASK]"]) == 2
    assert "npbert-small: this copy of npbert does not carry it" in capsys.readouterr().err


def test_help_names_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("fill-mask", "next-sentence"):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        assert "default: npbert-small" in " ".join(capsys.readouterr().out.split())


def files() -> dict[str, Any]:
    return {path.name: path for path in local_files.PACKAGED.iterdir()}


@carried
def test_what_is_carried() -> None:
    assert {"config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "README.md"} <= set(
        files()
    )
    header = safetensors.read_header(files()["model.safetensors"])
    assert {tensor.dtype for tensor in header.values()} == {"float16"}
    assert sum(path.stat().st_size for path in files().values()) < 12_000_000
    model, tokenizer = npbert.load("npbert-small"), npbert.BertTokenizer.from_pretrained("npbert-small")
    assert 3_000_000 < model.num_parameters() < 7_000_000
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.model_max_length == model.config.max_position_embeddings


@carried
def test_it_has_learned_some_english() -> None:
    model, tokenizer = npbert.load("npbert-small"), npbert.BertTokenizer.from_pretrained("npbert-small")
    texts = [
        "In the beginning God created the heaven and the [MASK].",
        "And it came to [MASK], when he was come.",
        "a piece [MASK] furniture",
    ]
    words = [[guess["token_str"] for guess in guesses] for guesses in npbert.fill_mask(model, tokenizer, texts)]
    assert "earth" in words[0]
    assert words[1][0] == "pass"
    assert words[2][0] == "of"


@carried
def test_the_package_takes_it_along() -> None:
    text = (Path(npbert.__file__).parents[1] / "pyproject.toml").read_text()
    assert '"checkpoints/npbert-small/*"' in text
