"""Train a model: from the start, on with its language, or for a task.

The tasks and what DATA holds:

  pretrain  a new model learns masked words and next sentences: a sentence a line, an empty line between documents
  mlm       a checkpoint goes on with masked words: the same files
  classify  a label for each text: a table with the columns text, label and, for pairs, text_pair; .tsv, .csv or .jsonl
  tokens    a label for each word: CoNLL's columns, a word a line, its label last, an empty line between sentences
  qa        where in a text the answer is: SQuAD's JSON, version 1 or 2

DIR gets the model and its tokenizer, log.jsonl, curve.svg and results.json. A run that was stopped, by Ctrl-C or by a crash,
goes on with the same command and --resume, and ends with the same weights. With --eval the best of all evaluations is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npbert.checks import whole_number
from npbert.cli import common, printing
from npbert.errors import InputError, warn

if TYPE_CHECKING:
    from npbert.training.beginnings import NewModel
    from npbert.training.recipes import Order

EXAMPLE = "npbert train classify reviews.tsv --eval more-reviews.tsv -o my-sentiment-model"

TASKS = ("pretrain", "mlm", "classify", "tokens", "qa")
SIZES = {  # of a new model
    "layers": (int, "N", "layers (default: 4)"),
    "hidden_size": (int, "D", "numbers for each token between the layers (default: 256)"),
    "heads": (int, "N", "attention heads a layer (default: 4)"),
    "intermediate_size": (int, "F", "numbers for each token inside the feed-forward (default: 4 times D)"),
    "vocab": (str, "FILE", "a vocab.txt (default: one is made from DATA)"),
    "vocab_size": (int, "V", "tokens of the vocabulary that is made (default: 8000)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The task, its data, and how to train."""
    parser.add_argument("task", choices=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("data", metavar="DATA", help="the file to learn from")
    parser.add_argument("--eval", metavar="DATA", help="a file that is not learned from, to see how good the model is")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="a new directory for the model and its log")
    parser.add_argument("--resume", action="store_true", help="go on with the run in DIR, or begin it")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"{common.CHECKPOINT}, to begin with (default: {common.SMALL}; for pretrain a new one with random weights)",
    )
    common.add_json(parser)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--epochs", type=int, metavar="N", help="go over the data exactly N times (default: 3)")
    length.add_argument("--steps", type=int, metavar="N", help="take N steps instead")
    parser.add_argument("--lr", type=float, help="the highest learning rate (default: 5e-5; for pretrain 5e-4)")
    parser.add_argument("--warmup", type=int, metavar="N", help="steps in which it rises (default: a tenth of all)")
    parser.add_argument(
        "--schedule", choices=("linear", "cosine", "constant"), default="linear", help="how it falls then (default: linear)"
    )
    parser.add_argument("--weight-decay", type=float, default=0.01, metavar="X", help="pull towards 0 (default: 0.01)")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="texts at once (default: 16)")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches for each step (default: 1)")
    parser.add_argument(
        "--max-length", type=int, metavar="N", help="tokens a text (default: 128, for qa 384, or what the model takes)"
    )
    parser.add_argument(
        "--freeze", action="append", default=[], metavar="PATTERN", help='weights that stay as they are, such as "bert.*"'
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="decides all that is random (default: 0)")
    parser.add_argument("--eval-every", type=int, metavar="N", help="evaluate after every N steps (default: at the end alone)")
    parser.add_argument("--patience", type=int, metavar="N", help="stop after N evaluations in a row without a better one")
    sizes = parser.add_argument_group("a new model, for pretrain")
    for name, (kind, metavar, text) in SIZES.items():
        sizes.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=text)


def run(args: argparse.Namespace) -> None:
    """Train, and print the figures of the model that was kept."""
    from npbert.training.folder import check_folder, claim_folder
    from npbert.training.recipes import prepare
    from npbert.training.train import train

    for name in ("eval_every", "patience"):
        if getattr(args, name) is not None:
            whole_number(name, getattr(args, name), least=1)
    if args.eval is None and (args.eval_every is not None or args.patience is not None):
        raise InputError("--eval-every and --patience need something to evaluate with: --eval DATA")
    order = _order(args)
    about = {**order.described(), "eval_every": args.eval_every, "patience": args.patience}
    check_folder(args.output, about, resume=args.resume)
    prepared = prepare(order)
    home = claim_folder(args.output, about)
    _tell(args, f"{order.task}: {_counted(prepared.examples)}; {prepared.run.settings.steps} steps")
    if prepared.fresh:
        _tell(args, f"new weights: {', '.join(prepared.fresh)}")
    try:
        results = train(
            prepared.run,
            home,
            save_model=prepared.save_model,
            evaluate_every=args.eval_every,
            patience=args.patience,
            resume=args.resume,
        )
    except KeyboardInterrupt:
        warn(f"stopped after step {prepared.run.progress.step}; the same command with --resume goes on")
        raise
    finally:
        _draw(home)
    if args.json:
        printing.print_json({"directory": str(home), **results})
    else:
        print(printing.table([(name.replace("_", " "), _number(value)) for name, value in results.items()], right=(1,)))


def _order(args: argparse.Namespace) -> Order:
    from npbert.training.recipes import Order

    names = ("task", "data", "eval", "epochs", "steps", "schedule", "warmup", "weight_decay", "batch_size", "accumulate")
    options = {name: getattr(args, name) for name in (*names, "max_length", "seed")}
    lr = args.lr if args.lr is not None else 5e-4 if args.task == "pretrain" else 5e-5
    return Order(**options, model=_model(args), lr=lr, freeze=tuple(args.freeze))


def _model(args: argparse.Namespace) -> str | NewModel:
    from npbert.training.beginnings import NewModel

    sizes: dict[str, Any] = {name: getattr(args, name) for name in SIZES if getattr(args, name) is not None}
    if args.task == "pretrain" and args.model is None:
        return NewModel(**sizes)
    if sizes:
        raise InputError(
            f"--{next(iter(sizes)).replace('_', '-')}: belongs to a new model, and this run begins with a checkpoint"
        )
    return common.SMALL if args.model is None else str(args.model)


def _draw(home: Path) -> None:
    """The log as a picture, as far as it goes."""
    from npbert import views
    from npbert.checkpoints.writing import write_text
    from npbert.training.curve import charts_of
    from npbert.training.folder import CURVE, LOG, read_log

    if log := read_log(home / LOG):
        write_text(home / CURVE, views.curves("Training", charts_of(log)).svg("curve"))


def _tell(args: argparse.Namespace, text: str) -> None:
    if not args.json:
        print(printing.printable(text))


def _counted(examples: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in examples.items() if count)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.2e}"
