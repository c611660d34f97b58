"""Say whether a sentence follows another: two texts, or lines of two texts with a tab between them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from npbert.cli import common
from npbert.errors import InputError

EXAMPLE = 'npbert next-sentence --model bert-base-uncased "It rained all day." "The streets were wet."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two texts, or pairs from a file."""
    common.add_text(parser, "the first and the second sentence")
    common.add_model(parser, needs="a next sentence head")


def run(args: argparse.Namespace) -> None:
    """Print both probabilities for each pair."""
    from npbert.tasks import next_sentence

    model, tokenizer = common.load_with_head(args, "BertForNextSentencePrediction")
    for pair, answer in common.beside(_pairs(args), lambda pairs: next_sentence(model, tokenizer, pairs)):
        if args.json:
            common.print_json({"text": pair[0], "text_pair": pair[1], **answer})
        else:
            print(f"{answer['is_next']:.4f} follows  {answer['not_next']:.4f} does not  {pair[0]} | {pair[1]}")


def _pairs(args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    if args.text:
        if len(args.text) != 2:
            raise InputError(f"next-sentence takes two texts, got {len(args.text)}")
        yield args.text[0], args.text[1]
        return
    for number, line in enumerate(common.items(args), 1):
        first, tab, second = line.partition("\t")
        if not tab:
            raise InputError(f"line {number}: takes two texts with a tab between them")
        yield first, second
