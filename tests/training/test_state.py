"""A run that is killed goes on to the same weights, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.checkpoints import safetensors
from npbert.training import steps
from npbert.training.state import KEY, restore_state, save_state

from .killed import CASES, train_case
from .small import small_run

KEPT = ("model.safetensors", "log.jsonl", "results.json", "config.json")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that can fork")
@pytest.mark.parametrize("case", CASES)
def test_a_run_that_is_killed_again_and_again_ends_as_one_that_never_was(case: str, tmp_path: Path) -> None:
    train_case(case, tmp_path / "whole", resume=False, save_every=100)
    command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path / "killed"), case, "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    killed = json.loads(done.stdout)
    assert killed["at a file"] >= 1
    assert sum(killed.values()) >= 3
    for name in KEPT:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_restored_runs_take_the_same_steps(tmp_path: Path) -> None:
    whole, halved = small_run(accumulate=2), small_run(accumulate=2)
    losses = [one["loss"] for one in steps(whole)]
    loop = steps(halved)
    first = [next(loop)["loss"] for _ in range(5)]
    save_state(halved, tmp_path / "state")
    again = small_run(accumulate=2)
    again.model.weights.replace({name: array + 1 for name, array in again.model.named_parameters()})
    restore_state(again, tmp_path / "state")
    assert first + [one["loss"] for one in steps(again)] == losses
    assert again.progress == whole.progress
    for name, array in whole.model.named_parameters():
        np.testing.assert_array_equal(again.model.weights[name], array)


def test_frozen_weights_come_from_the_state_too(tmp_path: Path) -> None:
    """They may have been drawn at random, and they may be mapped from a file."""
    frozen = ["bert.*"]
    run, other = small_run(frozen=frozen), small_run(frozen=frozen)
    name = "bert.encoder.layer.0.output.dense.weight"
    own = other.model.weights[name] + 1
    other.model.weights.replace({name: own})
    before = own.copy()
    save_state(run, tmp_path / "state")
    restore_state(other, tmp_path / "state")
    np.testing.assert_array_equal(other.model.weights[name], run.model.weights[name])
    np.testing.assert_array_equal(own, before)


@pytest.mark.parametrize("other", [{"lr": 1e-3}, {"steps": 13}, {"seed": 7}, {"accumulate": 2}, {"schedule": "cosine"}])
def test_another_run_is_refused(other: dict[str, Any], tmp_path: Path) -> None:
    save_state(small_run(), tmp_path / "state")
    with pytest.raises(npbert.InputError, match=rf"^{next(iter(other))}: the run to go on with has"):
        restore_state(small_run(**other), tmp_path / "state")


def test_another_model_is_refused(tmp_path: Path) -> None:
    save_state(small_run(), tmp_path / "state")
    with pytest.raises(npbert.InputError, match="another model"):
        restore_state(small_run(frozen=["bert.*"]), tmp_path / "state")


def test_other_files_are_refused(tmp_path: Path) -> None:
    arrays = {"weight:x": np.zeros(2, np.float32)}
    for metadata in ({}, {KEY: "{}"}, {KEY: "[1"}, {KEY: '{"settings": {}, "progress": {"step": 1, "extra": 2}}'}, {KEY: "3"}):
        safetensors.write(tmp_path / "file", arrays, metadata)
        with pytest.raises(npbert.FileError, match="file"):
            restore_state(small_run(), tmp_path / "file")
    with pytest.raises(npbert.MissingFileError):
        restore_state(small_run(), tmp_path / "nothing")
