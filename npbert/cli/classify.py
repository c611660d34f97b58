"""Label each text, or each pair of texts."""

from __future__ import annotations

import argparse

from npbert.cli import common

EXAMPLE = 'npbert classify --model my-sentiment-model "I liked it." "I did not."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts, and how many labels."""
    common.add_text(parser)
    common.add_model(parser, needs="a classifier of texts")
    parser.add_argument("--pair", metavar="TEXT", help="a second text that goes with each of the others")
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="how many labels (1)")
    parser.add_argument("--function-to-apply", choices=("softmax", "sigmoid", "none"), help="what makes scores of the logits")
    common.add_truncation(parser)


def run(args: argparse.Namespace) -> None:
    """Print the best labels of each text."""
    from npbert.tasks import text_classification
    from npbert.tasks.batches import check_text

    if args.pair is not None:
        check_text("--pair", args.pair)
    texts = common.items(args)
    model, tokenizer = common.load_with_head(args, "BertForSequenceClassification")
    inputs = (text if args.pair is None else {"text": text, "text_pair": args.pair} for text in texts)
    answers = common.beside(
        inputs,
        lambda every: text_classification(
            model,
            tokenizer,
            every,
            top_k=args.top_k,
            function_to_apply=args.function_to_apply,
            truncation=args.truncation,
        ),
    )
    longest = max(map(common.width, model.config.id2label.values()))
    for given, labels in answers:
        text = given if isinstance(given, str) else given["text"]
        if args.json:
            common.print_json({"text": text, "labels": labels})
        else:
            cells = [f"{label['score']:.4f} {common.pad(label['label'], longest)}" for label in labels]
            print("  ".join([*cells, common.shown(text)]))
