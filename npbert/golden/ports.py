"""Reading what a port dumped: from a mapping, a file or a directory.

A dump may be damaged or hostile as any file may. An array is looked at before its bytes are read: what kind it is, and whether
the file can hold as much as it claims.
"""

from __future__ import annotations

import ast
import math
import os
import stat
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from npbert import checks
from npbert.checkpoints import safetensors
from npbert.checkpoints.limits import MAX_COMPRESSION, MAX_DIMENSIONS, MAX_TENSOR_NAME, MAX_UNPACKED
from npbert.checkpoints.reading import map_file
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError, shown
from npbert.types import Array, StrPath

Port: TypeAlias = "Mapping[str, Any] | StrPath"

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 10_000
"""Bytes of the header of a .npy file, which is a Python dictionary of three entries."""


def read(port: Port) -> dict[str, Callable[[], Array]]:
    """Everything in a dump. Each array is read when its function is called.

    A dump is a mapping from names to arrays, a `.safetensors` file, a `.npz` file or a directory of files NAME.npy.
    """
    dump = _read(port)
    for name in dump:
        if len(name) > MAX_TENSOR_NAME:
            raise InputError(f"port: takes names of {MAX_TENSOR_NAME} characters at most, got {shown(name)}")
        if not name.isprintable():
            raise InputError(f"port: takes names that can be printed, got {shown(name)}")
    return dump


def _read(port: Port) -> dict[str, Callable[[], Array]]:
    if isinstance(port, Mapping):
        if not all(isinstance(name, str) for name in port):
            raise InputTypeError("port: takes names that are texts, got a mapping with others")
        return {name: partial(_as_array, name, value) for name, value in port.items()}
    if not isinstance(port, (str, os.PathLike)):
        raise InputTypeError(f"port: takes a mapping or a path, got {shown(port)}")
    path = Path(checks.path("port", port))
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            return {file.stem: partial(_read_npy, file) for file in sorted(path.glob("*.npy"))}
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"{path}: there is no such file") from None
    except OSError as error:  # a name that is too long, a directory that may not be read
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise FileError(f"{path}: is a pipe or a device, not a file")
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
    except Exception as error:  # any framework's tensor may be handed in, and refuse in its own way
        raise InputTypeError(f"port: {name} takes an array ({error})") from None


# -------------------------------------------------------------------------------------------------------------------- .npy


def _read_npy(path: Path) -> Array:
    content = map_file(path)
    start = bytes(content[: _MAX_HEADER + 12])
    shape, dtype, order, offset = _header(start, str(path))
    if len(content) - offset != math.prod(shape) * dtype.itemsize:
        raise FileError(f"{path}: claims the shape {list(shape)} of {dtype}, but holds {len(content) - offset} bytes")
    return _array(content[offset:], dtype, shape, order)


def _array(content: Any, dtype: np.dtype[Any], shape: tuple[int, ...], order: Any) -> Array:
    return np.frombuffer(content, dtype).reshape(shape, order=order) if len(content) else np.empty(shape, dtype)


def _header(start: bytes, where: str) -> tuple[tuple[int, ...], np.dtype[Any], Any, int]:
    """The shape, type and order of an array in the .npy format, and where its elements begin.

    The format: the magic bytes, two bytes of a version, the header's length in 2 bytes (4 from version 2 on), the header.
    """
    if start[:6] != _MAGIC or len(start) < 12:
        raise FileError(f"{where}: is not an array in the .npy format")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    offset = 8 + width + length
    if start[6] not in (1, 2, 3) or length > _MAX_HEADER or offset > len(start):
        raise FileError(f"{where}: has a .npy header of version {start[6]} and {length} bytes, which no array has")
    try:
        fields = ast.literal_eval(start[8 + width : offset].decode("utf-8" if start[6] == 3 else "latin1").strip())
        shape, is_fortran = fields["shape"], fields["fortran_order"]
        dtype = np.lib.format.descr_to_dtype(fields["descr"])
    except (ValueError, SyntaxError, TypeError, LookupError, RecursionError, MemoryError) as error:
        raise FileError(f"{where}: has a damaged .npy header: {type(error).__name__}") from None
    sizes_are_sound = isinstance(shape, tuple) and all(type(size) is int and 0 <= size < 1 << 48 for size in shape)
    if not sizes_are_sound or len(shape) > MAX_DIMENSIONS or not isinstance(is_fortran, bool):
        raise FileError(f"{where}: has a damaged .npy header: the shape {shown(str(shape))}")
    if dtype.hasobject or not dtype.itemsize:
        raise FileError(f"{where}: takes an array of numbers, got {shown(str(dtype))}")
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize >= 1 << 63:
        raise FileError(f"{where}: claims the shape {list(shape)}, larger than any array")
    return shape, dtype, "F" if is_fortran else "C", offset


# -------------------------------------------------------------------------------------------------------------------- .npz


def _names_in_npz(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            files = [entry for entry in archive.namelist() if entry.endswith(".npy")]
    except Exception as error:  # zipfile lets many kinds through
        raise FileError(f"{path}: cannot be read as .npz: {shown(str(error))}") from None
    if len(set(files)) < len(files):
        raise FileError(f"{path}: holds two arrays of one name")
    return [entry.removesuffix(".npy") for entry in files]


def _read_npz(path: Path, name: str) -> Array:
    where = f"{path}: {shown(name)}"
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{name}.npy")
            with archive.open(entry) as file:
                return _read_entry(file, entry, where)
    except FileError:
        raise
    except Exception as error:  # damaged, encrypted or unknown compression: zlib, lzma and zipfile each have their own errors
        raise FileError(f"{where} cannot be read as an array: {shown(str(error) or type(error).__name__)}") from None


def _read_entry(file: IO[bytes], entry: zipfile.ZipInfo, where: str) -> Array:
    """An array out of a zip archive, in memory of its own; what the archive cannot back is refused before it is unpacked."""
    start = file.read(_MAX_HEADER + 12)
    shape, dtype, order, offset = _header(start, where)
    size = math.prod(shape) * dtype.itemsize
    if entry.file_size != offset + size:
        raise FileError(f"{where} claims the shape {list(shape)} of {dtype}, but holds {entry.file_size - offset} bytes")
    if size > entry.compress_size * MAX_COMPRESSION + MAX_UNPACKED:
        raise FileError(f"{where} claims {size} bytes, compressed to {entry.compress_size}: no array of activations shrinks so")
    content = bytearray(start[offset:])
    while chunk := file.read(1 << 20):
        content += chunk
    if len(content) != size:
        raise FileError(f"{where} claims {size} bytes, but {len(content)} are there")
    return _array(content, dtype, shape, order)
