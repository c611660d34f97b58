"""What every reader shares: a file mapped into memory, a guess at what a strange file is, and strict JSON."""

import errno
import json
import math
import mmap
import os
import re
import stat
from pathlib import Path
from typing import Any, NoReturn

from npbert.checkpoints.limits import (
    MAX_JSON_BYTES,
    MAX_JSON_CONTAINERS,
    MAX_JSON_DEPTH,
    MAX_JSON_DIGITS,
    MAX_JSON_VALUES,
)
from npbert.errors import FileError, MissingFileError, shown
from npbert.types import StrPath

UNFINISHED = (
    "This checkpoint was being saved, and the save did not end: its files may belong to two models, or two tokenizers. "
    "Save it again.\n"
)
"""What stands in `config.json`, or in `tokenizer_config.json`, while the files beside it are replaced."""


def map_file(path: StrPath) -> memoryview:
    """The bytes of a file, read-only and mapped: nothing is read before it is looked at, and nothing is copied.

    The mapping lives as long as any slice or array made from it. Replacing the file by a rename, as npbert's own writers do,
    leaves the mapping untouched; cutting the file short while it is mapped is the one thing no reader can survive.
    """
    try:
        # A FIFO would block `open` for ever and a device has no size, so what it is must be asked first.
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise FileError(f"{path}: is {'a directory' if stat.S_ISDIR(mode) else 'a pipe or a device'}, not a file")
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise FileError(f"{path}: is empty")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (FileNotFoundError, NotADirectoryError):
        raise MissingFileError(f"{path}: there is no such file") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error


def kind_at(path: StrPath) -> str | None:
    """What lies at a path, links followed: "file", "directory", "other" (a pipe, a device), or None where there is nothing.

    A name that no file can have is nothing; a directory that must not be searched is an error, for there the answer is unknown.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return None
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError:  # a 0 character, or half a UTF-16 pair
        return None
    return "file" if stat.S_ISREG(mode) else "directory" if stat.S_ISDIR(mode) else "other"


def what_it_seems(start: bytes) -> str:
    """What a file of the wrong format seems to be by its first bytes: the end of a message, empty where there is no telling."""
    head = start[:512].lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        return "; it is a Git LFS pointer, which stands for the real file: fetch that with `git lfs pull`"
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "; it is a web page, so a download has gone wrong"
    if head.startswith(b"pk\x03\x04"):
        return "; it is a zip archive, as torch.save writes them"
    if start.startswith(UNFINISHED.encode()[:40]):
        return "; a save into this directory died before its end, and the files may not belong together: save again"
    if head[8:9] == b"{":
        return "; it looks like a safetensors file"
    return ""


def parse_json(raw: bytes, where: str) -> Any:
    """The value of a JSON text, by the standard: UTF-8, no key twice in one object, no NaN, and within the limits.

    Anything else is a FileError whose message begins with `where`.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise FileError(f"{where}: has the key {shown(twice)} twice in one object")
        return result

    def integer(digits: str) -> int:
        if len(digits) > MAX_JSON_DIGITS:
            raise FileError(f"{where}: has an integer of {len(digits)} digits")
        return int(digits)

    def number(text: str) -> float:
        if not math.isfinite(value := float(text)):
            raise FileError(f"{where}: has the number {shown(text)}, which is too large")
        return value

    def constant(word: str) -> NoReturn:
        raise FileError(f"{where}: has {word}, which is not JSON")

    _check_structure(raw, where)
    hooks: dict[str, Any] = {"parse_int": integer, "parse_float": number, "parse_constant": constant}
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=unique, **hooks)
    except FileError:
        raise
    except RecursionError:
        raise FileError(f"{where}: is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise FileError(f"{where}: is not UTF-8: {error.reason} at byte {error.start}") from None
    except ValueError as error:
        raise FileError(f"{where}: is not JSON: {error}{what_it_seems(raw)}") from None


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def _check_structure(raw: bytes, where: str) -> None:
    """Refuse JSON that would become too many values, or values too deep inside one another, before any of them is made."""
    structure = _STRING.sub(b"", raw)
    if structure.count(b"[") + structure.count(b"{") > MAX_JSON_CONTAINERS or structure.count(b",") > MAX_JSON_VALUES:
        most = f"{MAX_JSON_CONTAINERS} lists and objects or {MAX_JSON_VALUES} values"
        raise FileError(f"{where}: has more than {most}, the most taken")
    depth = 0
    for bracket in _BRACKET.finditer(structure):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_JSON_DEPTH:
            raise FileError(f"{where}: is nested too deeply: {MAX_JSON_DEPTH} lists and objects in one another are taken")


def read_json(path: StrPath, limit: int = MAX_JSON_BYTES) -> Any:
    """The value of a JSON file no larger than `limit` bytes."""
    content = map_file(path)
    if len(content) > limit:
        raise FileError(f"{path}: has {len(content)} bytes; JSON of at most {limit} bytes is taken")
    return parse_json(bytes(content), str(Path(path)))


def read_json_object(path: StrPath) -> dict[str, Any]:
    """The object in a JSON file, such as a configuration."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise FileError(f"{path}: takes a JSON object, {{...}}, got {shown(value)}")
    return value
