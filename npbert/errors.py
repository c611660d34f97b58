"""Every error that a user of npbert can cause, how npbert warns, and how values are written in messages.

All errors are `NpbertError`s, so one `except` catches them. Each is also the built-in error that Python's habit asks for, so
code that knows nothing of npbert catches it too. A message names the argument or the file, then says what npbert takes and
what it got.
"""

import itertools
import sys
import warnings
from collections.abc import Collection


class NpbertError(Exception):
    """The root of npbert's errors."""


class InputError(NpbertError, ValueError):
    """An argument, a configuration or a file holds a value that npbert does not take."""


class InputTypeError(NpbertError, TypeError, ValueError):
    """An argument is of a kind that npbert does not take. It is a ValueError too, as some of them are in the reference."""


class FileError(NpbertError, ValueError):
    """A file is there but damaged, hostile or of another format. The message begins with its path."""


class MissingFileError(NpbertError, FileNotFoundError):
    """A file, a directory or a checkpoint on the hub was not found. The message says where it was looked for."""


class WriteError(NpbertError, OSError):
    """The system does not let a file be written: no permission, no room, no such device. The message begins with its path."""


class MissingNameError(NpbertError, KeyError):
    """A mapping (weights, trace, outputs) has no such name."""

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0]) if self.args else ""


class MissingAttributeError(NpbertError, AttributeError):
    """A model or module has no such part, weight or attribute."""


def warn(message: str) -> None:
    """Warn, and point at the line of the user's own code that called npbert: that is the line they can change."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "npbert":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


def shown(value: object, limit: int = 80) -> str:
    """A value of unknown origin as a message may hold it: short, on one line, and without running anything of its own.

    Only strings and numbers are spelled out. The `repr` of a list that contains itself thousands of times, which a pickle of a
    few hundred bytes can build, would not fit into memory.
    """
    if isinstance(value, str):
        return repr(value) if len(value) <= limit else f"{value[:limit]!r}... ({len(value)} characters)"
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if value.bit_length() <= 128 else f"an integer of {value.bit_length()} bits"
    return f"a {type(value).__name__}"


def listed(names: Collection[str], most: int = 5) -> str:
    """Names for a message: the first few, and how many more there are. What a terminal would obey is spelled out."""
    if not names:
        return "none"
    texts = [str(name) for name in itertools.islice(names, most)]
    first = ", ".join(text if text.isprintable() and len(text) <= 300 else shown(text) for text in texts)
    return first if len(names) <= most else f"{first} and {len(names) - most} more"
