"""Label each text, or each pair of texts."""

from __future__ import annotations

import argparse
from typing import Any

from npbert.checks import unicode_text
from npbert.cli import common, printing

EXAMPLE = 'npbert classify --model my-sentiment-model "I liked it." "I did not."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts, and how many labels."""
    common.add_text(parser)
    common.add_model(parser, needs="a classifier of texts")
    common.add_dtype(parser)
    parser.add_argument("--pair", metavar="TEXT", help="a second text, which is paired with each of the others")
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="how many labels to print (default: 1)")
    parser.add_argument(
        "--function-to-apply",
        choices=("softmax", "sigmoid", "none"),
        help="how logits become scores (default: as the checkpoint's configuration says)",
    )
    common.add_truncation(parser)


def run(args: argparse.Namespace) -> None:
    """Print the best labels of each text."""
    from npbert.tasks import text_classification

    if args.pair is not None:
        unicode_text("--pair", args.pair)
    texts = common.texts(args)
    options = {"top_k": args.top_k, "function_to_apply": args.function_to_apply, "truncation": args.truncation}
    model, tokenizer = common.load_with_head(args, "BertForSequenceClassification")
    longest = max(printing.width(printing.printable(label)) for label in model.config.label_names)

    def line(text: str, labels: list[dict[str, Any]]) -> str:
        cells = [f"{label['score']:.4f} {printing.pad(printing.printable(label['label']), longest)}" for label in labels]
        return "  ".join([*cells, printing.printable(text)])

    inputs = (text if args.pair is None else {"text": text, "text_pair": args.pair} for text in texts)
    answers = common.with_answers(inputs, lambda each: text_classification(model, tokenizer, each, **options))
    printing.print_answers(
        args,
        ((value if args.pair is None else value["text"], labels) for value, labels in answers),
        as_record=lambda text, labels: {"text": text, "labels": labels},
        as_text=line,
    )
