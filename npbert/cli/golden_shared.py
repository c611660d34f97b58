"""What the verbs of packs share: loading a model, and messages in the words of the command."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from npbert.cli import common
from npbert.errors import InputError, InputTypeError

WORDS = {
    r"\bprecision='?([\w-]+)'?": r"--precision \1",
    r"^precision:": "--precision:",
    r"^(gradients|steps|lr|eps|warmup|total|optimizer|schedule):": r"--\1:",
    r"^(dropout|weight|max)_(seed|decay|norm):": r"--\1-\2:",
    r"\bgradients=True": "--gradients",
    r"the inputs lack\b": "--labels gives",
    r"(?<=nor labels to learn from)$": """: give --labels '[[5, 3]]', or --labels '{"decoder_input_ids": [[2, 5]]}'""",
    r"give output_gradients, such as .*?, or take": "give --output-gradients, or take",
    r"\boutput_gradients\b": "--output-gradients",
    r"^port: ": "",
    r"\ballow_unused=True": "--allow-unused",
    r"\bnames=": "--map",
    r"^names:": "--map:",
    r"hand in model= \(or --model\)": "name the checkpoint with --model",
}
"""How what is said of Python's arguments reads in the command."""


@contextmanager
def words_of_the_command() -> Iterator[None]:
    """What is said of Python's arguments in this block is said of the command's options."""
    try:
        yield
    except (InputError, InputTypeError) as error:
        raise type(error)(as_command(str(error))) from error


def as_command(text: str) -> str:
    """What is said of Python's arguments, said of the command's options."""
    for python, command in WORDS.items():
        text = re.sub(python, command, text)
    return text


def load_model(name: str) -> Any:
    """The model that a checkpoint is."""
    from npbert.models.auto import load

    with common.loading(name):
        return load(name)
