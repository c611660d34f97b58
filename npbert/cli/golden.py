"""Golden packs: export a forward pass, look into the pack, compare a port with it, be told the mistake."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from npbert.cli import common
from npbert.errors import InputError

if TYPE_CHECKING:
    from npbert.types import Array

EXAMPLE = """npbert golden export all-MiniLM-L6-v2 --text "Hello, world!" --weights -o pack.safetensors
npbert golden show pack.safetensors
npbert golden compare pack.safetensors my_port.npz
npbert golden diagnose pack.safetensors my_port.npz"""

PRECISIONS = ("fp32", "fp16", "bf16", "float32", "float16", "bfloat16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Four verbs, each of which sets the function that runs it."""
    verbs = parser.add_subparsers(dest="golden_verb", metavar="VERB", required=True)

    export = verbs.add_parser("export", help="write every intermediate of a forward pass into a pack")
    export.add_argument("model", metavar="MODEL", help="a directory, a file or an id on the hub")
    export.add_argument("--text", action="append", metavar="TEXT", help="what the model reads; repeat it for more rows")
    export.add_argument("--text-pair", action="append", metavar="TEXT", help="a second text for each --text")
    export.add_argument("--ids", metavar="FILE", help="token ids instead: JSON, one list or one list a row")
    export.add_argument(
        "--only", nargs="+", action="extend", metavar="PATTERN", help="keep the names that match, such as 'encoder.layer.0.*'"
    )
    export.add_argument("--weights", action="store_true", help="the weights too, so that one file is a complete test case")
    export.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="what to store (float32)")
    export.add_argument("-o", "--output", required=True, metavar="PACK", help="the pack to write")
    export.set_defaults(run=_export)

    show = verbs.add_parser("show", help="list what is in a pack")
    show.add_argument("pack", metavar="PACK")
    show.set_defaults(run=_show)

    compare = verbs.add_parser("compare", help="compare a port's dump with a pack; exit status 1 where it differs")
    _add_port(compare)
    compare.set_defaults(run=_compare)

    diagnose = verbs.add_parser("diagnose", help="name the mistake that makes a port differ")
    _add_port(diagnose)
    diagnose.add_argument("--model", metavar="MODEL", help="the checkpoint, where the pack holds no weights")
    diagnose.set_defaults(run=_diagnose)

    for child in verbs.choices.values():
        common.add_debug(child)


def _add_port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pack", metavar="PACK")
    parser.add_argument("port", metavar="PORT", help="a .safetensors or .npz file, or a directory of .npy files")
    parser.add_argument("--map", metavar="FILE", help="JSON that maps the port's names to the pack's")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="what the port computes in (float32)")
    common.add_json(parser)


def _export(args: argparse.Namespace) -> None:
    from npbert import golden

    if (args.text is None) == (args.ids is None):
        raise InputError("golden export takes either --text or --ids")
    model = _load(args.model)
    golden.export(model, _inputs(args), args.output, only=args.only, weights=args.weights, dtype=args.dtype)
    print(f"{args.output}: {golden.show(args.output).splitlines()[-1]}")


def _show(args: argparse.Namespace) -> None:
    from npbert import golden

    print(golden.show(args.pack))


def _compare(args: argparse.Namespace) -> int:
    from npbert import golden

    report = golden.compare(args.pack, args.port, names=args.map, precision=args.precision)
    print(report.to_json() if args.json else report)
    return 0 if report.ok else 1


def _diagnose(args: argparse.Namespace) -> None:
    from npbert import golden

    model = None if args.model is None else _load(args.model)
    suspects = golden.diagnose(args.pack, args.port, names=args.map, precision=args.precision, model=model)
    if args.json:
        print(json.dumps([suspect.as_dict() for suspect in suspects], ensure_ascii=False))
    elif not suspects:
        print("no mistake: the port is within its tolerances")
    else:
        print("\n\n".join(str(suspect) for suspect in suspects))


def _load(name: str) -> Any:
    from npbert.models.auto import load

    with common.loading(name):
        return load(name)


def _inputs(args: argparse.Namespace) -> dict[str, Any]:
    """What the model is called with: --ids as they are, or --text through the checkpoint's tokenizer."""
    import numpy as np

    from npbert.text.tokenizer import BertTokenizer

    if args.ids is not None:
        if args.text_pair is not None:
            raise InputError("--text-pair goes with --text")
        ids = _read_ids(args.ids)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    if args.text_pair is not None and len(args.text_pair) != len(args.text):
        raise InputError(f"--text-pair: takes one for each --text, {len(args.text)}, got {len(args.text_pair)}")
    tokenizer = BertTokenizer.from_pretrained(args.model)
    return dict(tokenizer(args.text, args.text_pair, padding=True, return_tensors="np"))


def _read_ids(path: str) -> Array:
    """The token ids in a file, one row for each list."""
    import numpy as np

    from npbert.checkpoints.reading import read_json

    rows = read_json(path)
    if isinstance(rows, list) and not any(isinstance(row, list) for row in rows):
        rows = [rows]
    is_table = isinstance(rows, list) and all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows)
    if not is_table or not all(type(token) is int and abs(token) < 1 << 63 for row in rows for token in row):
        raise InputError(f"{path}: takes one list of token ids, or several of the same length")
    return np.array(rows)
