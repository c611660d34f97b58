"""`npbert info --system`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

import pytest

from npbert.cli import system
from npbert.ops import shares

from .test_cli import run


@pytest.fixture(autouse=True)
def _no_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(system.PRESETS):
            monkeypatch.delenv(name)


def test_a_probe_measures() -> None:
    gigaflops, seconds = system.probe({**os.environ, "OMP_NUM_THREADS": "1"})
    assert gigaflops > 0.01
    assert 0 < seconds < 60


def test_a_probe_that_fails_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(system, "PROBE", "raise MemoryError('no memory left')")
    status, _, err = run(capsys, "info", "--system")
    assert status == 2
    assert "ended with status 1 and said: MemoryError: no memory left" in err


def measured(environment: Mapping[str, str]) -> tuple[float, float]:
    """A machine where a preset halves the products, and where a shorter wait helps."""
    gigaflops = 50.0 if "OPENBLAS_CORETYPE" in environment else 100.0
    return gigaflops, (0.8 if system.SHORT_WAIT.items() <= environment.items() else 1.0) * 10 / gigaflops


def test_settings_and_advice(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "probe", measured)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")
    _, out, _ = run(capsys, "info", "--system")
    assert "50 GFLOP/s" in out
    assert "OPENBLAS_CORETYPE=Prescott" in out
    assert "unset OPENBLAS_CORETYPE: without, matrix products are 2.0 times as fast" in out
    assert "set OPENBLAS_THREAD_TIMEOUT=10 before NumPy is imported: a layer then takes 0.80 of the time" in out
    _, out, _ = run(capsys, "info", "--system", "--json")
    found = json.loads(out)
    assert found["settings"] == {"OPENBLAS_CORETYPE": "Prescott"}
    assert found["without_settings"]["gigaflops"] == 100
    assert found["threads"] >= 1
    assert len(found["advice"]) == 2


def test_nothing_to_set(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "probe", lambda environment: (100.0, 0.1))
    monkeypatch.setattr(shares, "openblas", lambda: None)
    _, out, _ = run(capsys, "info", "--system")
    assert "nothing to set" in out
    assert "kernel" not in out


def test_what_openblas_says_where_numpy_brings_it() -> None:
    found = system.blas()
    if "openblas" not in found["name"] or shares.openblas() is None:
        pytest.skip("this NumPy multiplies with another library, or the system does not tell where it is")
    assert found["threads"] >= 1
    assert found["kernel"]
