"""The `npbert` command: one file a verb, each a thin layer over a function of npbert.

A verb's module has `EXAMPLE`, `add_arguments(parser)` and `run(args)`, and its docstring's first line says what it does.
Modules that read models are imported by `run`, so that `npbert --help` costs nothing.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from npbert.cli import common
from npbert.errors import InputError, InputTypeError, NpbertError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

VERBS = {
    "similarity": "similarity",
    "embed": "embed",
    "fill-mask": "fill_mask",
    "classify": "classify",
    "tokens": "tokens",
    "qa": "qa",
    "next-sentence": "next_sentence",
    "generate": "generate",
    "tokenize": "tokenize",
    "info": "info",
    "convert": "convert",
    "golden": "golden",
}
"""The verbs in the order in which `--help` shows them, and the modules behind them."""


class _Parser(argparse.ArgumentParser):
    """Bad usage is one line and exit status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"npbert: {message} (see: {self.prog} --help)\n")

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """As argparse does, which keeps to itself that it could not."""
        print(self.format_help(), end="", file=file)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="npbert",
        description="BERT as plain NumPy: run checkpoints, look into them, and hold ports against them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs")
    examples = []
    for verb, name in VERBS.items():
        module = importlib.import_module(f"npbert.cli.{name}")
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
    """A line on standard error, however many the message has."""
    if sys.stderr is not None:  # else print would take standard output
        print("npbert:", common.shown(" ".join(str(message).splitlines())), file=sys.stderr)


def _run(args: argparse.Namespace, argv: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):  # as what is read; and file names that are no text stay what they are
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
    """Run the command. Exit status: 0; 1 when a comparison finds a difference; 2 for bad usage and bad input."""
    args = argparse.Namespace(debug=False)
    try:
        return _run(args, argv)
    except BrokenPipeError:  # whoever read the output has seen enough
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
        elif isinstance(error, MemoryError):
            _say("the memory does not suffice")
        else:
            _say(f"{type(error).__name__}: {error} (--debug shows where it came up)")
        return 2
    finally:
        _leave_nothing_to_write()


def _leave_nothing_to_write() -> None:
    """Python writes at its end what is left, and where nobody takes it says so in lines of its own."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
