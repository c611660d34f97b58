"""Say whether the second of two sentences follows the first.

The two are given as arguments, or on each line of a file with a tab between them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import starmap

from npbert.cli import common, printing
from npbert.errors import InputError

EXAMPLE = 'npbert next-sentence "It rained all day." "The streets were wet."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two texts, or pairs from a file."""
    common.add_text(parser, "the first and the second sentence")
    common.add_model(parser, needs="a next sentence head", default=common.SMALL)
    common.add_dtype(parser)
    common.add_truncation(parser)


def run(args: argparse.Namespace) -> None:
    """Print both probabilities for each pair."""
    from npbert.tasks import next_sentence

    pairs = _pairs(args)
    model, tokenizer = common.load_with_head(args, "BertForNextSentencePrediction")
    printing.print_answers(
        args,
        common.with_answers(pairs, lambda each: next_sentence(model, tokenizer, each, truncation=args.truncation)),
        as_record=lambda pair, answer: {"text": pair[0], "text_pair": pair[1], **answer},
        as_text=_line,
    )


def _line(pair: tuple[str, str], answer: dict[str, float]) -> str:
    texts = " | ".join(map(printing.printable, pair))
    return f"{answer['is_next']:.4f} follows  {answer['not_next']:.4f} does not  {texts}"


def _pairs(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    texts = common.texts(args)
    if args.text:
        if len(args.text) != 2:
            raise InputError(f"next-sentence takes two texts, got {len(args.text)}")
        return iter([(args.text[0], args.text[1])])

    def pair(number: int, line: str) -> tuple[str, str]:
        first, tab, second = line.partition("\t")
        if not tab:
            raise InputError(f"{common.place(args, number)}: takes two texts with a tab between them")
        return first, second

    return starmap(pair, enumerate(texts, 1))
