"""How the verbs print: JSON or text for a reader, tables whose columns align, texts that cannot steer a terminal."""

from __future__ import annotations

import json
import unicodedata
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from typing import Any

JOINERS = "\u200c\u200d"  # without them some scripts, and emoji of several persons, fall apart


def print_answers(
    args: Namespace,
    answers: Iterable[tuple[Any, Any]],
    *,
    as_record: Callable[[Any, Any], dict[str, Any]],
    as_text: Callable[[Any, Any], str],
    blank_lines: bool = False,
) -> None:
    """Print each (input, answer): with --json as a record, else as text, with blank lines between them if asked for."""
    for number, (value, answer) in enumerate(answers):
        if args.json:
            print_json(as_record(value, answer))
        else:
            print(("\n" if blank_lines and number else "") + as_text(value, answer))


def print_json(value: Any, indent: int | None = None) -> None:
    """One value, on a line of its own unless indented; arrays become lists."""
    print(json_printable(json.dumps(value, ensure_ascii=False, default=lambda x: x.tolist(), indent=indent)))


def print_lines(text: str) -> None:
    """A text that npbert wrote about a file, line by line, with whatever the file put into it."""
    print("\n".join(map(printable, text.split("\n"))))


def json_printable(text: str) -> str:
    """A JSON text with the signs that steer terminals as JSON's own escapes."""
    if text.isprintable():
        return text
    return "".join(f"\\u{ord(sign):04x}" if sign != "\n" and ord(sign) < 1 << 16 and _steers(sign) else sign for sign in text)


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows with their columns aligned: to the left, or to the right for the columns in `right` (numbers)."""
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []

    return "\n".join(
        "  ".join(pad(cell, widths[column], right=column in right) for column, cell in enumerate(row)).rstrip() for row in rows
    )


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """The text with spaces after it, or before it, up to this many columns."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def width(text: str) -> int:
    """The columns that a text takes in a terminal: two for a Chinese character, none for an accent on the letter before it."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(sign) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def printable(text: str) -> str:
    """The text on one line, with control characters as escapes, so that it can break no table and steer no terminal."""
    if text.isprintable():
        return text
    return "".join(sign.encode("unicode_escape").decode() if _steers(sign) else sign for sign in text)


def _steers(sign: str) -> bool:
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") and sign not in JOINERS
