"""The index of a TensorFlow checkpoint: a LevelDB table that says where each tensor is.

The table's values are protocol buffers:

    header (BundleHeaderProto)    1 number of data files, 2 endianness (0 little, 1 big), 3 version
    entry  (BundleEntryProto)     1 dtype, 2 shape, 3 data file, 4 offset, 5 size, 6 masked CRC-32C, 7 slices
    shape  (TensorShapeProto)     2 dim, each with 1 size
    slice  (TensorSliceProto)     1 extent of each dim, each with 1 start, 2 length; one without a length is the whole dim

A partitioned variable's entry has slices and no bytes; each slice has an entry of its own, under a key made of name and
extents. Reference: tensorflow/core/protobuf/tensor_bundle.proto and tensorflow/core/util/tensor_bundle.
"""

from dataclasses import dataclass
from typing import NamedTuple

from npbert.checkpoints.leveldb import read_table
from npbert.checkpoints.limits import MAX_DIMENSIONS, MAX_INDEX_BYTES
from npbert.checkpoints.reading import map_file
from npbert.checkpoints.wire import Damaged, read_fields
from npbert.errors import FileError, shown


@dataclass
class Entry:
    """Where a tensor is."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    file_number: int
    offset: int
    size: int
    crc32c: int
    slices: list[list[tuple[int, int] | None]]  # of each slice, the (start, length) of each dimension; None for all of it


class Index(NamedTuple):
    """Everything that an index says."""

    number_of_files: int
    entries: dict[str, Entry]  # the tensors
    parts: dict[bytes, Entry]  # the slices of partitioned tensors, by their keys

    def file_numbers(self) -> list[int]:
        """The data files that hold anything."""
        return sorted({entry.file_number for entry in (*self.entries.values(), *self.parts.values())})


def read_index(path: str) -> Index:
    """Read an `.index` file."""
    content = map_file(path)
    if len(content) > MAX_INDEX_BYTES:
        raise FileError(f"{path}: the checkpoint index has {len(content)} bytes; at most {MAX_INDEX_BYTES} are taken")
    try:
        return _read_entries(bytes(content))
    except Damaged as error:
        raise FileError(f"{path}: the checkpoint index {error}") from None


def _read_entries(data: bytes) -> Index:
    number_of_files = None
    entries, parts = {}, {}
    for key, value in read_table(data):
        if not key:
            number_of_files = _read_header(value)
        elif key[0] == 0:  # no variable's name begins so
            parts[key] = _read_entry(value, f"slice {key[:80]!r}")
        else:
            try:
                name = key.decode()
            except UnicodeDecodeError:
                raise Damaged(f"holds the name {key[:80]!r}, which is not UTF-8") from None
            entries[name] = _read_entry(value, name)
    if number_of_files is None:
        raise Damaged("has no header")
    for entry in (*entries.values(), *parts.values()):
        if entry.file_number >= number_of_files:
            raise Damaged(f"puts {shown(entry.name)} into data file {entry.file_number} of {number_of_files}")
    return Index(number_of_files, entries, parts)


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


def _read_entry(data: bytes, name: str) -> Entry:
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
    return Entry(name, numbers[1], shape, numbers[3], numbers[4], numbers[5], numbers[6], slices)


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
    if len(shape) > MAX_DIMENSIONS:
        raise Damaged(f"has a shape of {len(shape)} dimensions for {shown(name)}; at most {MAX_DIMENSIONS} are taken")
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
                raise Damaged("has a slice whose extent is not a number")
    return extents


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
