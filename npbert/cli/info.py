"""Show what is in a checkpoint: every parameter with its shape and size, and the share of each part of the model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from npbert.cli import common, printing
from npbert.errors import InputError, shown

if TYPE_CHECKING:
    from npbert.configuration import ModelConfiguration

EXAMPLE = "npbert info"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model."""
    parser.add_argument("path", metavar="MODEL", nargs="?", help="the checkpoint; the same as --model")
    common.add_model(parser, default=common.SMALL)
    common.add_dtype(parser)
    parser.add_argument("--system", action="store_true", help="show instead what computes here, how fast, and what to set")


def run(args: argparse.Namespace) -> None:
    """Print the configuration's main numbers, the tree and the parts."""
    if args.system:
        from npbert.cli import system

        system.show(as_json=args.json)
        return
    from npbert.models.auto import load
    from npbert.models.encoder_decoder import EncoderDecoderModel

    if args.path is not None:
        if args.model is not None:
            raise InputError(f"--model: the checkpoint is named already, {shown(args.path)}")
        args.model = args.path
    with common.loading(common.model_name(args)) as name:
        model = load(name, dtype=args.dtype)
    sizes = {parameter: (list(array.shape), array.size) for parameter, array in model.named_parameters()}
    parts = count_parts(sizes)
    if args.json:
        printing.print_json(
            {
                "model": name,
                "class": type(model).__name__,
                "config": model.config.to_dict(),
                "parameters": {parameter: {"shape": shape, "size": size} for parameter, (shape, size) in sizes.items()},
                "parts": parts,
                "total": sum(parts.values()),
            }
        )
        return
    print(f"{type(model).__name__} from {printing.printable(name)}, computing in {model.dtype}")
    is_pair = isinstance(model, EncoderDecoderModel)
    for config in (model.config.encoder, model.config.decoder) if is_pair else (model.config,):
        print(main_numbers(config))
    print()
    print(tree(sizes))
    print()
    total = sum(parts.values())
    rows = [(part, f"{count:,}", f"{count / max(total, 1):.1%}") for part, count in parts.items()]
    print(printing.table([*rows, ("total", f"{total:,}", "")], right=(1, 2)))


def main_numbers(config: ModelConfiguration) -> str:
    """The numbers that make one model larger than another."""
    kind = "decoder" if config.is_causal else "encoder"
    return (
        f"{kind}: {config.num_hidden_layers} layers of {config.num_attention_heads} heads, hidden size {config.hidden_size}, "
        f"intermediate size {config.intermediate_size}, {config.vocab_size:,} tokens, "
        f"{config.max_position_embeddings} positions"
    )


def count_parts(sizes: Mapping[str, tuple[list[int], int]]) -> dict[str, int]:
    """How many numbers each part has: embeddings, encoder, pooler and each head."""
    parts: dict[str, int] = {}
    for name, (_, size) in sizes.items():
        modules = [module for module in name.split(".") if module not in ("bert", "transformer")]
        # An encoder-decoder has the parts of two BERTs: "encoder.embeddings", "decoder.cls".
        is_pair = modules[0] == "decoder" or (modules[0] == "encoder" and modules[1] != "layer")
        part = ".".join(modules[:2]) if is_pair else modules[0]
        parts[part] = parts.get(part, 0) + size
    return parts


def tree(sizes: Mapping[str, tuple[list[int], int]]) -> str:
    """The parameters as a tree of modules, each with its size."""
    root: dict[str, Any] = {}
    for name, entry in sizes.items():
        *modules, last = name.split(".")
        node = root
        for module in modules:
            node = node.setdefault(module, {})
        node[last] = entry
    rows: list[tuple[str, str, str]] = []

    def add(node: Mapping[str, Any], depth: int) -> None:
        for name, child in node.items():
            if isinstance(child, dict):
                rows.append(("  " * depth + name, "", f"{_count(child):,}"))
                add(child, depth + 1)
            else:
                rows.append(("  " * depth + name, " x ".join(map(str, child[0])), f"{child[1]:,}"))

    add(root, 0)
    return printing.table([("parameter", "shape", "size"), *rows], right=(2,))


def _count(node: Mapping[str, Any]) -> int:
    return sum(_count(child) if isinstance(child, dict) else child[1] for child in node.values())
