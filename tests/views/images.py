"""Reading a screenshot: a PNG of 8-bit colours as an array."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def read_png(data: bytes) -> np.ndarray:
    """The colours, `[rows, columns, 3]`."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    packed, place, width, height, channels = b"", 8, 0, 0, 0
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        content = data[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", content[:10])
            assert depth == 8
            channels = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            packed += content
        place += length + 12
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * channels)
    image = np.zeros((height + 1, width + 1, channels), np.uint8)  # with a row of 0 above and a column of 0 to the left
    for row, line in enumerate(lines, 1):
        _undo(int(line[0]), line[1:].reshape(width, channels), image, row)
    return image[1:, 1:, :3]


def _undo(kind: int, line: np.ndarray, image: np.ndarray, row: int) -> None:
    """Undo the filter of one line: what was stored is the difference to a guess made of neighbours."""
    above = image[row - 1]
    if kind == 0:
        image[row, 1:] = line
    elif kind == 1:
        image[row, 1:] = np.cumsum(line, axis=0, dtype=np.uint8)
    elif kind == 2:
        image[row, 1:] = line + above[1:]
    else:
        left = above[0].astype(np.int64)
        for column, stored in enumerate(line.astype(np.int64), 1):
            up, corner = above[column].astype(np.int64), above[column - 1].astype(np.int64)
            guess = (left + up) // 2 if kind == 3 else _paeth(left, up, corner)
            left = (stored + guess) % 256
            image[row, column] = left


def _paeth(left: np.ndarray, up: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Of the three neighbours the one that is nearest to left + up - corner."""
    by_left, by_up, by_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    return np.where((by_left <= by_up) & (by_left <= by_corner), left, np.where(by_up <= by_corner, up, corner))
