"""Say how alike texts are: the first is held against each of the others, by the cosine of their embeddings."""

from __future__ import annotations

import argparse
from itertools import chain

from npbert.cli import common
from npbert.errors import InputError

EXAMPLE = 'npbert similarity "A man is eating food." "A man eats something." "The sky is blue."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two texts or more, and the model."""
    common.add_text(parser, "the text that is compared, then those it is compared with")
    common.add_model(parser)


def run(args: argparse.Namespace) -> None:
    """Print a cosine for each text but the first."""
    from npbert.tasks.embedding import embed, unit

    texts = common.items(args)
    first, second = next(texts, None), next(texts, None)
    if first is None or second is None:
        raise InputError("similarity takes two texts or more: the first is held against the others")
    model, tokenizer = common.load_base(args)
    answers = common.beside(chain((first, second), texts), lambda every: embed(model, tokenizer, every))
    _, vector = next(answers)
    compared = unit(vector)
    if not args.json:
        print(f"        {common.shown(first)}")
    for text, vector in answers:
        cosine = float(compared @ unit(vector))
        if args.json:
            common.print_json({"text": first, "other": text, "similarity": cosine})
        else:
            print(f"{cosine:7.4f} {common.shown(text)}")
