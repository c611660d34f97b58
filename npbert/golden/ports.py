"""Reading what a port dumped: from a mapping, a file or a directory."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from npbert.checkpoints import safetensors
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError, shown
from npbert.types import Array, StrPath

Port: TypeAlias = "Mapping[str, Any] | StrPath"


def read(port: Port) -> dict[str, Callable[[], Array]]:
    """Everything in a dump. Each array is read when its function is called.

    A dump is a mapping from names to arrays, a `.safetensors` file, a `.npz` file or a directory of files NAME.npy.
    """
    if isinstance(port, Mapping):
        if not all(isinstance(name, str) for name in port):
            raise InputTypeError("port: takes names that are texts, got a mapping with others")
        return {name: partial(_as_array, name, value) for name, value in port.items()}
    if not isinstance(port, (str, Path)):
        raise InputTypeError(f"port: takes a mapping or a path, got {shown(port)}")
    path = Path(port)
    if path.is_dir():
        return {file.stem: partial(_read_npy, file) for file in sorted(path.glob("*.npy"))}
    if not path.exists():
        raise MissingFileError(f"{path}: there is no such file")
    if path.suffix == ".npz":
        return {name: partial(_read_npz, path, name) for name in _names_in_npz(path)}
    if path.suffix == ".safetensors":
        return {name: partial(np.asarray, array) for name, array in safetensors.read(path).items()}
    raise InputError(f"{path}: takes a .safetensors file, a .npz file or a directory of .npy files")


def described(port: Port) -> str:
    """The dump, as a message names it."""
    return "the mapping" if isinstance(port, Mapping) else str(port)


def _as_array(name: str, value: object) -> Array:
    try:
        return np.asarray(value)
    except (
        ValueError,
        TypeError,
        RuntimeError,
    ) as error:  # RuntimeError: a framework's tensor that needs its gradient
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
