"""Golden packs: export a forward pass, look into the pack, compare a port with it, be told the mistake."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from npbert.cli import common
from npbert.cli.printing import json_printable, print_json, print_lines, printable
from npbert.errors import FileError, InputError, InputTypeError

EXAMPLE = """npbert golden export all-MiniLM-L6-v2 --text "Hello, world!" --weights -o pack.safetensors
npbert golden show pack.safetensors
npbert golden compare pack.safetensors my_port.npz
npbert golden compare pack.safetensors my_port.npz --html report.html
npbert golden map pack.safetensors my_port.npz > names.json
npbert golden compare pack.safetensors my_port.npz --map names.json
npbert golden diagnose pack.safetensors my_port.npz --map names.json
npbert golden export my-classifier --text "A fine film." --labels "[1]" --gradients --steps 2 -o training.safetensors"""

WORDS = {
    r"\bprecision='?([\w-]+)'?": r"--precision \1",
    r"^precision:": "--precision:",
    r"^(gradients|steps|lr|eps|warmup|total|optimizer|schedule):": r"--\1:",
    r"^(dropout|weight|max)_(seed|decay|norm):": r"--\1-\2:",
    r"\bgradients=True": "--gradients",
    r"the inputs lack\b": "--labels gives",
    r"give output_gradients, such as .*?, or take": "take",
    r"^port: ": "",
    r"\ballow_unused=True": "--allow-unused",
    r"\bnames=": "--map",
    r"^names:": "--map:",
    r"hand in model= \(or --model\)": "name the checkpoint with --model",
}
"""How what is said of Python's arguments reads in the command."""

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

PORT = "a .safetensors or .npz file, or a directory of .npy files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verbs of packs, each of which sets the function that runs it."""
    verbs = parser.add_subparsers(dest="golden_verb", metavar="VERB", required=True)

    export = verbs.add_parser("export", help="write every intermediate of a forward pass into a pack")
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
    export.set_defaults(run=_export)

    show = verbs.add_parser("show", help="list what is in a pack")
    show.add_argument("pack", metavar="PACK")
    show.set_defaults(run=_show)

    compare = verbs.add_parser("compare", help="compare a port's dump with a pack; exit status 1 where it differs")
    _add_port(compare)
    compare.add_argument("--html", metavar="FILE", help="write the comparison as a page too: a map of the errors, to look into")
    compare.add_argument("--model", metavar="MODEL", help="with --html, the checkpoint, where the pack holds no weights")
    compare.set_defaults(run=_compare)

    diagnose = verbs.add_parser(
        "diagnose", help="name the mistake that makes a port differ; exit status 1 where only its dump is wrong"
    )
    _add_port(diagnose)
    diagnose.add_argument("--model", metavar="MODEL", help="the checkpoint, where the pack holds no weights")
    diagnose.set_defaults(run=_diagnose)

    names = verbs.add_parser("names", help="list every name in a model's packs, with its shape and what it means")
    names.add_argument("model", metavar="MODEL", help="a directory, a file or an id on the hub")
    names.set_defaults(run=_names)

    propose = verbs.add_parser("map", help="propose a map from a port's names to the pack's, as JSON that --map takes")
    propose.add_argument("pack", metavar="PACK", help="a pack, whose values are compared too; or a model, for shapes alone")
    propose.add_argument("port", metavar="PORT", help=PORT)
    propose.set_defaults(run=_map)

    for child in verbs.choices.values():
        common.add_debug(child)


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


def _add_port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pack", metavar="PACK")
    parser.add_argument("port", metavar="PORT", help=PORT)
    parser.add_argument("--map", metavar="FILE", help="JSON that maps the port's names, or patterns of them, to the pack's")
    parser.add_argument("--allow-unused", action="store_true", help="accept a dump most of whose names are in no pack")
    parser.add_argument(
        "--precision", default="float32", help="what the port computes in: float32, float16, bf16, ... (float32)"
    )
    common.add_json(parser)


def _export(args: argparse.Namespace) -> None:
    from npbert import golden
    from npbert.checkpoints.writing import takes_bytes_as_they_come

    if (args.text is None) == (args.ids is None):
        raise InputError("golden export takes either --text or --ids")
    model = _load(args.model)
    with _words_of_the_command():
        golden.export(
            model,
            _inputs(args, model.config) | _labels(args.labels),
            args.output,
            only=args.only,
            weights=args.weights,
            dtype=args.dtype,
            gradients=args.gradients,
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


def _show(args: argparse.Namespace) -> None:
    from npbert import golden

    print_lines(golden.show(args.pack))


def _compare(args: argparse.Namespace) -> int:
    from npbert import golden

    options = {"names": args.map, "precision": args.precision, "allow_unused": args.allow_unused}
    if args.model is not None and args.html is None:
        raise InputError("--model goes with --html")
    with _words_of_the_command():
        report = golden.compare(args.pack, args.port, **options) if args.html is None else _write_page(args, options)
    if args.json:
        print(json_printable(report.to_json()))
    else:
        print_lines(_as_command(str(report)))
    return 0 if report.ok else 1


def _write_page(args: argparse.Namespace, options: dict[str, Any]) -> Any:
    from npbert import views

    model = None if args.model is None else _load(args.model)
    report, view = views.comparison(args.pack, args.port, model=model, **options)
    view.save(args.html)
    return report


def _diagnose(args: argparse.Namespace) -> int:
    from npbert import golden

    model = None if args.model is None else _load(args.model)
    with _words_of_the_command():
        suspects = golden.diagnose(
            args.pack, args.port, names=args.map, precision=args.precision, model=model, allow_unused=args.allow_unused
        )
    if args.json:
        print_json([suspect.as_dict() for suspect in suspects])
    elif not suspects:
        print("no mistake: the port is within its tolerances")
    else:
        print_lines(_as_command("\n\n".join(str(suspect) for suspect in suspects)))
    return 1 if suspects and all(suspect.mistake == "dump-not-computation" for suspect in suspects) else 0


def _names(args: argparse.Namespace) -> None:
    from npbert import golden

    print_lines(golden.names(_load(args.model)))


def _map(args: argparse.Namespace) -> None:
    from npbert import golden

    try:
        reference = golden.read_pack(args.pack)
    except (FileError, OSError):  # a model, then
        reference = _load(args.pack)
    with _words_of_the_command():
        proposal = golden.propose_map(reference, args.port)
    print_json(proposal.names, indent=1)
    for remark in proposal.remarks:
        print(f"npbert: {printable(remark)}", file=sys.stderr)


@contextmanager
def _words_of_the_command() -> Iterator[None]:
    """What is said of Python's arguments in this block is said of the command's options."""
    try:
        yield
    except (InputError, InputTypeError) as error:
        raise type(error)(_as_command(str(error))) from error


def _as_command(text: str) -> str:
    for python, command in WORDS.items():
        text = re.sub(python, command, text)
    return text


def _load(name: str) -> Any:
    from npbert.models.auto import load

    with common.loading(name):
        return load(name)


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
