"""TensorFlow checkpoints ("V2", tensor bundles), as Google shipped BERT: read with nothing of TensorFlow.

    bert_model.ckpt.index                   a LevelDB table: name -> where the tensor is (and "" -> a header)
    bert_model.ckpt.data-00000-of-00001     the tensors' bytes, one after the other

The table's values are protocol buffers:

    header (BundleHeaderProto)    1 number of data files, 2 endianness (0 little, 1 big), 3 version
    entry  (BundleEntryProto)     1 dtype, 2 shape, 3 data file, 4 offset, 5 size, 6 masked CRC-32C, 7 slices
    shape  (TensorShapeProto)     2 dim, each with 1 size
    slice  (TensorSliceProto)     1 extent of each dim, each with 1 start, 2 length; one without a length is the whole dim

A partitioned variable's entry has slices and no bytes; each slice has an entry of its own, under a key made of name and
extents. Reference: tensorflow/core/protobuf/tensor_bundle.proto and tensorflow/core/util/tensor_bundle.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from npbert.checkpoints.crc32c import masked_crc32c
from npbert.checkpoints.dtypes import decode, holds_truth_values, stored_dtype
from npbert.checkpoints.leveldb import FOOTER_SIZE, is_table, read_table
from npbert.checkpoints.reading import map_file
from npbert.checkpoints.wire import Damaged, read_fields
from npbert.errors import FileError, MissingFileError, shown

Array: TypeAlias = npt.NDArray[Any]

_STRING = 7
_DTYPES = {  # tensorflow/core/framework/types.proto
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    19: "float16",
    22: "uint32",
    23: "uint64",
}
_MAX_INDEX = 1 << 26  # bytes; the index of BERT takes some 20 kB
_MAX_DIMS = 32  # of a NumPy array, before version 2


@dataclass
class _Entry:
    """Where a tensor is."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    crc32c: int
    slices: list[list[tuple[int, int] | None]]  # of each slice, the (start, length) of each dimension; None for all of it


def read(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Every tensor of a checkpoint, by the name of its TensorFlow variable, optimizer slots and counters included.

    `path` is the prefix (`.../bert_model.ckpt`), the `.index` file or a directory with one of them. All checksums are
    checked. Arrays are read-only views of the mapped file; only bfloat16 (widened to float32), partitioned variables and
    tensors on odd addresses are copies. String tensors are left out: they hold TensorFlow 2's object graph and file names,
    never weights.
    """
    prefix = find_prefix(path)
    index = f"{prefix}.index"
    shards, entries, parts = _read_index(index)
    stored = [entry for entry in (*entries.values(), *parts.values()) if entry.size and not entry.slices]
    files = {shard: _data_file(prefix, shard, shards) for shard in sorted({entry.shard for entry in stored})}
    data = {shard: np.frombuffer(map_file(file), np.uint8) for shard, file in files.items()}
    _refuse_overlaps(stored, files)

    def tensor(entry: _Entry) -> Array:
        try:
            return _read_tensor(entry, data.get(entry.shard, np.zeros(0, np.uint8)))
        except Damaged as error:
            raise FileError(f"{files.get(entry.shard, index)}: the tensor {shown(entry.name)} {error}") from None

    def joined(entry: _Entry) -> Array:
        try:
            return _join([(box, tensor(part)) for box, part in _parts(entry, parts)], entry)
        except Damaged as error:
            raise FileError(f"{index}: the tensor {shown(entry.name)} {error}") from None

    weights = [entry for entry in entries.values() if entry.dtype != _STRING]
    return {entry.name: joined(entry) if entry.slices else tensor(entry) for entry in weights}


def find_prefix(path: str | os.PathLike[str]) -> str:
    """The part of the file names before `.index` and `.data-?????-of-?????`."""
    text = os.fspath(path)
    if os.path.isdir(text):
        found = sorted(Path(text).glob("*.index"))
        if len(found) > 1:
            found = [file for file in found if file.name == "bert_model.ckpt.index"] or found
        if not found:
            raise MissingFileError(f"{text}: no TensorFlow checkpoint in this directory (looked for *.index)")
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise MissingFileError(f"{text}: several TensorFlow checkpoints in this directory ({names}): name one of them")
        text = str(found[0])
    if text.endswith(".index"):
        return text.removesuffix(".index")
    if not os.path.exists(f"{text}.index") and os.path.isfile(text):
        if is_version1(text):
            raise FileError(
                f"{text}: a TensorFlow checkpoint of version 1 (one file), which is not read; "
                "load it in TensorFlow and save it with tf.compat.v1.train.Saver(write_version=SaverDef.V2)"
            )
        raise FileError(f"{text}: not a TensorFlow checkpoint: it has no {os.path.basename(text)}.index beside it")
    return text


def data_files(index: str | os.PathLike[str]) -> list[str]:
    """The names of the data files that belong to an index."""
    shards, entries, parts = _read_index(os.fspath(index))
    prefix = os.path.basename(index).removesuffix(".index")
    return [
        _data_file(prefix, shard, shards) for shard in sorted({entry.shard for entry in (*entries.values(), *parts.values())})
    ]


def is_version1(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a checkpoint of the old kind, a single LevelDB table with index and values."""
    with open(path, "rb") as file:
        file.seek(-min(FOOTER_SIZE, os.path.getsize(path)), os.SEEK_END)
        return is_table(file.read())


def _data_file(prefix: str, shard: int, shards: int) -> str:
    return f"{prefix}.data-{shard:05d}-of-{shards:05d}"


def _read_index(path: str) -> tuple[int, dict[str, _Entry], dict[bytes, _Entry]]:
    """The number of data files, the tensors by name, and the slices of partitioned ones by key."""
    content = map_file(path)
    if len(content) > _MAX_INDEX:
        raise FileError(f"{path}: the checkpoint index has {len(content)} bytes; at most {_MAX_INDEX} are taken")
    try:
        return _read_entries(bytes(content))
    except Damaged as error:
        raise FileError(f"{path}: the checkpoint index {error}") from None


def _read_entries(data: bytes) -> tuple[int, dict[str, _Entry], dict[bytes, _Entry]]:
    shards = None
    entries, parts = {}, {}
    for key, value in read_table(data):
        if not key:
            shards = _read_header(value)
        elif key[0] == 0:  # no variable's name begins so
            parts[key] = _read_entry(value, f"slice {key[:80]!r}")
        else:
            try:
                name = key.decode()
            except UnicodeDecodeError:
                raise Damaged(f"holds the name {key[:80]!r}, which is not UTF-8") from None
            entries[name] = _read_entry(value, name)
    if shards is None:
        raise Damaged("has no header")
    for entry in (*entries.values(), *parts.values()):
        if entry.shard >= shards:
            raise Damaged(f"puts {shown(entry.name)} into data file {entry.shard} of {shards}")
    return shards, entries, parts


def _read_header(data: bytes) -> int:
    header = {1: 0, 2: 0}
    for number, value in read_fields(data):
        if isinstance(value, int):
            header[number] = value
        elif number == 3:
            oldest_reader = dict(read_fields(value)).get(2, 0)
            if oldest_reader not in (0, 1):
                raise Damaged(f"is for readers of version {oldest_reader!r}; this one is of version 1")
    if not 0 < header[1] <= 99999:
        raise Damaged(f"claims {header[1]} data files")
    if header[2] != 0:
        raise Damaged("says that the tensors are big-endian; only little-endian ones are read")
    return header[1]


def _read_entry(data: bytes, name: str) -> _Entry:
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}
    shape: tuple[int, ...] = ()
    slices = []
    for number, value in read_fields(data):
        if isinstance(value, int):
            if number == 6 and value >> 32:
                raise Damaged(f"has a checksum of more than 32 bits for {shown(name)}")
            numbers[number] = value
        elif number == 2:
            shape = _read_shape(value, name)
        elif number == 7:
            slices.append(_read_extents(value))
    return _Entry(name, numbers[1], shape, numbers[3], numbers[4], numbers[5], numbers[6], slices)


def _read_shape(data: bytes, name: str) -> tuple[int, ...]:
    shape = []
    for number, value in read_fields(data):
        if number == 3 and value:
            raise Damaged(f"does not know the shape of {shown(name)}")
        if number == 2 and isinstance(value, bytes):
            size = dict(read_fields(value)).get(1, 0)
            if not isinstance(size, int) or size >= 1 << 48:  # below zero is at least 2^63
                raise Damaged(f"has a shape for {shown(name)} with a dimension that no tensor has: {size!r}")
            shape.append(size)
    if len(shape) > _MAX_DIMS:
        raise Damaged(f"has a shape of {len(shape)} dimensions for {shown(name)}; at most {_MAX_DIMS} are taken")
    return tuple(shape)


def _read_extents(data: bytes) -> list[tuple[int, int] | None]:
    extents: list[tuple[int, int] | None] = []
    for number, value in read_fields(data):
        if number == 1 and isinstance(value, bytes):
            extent = dict(read_fields(value))
            start, length = extent.get(1, 0), extent.get(2)
            if length is None:
                extents.append(None)
            elif isinstance(start, int) and isinstance(length, int):
                extents.append((start, length))
            else:
                raise Damaged("has a slice whose extent is no number")
    return extents


def _refuse_overlaps(entries: list[_Entry], files: Mapping[int, str]) -> None:
    """TensorFlow writes tensor after tensor: bytes that belong to two are damage, or a small file posing as a large one."""
    ends = dict.fromkeys(files, 0)
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.offset < ends[entry.shard]:
            raise FileError(f"{files[entry.shard]}: the bytes of the tensor {shown(entry.name)} belong to another one too")
        ends[entry.shard] = entry.offset + entry.size


def _read_tensor(entry: _Entry, data: npt.NDArray[np.uint8]) -> Array:
    name = _DTYPES.get(entry.dtype)
    if name is None:
        raise Damaged(f"has TensorFlow's dtype {entry.dtype}, which is not read (see tensorflow/core/framework/types.proto)")
    dtype = stored_dtype(name)
    if math.prod(size or 1 for size in entry.shape) >= 1 << 48:
        raise Damaged(f"has the shape {entry.shape}, too large for any machine")
    if entry.size != math.prod(entry.shape) * dtype.itemsize:
        raise Damaged(f"of shape {entry.shape} and type {name} claims {entry.size} bytes")
    if entry.offset + entry.size > len(data) and entry.size:
        raise Damaged(f"should end at byte {entry.offset + entry.size}, but the file has {len(data)} bytes")
    raw = data[entry.offset : entry.offset + entry.size]
    if masked_crc32c(raw) != entry.crc32c:
        raise Damaged("does not match its checksum")
    stored = raw.view(dtype).reshape(entry.shape)
    if name == "bool" and not holds_truth_values(stored):
        raise Damaged("is of type bool, but has bytes other than 0 and 1")
    return decode(stored, name)


def _parts(entry: _Entry, parts: Mapping[bytes, _Entry]) -> list[tuple[tuple[slice, ...], _Entry]]:
    """Which part of the tensor each slice is, and the slice's own entry; together they are the tensor, exactly."""
    found = []
    keys = set()
    elements = 0
    for extents in entry.slices:
        if len(extents) != len(entry.shape):
            raise Damaged(f"of shape {entry.shape} has a slice of {len(extents)} dimensions")
        pairs = [extent or (0, size) for extent, size in zip(extents, entry.shape, strict=True)]
        shape = tuple(length for _, length in pairs)
        if any(start + length > size for (start, length), size in zip(pairs, entry.shape, strict=True)):
            raise Damaged(f"of shape {entry.shape} has a slice that reaches beyond it: {pairs}")
        key = slice_key(entry.name, extents)
        part = parts.get(key)
        if part is None or part.slices or part.dtype != entry.dtype or part.shape != shape:
            raise Damaged(f"has a slice, {pairs}, that the index does not hold in the same shape and type")
        if key in keys:
            raise Damaged(f"has the slice {pairs} twice")
        keys.add(key)
        found.append((tuple(slice(start, start + length) for start, length in pairs), part))
        elements += math.prod(shape)
    if elements != math.prod(entry.shape):
        raise Damaged(f"of shape {entry.shape} has slices with {elements} elements in all")
    return found


def _join(parts: list[tuple[tuple[slice, ...], Array]], entry: _Entry) -> Array:
    """The slices in one array. Their sizes add up to its size, so each element must be covered once."""
    whole = np.empty(entry.shape, parts[0][1].dtype)
    covered = np.zeros(entry.shape, bool)
    for box, part in parts:
        if covered[box].any():
            raise Damaged("has slices that overlap")
        covered[box] = True
        whole[box] = part
    whole.flags.writeable = False
    return whole


def slice_key(name: str, extents: list[tuple[int, int] | None]) -> bytes:
    """The key of a slice: 0, the name, the number of dimensions, then start and length of each (0 and -1 for all of it).

    All in TensorFlow's order-preserving code (tensorflow/core/lib/strings/ordered_code.cc), so that keys sort like numbers.
    """
    escaped = name.encode().replace(b"\x00", b"\x00\xff")
    key = _ordered(0) + escaped + b"\x00\x01" + _ordered(len(extents))
    for start, length in (extent or (0, -1) for extent in extents):
        key += _ordered_signed(start) + _ordered_signed(length)
    return key


def _ordered(number: int) -> bytes:
    """A number from zero on: how many bytes, then the bytes, highest first."""
    size = (number.bit_length() + 7) // 8
    return bytes([size]) + number.to_bytes(size, "big")


def _ordered_signed(number: int) -> bytes:
    """A number in n bytes: n ones, then the number in 7n bits, its sign first; below zero, all bits are inverted."""
    magnitude = number if number >= 0 else ~number
    size = magnitude.bit_length() // 7 + 1
    marks = (1 << size) - 1 << 7 * size  # n ones at the top of 8n bits
    bits = marks | magnitude
    return (bits if number >= 0 else bits ^ (1 << 8 * size) - 1).to_bytes(size, "big")
