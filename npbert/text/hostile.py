"""What a `tokenizer.json` may ask of the library.

The library believes it all. A normalizer whose twelve steps each write ten letters for one makes a million million of each
letter, and when the library finds no room for them, it ends the process: nothing can catch that. The vocabulary and the added
tokens are backed by the file's own bytes; what is looked at here are the steps.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
from collections.abc import Iterator
from typing import Any

from npbert import checks
from npbert.checkpoints.limits import MAX_GROWTH, MAX_TOKENIZER_BYTES, MAX_TOKENIZER_STEPS, MAX_WORD
from npbert.errors import FileError, MissingFileError, shown
from npbert.types import StrPath

_SECTIONS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
_CHILDREN = ("normalizers", "pretokenizers", "processors", "decoders")


def check_regular(path: StrPath) -> None:
    """Refuse what is not a regular file: a pipe blocks whoever opens it, and a device has no end."""
    checks.path("path", path)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise MissingFileError(f"{path}: no such tokenizer file: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise FileError(f"{path}: is {'a directory' if stat.S_ISDIR(mode) else 'a pipe or a device'}, not a file")


def read_tokenizer_json(path: StrPath) -> dict[str, Any]:
    """The contents of a `tokenizer.json`, whose vocabulary may be larger than other JSON files are."""
    check_regular(path)
    size = os.path.getsize(path)
    if size > MAX_TOKENIZER_BYTES:
        raise FileError(f"{path}: has {size} bytes; a tokenizer.json of {MAX_TOKENIZER_BYTES} is taken at most")
    try:
        with open(path, "rb") as file:
            contents = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: not a tokenizer.json: {error}") from None
    return contents if isinstance(contents, dict) else {}


def check_tokenizer_json(path: StrPath) -> None:
    """Refuse a `tokenizer.json` that makes far more of a text than it was, or takes far too long over it."""
    contents = read_tokenizer_json(path)
    for section in _SECTIONS:
        steps = list(_steps(contents.get(section)))
        if len(steps) > MAX_TOKENIZER_STEPS:
            raise FileError(f"{path}: the {section} has {len(steps)} steps; {MAX_TOKENIZER_STEPS} are taken at most")
        growth = 1.0
        for step in steps:
            growth *= _growth(step)
        if growth > MAX_GROWTH:
            raise FileError(
                f"{path}: the {section} may make {growth:.3g} characters or tokens of one; {MAX_GROWTH} are taken at most"
            )
    model = contents.get("model")
    longest = model.get("max_input_chars_per_word") if isinstance(model, dict) else None
    if isinstance(longest, int) and longest > MAX_WORD:
        raise FileError(f"{path}: max_input_chars_per_word takes at most {MAX_WORD}, got {shown(longest)}")


def _steps(step: Any) -> Iterator[dict[str, Any]]:
    """The steps of a section in their order, those of sequences within sequences too."""
    waiting = [step]
    while waiting:
        now = waiting.pop()
        if isinstance(now, dict):
            children = [child for name in _CHILDREN if isinstance(now.get(name), list) for child in now[name]]
            if children:
                waiting += reversed(children)
            else:
                yield now


def _growth(step: dict[str, Any]) -> float:
    """The most characters, or tokens, that a step writes for one. What Unicode's own tables do is counted as nothing: they
    write at most 18, and not more when they come twice."""
    kind = step.get("type")
    if kind == "Replace":
        pattern, content = step.get("pattern"), step.get("content")
        searched = pattern.get("String") if isinstance(pattern, dict) else None
        written = len(content) if isinstance(content, str) else 0
        # An expression may match a single character, or none at all between two.
        return max(1.0, written / len(searched) if isinstance(searched, str) and searched else written + 1)
    if kind == "ByteLevel":
        return 4.0  # a character has up to four bytes
    if kind == "Precompiled":
        return _longest_of_charsmap(step.get("precompiled_charsmap"))
    if kind == "TemplateProcessing":
        return max((_texts_in(step.get(name)) for name in ("single", "pair")), default=1.0)
    return 1.0


def _longest_of_charsmap(charsmap: Any) -> float:
    """Of SentencePiece's table: a number of four bytes, a search tree of that many bytes, then texts that end with a zero."""
    try:
        table = base64.b64decode(charsmap if isinstance(charsmap, str) else "")
    except (binascii.Error, ValueError):
        return 1.0  # the library refuses it
    texts = table[4 + int.from_bytes(table[:4], "little") :]
    return float(max(map(len, texts.split(b"\0"))))


def _texts_in(template: Any) -> float:
    """How often a template writes the same text."""
    pieces = [piece.get("Sequence") for piece in template if isinstance(piece, dict)] if isinstance(template, list) else []
    names = [piece.get("id") for piece in pieces if isinstance(piece, dict)]
    return float(max((names.count(name) for name in ("A", "B")), default=1) or 1)
