"""Every error that a user of npbert can cause, and how npbert warns.

All of them are `NpbertError`, so one `except` catches them; each is also the built-in error that Python's habit asks for,
so code written without npbert in mind catches them too. Messages name the argument or the file, say what came and what is
taken.
"""

import sys
import warnings


class NpbertError(Exception):
    """The root of npbert's errors."""


class InputError(NpbertError, ValueError):
    """An argument, a configuration or a file holds a value that npbert does not take."""


class InputTypeError(NpbertError, TypeError):
    """An argument is of a kind that npbert does not take."""


class FileError(NpbertError, ValueError):
    """A file is there but damaged, hostile or of another format. The message begins with its path."""


class MissingFileError(NpbertError, FileNotFoundError):
    """A file, a directory or a checkpoint on the hub was not found. The message says where it was looked for."""


class MissingNameError(NpbertError, KeyError):
    """A mapping (weights, trace, outputs) has no such name."""

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0]) if self.args else ""


def warn(message: str) -> None:
    """Warn about the line that called npbert, however deep inside the reason was found: it is what the user can change."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "npbert":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)
