"""Label the words of each text: names, places, parts of speech."""

from __future__ import annotations

import argparse
from typing import Any

from npbert.cli import common, printing

EXAMPLE = 'npbert tokens --model my-ner-model "Ada Lovelace lived in London."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts, and how tokens become entities."""
    common.add_text(parser)
    common.add_model(parser, needs="a classifier of tokens")
    common.add_dtype(parser)
    parser.add_argument(
        "--aggregation-strategy",
        choices=("none", "simple", "first", "average", "max"),
        default="simple",
        help="none: print tokens; simple: join neighbours with the same label; first, average, max: the same with whole words, "
        "labelled by their first piece, by the mean of their pieces, or by their best piece (default: simple)",
    )
    parser.add_argument(
        "--stride", type=int, metavar="N", help="read all of a long text, in pieces that overlap by N tokens (default: cut it)"
    )


def run(args: argparse.Namespace) -> None:
    """Print a table of entities for each text."""
    from npbert.tasks import token_classification

    texts = common.texts(args)
    options = {"aggregation_strategy": args.aggregation_strategy, "stride": args.stride}
    model, tokenizer = common.load_with_head(args, "BertForTokenClassification")
    printing.print_answers(
        args,
        common.with_answers(texts, lambda each: token_classification(model, tokenizer, each, **options)),
        as_record=lambda text, entities: {"text": text, "entities": entities},
        as_text=lambda text, entities: f"{printing.printable(text)}\n{_table(entities)}",
        blank_lines=True,
    )


def _table(entities: list[dict[str, Any]]) -> str:
    rows = [("label", "score", "from", "to", "word")]
    for entity in entities:
        label = entity.get("entity_group", entity.get("entity"))
        score, word = f"{entity['score']:.4f}", printing.printable(entity["word"])
        rows.append((printing.printable(str(label)), score, str(entity["start"]), str(entity["end"]), word))
    return printing.table(rows, right=(1, 2, 3))
