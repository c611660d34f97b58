"""Every reader on a few damaged files; `tools/fuzz.py` tries many more."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import fuzzing

INPUTS = 12


@pytest.mark.parametrize("target", fuzzing.TARGETS, ids=lambda target: target.name)
def test_damaged_files_end_in_a_value_or_in_an_error_of_ours(target: fuzzing.Target, tmp_path: Path) -> None:
    failed = {}
    for seed in range(1, 1 + INPUTS):
        outcome = fuzzing.attempt(target, tmp_path / "files", seed)
        if outcome.kind not in ("read", "refused"):
            failed[seed] = outcome
    assert not failed


@pytest.mark.parametrize("target", fuzzing.TARGETS, ids=lambda target: target.name)
def test_the_sound_files_are_read(target: fuzzing.Target, tmp_path: Path) -> None:
    target.make(tmp_path)
    target.use(tmp_path)


def test_a_reader_that_fails_is_found_out(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise ZeroDivisionError

    target = fuzzing.Target("x", lambda folder: (folder / "x").touch(), "x", (fuzzing.change_bytes,), fail)
    assert fuzzing.attempt(target, tmp_path / "files", 0).kind == "foreign"
