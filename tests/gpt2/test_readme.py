"""The README of the room is run like the main one."""

from __future__ import annotations

from pathlib import Path

import pytest

import npbert

from .. import test_readme as main_readme

README = Path(npbert.__file__).parent / "gpt2" / "README.md"


def test_the_readme_of_the_room_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_readme, "README", README)
    assert sum(block.language == "python" and block.output is not None for block in main_readme.blocks()) == 6
    main_readme.test_the_readme_prints_what_it_shows(tmp_path, monkeypatch)


def test_the_files_that_the_readme_of_the_room_names_exist() -> None:
    for path in main_readme.re.findall(r"\]\(((?!http)[^)]+)\)", README.read_text("utf-8")):
        assert (README.parent / path).exists(), path
