"""The `npbert` command: one file a verb, each a thin layer over a function of npbert.

A verb's module has `EXAMPLE`, `add_arguments(parser)` and `run(args)`, and its docstring's first line says what it does.
Modules that read models are imported by `run`, so that `npbert --help` costs nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from npbert.cli import common
from npbert.cli.printing import printable
from npbert.errors import InputError, InputTypeError, NpbertError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

VERBS = (
    "similarity",
    "embed",
    "fill-mask",
    "classify",
    "tokens",
    "qa",
    "next-sentence",
    "generate",
    "tokenize",
    "info",
    "train",
    "convert",
    "golden",
    "look",
)
"""The verbs in the order in which `--help` shows them. The module of `fill-mask` is `fill_mask`, and so on."""


class _Parser(argparse.ArgumentParser):
    """For bad usage prints one line, with exit status 2."""

    def error(self, message: str) -> NoReturn:
        _say(f"{message} (see: {self.prog} --help)")
        raise SystemExit(2)

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """As argparse does, but an error in writing is raised: argparse would hide it."""
        print(self.format_help(), end="", file=file)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="npbert",
        description="BERT as plain NumPy: run checkpoints, look into them, and compare other implementations with them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs")
    examples = []
    for verb in VERBS:
        module = importlib.import_module(f"npbert.cli.{verb.replace('-', '_')}")
        summary = (module.__doc__ or "").partition("\n")[0]
        examples += [f"  {line}" for line in module.EXAMPLE.splitlines()]
        child = verbs.add_parser(
            verb,
            help=summary[:1].lower() + summary[1:].rstrip("."),
            description=module.__doc__,
            epilog="example:\n" + "\n".join(f"  {line}" for line in module.EXAMPLE.splitlines()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        child.set_defaults(run=getattr(module, "run", None))
        module.add_arguments(child)
        common.add_debug(child)
    parser.epilog = "examples:\n" + "\n".join(examples)
    return parser


def _say(message: object) -> None:
    """One line on standard error, even if the message has several. Where nobody can read it, the status has to do."""
    if sys.stderr is not None:  # else print would use standard output
        with contextlib.suppress(OSError):
            print("npbert:", printable(" ".join(str(message).splitlines())), file=sys.stderr, flush=True)


def _run(args: argparse.Namespace, argv: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):  # input is UTF-8 too; file names that are not stay as they are
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        _parser().parse_args(argv, args)
        if sys.stdout is None:
            raise InputError("standard output is closed")
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _say(f"warning: {common.translated(args, str(message))}")
            status: int = args.run(args) or 0
    except SystemExit:  # after --help
        if sys.stdout is not None:
            sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit status: 0; 1 if a comparison finds a difference; 2 for bad usage and bad input."""
    args = argparse.Namespace(debug=False)
    try:
        return _run(args, argv)
    except BrokenPipeError:  # the reader of the output has closed it, as `head` does
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if args.debug:
            raise
        if isinstance(error, InputError | InputTypeError):
            _say(common.translated(args, str(error)))
        elif isinstance(error, NpbertError):
            _say(error)
        elif isinstance(error, OSError):
            _say(": ".join(str(part) for part in (error.filename, error.strerror or error) if part is not None))
        elif isinstance(error, ImportError):  # of a library that finds no memory, which says so at length
            _say(f"cannot start: {_first_cause(error)} (--debug shows the traceback)")
        elif isinstance(error, MemoryError):
            _say("not enough memory")
        else:
            _say(f"{type(error).__name__}: {error} (--debug shows the traceback)")
        return 2
    finally:
        _flush_quietly()


def _first_cause(error: BaseException) -> BaseException:
    """The error that the others came from."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    return error


def _flush_quietly() -> None:
    """Write what is left, because Python would do it at its end, and print lines and set a status of its own if it fails."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
