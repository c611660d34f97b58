"""`npbert golden`: what it makes of arguments before a pack is touched. The way from export to diagnosis is in tests/cli."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from npbert import golden
from npbert.cli import main

from ..builders import build, tiny


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    where = tmp_path_factory.mktemp("checkpoint")
    build("BertModel", tiny(), dtype=np.float32).save_pretrained(where)
    return str(where)


def export(checkpoint: str, tmp_path: Path, ids: str, *more: str) -> int:
    (tmp_path / "ids.json").write_text(ids)
    return main(["golden", "export", checkpoint, "--ids", str(tmp_path / "ids.json"), "-o", str(tmp_path / "pack"), *more])


@pytest.mark.parametrize(("ids", "rows"), [("[2, 5, 7]", [[2, 5, 7]]), ("[[2, 5], [7, 3]]", [[2, 5], [7, 3]])])
def test_ids(checkpoint: str, tmp_path: Path, ids: str, rows: list[list[int]]) -> None:
    assert export(checkpoint, tmp_path, ids) == 0
    np.testing.assert_array_equal(golden.read_pack(tmp_path / "pack").inputs["input_ids"], rows)


@pytest.mark.parametrize(
    "ids", ["3", "null", '{"a": 1}', '"text"', '["a"]', "[1.0]", "[true]", "[[1], 2]", "[[1, 2], [3]]", "[[[1]]]", f"[{2**64}]"]
)
def test_what_are_no_ids(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], ids: str) -> None:
    assert export(checkpoint, tmp_path, ids) == 2
    error = capsys.readouterr().err
    assert error == f"npbert: {tmp_path / 'ids.json'}: takes one list of token ids, or several of the same length\n"


@pytest.mark.parametrize(
    ("ids", "message"), [("[1, 2", "is not JSON"), ("[]", "at least one token"), ("[[]]", "at least one token")]
)
def test_no_ids_at_all(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], ids: str, message: str) -> None:
    assert export(checkpoint, tmp_path, ids) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("npbert:") == error.count("\n") == 1
    assert "takes one list" not in error


def test_only_may_be_given_again(checkpoint: str, tmp_path: Path) -> None:
    assert export(checkpoint, tmp_path, "[2, 5]", "--only", "pooler", "embeddings", "--only", "encoder") == 0
    assert list(golden.read_pack(tmp_path / "pack")) == ["embeddings", "encoder", "pooler"]


def test_a_directory_is_no_pack_to_write(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pack").mkdir()
    assert export(checkpoint, tmp_path, "[2, 5]") == 2
    assert "is a directory" in capsys.readouterr().err


def test_weights_that_are_missing_can_be_named(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(checkpoint, tmp_path, "[2, 5]") == 0
    pack = golden.read_pack(tmp_path / "pack")
    np.savez(tmp_path / "port.npz", pooler=pack["pooler.dense"])
    diagnose = ["golden", "diagnose", str(tmp_path / "pack"), str(tmp_path / "port.npz")]
    assert main(diagnose) == 2
    assert "--model" in capsys.readouterr().err
    assert main([*diagnose, "--model", checkpoint]) == 0
    assert "pooler-tanh-missing" in capsys.readouterr().out
