"""The `npbert` command: one file a verb, each a thin layer over a function of npbert.

A verb's module has `EXAMPLE`, `add_arguments(parser)` and `run(args)`, and its docstring's first line says what it does.
Modules that read models are imported by `run`, so that `npbert --help` costs nothing.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from npbert.cli import common
from npbert.errors import NpbertError

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


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"npbert: warning: {message}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Exit status: 0; 1 when a comparison finds a difference; 2 for bad usage and bad input."""
    args = _parser().parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            status: int = args.run(args) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python's own flush at the end finds a taker
        return 0
    except KeyboardInterrupt:
        return 130
    except (NpbertError, OSError) as error:
        if getattr(args, "debug", False):
            raise
        print(f"npbert: {error}", file=sys.stderr)
        return 2
