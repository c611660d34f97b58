"""Reading the text files that models learn from."""

from __future__ import annotations

import hashlib

from npbert.checkpoints.reading import map_file
from npbert.errors import FileError
from npbert.types import StrPath


def read_text(path: StrPath) -> str:
    """The whole text of a file, in UTF-8; a byte order mark is left out."""
    content = bytes(map_file(path))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileError(f"{path}: line {line}: is not UTF-8 ({error.reason} at byte {error.start})") from None


def read_lines(path: StrPath) -> list[str]:
    """The lines of a file, without their ends. Only the line feed ends a line: a text may hold the other separators."""
    lines = [line.removesuffix("\r") for line in read_text(path).split("\n")]
    return lines[:-1] if lines and not lines[-1] else lines


def sha256_of(path: StrPath) -> str:
    """What identifies a file's content."""
    return hashlib.sha256(map_file(path)).hexdigest()
