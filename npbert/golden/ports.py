"""What a port dumped: read from a mapping, a file or a directory, found under the pack's names, brought into its shapes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from npbert import ops
from npbert.checkpoints import safetensors
from npbert.checkpoints.reading import read_json
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError, shown
from npbert.golden.pack import INPUT, OUTPUT, WEIGHT, Pack, flat
from npbert.types import Array, StrPath

Port: TypeAlias = "Mapping[str, Any] | StrPath"
Names: TypeAlias = "Mapping[str, str] | StrPath | None"


class Found(NamedTuple):
    """What of a port's dump belongs to which tensor of the pack."""

    values: dict[str, Callable[[], Array]]  # by the pack's names in execution order; called, each gives the port's array
    not_in_port: list[str]
    not_in_pack: list[str]  # the port's names


def read(port: Port) -> dict[str, Callable[[], Array]]:
    """Everything in a dump, each array to be fetched when it is wanted.

    A dump is a mapping from names to arrays, a `.safetensors` file, a `.npz` file or a directory of `.npy` files, which are
    then called NAME.npy.
    """
    if isinstance(port, Mapping):
        if not all(isinstance(name, str) for name in port):
            raise InputTypeError("port: takes names that are texts, got a mapping with others")
        return {name: _Later(_as_array, name, value) for name, value in port.items()}
    if not isinstance(port, (str, Path)):
        raise InputTypeError(f"port: takes a mapping or a path, got {shown(port)}")
    path = Path(port)
    if path.is_dir():
        return {file.stem: _Later(_read_npy, file) for file in sorted(path.glob("*.npy"))}
    if not path.exists():
        raise MissingFileError(f"{path}: there is no such file")
    if path.suffix == ".npz":
        return {name: _Later(_read_npz, path, name) for name in _names_in_npz(path)}
    if path.suffix == ".safetensors":
        tensors = safetensors.read(path)
        return {name: _Later(np.asarray, array) for name, array in tensors.items()}
    raise InputError(f"{path}: takes a .safetensors file, a .npz file or a directory of .npy files")


def find(pack: Pack, port: Port, names: Names = None) -> Found:
    """Match the names of a port with the pack's.

    `names` maps the port's own names to the pack's, as a mapping or as a JSON file; what it does not mention goes by its own
    name. Outputs are found with and without `output:`.
    """
    dump = read(port)
    if not dump:
        raise InputError(f"port: {_called(port)} holds no arrays")
    known = [*inputs(pack), *pack]
    renamed = _read_names(names)
    for own, name in renamed.items():
        if name not in known and OUTPUT + name not in pack:
            raise InputError(
                f"names: maps {shown(own)} to {shown(name)}, which is not in the pack; it takes {{the port's name: the pack's}}"
            )
    values: dict[str, Callable[[], Array]] = {}
    sources: dict[str, str] = {}
    not_in_pack: list[str] = []
    for own, load in dump.items():
        name = renamed.get(own, own)
        if name not in known and OUTPUT + name in pack:
            name = OUTPUT + name
        if name not in known:
            if not own.startswith(WEIGHT):  # of a pack that is held against another one
                not_in_pack.append(own)
            continue
        if name in sources:
            raise InputError(f"names: {shown(sources[name])} and {shown(own)} of the port are both {shown(name)}")
        sources[name] = own
        values[name] = load
    if not values:
        few = ", ".join(not_in_pack[:3])
        raise InputError(f"port: {_called(port)} has none of the pack's names; a map can translate its own, such as {few}")
    compared = {pack.aliases.get(name, name) for name in values}
    not_in_port = [name for name in pack if pack.aliases.get(name, name) not in compared]
    not_in_port += [own for own in renamed if own not in dump]
    return Found({name: values[name] for name in known if name in values}, not_in_port, not_in_pack)


def inputs(pack: Pack) -> dict[str, Array]:
    """The arguments of the pack's call, each array under its name in the file."""
    return {part: array for name, value in pack.inputs.items() for part, array in flat(INPUT + name, value)}


def in_shape(name: str, x: Array, shape: tuple[int, ...]) -> Array:
    """The port's array in the pack's shape: heads may be split `[B, N, S, H]` or merged `[B, S, N*H]`, in either."""
    if x.dtype.kind not in "biuf":
        hint = "; NumPy has no bfloat16: save it as float32, or as safetensors" if x.dtype.kind == "V" else ""
        raise InputTypeError(f"port: {name} takes numbers, got {x.dtype}{hint}")
    if x.shape == shape:
        return x
    if x.ndim == 3 and len(shape) == 4 and x.shape == (shape[0], shape[2], shape[1] * shape[3]):
        return ops.split_heads(x, shape[3])
    if x.ndim == 4 and len(shape) == 3 and shape == (x.shape[0], x.shape[2], x.shape[1] * x.shape[3]):
        return ops.merge_heads(x)
    raise InputError(f"port: {name} takes shape {list(shape)}, got {list(x.shape)}")


def _called(port: Port) -> str:
    return "the mapping" if isinstance(port, Mapping) else str(port)


class _Later:
    """A call that is still to be made."""

    def __init__(self, function: Callable[..., Array], *arguments: Any) -> None:
        self._function, self._arguments = function, arguments

    def __call__(self) -> Array:
        return self._function(*self._arguments)


def _as_array(name: str, value: object) -> Array:
    try:
        return np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # the last from frameworks whose arrays are not at rest
        raise InputTypeError(f"port: {name} takes an array ({error})") from None


def _read_npy(path: Path) -> Array:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise FileError(f"{path}: cannot be read as an array: {error}") from None


def _names_in_npz(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [entry.removesuffix(".npy") for entry in archive.namelist() if entry.endswith(".npy")]
    except (zipfile.BadZipFile, OSError) as error:
        raise FileError(f"{path}: cannot be read as .npz: {error}") from None


def _read_npz(path: Path, name: str) -> Array:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise FileError(f"{path}: {shown(name)} cannot be read as an array: {error}") from None


def _read_names(names: Names) -> dict[str, str]:
    if names is None:
        return {}
    read = names if isinstance(names, Mapping) else read_json(names)
    if not isinstance(read, Mapping) or not all(isinstance(part, str) for pair in read.items() for part in pair):
        raise InputError(f"names: takes an object that maps the port's names to the pack's, got {json.dumps(read):.80}")
    return dict(read)
