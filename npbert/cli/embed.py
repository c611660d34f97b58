"""Turn each text into a vector, pooled as the checkpoint's sentence-transformers files ask (else the mean of its tokens)."""

from __future__ import annotations

import argparse

from npbert.cli import common

EXAMPLE = "npbert embed --file sentences.txt > vectors.txt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts and the model."""
    common.add_text(parser)
    common.add_model(parser)


def run(args: argparse.Namespace) -> None:
    """Print a line of numbers for each text."""
    from npbert.tasks.embedding import embed

    inputs = common.items(args)
    model, tokenizer = common.load_base(args)
    for text, vector in common.beside(inputs, lambda texts: embed(model, tokenizer, texts)):
        if args.json:
            common.print_json({"text": text, "embedding": vector})
        else:
            print(" ".join(f"{number: .6f}" for number in vector))
