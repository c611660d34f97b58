"""Label the words of each text: names, places, parts of speech."""

from __future__ import annotations

import argparse

from npbert.cli import common

EXAMPLE = 'npbert tokens --model my-ner-model "Ada Lovelace lived in London."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts, and how tokens become entities."""
    common.add_text(parser)
    common.add_model(parser, needs="a classifier of tokens")
    parser.add_argument(
        "--aggregation-strategy",
        choices=("none", "simple", "first", "average", "max"),
        default="simple",
        help="how tokens become entities (simple)",
    )
    parser.add_argument(
        "--stride", type=int, metavar="N", help="read a long text in pieces that overlap by N tokens, not its beginning alone"
    )


def run(args: argparse.Namespace) -> None:
    """Print a table of entities for each text."""
    from npbert.tasks import token_classification

    inputs = common.items(args)
    model, tokenizer = common.load_with_head(args, "BertForTokenClassification")
    answers = common.beside(
        inputs,
        lambda texts: token_classification(
            model, tokenizer, texts, aggregation_strategy=args.aggregation_strategy, stride=args.stride
        ),
    )
    for number, (text, entities) in enumerate(answers):
        if args.json:
            common.print_json({"text": text, "entities": entities})
            continue
        rows = [("label", "score", "from", "to", "word")]
        for entity in entities:
            label = entity.get("entity_group", entity.get("entity"))
            rows.append(
                (label, f"{entity['score']:.4f}", str(entity["start"]), str(entity["end"]), common.shown(entity["word"]))
            )
        print(("\n" if number else "") + common.shown(text))
        print(common.table(rows, right=(1, 2, 3)))
