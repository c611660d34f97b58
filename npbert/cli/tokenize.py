"""Show how a text is cut: its pieces, their ids and token types, and where each piece is in the text."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from npbert.checks import unicode_text
from npbert.cli import common, printing

if TYPE_CHECKING:
    from npbert.text.tokenizer import BatchEncoding

EXAMPLE = 'npbert tokenize "The unheard melodies"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts, and the model whose vocabulary is used."""
    common.add_text(parser)
    parser.add_argument("--pair", metavar="TEXT", help="a second text, which is paired with each of the others")
    common.add_model(parser, default=common.SMALL)


def run(args: argparse.Namespace) -> None:
    """Print a table for each text."""
    from npbert.text.auto import load_tokenizer

    if args.pair is not None:
        unicode_text("--pair", args.pair)
    texts = common.texts(args)
    with common.loading(common.model_name(args)) as name:
        tokenizer = load_tokenizer(name)

    def encode(number: int, text: str) -> tuple[str, BatchEncoding]:
        unicode_text(common.place(args, number), text)
        return text, tokenizer(text, args.pair, return_offsets_mapping=True)

    printing.print_answers(
        args,
        (encode(number, text) for number, text in enumerate(texts, 1)),
        as_record=lambda text, encoding: {"text": text, "tokens": encoding.tokens(), **encoding},
        as_text=lambda text, encoding: _table((text, args.pair), encoding),
        blank_lines=True,
    )


def _table(texts: tuple[str, str | None], encoding: BatchEncoding) -> str:
    columns = [("piece", *map(printing.printable, encoding.tokens())), ("id", *map(str, encoding["input_ids"]))]
    if "token_type_ids" in encoding:  # a DistilBERT and a GPT-2 have none
        columns.append(("type", *map(str, encoding["token_type_ids"])))
    places = [("from", "to", "text")]
    for (start, end), sequence in zip(encoding["offset_mapping"], encoding.sequence_ids(), strict=True):
        text = None if sequence is None else texts[sequence]
        places.append(("", "", "") if text is None else (str(start), str(end), printing.printable(text[start:end])))
    rows = [(*row, *place) for row, place in zip(zip(*columns, strict=True), places, strict=True)]
    return printing.table(rows, right=range(1, len(columns) + 2))
