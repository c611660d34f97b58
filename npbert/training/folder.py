"""The directory of a run: whose it is, and its log.

run.json                     what the run was asked to do
log.jsonl                    a line of figures for each step and each evaluation
training_state.safetensors   to go on from, while the run is not done
results.json                 the figures of the model that was kept, when it is done
curve.svg                    the log as a picture
config.json, model.safetensors, tokenizer.json ...   the model and its tokenizer, as `from_pretrained` reads them
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from npbert import checks
from npbert.checkpoints.reading import read_json_object
from npbert.checkpoints.writing import make_directory, replacing, system_errors, write_text
from npbert.errors import FileError, InputError, listed, shown
from npbert.training.lessons import Lessons
from npbert.types import StrPath

ABOUT = "run.json"
LOG = "log.jsonl"
STATE = "training_state.safetensors"
RESULTS = "results.json"
CURVE = "curve.svg"

Figures: TypeAlias = dict[str, Any]
"""Numbers by name; `step` says when."""


def check_folder(directory: StrPath, about: Mapping[str, Any], *, resume: bool) -> None:
    """Refuse a directory that is not new or empty, unless it holds the very run that is to go on (`resume`).

    `about` says what the run is asked to do, in words and numbers that JSON has.
    """
    home = Path(checks.path("directory", directory))
    with system_errors(home):
        # What a save was writing aside when it was killed is in nobody's way.
        entries = [path.name for path in home.iterdir()] if home.exists() else []
    found = sorted(name for name in entries if not (name.startswith(".") and name.endswith(".tmp")))
    if not found:
        return
    if ABOUT not in found:
        raise InputError(f"{home}: is not empty and holds no training run, but {listed(found)}; take another directory")
    if not resume:
        is_done = RESULTS in found and STATE not in found
        advice = "is done; take" if is_done else "is not done; go on with it (resume), or take"
        raise InputError(f"{home}: holds a training run that {advice} another directory")
    stored = read_json_object(home / ABOUT)
    for name in {**about, **stored}:
        if stored.get(name) != about.get(name):
            raise InputError(f"{name}: the run in {home} has {_value(stored.get(name))}, got {_value(about.get(name))}")


def claim_folder(directory: StrPath, about: Mapping[str, Any]) -> Path:
    """Make the directory, and say in it whose it is."""
    home = make_directory(directory)
    if not (home / ABOUT).exists():
        write_json(home / ABOUT, about)
    return home


def _value(value: object) -> str:
    return " ".join(map(shown, value)) if isinstance(value, list) else shown(value)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object as a JSON file."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_results(home: Path) -> Figures | None:
    """The figures of a run that is done; None where it is not."""
    return read_json_object(home / RESULTS) if (home / RESULTS).exists() else None


def read_log(log: Path) -> list[Figures]:
    """The lines of a log. A last line that was being written when the run was killed is left out."""
    lines = log.read_bytes().decode("utf-8", "replace").split("\n") if log.exists() else []
    found = []
    for number, line in enumerate(lines[:-1], 1):  # a whole line ends with a line feed
        try:
            found.append(dict(json.loads(line)))
        except ValueError:
            raise FileError(f"{log}: line {number}: is not JSON") from None
    return found


def cut_log(log: Path, step: int) -> None:
    """Take off the log what a killed run wrote after its last saved state."""
    kept = [figures for figures in read_log(log) if figures["step"] <= step]
    with replacing(log) as file:
        file.write("".join(json.dumps(figures) + "\n" for figures in kept).encode())


def results_of(log: Sequence[Figures], lessons: Lessons) -> Figures:
    """The figures of the best evaluation, the first of equal ones; the last step's where nothing was evaluated."""
    evaluations = [{name.removeprefix("eval_"): value for name, value in line.items()} for line in log if "lr" not in line]
    if not evaluations:
        return log[-1]
    best = max if lessons.more_is_better else min
    return best(evaluations, key=lambda figures: figures[lessons.figure])
