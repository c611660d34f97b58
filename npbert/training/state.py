"""The state of a run in one file, so that a run which was killed goes on to the same weights, bit for bit.

The file holds every weight, the optimizer's running means, and how far the run is. It is written aside and put in place at
the end: a crash at any moment leaves the old state or the new one.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from npbert.checkpoints import safetensors
from npbert.checkpoints.reading import parse_json
from npbert.errors import FileError, InputError
from npbert.training.loop import Progress, Run
from npbert.types import Array, StrPath

KEY = "npbert_training"


def save_state(run: Run, path: StrPath) -> None:
    """Write the state of the run."""
    arrays = {f"weight:{name}": array for name, array in run.model.named_parameters()}
    arrays |= {f"mean:{name}": array for name, array in run.optimizer.means.items()}
    arrays |= {f"square:{name}": array for name, array in run.optimizer.squares.items()}
    safetensors.write(path, arrays, {KEY: json.dumps(_described(run))})


def restore_state(run: Run, path: StrPath) -> None:
    """Put the run where it was when the file was written. It must be the same run: other settings are refused."""
    text = safetensors.read_metadata(path).get(KEY)
    if text is None:
        raise FileError(f"{path}: is not the state of a training run")
    stored, own = parse_json(text.encode(), str(path)), _described(run)
    try:
        settings, progress = stored["settings"], Progress(**stored["progress"])
    except (KeyError, TypeError):
        raise FileError(f"{path}: is not the state of a training run") from None
    for name, value in own["settings"].items():
        if settings.get(name) != value:
            raise InputError(f"{name}: the run to go on with has {settings.get(name)}, got {value}")
    arrays = safetensors.read(path)
    parts = {"weight": dict(run.model.named_parameters()), "mean": run.optimizer.means, "square": run.optimizer.squares}
    expected = {f"{part}:{name}": array for part, own_arrays in parts.items() for name, array in own_arrays.items()}
    if {name: _kind(array) for name, array in arrays.items()} != {name: _kind(array) for name, array in expected.items()}:
        raise InputError(f"{path}: is the state of another model, or of one with other weights frozen")
    run.model.weights.replace({name: arrays[f"weight:{name}"].copy() for name in parts["weight"]})
    for part in ("mean", "square"):
        for name, array in parts[part].items():
            array[...] = arrays[f"{part}:{name}"]
    run.optimizer.steps = progress.step
    run.progress = progress


def _described(run: Run) -> dict[str, Any]:
    """The settings and the progress, as JSON has them."""
    described = {"settings": dataclasses.asdict(run.settings), "progress": dataclasses.asdict(run.progress)}
    return dict(json.loads(json.dumps(described)))


def _kind(array: Array) -> tuple[Any, ...]:
    return array.dtype, array.shape
