"""The scripts that make the committed packs and measure ports: each runs, on little."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from npbert import golden

from ..foreign import port

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]

PACKS = Path(__file__).parent / "packs"


def test_the_packs_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tools import make_packs

    monkeypatch.setattr(make_packs, "HOME", tmp_path)
    make_packs.main()
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in PACKS.iterdir()}
    for name in ("encoder", "decoder"):
        old, new = (golden.read_pack(folder / f"{name}.safetensors") for folder in (PACKS, tmp_path))
        assert old.metadata["weights_sha256"] == new.metadata["weights_sha256"]
        assert all(np.array_equal(x, new.inputs[key]) for key, x in old.inputs.items())
        for precision in ("float32", "bfloat16", "float16"):
            dump = tmp_path / f"{name}.{precision}.safetensors"
            assert golden.compare(tmp_path / f"{name}.safetensors", dump, precision=precision).ok


def test_gradients_are_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tools import measure_gradients

    monkeypatch.setattr(sys, "argv", ["measure_gradients.py", "--texts", "1"])
    measure_gradients.main()
    lines = capsys.readouterr().out.splitlines()
    honest, mistakes = lines[:8], lines[8:]
    assert all(line.startswith("honest") and " 0 wrong " in line for line in honest)
    assert [line.split()[2] for line in mistakes] == list(measure_gradients.MISTAKES)
    assert all(" 0 missed" in line for line in mistakes)


def test_short_texts_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    from tools import measure_ports

    if port.COMPILER is None:
        pytest.skip("needs a C compiler")
    measure_ports.measure_short_texts("random models", 1)
    lines = capsys.readouterr().out.splitlines()[2:]
    honest = [line for line in lines if line.startswith("honest")]
    assert len(honest) >= 1 + len(golden.precision.STORED_IN)
    assert all(line.split()[-3] == "0" for line in honest), honest
    assert sum(line.startswith("mistake") for line in lines) == 4
