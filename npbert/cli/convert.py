"""Turn a checkpoint of any format into config.json and model.safetensors."""

from __future__ import annotations

import argparse

EXAMPLE = "npbert convert bert_model.ckpt converted/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """From where, to where."""
    parser.add_argument("source", metavar="SRC", help="a directory, a file, a TensorFlow prefix or an id on the hub")
    parser.add_argument("target", metavar="DST", help="the directory to write into; it is made if need be")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="what to store (what the file has)")
    parser.add_argument("--max-shard-size", metavar="SIZE", default="5GB", help="split files above this size (5GB)")


def run(args: argparse.Namespace) -> None:
    """Load and save; tokenizer files go along."""
    from npbert.models.converting import convert

    written = convert(args.source, args.target, dtype=args.dtype, max_shard_size=args.max_shard_size)
    print("\n".join(str(path) for path in written))
