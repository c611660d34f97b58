"""Zip archives whose entries are stored as they are, which makes each of them a slice of the file.

Only what torch.save writes is taken: no compression, no encryption, one disk, nothing before the first entry or after the
directory. Every number is held against the size of the file before it is used. The format is PKWARE's APPNOTE.TXT.
"""

import itertools
import struct
import zlib
from typing import NamedTuple

from npbert.checkpoints.limits import MAX_ZIP_ENTRIES, MAX_ZIP_EXTRA, MAX_ZIP_NAME
from npbert.errors import FileError, shown
from npbert.types import StrPath

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_END_64, _LOCATOR_64 = b"PK\x06\x06", b"PK\x06\x07"
_IN_ZIP64_RECORD, _IN_ZIP64_RECORD_16 = 0xFFFFFFFF, 0xFFFF  # "too large to stand here"
_ENCRYPTED, _SIZES_FOLLOW = 1, 8  # bits of an entry's flags


class Entry(NamedTuple):
    """One entry of an archive."""

    data: memoryview
    crc: int  # as the archive states it; `summed` holds the data against it


class _Record(NamedTuple):
    """What the central directory says of an entry."""

    name: str
    raw_name: bytes
    flags: int
    crc: int
    size: int
    header: int  # where its local header lies


def entries(path: StrPath, content: memoryview) -> dict[str, Entry]:
    """The entries of the archive `content`, found at `path`, by their names."""
    first, end, count = _find_directory(path, content)
    result: dict[str, Entry] = {}
    spans: list[tuple[int, int, str]] = []
    position = first
    for _ in range(count):
        record, position = _read_record(path, content, position, end)
        if record.name in result:
            raise FileError(f"{path}: the zip archive has the entry {shown(record.name)} twice")
        start = _data_start(path, content, record, first)
        result[record.name] = Entry(content[start : start + record.size], record.crc)
        spans.append((record.header, start + record.size, record.name))
    if position != end:
        raise FileError(f"{path}: the directory of the zip archive is longer than its {count} entries")
    spans.sort()
    for (_, stop, name), (start, _, following) in itertools.pairwise(spans):
        if start < stop:
            raise FileError(f"{path}: the zip entries {shown(name)} and {shown(following)} overlap")
    return result


def summed(path: StrPath, name: str, entry: Entry) -> memoryview:
    """The data of `entry` after its checksum has been checked. Zero, which torch writes when it is told not to sum, passes."""
    if entry.crc and zlib.crc32(entry.data) != entry.crc:
        raise FileError(f"{path}: the zip entry {shown(name)} does not have the checksum that the archive states")
    return entry.data


def _find_directory(path: StrPath, content: memoryview) -> tuple[int, int, int]:
    """Where the central directory begins and ends, and how many entries it lists."""
    tail_start = max(0, len(content) - 22 - 0xFFFF)
    tail = bytes(content[tail_start:])
    found = tail.rfind(_END, 0, len(tail) - 18)
    # Everything after the end record is its comment, whose length it knows; any other occurrence is part of something else.
    while found >= 0 and found + 22 + int.from_bytes(tail[found + 20 : found + 22], "little") != len(tail):
        found = tail.rfind(_END, 0, found)
    if found < 0:
        raise FileError(f"{path}: begins as a zip archive but has no end record: it is cut short or has been added to")
    disk, directory_disk, disk_count, count, size, offset = struct.unpack_from("<HHHHII", tail, found + 4)
    end = tail_start + found

    if end >= 20 and content[end - 20 : end - 16] == _LOCATOR_64:
        _, record, _ = struct.unpack_from("<IQI", content, end - 16)
        if record + 56 > end - 20 or content[record : record + 4] != _END_64:
            raise FileError(f"{path}: the zip archive has no 64-bit end record where it says")
        short = (disk, directory_disk, disk_count, count, size, offset)
        wide = struct.unpack_from("<IIQQQQ", content, record + 16)
        limits = (_IN_ZIP64_RECORD_16,) * 4 + (_IN_ZIP64_RECORD,) * 2
        if any(a not in (b, limit) for a, b, limit in zip(short, wide, limits, strict=True)):
            raise FileError(f"{path}: the two end records of the zip archive contradict each other")
        disk, directory_disk, disk_count, count, size, offset = wide
        end = record
    if disk or directory_disk or disk_count != count:
        raise FileError(f"{path}: is one disk of a zip archive that spans several")
    if offset + size != end:
        raise FileError(f"{path}: the directory of the zip archive claims bytes {offset} to {offset + size}, not up to {end}")
    if count > MAX_ZIP_ENTRIES:
        raise FileError(f"{path}: the zip archive claims {count} entries in {size} bytes; {MAX_ZIP_ENTRIES} are taken at most")
    return offset, end, count


def _read_record(path: StrPath, content: memoryview, position: int, end: int) -> tuple[_Record, int]:
    """The record of the central directory at `position`, and where the next one begins."""
    if position + 46 > end or content[position : position + 4] != _CENTRAL:
        raise FileError(f"{path}: the directory of the zip archive is damaged at byte {position}")
    flags, method, _, crc, packed, size, name_length, extra_length, comment_length, disk, _, _, header = struct.unpack_from(
        "<HHIIIIHHHHHII", content, position + 8
    )
    following = position + 46 + name_length + extra_length + comment_length
    if following > end or name_length > MAX_ZIP_NAME or extra_length > MAX_ZIP_EXTRA:
        raise FileError(f"{path}: the directory of the zip archive is damaged at byte {position}")
    raw_name = bytes(content[position + 46 : position + 46 + name_length])
    extra = bytes(content[position + 46 + name_length : position + 46 + name_length + extra_length])
    name = _checked_name(path, raw_name)
    if flags & _ENCRYPTED:
        raise FileError(f"{path}: the zip entry {shown(name)} is encrypted")
    if method:
        raise FileError(f"{path}: the zip entry {shown(name)} is compressed (method {method}), as torch.save never does")

    wide = _zip64_field(extra)
    values = []
    for value in (size, packed, header):  # the field holds the values that did not fit, in this order
        if value == _IN_ZIP64_RECORD:
            if len(wide) < 8:
                raise FileError(f"{path}: the zip entry {shown(name)} lacks its 64-bit sizes")
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        values.append(value)
    size, packed, header = values
    if size != packed:
        raise FileError(f"{path}: the zip entry {shown(name)} is stored in {packed} bytes but claims {size}")
    if disk not in (0, _IN_ZIP64_RECORD_16):
        raise FileError(f"{path}: the zip entry {shown(name)} lies on another disk")
    return _Record(name, raw_name, flags, crc, size, header), following


def _checked_name(path: StrPath, raw: bytes) -> str:
    """The name of an entry. Nothing is ever written under it: a path that climbs cannot harm, but it is a sign of forgery."""
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise FileError(f"{path}: the zip archive has an entry whose name is not UTF-8") from None
    if not name or name.startswith("/") or any(letter in name for letter in "\\\0") or ".." in name.split("/"):
        raise FileError(f"{path}: the zip archive has an entry with the forged name {shown(name)}")
    return name


def _zip64_field(extra: bytes) -> bytes:
    """The values of the extra field with 64-bit sizes; empty where there is none."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1:
            return extra[4 : 4 + length]
        extra = extra[4 + length :]
    return b""


def _data_start(path: StrPath, content: memoryview, record: _Record, directory: int) -> int:
    """Where an entry's data begins, after its local header has been held against the directory."""
    header, name = record.header, shown(record.name)
    if header + 30 > directory or content[header : header + 4] != _LOCAL:
        raise FileError(f"{path}: the zip entry {name} is not at byte {header}, where the directory puts it")
    flags, method, _, _, packed, size, name_length, extra_length = struct.unpack_from("<HHIIIIHH", content, header + 6)
    start = int(header + 30 + name_length + extra_length)
    if start + record.size > directory:
        raise FileError(f"{path}: the zip entry {name} claims {record.size} bytes at byte {start}, past the end of the data")
    if content[header + 30 : header + 30 + name_length] != record.raw_name or method or (flags ^ record.flags) & _ENCRYPTED:
        raise FileError(f"{path}: the zip entry {name} contradicts the directory")
    if not flags & _SIZES_FOLLOW and any(value not in (record.size, _IN_ZIP64_RECORD) for value in (packed, size)):
        raise FileError(f"{path}: the zip entry {name} claims {size} bytes in one place and {record.size} in another")
    return start
