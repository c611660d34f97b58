"""Answer a question from each of the texts."""

from __future__ import annotations

import argparse

from npbert.cli import common
from npbert.errors import InputError

EXAMPLE = 'npbert qa --model my-squad-model --question "Who lived in London?" "Ada Lovelace lived in London."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The question, and texts that hold the answer."""
    common.add_text(parser, "text that holds the answer")
    common.add_model(parser, needs="a question answering head")
    parser.add_argument("--question", required=True, metavar="TEXT", help="what is asked")
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="how many answers (1)")
    parser.add_argument("--max-answer-len", type=int, default=15, metavar="N", help="tokens in the longest answer (15)")
    parser.add_argument("--max-question-len", type=int, metavar="N", help="cut a longer question to so many tokens")
    parser.add_argument("--handle-impossible-answer", action="store_true", help="the text may hold no answer")


def run(args: argparse.Namespace) -> None:
    """Print the answers from each text."""
    from npbert.tasks import question_answering
    from npbert.tasks.batches import check_text

    if not check_text("--question", args.question):
        raise InputError("--question: takes a text, this one is empty")
    texts = common.items(args)
    model, tokenizer = common.load_with_head(args, "BertForQuestionAnswering")
    inputs = ({"question": args.question, "context": text} for text in texts)
    answers = common.beside(
        inputs,
        lambda every: question_answering(
            model,
            tokenizer,
            every,
            top_k=args.top_k,
            max_answer_len=args.max_answer_len,
            max_question_len=args.max_question_len,
            handle_impossible_answer=args.handle_impossible_answer,
        ),
    )
    for number, (given, found) in enumerate(answers):
        if args.json:
            common.print_json({**given, "answers": found})
            continue
        rows = [
            (f"{answer['score']:.4f}", str(answer["start"]), str(answer["end"]), common.shown(answer["answer"]))
            for answer in (found if isinstance(found, list) else [found])
        ]
        print(("\n" if number else "") + common.table([("score", "from", "to", "answer"), *rows], right=(0, 1, 2)))
