"""A run in a directory: its log, its evaluations, the best model, patience, Ctrl-C."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.training import steps, train
from npbert.training.folder import ABOUT, LOG, RESULTS, STATE, check_folder, claim_folder, read_log

from .killed import train_case
from .small import small_run, words_lessons

# The function stands in for its file in the package's names.
train_file = importlib.import_module("npbert.training.train")


def judged(values: list[float], *, more_is_better: bool = False) -> Any:
    """Lessons whose evaluations come out as told."""
    given: Iterator[float] = iter(values)
    lessons = words_lessons()._replace(more_is_better=more_is_better, figure="score")
    return lessons._replace(evaluate=lambda model: {"score": next(given), "other": 1.0})


def saving(kept: list[int], run: Any) -> Any:
    """Remember at which steps the model was saved."""
    return lambda directory: kept.append(run.progress.step)


def test_the_log_has_a_line_for_each_step_and_each_evaluation(tmp_path: Path) -> None:
    run = small_run(steps=7)
    results = train(run, tmp_path / "a" / "b", save_model=run.model.save_pretrained, evaluate_every=3)
    log = read_log(tmp_path / "a" / "b" / LOG)
    assert [line["step"] for line in log if "lr" in line] == list(range(1, 8))
    evaluations = [line for line in log if "lr" not in line]
    assert [line["step"] for line in evaluations] == [3, 6, 7]
    assert all(set(line) == {"step", "eval_loss"} for line in evaluations)
    best = min(evaluations, key=lambda line: line["eval_loss"])
    assert results == {"step": best["step"], "loss": best["eval_loss"]}
    assert json.loads((tmp_path / "a" / "b" / RESULTS).read_text()) == results
    assert not (tmp_path / "a" / "b" / STATE).exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = small_run(steps=2)
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(train_file, "open", lambda path, mode, **options: full, raising=False)
        with pytest.raises(npbert.NpbertError, match=rf"{re.escape(str(tmp_path / LOG))}.*No space left"):
            train(run, tmp_path, save_model=run.model.save_pretrained)


def test_the_best_model_is_the_one_that_is_kept(tmp_path: Path) -> None:
    for more_is_better, expected in ((True, [2, 6]), (False, [2, 4, 8])):
        kept: list[int] = []
        run = small_run(judged([3, 1, 5, 0, 4, 5], more_is_better=more_is_better), steps=12)
        results = train(run, tmp_path / str(more_is_better), save_model=saving(kept, run), evaluate_every=2)
        assert kept == expected
        assert results["step"] == kept[-1]


def test_the_saved_model_is_that_of_the_best_step(tmp_path: Path) -> None:
    run = small_run(judged([1, 2, 3]), steps=6)
    train(run, tmp_path, save_model=run.model.save_pretrained, evaluate_every=2)
    other = small_run(steps=6)
    loop = steps(other)
    next(loop), next(loop)
    saved = npbert.BertForMaskedLM.from_pretrained(tmp_path)
    for name, array in other.model.named_parameters():
        np.testing.assert_array_equal(saved.weights[name], array)


def test_without_evaluation_the_last_model_is_kept(tmp_path: Path) -> None:
    kept: list[int] = []
    run = small_run(words_lessons(evaluate=False), steps=5)
    results = train(run, tmp_path, save_model=saving(kept, run), evaluate_every=2)
    assert kept == [5]
    assert results == read_log(tmp_path / LOG)[-1]


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    kept: list[int] = []
    run = small_run(judged([5, 4, 4, 6, 1]), steps=12)
    results = train(run, tmp_path, save_model=saving(kept, run), evaluate_every=1, patience=2)
    assert run.progress.step == 4
    assert kept == [1, 2]
    assert results == {"step": 2, "score": 4, "other": 1.0}
    assert not (tmp_path / STATE).exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_evaluation_that_is_not_a_number_is_an_error(value: float, tmp_path: Path) -> None:
    run = small_run(judged([1.0, value]))
    with pytest.raises(npbert.InputError, match="step 4: score is"):
        train(run, tmp_path, save_model=run.model.save_pretrained, evaluate_every=2, save_every=1)
    assert npbert.BertForMaskedLM.from_pretrained(tmp_path)  # that of step 2
    again = small_run(judged([2.0] * 9))
    train(again, tmp_path, save_model=again.model.save_pretrained, evaluate_every=2, resume=True)
    assert again.progress.step == 12


def test_after_a_loss_that_is_not_a_number_the_run_can_go_on(tmp_path: Path) -> None:
    lessons = words_lessons()
    run = small_run(lessons)

    def spoiled(batch: Any, rng: Any) -> Any:
        if run.progress.step == 4:
            run.model.weights["cls.predictions.bias"][:] = np.nan
        return batch

    run.lessons = lessons._replace(arguments=spoiled)
    with pytest.raises(npbert.InputError, match=r"^step 5: the loss is nan"):
        train(run, tmp_path / "a", save_model=run.model.save_pretrained, evaluate_every=3, save_every=2)
    assert [line["step"] for line in read_log(tmp_path / "a" / LOG)] == [1, 2, 3, 3, 4]
    again = small_run()
    train(again, tmp_path / "a", save_model=again.model.save_pretrained, evaluate_every=3, resume=True)
    train_case("plain", tmp_path / "b", resume=False)
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def test_a_directory_with_another_run_is_refused(tmp_path: Path) -> None:
    train_case("plain", tmp_path / "run", resume=False)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(npbert.InputError, match="holds another run"):
        train_case("plain", tmp_path / "run", resume=False)
    train_case("plain", tmp_path / "run", resume=True)  # it is done, and stays as it is
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(npbert.NpbertError, match="file"):
        train_case("plain", tmp_path / "file", resume=False)


def test_ctrl_c_saves_and_the_run_goes_on_from_there(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("interrupted.py")), str(tmp_path / "stopped")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    found = re.search(r"stopped after (\d+)", rest)
    assert process.returncode == 130
    assert found is not None
    stopped = int(found[1])
    assert 4 <= stopped < 12
    assert read_log(tmp_path / "stopped" / LOG)[-1]["step"] == stopped
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step\n") == 12 - stopped
    train_case("plain", tmp_path / "whole", resume=False)
    for name in ("model.safetensors", LOG, RESULTS):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_in_a_thread_a_run_leaves_ctrl_c_alone(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: train_case("plain", tmp_path, resume=False))
    thread.start()
    thread.join()
    assert (tmp_path / RESULTS).exists()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("wrong", [{"evaluate_every": 0}, {"save_every": 0}, {"patience": 0}, {"patience": 1.5}])
def test_wrong_numbers(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(npbert.NpbertError, match=next(iter(wrong))):
        train(small_run(), tmp_path / "x", save_model=lambda directory: None, **wrong)
    assert not (tmp_path / "x").exists()


def test_the_state_stays_until_the_results_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, a run would begin again, and hours would be lost."""

    def full(path: Path, value: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(train_file, "write_json", full)
    with pytest.raises(OSError, match="no room"):
        train_case("plain", tmp_path, resume=False)
    assert (tmp_path / STATE).exists()


def test_a_log_that_was_cut_off_in_a_line_is_read_up_to_it(tmp_path: Path) -> None:
    log = tmp_path / LOG
    log.write_text('{"step": 1, "lr": 0.1}\n{"step": 2, "lr"')
    assert [line["step"] for line in read_log(log)] == [1]
    log.write_text('{"step": 1, "lr": 0.1}\n{"st\n{"step": 2}\n')
    with pytest.raises(npbert.FileError, match="line 2"):
        read_log(log)


def test_whose_a_directory_is(tmp_path: Path) -> None:
    about = {"task": "classify", "seed": 0, "freeze": []}
    home = tmp_path / "new" / "run"
    check_folder(home, about, resume=False)
    check_folder(home, about, resume=True)
    assert not home.parent.exists()
    claim_folder(home, about)
    assert json.loads((home / ABOUT).read_text()) == about
    with pytest.raises(npbert.InputError, match=r"is not done; go on with it \(resume\)"):
        check_folder(home, about, resume=False)
    check_folder(home, about, resume=True)
    with pytest.raises(npbert.InputError, match=r"^seed: the run in .* has 0, got 1$"):
        check_folder(home, {**about, "seed": 1}, resume=True)
    with pytest.raises(npbert.InputError, match=r"^freeze: the run in .* has , got 'bert\.\*'$"):
        check_folder(home, {**about, "freeze": ["bert.*"]}, resume=True)
    (home / RESULTS).write_text("{}")
    with pytest.raises(npbert.InputError, match="is done; take another directory"):
        check_folder(home, about, resume=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for resume in (False, True):
        with pytest.raises(npbert.InputError, match=r"holds no training run, but thesis\.txt"):
            check_folder(tmp_path / "mine", about, resume=resume)
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / ".run.json.0123.tmp").write_text("x")
    check_folder(tmp_path / "left", about, resume=False)
    with pytest.raises(npbert.NpbertError, match=r"thesis\.txt"):
        check_folder(tmp_path / "mine" / "thesis.txt", about, resume=False)
