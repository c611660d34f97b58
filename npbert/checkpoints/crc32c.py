"""CRC-32C (Castagnoli, RFC 3720 appendix B.4) at memory speed, with nothing but NumPy.

A CRC is the remainder of the message, read as a polynomial over GF(2), divided by P = 0x11EDC6F41. Dividing byte by byte
with a table is a loop that Python runs at some 10 MB/s. But the remainder does not change when a multiple of P is added, and
P has multiples with very few terms. This one

    Q(x) = x^563 + x^109 + x^58 + x^53 + x^31 + 1  =  0   (mod P)

says that a bit at the front of the message is worth as much as five bits further back: it may be moved there by five XORs.
Squaring a polynomial over GF(2) doubles its exponents and does nothing else, Q(x)^2 = Q(x^2); so Q(x^8) and Q(x^512) are
multiples of P too, and the same five XORs move whole bytes, or blocks of 64 bytes. That is `_fold`: long slices of the
message are XORed onto what follows them until 563 blocks are left, then until 563 bytes are left. Only those meet the table.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = "bytes | bytearray | memoryview | npt.NDArray[np.uint8]"

_DEGREE = 563
_SHIFTS = (454, 505, 510, 532, 563)  # 563 minus each lower exponent of Q: how far back the copies land
_UNITS = (64, 8, 1)  # bytes moved as one; each leaves 563 of them
_PIECE = 1 << 19  # bytes folded at a time: the work stays in the cache
# A CRC starts with a register of 32 ones. So does one that started with zeros, after these four bytes.
_PREFIX = bytes.fromhex("54641f64")


def _byte_table() -> list[int]:
    """The remainder of each byte followed by 32 zero bits. In CRC-32C a byte's lowest bit has the highest power."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # P without x^32, bits reversed
        table.append(byte)
    return table


_TABLE = _byte_table()


def crc32c(data: Bytes) -> int:
    """The CRC-32C of some bytes: `crc32c(b"123456789") == 0xE3069283`."""
    start, rest = np.frombuffer(_PREFIX, np.uint8), np.frombuffer(data, np.uint8)
    for unit in _UNITS:
        start, rest = start[:0], _fold(start, rest, unit)
    register = 0
    for byte in rest.tobytes():
        register = _TABLE[(register ^ byte) & 0xFF] ^ register >> 8
    return register ^ 0xFFFFFFFF


def masked_crc32c(data: Bytes) -> int:
    """The CRC-32C as LevelDB and TensorFlow store it: rotated and shifted, since a sum over bytes that hold sums is weak."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _fold(start: npt.NDArray[np.uint8], rest: npt.NDArray[np.uint8], unit: int) -> npt.NDArray[np.uint8]:
    """At most 563 units (and no fewer where there were more) with the same remainder as `start` followed by `rest`."""
    step = min(_SHIFTS) * unit  # the bytes that move at once: none of them lands on another of the same step
    kept = start
    for offset in range(0, len(rest), _PIECE):
        work = np.concatenate([kept, rest[offset : offset + _PIECE]])
        end = max(0, len(work) - _DEGREE * unit)
        for i in range(0, end, step):
            j = min(i + step, end)
            for shift in _SHIFTS:
                work[i + shift * unit : j + shift * unit] ^= work[i:j]
        kept = work[end:]
    return kept
