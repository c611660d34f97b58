"""Snappy decompression: copies of what stands before, and literals between them.

Reference: https://github.com/google/snappy/blob/main/format_description.txt.
"""

from npbert.checkpoints.wire import Damaged, read_varint


def decompress(data: bytes, *, limit: int) -> bytes:
    """The bytes that `data` stands for, no more than `limit` of them.

    The stream is the length of the result, then elements. The two low bits of an element's first byte tell its kind: 0 is a
    literal, 1, 2 and 3 are copies from as far back as the next 1 (with three bits of the first), 2 or 4 bytes say.
    """
    size, at = read_varint(data, 0)
    if size > limit:
        raise Damaged(f"holds a compressed block that claims {size} bytes; at most {limit} are taken")
    out = bytearray()  # grows with what is really there, whatever the length claims
    while at < len(data):
        tag = data[at]
        at += 1
        kind = tag & 3
        if kind == 0:
            length = (tag >> 2) + 1
            if length > 60:  # the length itself follows, in 1 to 4 bytes
                extra = length - 60
                length = int.from_bytes(_take(data, at, extra), "little") + 1
                at += extra
            literal = _take(data, at, length)
            at += length
            out += literal
        else:
            if kind == 1:
                length = 4 + (tag >> 2 & 7)
                back = (tag >> 5) << 8 | _take(data, at, 1)[0]
                at += 1
            else:
                width = 2 if kind == 2 else 4
                length = (tag >> 2) + 1
                back = int.from_bytes(_take(data, at, width), "little")
                at += width
            start = len(out) - back
            if not 0 < back <= len(out):
                raise Damaged(f"holds a compressed block that copies from {back} bytes back, {len(out)} bytes in")
            if back >= length:
                out += out[start : start + length]
            else:  # the copy reads what it has just written: the last `back` bytes over and over
                out += (out[start:] * (length // back + 1))[:length]
        if len(out) > size:
            break
    if len(out) != size:
        raise Damaged(f"holds a compressed block that claims {size} bytes but makes {'more' if len(out) > size else len(out)}")
    return bytes(out)


def _take(data: bytes, at: int, size: int) -> bytes:
    if size > len(data) - at:
        raise Damaged("ends inside a compressed block")
    return data[at : at + size]
