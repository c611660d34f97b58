"""Guess the word that [MASK] stands for."""

from __future__ import annotations

import argparse
from typing import Any

from npbert.cli import common, printing

EXAMPLE = 'npbert fill-mask "Paris is the [MASK] of France."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts with masks, and how many guesses."""
    common.add_text(parser, "a text with [MASK] in it")
    common.add_model(parser, needs="a masked language model", default=common.SMALL)
    common.add_dtype(parser)
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="how many guesses to print (default: 5)")
    parser.add_argument("--targets", nargs="+", metavar="WORD", help="guess only these words (write them after the texts)")
    common.add_truncation(parser)


def run(args: argparse.Namespace) -> None:
    """Print the guesses for each mask."""
    from npbert.tasks import fill_mask

    texts = common.texts(args)
    options = {"top_k": args.top_k, "targets": args.targets, "tokenizer_kwargs": {"truncation": args.truncation}}
    model, tokenizer = common.load_with_head(args, "BertForMaskedLM")
    printing.print_answers(
        args,
        common.with_answers(texts, lambda each: fill_mask(model, tokenizer, each, **options)),
        as_record=lambda text, guesses: {"text": text, "guesses": guesses},
        as_text=_tables,
        blank_lines=True,
    )


def _tables(text: str, guesses: list[Any]) -> str:
    of_masks = guesses if guesses and isinstance(guesses[0], list) else [guesses]
    tables = []
    for of_mask in of_masks:
        rows = [
            (f"{guess['score']:.4f}", printing.printable(guess["token_str"]), printing.printable(guess["sequence"]))
            for guess in of_mask
        ]
        tables.append(printing.table(rows, right=(0,)))
    return "\n\n".join(tables)
