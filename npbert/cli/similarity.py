"""Compare the first text with each of the others: the cosine of their embeddings, from -1 to 1."""

from __future__ import annotations

import argparse
from itertools import chain

from npbert.cli import common, printing
from npbert.errors import InputError

EXAMPLE = 'npbert similarity "A man is eating food." "A man eats something." "The sky is blue."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two texts or more, and the model."""
    common.add_text(parser, "the text to compare, then the texts to compare it with")
    common.add_model(parser)
    common.add_dtype(parser)


def run(args: argparse.Namespace) -> None:
    """Print a cosine for each text but the first."""
    from npbert.tasks import embed
    from npbert.tasks.pooling import unit

    texts = common.texts(args)
    first, second = next(texts, None), next(texts, None)
    if first is None or second is None:
        raise InputError("similarity takes two texts or more: the first is compared with the others")
    model, tokenizer = common.load_base(args)
    vectors = common.with_answers(chain((first, second), texts), lambda each: embed(model, tokenizer, each))
    compared = unit(next(vectors)[1])
    if not args.json:
        print(f"        {printing.printable(first)}")
    printing.print_answers(
        args,
        ((text, float(compared @ unit(vector))) for text, vector in vectors),
        as_record=lambda text, cosine: {"text": first, "other": text, "similarity": cosine},
        as_text=lambda text, cosine: f"{cosine:7.4f} {printing.printable(text)}",
    )
