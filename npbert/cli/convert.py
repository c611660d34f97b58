"""Convert a checkpoint of any format into config.json and model.safetensors.

Its tokenizer files are copied too.
"""

from __future__ import annotations

import argparse

from npbert.cli.common import CHECKPOINT
from npbert.cli.printing import printable

EXAMPLE = "npbert convert bert_model.ckpt converted/"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Source and target."""
    parser.add_argument("source", metavar="SRC", help=f"{CHECKPOINT}; or the prefix of a TensorFlow checkpoint")
    parser.add_argument("target", metavar="DST", help="the directory to write into; it is created if it does not exist")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="the precision to store (default: the one of SRC)")
    parser.add_argument(
        "--max-shard-size",
        metavar="SIZE",
        default="5GB",
        help="split the weights into files of at most this size (default: 5GB)",
    )


def run(args: argparse.Namespace) -> None:
    """Load, save, and print the files that were written."""
    from npbert.models.converting import convert

    written = convert(args.source, args.target, dtype=args.dtype, max_shard_size=args.max_shard_size)
    print("\n".join(printable(str(path)) for path in written))
