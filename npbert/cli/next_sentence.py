"""Say whether a sentence follows another: two texts, or lines of two texts with a tab between them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import starmap

from npbert.cli import common
from npbert.errors import InputError

EXAMPLE = 'npbert next-sentence --model bert-base-uncased "It rained all day." "The streets were wet."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two texts, or pairs from a file."""
    common.add_text(parser, "the first and the second sentence")
    common.add_model(parser, needs="a next sentence head")
    common.add_truncation(parser)


def run(args: argparse.Namespace) -> None:
    """Print both probabilities for each pair."""
    from npbert.tasks import next_sentence

    inputs = _pairs(args)
    model, tokenizer = common.load_with_head(args, "BertForNextSentencePrediction")
    for pair, answer in common.beside(inputs, lambda pairs: next_sentence(model, tokenizer, pairs, truncation=args.truncation)):
        if args.json:
            common.print_json({"text": pair[0], "text_pair": pair[1], **answer})
        else:
            print(f"{answer['is_next']:.4f} follows  {answer['not_next']:.4f} does not  {' | '.join(map(common.shown, pair))}")


def _pairs(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    if args.text:
        if len(args.text) != 2:
            raise InputError(f"next-sentence takes two texts, got {len(args.text)}")
        common.items(args)  # it refuses a file besides
        return iter([(args.text[0], args.text[1])])

    def pair(number: int, line: str) -> tuple[str, str]:
        first, tab, second = line.partition("\t")
        if not tab:
            raise InputError(f"{common.place(args, number)}: takes two texts with a tab between them")
        return first, second

    return starmap(pair, enumerate(common.items(args), 1))
