"""Varints and protocol-buffer fields: how LevelDB, Snappy and TensorFlow write numbers and small records.

Nothing here knows a file's name: what does not fit raises `Damaged`, and the reader of the file says which file it was.
Reference: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator


class Damaged(Exception):
    """Some bytes are not what their format says; the message tells what, but not of which file."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at `at`, seven bits a byte and the lowest first, below 2^64, and where the next thing begins."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Damaged("ends inside a number")
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number >> 64:
                break
            return number, at
    raise Damaged("holds a number of more than 64 bits")


def read_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer in the order they stand: (number, value).

    A varint or a fixed-width field is a non-negative int (an int64 below zero is 2^64 too large), a length-delimited one is
    bytes.
    """
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        kind, number = tag & 7, tag >> 3
        if kind == 0:
            value, at = read_varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise Damaged(f"holds a protocol-buffer field of wire type {kind}; 0, 1, 2 and 5 are taken")
        if size > len(data) - at:
            raise Damaged(f"holds a protocol-buffer field of {size} bytes where {len(data) - at} are left")
        field = data[at : at + size]
        at += size
        yield number, field if kind == 2 else int.from_bytes(field, "little")
