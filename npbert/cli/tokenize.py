"""Show how a text is cut: pieces, ids, token types and where each piece stands in the text."""

from __future__ import annotations

import argparse

from npbert.cli import common

EXAMPLE = 'npbert tokenize "The unheard melodies"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts, and the model whose vocabulary is meant."""
    common.add_text(parser)
    parser.add_argument("--pair", metavar="TEXT", help="a second text, as in question answering")
    parser.add_argument("--model", metavar="MODEL", help="a directory, a file or an id on the hub (all-MiniLM-L6-v2)")
    common.add_json(parser)
    parser.set_defaults(needs=None)


def run(args: argparse.Namespace) -> None:
    """Print a table for each text."""
    from npbert.tokenizer import BertTokenizer

    with common.loading(common.model_name(args)) as name:
        tokenizer = BertTokenizer.from_pretrained(name)
    for number, text in enumerate(common.items(args)):
        encoding = tokenizer(text, args.pair, return_offsets_mapping=True)
        pieces = tokenizer.convert_ids_to_tokens(encoding["input_ids"])
        if args.json:
            common.print_json({"text": text, "tokens": pieces, **encoding})
            continue
        rows = [("piece", "id", "type", "from", "to", "text")]
        texts = (text, args.pair)
        for piece, identifier, kind, (start, end), sequence in zip(
            pieces,
            encoding["input_ids"],
            encoding["token_type_ids"],
            encoding["offset_mapping"],
            encoding.sequence_ids(),
            strict=True,
        ):
            source = "" if sequence is None else repr(texts[sequence][start:end])[1:-1]
            place = ("", "") if sequence is None else (str(start), str(end))
            rows.append((piece, str(identifier), str(kind), *place, source))
        print(("\n" if number else "") + common.table(rows, right=(1, 2, 3, 4)))
