"""TensorFlow checkpoints ("V2", tensor bundles), as Google shipped BERT: read without TensorFlow.

    bert_model.ckpt.index                   where each tensor is; see tensorflow_index
    bert_model.ckpt.data-00000-of-00001     the tensors' bytes, one after the other

Every tensor is held against its checksum.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npbert.checkpoints.crc32c import masked_crc32c
from npbert.checkpoints.dtypes import decode, holds_truth_values, stored_dtype
from npbert.checkpoints.leveldb import FOOTER_SIZE, is_table
from npbert.checkpoints.reading import map_file
from npbert.checkpoints.tensorflow_index import Entry, read_index, slice_key
from npbert.checkpoints.wire import Damaged
from npbert.errors import FileError, MissingFileError, shown
from npbert.types import Array, StrPath

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


def read(path: StrPath) -> dict[str, Array]:
    """Every tensor of a checkpoint, by the name of its TensorFlow variable, optimizer slots and counters included.

    `path` is the prefix (`.../bert_model.ckpt`), the `.index` file or a directory with one of them. All checksums are
    checked. Arrays are read-only views of the mapped file; only bfloat16 (widened to float32), partitioned variables and
    tensors on odd addresses are copies. String tensors are left out: they hold TensorFlow 2's object graph and file names,
    never weights.
    """
    prefix = find_prefix(path)
    index = f"{prefix}.index"
    number_of_files, entries, parts = read_index(index)
    stored = [entry for entry in (*entries.values(), *parts.values()) if entry.size and not entry.slices]
    files = {number: _data_file(prefix, number, number_of_files) for number in sorted({entry.file_number for entry in stored})}
    data = {number: np.frombuffer(map_file(file), np.uint8) for number, file in files.items()}
    _refuse_overlaps(stored, files)

    def tensor(entry: Entry) -> Array:
        try:
            return _read_tensor(entry, data.get(entry.file_number, np.zeros(0, np.uint8)))
        except Damaged as error:
            raise FileError(f"{files.get(entry.file_number, index)}: the tensor {shown(entry.name)} {error}") from None

    def joined(entry: Entry) -> Array:
        try:
            return _join([(box, tensor(part)) for box, part in _parts(entry, parts)], entry)
        except Damaged as error:
            raise FileError(f"{index}: the tensor {shown(entry.name)} {error}") from None

    weights = [entry for entry in entries.values() if entry.dtype != _STRING]
    return {entry.name: joined(entry) if entry.slices else tensor(entry) for entry in weights}


def find_prefix(path: StrPath) -> str:
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


def data_files(index: StrPath) -> list[str]:
    """The names of the data files that belong to an index."""
    found = read_index(os.fspath(index))
    prefix = os.path.basename(index).removesuffix(".index")
    return [_data_file(prefix, number, found.number_of_files) for number in found.file_numbers()]


def is_version1(path: StrPath) -> bool:
    """Whether a file is a checkpoint of the old kind, a single LevelDB table with index and values."""
    return is_table(bytes(map_file(path)[-FOOTER_SIZE:]))


def _data_file(prefix: str, number: int, number_of_files: int) -> str:
    return f"{prefix}.data-{number:05d}-of-{number_of_files:05d}"


def _refuse_overlaps(entries: list[Entry], files: Mapping[int, str]) -> None:
    """TensorFlow writes tensor after tensor: bytes that belong to two are damage, or a small file posing as a large one."""
    ends = dict.fromkeys(files, 0)
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.offset < ends[entry.file_number]:
            raise FileError(
                f"{files[entry.file_number]}: the bytes of the tensor {shown(entry.name)} belong to another one too"
            )
        ends[entry.file_number] = entry.offset + entry.size


def _read_tensor(entry: Entry, data: NDArray[np.uint8]) -> Array:
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


def _parts(entry: Entry, parts: Mapping[bytes, Entry]) -> list[tuple[tuple[slice, ...], Entry]]:
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


def _join(parts: list[tuple[tuple[slice, ...], Array]], entry: Entry) -> Array:
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
