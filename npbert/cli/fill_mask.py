"""Guess the word behind [MASK]."""

from __future__ import annotations

import argparse

from npbert.cli import common

EXAMPLE = 'npbert fill-mask --model bert-base-uncased "Paris is the [MASK] of France."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Texts with masks, and how many guesses."""
    common.add_text(parser, "text with [MASK] in it")
    common.add_model(parser, needs="a masked language model")
    parser.add_argument("--top-k", type=int, default=5, metavar="K", help="how many guesses (5)")
    parser.add_argument("--targets", nargs="+", metavar="WORD", help="guess among these words only (name them after the texts)")
    common.add_truncation(parser)


def run(args: argparse.Namespace) -> None:
    """Print the guesses for each mask."""
    from npbert.tasks import fill_mask

    inputs = common.items(args)
    options = {"truncation": args.truncation}
    model, tokenizer = common.load_with_head(args, "BertForMaskedLM")
    answers = common.beside(
        inputs,
        lambda texts: fill_mask(model, tokenizer, texts, top_k=args.top_k, targets=args.targets, tokenizer_kwargs=options),
    )
    for number, (text, guesses) in enumerate(answers):
        if args.json:
            common.print_json({"text": text, "guesses": guesses})
            continue
        lists = guesses if guesses and isinstance(guesses[0], list) else [guesses]
        for mask, guessed in enumerate(lists):
            rows = [(f"{guess['score']:.4f}", guess["token_str"], common.shown(guess["sequence"])) for guess in guessed]
            print(("\n" if number or mask else "") + common.table(rows, right=(0,)))
