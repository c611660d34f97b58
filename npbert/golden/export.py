"""Making a golden pack: one pass in float64 for the truth, and one in each precision for the tolerances."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from npbert import checks
from npbert.checkpoints import safetensors
from npbert.checkpoints.writing import regular_file, system_errors, takes_bytes_as_they_come
from npbert.checks import as_array
from npbert.errors import InputError, InputTypeError, MissingFileError, shown
from npbert.golden import models, positions
from npbert.golden.pack import FORMAT, INPUT, WEIGHT, flat, metadata_texts, weights_sha256
from npbert.golden.passes import LookAtSpread, run, run_spread
from npbert.golden.positions import Positions
from npbert.golden.precision import STORED_IN
from npbert.golden.spool import FetchedArrays, Spool
from npbert.golden.tolerance import MULTIPLES, Allowance, Tolerance, measure
from npbert.tracing import selection
from npbert.types import Array, StrPath
from npbert.version import __version__

RunSpread: TypeAlias = Callable[[str, LookAtSpread], None]
"""Runs the pass in a precision, with every sum off by its spread, and shows every value to a function."""


def export(
    model: Any,
    inputs: Mapping[str, Any],
    path: StrPath,
    *,
    only: str | Sequence[str] | None = None,
    weights: bool = False,
    dtype: DTypeLike = "float32",
) -> None:
    """Run `model(**inputs)` and write every intermediate and output to the golden pack `path`, with their tolerances.

    `only` is a shell-style pattern or several, as `npbert.trace` takes them; the inputs are always there. With `weights` the
    model's weights are in the pack too, so that the one file is a complete test case. Values are computed in float64 and stored
    as `dtype`, float32 or float64. The format is described in `npbert.golden.pack`.

    The arrays go to disk one by one as they are computed. The same model and inputs give the same file, byte for byte, on the
    same machine: another BLAS, or another number of its threads, may sum in another order.
    """
    from tqdm import tqdm

    models.check_model(model)
    stored_type = models.check_dtype(dtype)
    path = checks.path("path", path)
    _check_target(path)
    arguments = {name: _argument(name, value) for name, value in inputs.items() if value is not None}
    arrays = models.weights_of(model)
    metadata = _metadata(model, arrays)
    metadata_texts(metadata)  # what cannot be written is found before the work, not after it

    with (
        system_errors(path),
        tempfile.TemporaryFile(dir=_directory_for(path)) as file,
        tqdm(unit=" tensors", desc="golden pack", leave=False, disable=None) as progress,
    ):
        # Everything is spooled, also what `only` leaves out: what a tensor is allowed depends on the one before it.
        spool = Spool(file)

        def keep(name: str, x: Array) -> None:
            spool.add(name, x.astype(stored_type, copy=False))
            progress.update()

        def run_other(precision: str, look: LookAtSpread) -> None:
            def look_and_count(name: str, x: Array, spread: Array | None) -> None:
                look(name, x, spread)
                progress.update()

            run_spread(model, arguments, precision, look_and_count)

        run(model, arguments, "float64", keep)
        progress.total = len(spool) * (1 + len(STORED_IN))
        order = list(filter(selection(only), spool))
        if not order:
            raise InputError(f"only: nothing in this model is called {only!r}")
        visible = positions.of_call(model.config, arguments)
        tolerances = {precision: _tolerances(spool, visible, run_other, precision) for precision in STORED_IN}
        metadata["order"] = order
        metadata["aliases"] = _aliases(order, spool)
        for name in order:
            first = spool.first_name[name]
            metadata["tolerances"][name] = {precision: tolerances[precision][first]._asdict() for precision in STORED_IN}
        contents = _contents(arguments, arrays if weights else {}, spool, metadata)
        safetensors.write(path, contents, metadata_texts(metadata))


def _check_target(path: StrPath) -> None:
    """Find what can be found before the work: a directory that is missing, a file that cannot be replaced."""
    with system_errors(path):
        if takes_bytes_as_they_come(path):
            return
        target = regular_file(path)
        if not target.parent.is_dir():
            raise MissingFileError(f"{path}: the directory {target.parent} does not exist")


def _directory_for(path: StrPath) -> Path | None:
    """Where the spool lies: beside the pack, where there is room for it, or among other temporary files."""
    return None if takes_bytes_as_they_come(path) else regular_file(path).parent


def _argument(name: str, value: Any) -> Any:
    """An argument as an array, or as a tuple of arrays where the model takes one."""
    if name.startswith(("past_key_values", "encoder_outputs")) and isinstance(value, tuple | list):
        return tuple(_argument(f"{name}[{index}]", member) for index, member in enumerate(value))
    array = as_array(f"inputs: {name}", value)
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise InputTypeError(f"inputs: {name} takes an array of numbers, got {shown(value)}")
    return array


def _metadata(model: Any, weights: Mapping[str, Array]) -> dict[str, Any]:
    """The metadata of a pack without tensors."""
    return {
        "format": FORMAT,
        "npbert": __version__,
        "config": model.config.to_dict(),
        "weights_sha256": weights_sha256(weights),
        "order": [],
        "aliases": {},
        "multiples": {precision: multiple._asdict() for precision, multiple in MULTIPLES.items()},
        "tolerances": {},
    }


def _tolerances(spool: Spool, visible: Mapping[str, Positions], run_other: RunSpread, precision: str) -> dict[str, Tolerance]:
    """What a port in `precision` may be off by in each content of the spool, by its first name."""
    allowance = Allowance(precision)
    tolerances: dict[str, Tolerance] = {}

    def look(name: str, x: Array, spread: Array | None) -> None:
        if spool.first_name[name] == name:
            counts = positions.counted(visible, name, x.shape)
            tolerances[name] = allowance.next(name, measure(spool[name], x, counts, spread))

    run_other(precision, look)
    return tolerances


def _aliases(order: Sequence[str], spool: Spool) -> dict[str, str]:
    """Names whose content is stored under another name of `order`, with that name."""
    stored: dict[str, str] = {}  # by content
    owners = {name: stored.setdefault(spool.first_name[name], name) for name in order}
    return {name: owner for name, owner in owners.items() if owner != name}


def _contents(
    arguments: Mapping[str, Any], weights: Mapping[str, Array], spool: Spool, metadata: Mapping[str, Any]
) -> FetchedArrays:
    """The arrays of the file in their order."""
    arrays = {part: array for name, value in arguments.items() for part, array in flat(INPUT + name, value)}
    arrays |= {WEIGHT + name: array for name, array in weights.items()}
    fetch: dict[str, Callable[[], Array]] = {name: partial(np.asarray, array) for name, array in arrays.items()}
    fetch |= {name: partial(spool.__getitem__, name) for name in metadata["order"] if name not in metadata["aliases"]}
    return FetchedArrays(fetch)
