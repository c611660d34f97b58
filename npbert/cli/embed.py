"""Turn each text into a vector.

The hidden states are pooled as the checkpoint's sentence-transformers files say; without such files, by the mean.
"""

from __future__ import annotations

import argparse

from npbert.cli import common, printing

EXAMPLE = "npbert embed --file sentences.txt > vectors.txt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts and the model."""
    common.add_text(parser)
    common.add_model(parser)
    common.add_dtype(parser)


def run(args: argparse.Namespace) -> None:
    """Print a line of numbers for each text."""
    from npbert.tasks import embed

    texts = common.texts(args)
    model, tokenizer = common.load_base(args)
    printing.print_answers(
        args,
        common.with_answers(texts, lambda each: embed(model, tokenizer, each)),
        as_record=lambda text, vector: {"text": text, "embedding": vector},
        as_text=lambda text, vector: " ".join(f"{number: .6f}" for number in vector),
    )
