"""Write on from each text with a causal language model, or write what an encoder-decoder makes of it."""

from __future__ import annotations

import argparse

from npbert.cli import common
from npbert.errors import InputError

EXAMPLE = 'npbert generate --model my-causal-model --max-new-tokens 20 "Once upon a time"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Prompts, and how the next token is chosen."""
    common.add_text(parser, "text to go on from")
    common.add_model(parser, needs="a causal language model (or an encoder-decoder)")
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="how many tokens at the most")
    parser.add_argument("--num-beams", type=int, metavar="N", help="keep so many sequences open (beam search)")
    parser.add_argument("--num-return-sequences", type=int, metavar="N", help="how many texts for each prompt")
    parser.add_argument("--do-sample", action=argparse.BooleanOptionalAction, default=None, help="draw the tokens")
    parser.add_argument("--temperature", type=float, metavar="T", help="below 1 surer, above 1 freer")
    parser.add_argument("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest tokens that make up P")
    parser.add_argument("--repetition-penalty", type=float, metavar="X", help="above 1: against saying things twice")
    parser.add_argument("--seed", type=int, metavar="N", help="draw the same tokens every time")


OPTIONS = (
    "max_new_tokens",
    "num_beams",
    "num_return_sequences",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
)


def run(args: argparse.Namespace) -> None:
    """Print the text that comes of each prompt."""
    import numpy as np

    from npbert.tasks import text_generation

    if args.seed is not None and args.seed < 0:
        raise InputError(f"--seed: takes 0 or more, got {args.seed}")
    inputs = common.items(args)
    model, tokenizer = common.load_generator(args)
    options = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    rng = np.random.default_rng(args.seed)
    answers = common.beside(inputs, lambda prompts: text_generation(model, tokenizer, prompts, rng=rng, **options))
    for number, (prompt, texts) in enumerate(answers):
        if args.json:
            common.print_json({"text": prompt, "generated": [text["generated_text"] for text in texts]})
        else:
            print(("\n" if number and len(texts) > 1 else "") + "\n".join(text["generated_text"] for text in texts))
