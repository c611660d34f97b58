"""Draw a pass of a model over a text as a page to look into: heads, numbers, gradients."""

from __future__ import annotations

import argparse
from typing import Any

from npbert.checks import unicode_text
from npbert.cli import common

EXAMPLE = """npbert look "the cat sat on the mat" -o page.html
npbert look "the cat sat on the mat" --other-text "the dog sat on the mat" -o page.html"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The text, the model, and what the page is to hold."""
    parser.add_argument("text", metavar="TEXT", help="a text")
    parser.add_argument("--pair", metavar="TEXT", help="a second text; for an encoder-decoder what it has written so far")
    parser.add_argument("--model", metavar="MODEL", help=f"{common.CHECKPOINT} (default: {common.SMALL})")
    parser.add_argument("-o", "--output", default="page.html", metavar="PAGE", help="the page to write (page.html)")
    parser.add_argument("--other-text", metavar="TEXT", help="show the difference to the pass over this text")
    parser.add_argument("--other-model", metavar="MODEL", help="show the difference to the pass of this checkpoint")
    parser.add_argument(
        "--layers", type=int, nargs="+", metavar="N", help="keep these layers whole where a page cannot hold all"
    )
    parser.add_argument("--position", type=int, metavar="N", help="the token whose logit is explained (the first mask)")
    parser.add_argument("--logit", metavar="WORD", help="the word or label whose logit is explained (the largest ones)")
    parser.add_argument("--no-gradients", action="store_true", help="leave out what needs gradients, which take long")
    common.add_dtype(parser)
    parser.set_defaults(needs=None, default_model=common.SMALL)


def run(args: argparse.Namespace) -> None:
    """Write the page and say where it is."""
    from npbert import views
    from npbert.checkpoints.writing import takes_bytes_as_they_come
    from npbert.models.auto import load
    from npbert.text.auto import load_tokenizer

    def load_both(name: str) -> tuple[Any, Any]:
        with common.loading(name):
            return load(name, dtype=args.dtype), load_tokenizer(name)

    unicode_text("TEXT", args.text)
    model, tokenizer = load_both(common.model_name(args))
    other_model, other_tokenizer = (None, None) if args.other_model is None else load_both(args.other_model)
    view = views.look(
        model,
        tokenizer,
        args.text,
        args.pair,
        other_text=args.other_text,
        other_model=other_model,
        other_tokenizer=other_tokenizer,
        layers=args.layers,
        gradients=not args.no_gradients,
        position=args.position,
        logit=args.logit,
    )
    path = view.save(args.output)
    if not takes_bytes_as_they_come(path):  # else it has gone to somebody else, perhaps over standard output
        print(f"{path}: {view.summary}, {path.stat().st_size:,} bytes")
