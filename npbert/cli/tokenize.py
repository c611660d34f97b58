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
    from npbert.tasks.batches import check_text
    from npbert.text.tokenizer import BertTokenizer

    if args.pair is not None:
        check_text("--pair", args.pair)
    inputs = common.items(args)
    with common.loading(common.model_name(args)) as name:
        tokenizer = BertTokenizer.from_pretrained(name)
    for number, text in enumerate(inputs):
        check_text(common.place(args, number + 1), text)
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
            source = "" if sequence is None else common.shown(texts[sequence][start:end])
            place = ("", "") if sequence is None else (str(start), str(end))
            rows.append((piece, str(identifier), str(kind), *place, source))
        print(("\n" if number else "") + common.table(rows, right=(1, 2, 3, 4)))
