"""Answer a question from each of the texts."""

from __future__ import annotations

import argparse
from typing import Any

from npbert.checks import unicode_text
from npbert.cli import common, printing
from npbert.errors import InputError

EXAMPLE = 'npbert qa --model my-squad-model --question "Who lived in London?" "Ada Lovelace lived in London."'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The question, and texts that hold the answer."""
    common.add_text(parser, "a text that holds the answer")
    common.add_model(parser, needs="a question answering head")
    common.add_dtype(parser)
    parser.add_argument("--question", required=True, metavar="TEXT", help="the question to answer from each text")
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="how many answers to print (default: 1)")
    parser.add_argument(
        "--max-answer-len", type=int, default=15, metavar="N", help="how many tokens an answer may have (default: 15)"
    )
    parser.add_argument("--max-question-len", type=int, metavar="N", help="cut a longer question to N tokens")
    parser.add_argument("--handle-impossible-answer", action="store_true", help='"no answer" counts as an answer too')


def run(args: argparse.Namespace) -> None:
    """Print the answers from each text."""
    from npbert.tasks import question_answering

    if not unicode_text("--question", args.question):
        raise InputError("--question: takes a text, this one is empty")
    texts = common.texts(args)
    names = ("top_k", "max_answer_len", "max_question_len", "handle_impossible_answer")
    options = {name: getattr(args, name) for name in names}
    model, tokenizer = common.load_with_head(args, "BertForQuestionAnswering")
    inputs = ({"question": args.question, "context": text} for text in texts)
    printing.print_answers(
        args,
        common.with_answers(inputs, lambda each: question_answering(model, tokenizer, each, **options)),
        as_record=lambda asked, answers: {**asked, "answers": answers},
        as_text=lambda asked, answers: _table(answers if isinstance(answers, list) else [answers]),
        blank_lines=True,
    )


def _table(answers: list[dict[str, Any]]) -> str:
    rows = [("score", "from", "to", "answer")]
    for answer in answers:
        score, text = f"{answer['score']:.4f}", printing.printable(answer["answer"])
        rows.append((score, str(answer["start"]), str(answer["end"]), text))
    return printing.table(rows, right=(0, 1, 2))
