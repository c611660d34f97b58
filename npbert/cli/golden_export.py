"""`npbert golden export`: what the model reads, and what goes into the pack."""

from __future__ import annotations

import argparse
from typing import Any

from npbert.cli.golden_shared import load_model, words_of_the_command
from npbert.cli.printing import printable
from npbert.errors import InputError

STEP_OPTIONS = (
    ("optimizer", "NAME", "how a step changes the weights (adamw)"),
    ("lr", "X", "the learning rate (5e-5)"),
    ("eps", "X", "what Adam adds to the root of the squares (1e-8)"),
    ("weight-decay", "X", "of what is no bias and no LayerNorm (0.01)"),
    ("max-norm", "X", "scale the gradients down to this norm (as they are)"),
    ("schedule", "NAME", "how the learning rate changes: constant, linear or cosine (constant)"),
    ("warmup", "N", "steps in which it rises (0)"),
    ("total", "N", "steps of the whole schedule (K)"),
)
"""Options of --steps: the fields of `npbert.golden.Steps`."""


def add_arguments(export: argparse.ArgumentParser) -> None:
    """The arguments, and the function that runs the verb."""
    export.add_argument("model", metavar="MODEL", help="a directory, a file or an id on the hub")
    export.add_argument("--text", action="append", metavar="TEXT", help="what the model reads; repeat it for more rows")
    export.add_argument("--text-pair", action="append", metavar="TEXT", help="a second text for each --text")
    export.add_argument("--ids", metavar="FILE", help="token ids instead: JSON, one list or several, which are padded")
    export.add_argument(
        "--only", nargs="+", action="extend", metavar="PATTERN", help="keep the names that match, such as 'encoder.layer.0.*'"
    )
    _add_training(export)
    export.add_argument("--weights", action="store_true", help="the weights too, so that one file is a complete test case")
    export.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="what to store (float32)")
    export.add_argument("-o", "--output", required=True, metavar="PACK", help="the pack to write")
    export.set_defaults(run=_run)


def _add_training(export: argparse.ArgumentParser) -> None:
    group = export.add_argument_group("training")
    group.add_argument(
        "--labels",
        metavar="LABELS",
        help="what the loss compares with: a file of JSON, or JSON itself, such as '[1, 0]'; an object where there are several "
        'arguments, such as \'{"start_positions": [1], "end_positions": [3]}\'',
    )
    group.add_argument("--gradients", action="store_true", help="the gradient of the loss by every value and every weight")
    group.add_argument(
        "--output-gradients",
        metavar="FILE",
        help="begin with these gradients in place of those of a loss: a .safetensors or .npz file with an array for each "
        "output, such as last_hidden_state",
    )
    group.add_argument(
        "--no-large", action="store_true", help="leave out gradients and changed weights of more than a million numbers"
    )
    group.add_argument(
        "--dropout-seed", type=int, metavar="N", help="drop what a generator with this seed draws; the masks are kept"
    )
    group.add_argument("--steps", type=int, metavar="K", help="the weights and the loss after each of K optimizer steps")
    for name, metavar, text in STEP_OPTIONS:
        group.add_argument(f"--{name}", type=_number_or_text, metavar=metavar, help=text)


def _number_or_text(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _run(args: argparse.Namespace) -> None:
    from npbert import golden
    from npbert.checkpoints.writing import takes_bytes_as_they_come

    if (args.text is None) == (args.ids is None):
        raise InputError("golden export takes either --text or --ids")
    model = load_model(args.model)
    with words_of_the_command():
        golden.export(
            model,
            _inputs(args, model.config) | _labels(args.labels),
            args.output,
            only=args.only,
            weights=args.weights,
            dtype=args.dtype,
            gradients=args.gradients,
            output_gradients=_output_gradients(args.output_gradients),
            dropout_seed=args.dropout_seed,
            steps=_steps(args),
            large=not args.no_large,
        )
    if not takes_bytes_as_they_come(args.output):  # else it has gone to somebody else, perhaps over standard output
        print(f"{printable(args.output)}: {golden.show(args.output).splitlines()[-1]}")


def _labels(given: str | None) -> dict[str, Any]:
    """The arguments that the loss takes."""
    import numpy as np

    from npbert.checkpoints.reading import parse_json, read_json

    if given is None:
        return {}
    is_json = given.lstrip().startswith(("[", "{"))
    read = parse_json(given.encode("utf-8"), "--labels") if is_json else read_json(given)
    labels = read if isinstance(read, dict) else {"labels": read}
    try:
        return {name: np.asarray(value) for name, value in labels.items()}
    except ValueError:
        raise InputError("--labels: takes rows of one length, padded with -100") from None


def _output_gradients(path: str | None) -> dict[str, Any] | None:
    """The gradients that the backward pass begins with."""
    from npbert.golden import ports

    return None if path is None else {name: read() for name, read in ports.read(path).items()}


def _steps(args: argparse.Namespace) -> Any:
    """The settings of --steps, or None."""
    from npbert.golden import Steps

    fields = {name.replace("-", "_"): getattr(args, name.replace("-", "_")) for name, _, _ in STEP_OPTIONS}
    given = {name: value for name, value in fields.items() if value is not None}
    if args.steps is None:
        if given:
            raise InputError(f"--{next(iter(given)).replace('_', '-')}: belongs to --steps")
        return None
    return Steps(args.steps, **given)


def _inputs(args: argparse.Namespace, config: Any) -> dict[str, Any]:
    """What the model is called with: --ids, or --text through the checkpoint's tokenizer; shorter rows are padded."""
    from npbert.text.auto import load_tokenizer

    if args.ids is not None:
        if args.text_pair is not None:
            raise InputError("--text-pair goes with --text")
        return _padded(_read_ids(args.ids), getattr(config, "encoder", config).pad_token_id)
    if args.text_pair is not None and len(args.text_pair) != len(args.text):
        raise InputError(f"--text-pair: takes one for each --text, {len(args.text)}, got {len(args.text_pair)}")
    tokenizer = load_tokenizer(args.model)
    if tokenizer.pad_token is None:  # GPT-2 has none; the mask hides whatever fills the rows up
        tokenizer.pad_token = tokenizer.eos_token
    return dict(tokenizer(args.text, args.text_pair, padding=True, return_tensors="np"))


def _read_ids(path: str) -> list[list[int]]:
    """The token ids in a file, one list for each row."""
    from npbert.checkpoints.reading import read_json

    rows = read_json(path)
    if isinstance(rows, list) and not any(isinstance(row, list) for row in rows):
        rows = [rows]
    are_lists = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
    if not are_lists or not all(type(token) is int and abs(token) < 1 << 63 for row in rows for token in row):
        raise InputError(f"{path}: takes one list of token ids, or several")
    if len(rows) > 1 and not all(rows):
        raise InputError(f"{path}: takes lists of at least one token, got an empty one")
    return rows


def _padded(rows: list[list[int]], pad_token_id: int | None) -> dict[str, Any]:
    """Rows of one length, the shorter ones filled at their end with padding that the mask hides."""
    import numpy as np

    length = max(map(len, rows))
    ids = np.full((len(rows), length), 0 if pad_token_id is None else pad_token_id, np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}
