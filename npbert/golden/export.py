"""Making a golden pack: the truth in float64, and three more passes that tell what correct ports may be off by."""

from __future__ import annotations

import hashlib
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

import npbert
from npbert.checkpoints import safetensors
from npbert.checks import as_array
from npbert.errors import InputError, InputTypeError, MissingFileError
from npbert.golden import positions
from npbert.golden.pack import FORMAT, INPUT, WEIGHT, flat, metadata_texts, weights_sha256
from npbert.golden.passes import run
from npbert.golden.precision import EPSILON
from npbert.golden.tolerance import MULTIPLES, Allowance, errors
from npbert.models.base import PreTrainedModel
from npbert.models.fitting import float_type
from npbert.tracing import selection
from npbert.types import Array, StrPath


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
    if not isinstance(model, PreTrainedModel):
        raise InputTypeError(f"model: takes a model of npbert, got {type(model).__name__}")
    stored_type = float_type(dtype)
    directory = Path(path).parent
    if not directory.is_dir():
        raise MissingFileError(f"{path}: the directory {directory} does not exist")
    if Path(path).is_dir():
        raise InputError(f"{path}: is a directory, takes the name of a file to write")
    arguments = {name: _argument(name, value) for name, value in inputs.items() if value is not None}
    arrays = dict(model.named_parameters())
    metadata: dict[str, Any] = {
        "format": FORMAT,
        "npbert": npbert.__version__,
        "config": model.config.to_dict(),
        "weights_sha256": weights_sha256(arrays),
        "order": [],
        "aliases": {},
        "multiples": {precision: multiple._asdict() for precision, multiple in MULTIPLES.items()},
        "tolerances": {},
    }
    metadata_texts(metadata)  # what cannot be written is found before the work, not after it

    # Everything is spooled, also what `only` leaves out: what a tensor is allowed depends on the one before it.
    with tempfile.TemporaryFile(dir=directory) as file, _Progress() as progress:
        spool = _Spool(file)

        def keep_truth(name: str, x: Array) -> None:
            progress.step()
            spool.add(name, x.astype(stored_type, copy=False))

        run(model, arguments, "float64", keep_truth)
        progress.passes(1 + len(EPSILON))
        order = list(filter(selection(only), spool))
        if not order:
            raise InputError(f"only: nothing in this model is called {only!r}")

        visible = positions.of_call(model.config, arguments)
        tolerances: dict[str, dict[str, Any]] = {name: {} for name in spool}
        for precision in EPSILON:
            allowance = Allowance(precision)

            def measure(name: str, x: Array, precision: str = precision, allowance: Allowance = allowance) -> None:
                progress.step()
                if spool.first_name[name] == name:
                    found = errors(spool[name], x, positions.counted(visible, name, x.shape))
                    tolerances[name][precision] = allowance.next(found)._asdict()

            run(model, arguments, precision, measure)

        stored: dict[str, str] = {}  # for each content the first name that is wanted
        for name in order:
            first = stored.setdefault(spool.first_name[name], name)
            if first != name:
                metadata["aliases"][name] = first
        metadata["order"] = order
        metadata["tolerances"] = {name: tolerances[spool.first_name[name]] for name in order}
        tensors: dict[str, Array] = {}
        for name, value in arguments.items():
            tensors |= dict(flat(INPUT + name, value))
        if weights:
            tensors |= {WEIGHT + name: array for name, array in arrays.items()}
        safetensors.write(path, _Joined(tensors, spool, list(stored.values())), metadata_texts(metadata))


def _argument(name: str, value: Any) -> Any:
    """An argument as an array, or where the model takes tuples of arrays as such."""
    if name.startswith(("past_key_values", "encoder_outputs")) and isinstance(value, tuple | list):
        return tuple(_argument(f"{name}[{index}]", part) for index, part in enumerate(value))
    array = as_array(f"inputs: {name}", value)
    if array.dtype.kind not in "biuf" or array.ndim == 0:
        raise InputTypeError(f"inputs: {name} takes an array of numbers, got {value!r:.80}")
    return array


class _Place(NamedTuple):
    """Where an array lies in the spool."""

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class _Spool(Mapping[str, Array]):
    """Arrays waiting in a file: each is in memory only while somebody holds it. Equal ones lie there once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[str, _Place] = {}
        self._names: dict[str, str] = {}  # the first name of each content
        self.first_name: dict[str, str] = {}  # of what is equal to the named array

    def add(self, name: str, array: Array) -> None:
        """Append an array, or note that it is there already."""
        if name in self._places:
            raise InputError(f"{name}: the model computes it twice in one pass; only the values of one can be packed")
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        key = f"{array.dtype} {array.shape} {hashlib.sha256(content).hexdigest()}"
        first = self.first_name[name] = self._names.setdefault(key, name)
        if first != name:
            self._places[name] = self._places[first]
            return
        self._places[name] = _Place(self._file.tell(), array.dtype, array.shape)
        self._file.write(content)

    def __getitem__(self, name: str) -> Array:
        place = self._places[name]
        size = math.prod(place.shape)
        if not size:
            return np.empty(place.shape, place.dtype)
        self._file.flush()
        return np.memmap(self._file, place.dtype, "r", place.start, (size,)).reshape(place.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class _Joined(Mapping[str, Array]):
    """What goes into the file, in its order; spooled arrays are fetched only when they are asked for."""

    def __init__(self, tensors: Mapping[str, Array], spool: _Spool, spooled: Sequence[str]) -> None:
        self._tensors, self._spool, self._spooled = tensors, spool, spooled

    def __getitem__(self, name: str) -> Array:
        return self._tensors[name] if name in self._tensors else self._spool[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._tensors
        yield from self._spooled

    def __len__(self) -> int:
        return len(self._tensors) + len(self._spooled)


class _Progress:
    """A progress bar, where somebody looks at a terminal."""

    def __enter__(self) -> _Progress:
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(unit=" tensors", desc="golden pack", leave=False)
        return self

    def step(self) -> None:
        """One more tensor is done."""
        if self._bar is not None:
            self._bar.update()

    def passes(self, number: int) -> None:
        """The first pass is over and there are so many: now the end can be told."""
        if self._bar is not None:
            self._bar.total = self._bar.n * number
            self._bar.refresh()

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
