"""What is in a pack, listed as a text."""

from __future__ import annotations

import math

from npbert.checkpoints import safetensors
from npbert.golden.models import Config, parts_of_config
from npbert.golden.pack import INPUT, read_pack
from npbert.types import StrPath


def show(path: StrPath) -> str:
    """What is in a pack, as a text: its model and inputs, and each tensor with its shape and its tolerance in float32."""
    pack = read_pack(path)
    info = safetensors.read_header(path)
    number = sum(array.size for array in (pack.weights or {}).values())
    lines = [
        f"{path}: written by npbert {pack.metadata['npbert']}",
        f"model    {', '.join(pack.config.architectures or ['BertModel'])}, {_sizes(pack.config)}, "
        f"weights sha256 {pack.metadata['weights_sha256'][:16]}...",
        f"weights  {f'{number:,} numbers' if number else 'not in the pack'}",
    ]
    if pack.backward is not None:
        seed, steps = pack.backward.dropout_seed, pack.steps
        dropped = "nothing is dropped" if seed is None else f"dropout with seed {seed}"
        after = "" if steps is None else f", {steps.number} steps of {steps.optimizer} with lr {steps.lr:g}"
        lines.append(f"training gradients, {dropped}{after}")
    for name in info:
        if name.startswith(INPUT):
            lines.append(f"input    {name.removeprefix(INPUT)} {list(info[name].shape)} {info[name].dtype}")
    width = max((len(name) for name in pack), default=0)
    shapes = {name: str(list(pack[name].shape)) for name in pack}
    shape_width = max((len(shape) for shape in shapes.values()), default=0)
    lines += ["", f"{'tensor':<{width}}  {'shape':<{shape_width}}  float32 ports may be off by (max, rms)"]
    for name, shape in shapes.items():
        bounds = pack.tolerances[name]["float32"]
        same = f"  = {pack.aliases[name]}" if name in pack.aliases else ""
        lines.append(f"{name:<{width}}  {shape:<{shape_width}}  {bounds.max_abs:8.2e} {bounds.rms:8.2e}{same}")
    stored = {pack.aliases.get(name, name) for name in pack}
    size = sum(info[name].stop - info[name].start for name in stored)
    total = sum(math.prod(info[name].shape) for name in stored)
    lines.append(f"{len(pack)} tensors, {len(stored)} of them stored: {total:,} numbers, {size:,} bytes")
    return "\n".join(lines)


def _sizes(config: Config) -> str:
    """The size of each part of the model."""
    sizes = []
    for part, inner in parts_of_config(config).items():
        size = f"{inner.num_hidden_layers} layers, hidden size {inner.hidden_size}"
        sizes.append(f"{part} of {size}" if part else size)
    return ", ".join(sizes)
