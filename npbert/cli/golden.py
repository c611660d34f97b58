"""Golden packs: export a forward pass, look into the pack, compare a port with it, be told the mistake."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from npbert.cli import common, golden_export
from npbert.cli.golden_shared import as_command, load_model, words_of_the_command
from npbert.cli.printing import json_printable, print_json, print_lines, printable
from npbert.errors import FileError, InputError

EXAMPLE = """npbert golden export all-MiniLM-L6-v2 --text "Hello, world!" --weights -o pack.safetensors
npbert golden show pack.safetensors
npbert golden compare pack.safetensors my_port.npz
npbert golden compare pack.safetensors my_port.npz --html report.html
npbert golden map pack.safetensors my_port.npz > names.json
npbert golden compare pack.safetensors my_port.npz --map names.json
npbert golden diagnose pack.safetensors my_port.npz --map names.json
npbert golden export my-classifier --text "A fine film." --labels "[1]" --gradients --steps 2 -o training.safetensors"""

PORT = "a .safetensors or .npz file, or a directory of .npy files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verbs of packs, each of which sets the function that runs it."""
    verbs = parser.add_subparsers(dest="golden_verb", metavar="VERB", required=True)

    export = verbs.add_parser("export", help="write every intermediate of a forward pass into a pack")
    golden_export.add_arguments(export)

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


def _add_port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pack", metavar="PACK")
    parser.add_argument("port", metavar="PORT", help=PORT)
    parser.add_argument("--map", metavar="FILE", help="JSON that maps the port's names, or patterns of them, to the pack's")
    parser.add_argument("--allow-unused", action="store_true", help="accept a dump most of whose names are in no pack")
    parser.add_argument(
        "--precision", default="float32", help="what the port computes in: float32, float16, bf16, ... (float32)"
    )
    common.add_json(parser)


def _show(args: argparse.Namespace) -> None:
    from npbert import golden

    print_lines(golden.show(args.pack))


def _compare(args: argparse.Namespace) -> int:
    from npbert import golden

    options = {"names": args.map, "precision": args.precision, "allow_unused": args.allow_unused}
    if args.model is not None and args.html is None:
        raise InputError("--model goes with --html")
    with words_of_the_command():
        report = golden.compare(args.pack, args.port, **options) if args.html is None else _write_page(args, options)
    if args.json:
        print(json_printable(report.to_json()))
    else:
        print_lines(as_command(str(report)))
    return 0 if report.ok else 1


def _write_page(args: argparse.Namespace, options: dict[str, Any]) -> Any:
    from npbert import views

    model = None if args.model is None else load_model(args.model)
    report, view = views.comparison(args.pack, args.port, model=model, **options)
    view.save(args.html)
    return report


def _diagnose(args: argparse.Namespace) -> int:
    from npbert import golden

    model = None if args.model is None else load_model(args.model)
    with words_of_the_command():
        suspects = golden.diagnose(
            args.pack, args.port, names=args.map, precision=args.precision, model=model, allow_unused=args.allow_unused
        )
    if args.json:
        print_json([suspect.as_dict() for suspect in suspects])
    elif not suspects:
        print("no mistake: the port is within its tolerances")
    else:
        print_lines(as_command("\n\n".join(str(suspect) for suspect in suspects)))
    return 1 if suspects and all(suspect.mistake == "dump-not-computation" for suspect in suspects) else 0


def _names(args: argparse.Namespace) -> None:
    from npbert import golden

    print_lines(golden.names(load_model(args.model)))


def _map(args: argparse.Namespace) -> None:
    from npbert import golden

    try:
        reference = golden.read_pack(args.pack)
    except (FileError, OSError):  # a model, then
        reference = load_model(args.pack)
    with words_of_the_command():
        proposal = golden.propose_map(reference, args.port)
    print_json(proposal.names, indent=1)
    for remark in proposal.remarks:
        print(f"npbert: {printable(remark)}", file=sys.stderr)
