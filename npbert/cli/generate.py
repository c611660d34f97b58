"""Continue each text, with a causal language model; or write a text for each, with an encoder-decoder."""

from __future__ import annotations

import argparse

from npbert.checks import whole_number
from npbert.cli import common, printing

EXAMPLE = 'npbert generate --model my-causal-model --max-new-tokens 20 "Once upon a time"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Prompts, and how the next token is chosen."""
    common.add_text(parser, "a text to continue")
    common.add_model(parser, needs="a causal language model or an encoder-decoder")
    common.add_dtype(parser)
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="write at most N tokens")
    parser.add_argument("--num-beams", type=int, metavar="N", help="beam search: follow the N best sequences at once")
    parser.add_argument("--num-return-sequences", type=int, metavar="N", help="how many texts to write for each prompt")
    parser.add_argument(
        "--do-sample",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="draw tokens at random, or always take the likeliest",
    )
    parser.add_argument("--temperature", type=float, metavar="T", help="when drawing: below 1 safer, above 1 more surprising")
    parser.add_argument("--top-k", type=int, metavar="K", help="draw only from the K likeliest tokens")
    parser.add_argument(
        "--top-p", type=float, metavar="P", help="draw only from the likeliest tokens whose probabilities add up to P"
    )
    parser.add_argument("--repetition-penalty", type=float, metavar="X", help="above 1: repeat words less")
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
    """Print the texts for each prompt."""
    import numpy as np

    from npbert.tasks import text_generation

    if args.seed is not None:
        whole_number("--seed", args.seed)
    prompts = common.texts(args)
    model, tokenizer = common.load_generator(args)
    options = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    rng = np.random.default_rng(args.seed)
    answers = common.with_answers(prompts, lambda each: text_generation(model, tokenizer, each, rng=rng, **options))
    for number, (prompt, answer) in enumerate(answers):
        texts = [entry["generated_text"] for entry in answer]
        if args.json:
            printing.print_json({"text": prompt, "generated": texts})
        else:
            print(("\n" if number and len(texts) > 1 else "") + "\n".join(map(printing.printable, texts)))
