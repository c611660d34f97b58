"""Measure honest ports that train, and deliberate mistakes: GRADIENT_MULTIPLES in npbert/golden/tolerance.py keeps them apart.

    python tools/measure_gradients.py [--texts 100]

Needs torch and transformers. Each pack holds the gradients of a random model on one to three short texts of 1 to 10 tokens,
where a single element can make up a whole error. It is held against PyTorch's autograd (as it is, and one operation at a time)
and against the tests' own ports in NumPy, BERT's also with products that are added up one term after the other. The worst
errors of honest ports are printed as multiples of what was measured, and of three mistakes those of the mildest pack.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers

import npbert
from npbert import golden
from npbert.golden.tolerance import GRADIENT_MULTIPLES

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.golden import gpt2_training_port, training_port
from tools.reference_ports import TORCH_TYPES, step_by_step

CLASSES = ("BertForMaskedLM", "BertForSequenceClassification", "GPT2LMHeadModel", "BertForTokenClassification")
SIZES = [(64, 4, 256), (96, 3, 1024), (256, 8, 512), (384, 12, 1536)]
MISTAKES = ("gelu-derivative-of-another", "layernorm-backward-mean-term-missing", "softmax-backward-diagonal-only")

Dump = dict[str, np.ndarray]


def lesson(number: int) -> tuple[Any, dict[str, Any]]:
    """A random model, and short texts with labels."""
    rng = np.random.default_rng(number)
    name = CLASSES[number % len(CLASSES)]
    width, heads, inner = SIZES[number // len(CLASSES) % len(SIZES)]
    sizes = {"vocab_size": 120, "num_hidden_layers": 2, "hidden_size": width, "num_attention_heads": heads}
    scale = {"initializer_range": float(rng.choice([0.02, 0.05, 0.1])), "max_position_embeddings": 16}
    if name.startswith("GPT2"):
        config: Any = npbert.GPT2Config(**sizes, **scale, n_inner=inner, bos_token_id=0, eos_token_id=0)
    else:
        config = npbert.BertConfig(**sizes, **scale, intermediate_size=inner)
    model = getattr(npbert, name)(config, rng=rng)
    for _, array in model.named_parameters():
        if array.ndim == 1:
            array += rng.normal(0, 0.1, array.shape).astype(np.float32)
    batch, length = int(rng.integers(1, 4)), int(rng.integers(1 + name.startswith("GPT2"), 11))
    ids, mask = rng.integers(1, 120, (batch, length)), np.ones((batch, length), np.int64)
    mask[1:, max(length - 2, 2) :] = 0
    if name == "BertForSequenceClassification":
        labels = rng.integers(0, 2, batch)
    else:
        labels = np.where(mask, rng.integers(0, 2, ids.shape) if "Token" in name else ids, -100)
    return model, {"input_ids": ids, "attention_mask": mask, "labels": labels}


def by_torch(model: Any, inputs: dict[str, Any], precision: str) -> Dump:
    """What hooks see of both passes of the reference."""
    kind = transformers.GPT2Config if type(model).__name__.startswith("GPT2") else transformers.BertConfig
    theirs = getattr(transformers, type(model).__name__)._from_config(
        kind(**model.config.to_dict()), attn_implementation="eager"
    )
    theirs.load_state_dict({name: torch.tensor(np.array(x)) for name, x in model.state_dict().items()}, strict=False)
    theirs = theirs.eval().to(TORCH_TYPES[precision])
    caught: dict[str, Any] = {}

    def hook(name: str) -> Callable[..., None]:
        def see(module: Any, arguments: Any, result: Any) -> None:
            while not torch.is_tensor(result):
                result = result[0]
            caught[name] = result.detach()
            result.register_hook(lambda x: caught.update({f"grad:{name}": x.detach()}))

        return see

    for name, module in theirs.named_modules():
        if name and not isinstance(module, torch.nn.ModuleList):
            module.register_forward_hook(hook(name))
    out = theirs(**{name: torch.tensor(x) for name, x in inputs.items()})
    out.loss.backward()
    caught |= {"output:loss": out.loss.detach(), "output:logits": out.logits.detach()}
    caught |= {f"grad:weight:{name}": x.grad for name, x in theirs.named_parameters() if x.grad is not None}
    return {name: x.float().numpy() for name, x in caught.items()}


def by_numpy(model: Any, inputs: dict[str, Any], mistake: str = "") -> Dump:
    """What the tests' own port computes."""
    weights = dict(model.named_parameters())
    if type(model).__name__.startswith("GPT2"):
        return gpt2_training_port.train(model.config, weights, inputs, mistake)
    return training_port.train(model.config.to_dict(), weights, inputs, mistake)


@contextmanager
def one_term_after_the_other() -> Iterator[None]:
    """Within this block products are added up in order, as plain loops do it."""
    whole = np.einsum

    def einsum(pattern: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        leading = "ZYXW"[: x.ndim - len(pattern.partition(",")[0].replace("...", ""))]
        operands, result = pattern.replace("...", leading).split("->")
        first, second = operands.split(",")
        (letter,) = set(first) & set(second) - set(result)
        short = f"{first},{second}->{result}".replace(letter, "")
        pieces = zip(np.moveaxis(x, first.index(letter), 0), np.moveaxis(y, second.index(letter), 0), strict=True)
        total = np.float32(0)
        for one, other in pieces:
            total = total + whole(short, one, other)
        return np.asarray(total)

    with mock.patch.object(np, "einsum", einsum):
        yield


def honest(model: Any, inputs: dict[str, Any]) -> Iterator[tuple[str, str, Dump]]:
    """Every honest port: its name, its precision, its dump."""
    for precision in TORCH_TYPES:
        for name, arithmetic in (("PyTorch", nullcontext), ("PyTorch, step by step", step_by_step)):
            with arithmetic():
                yield name, precision, by_torch(model, inputs, precision)
    if not isinstance(model, npbert.BertForTokenClassification):
        yield "NumPy", "float32", by_numpy(model, inputs)
        with one_term_after_the_other():
            yield "NumPy, in order", "float32", by_numpy(model, inputs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=100, help="how many packs of short texts (100)")
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    worst: dict[tuple[str, str], list[tuple[bool, float, float, str]]] = collections.defaultdict(list)
    mildest: dict[str, list[float]] = collections.defaultdict(list)
    for number in range(arguments.texts):
        model, inputs = lesson(number)
        with tempfile.TemporaryDirectory() as folder:
            golden.export(model, inputs, f"{folder}/pack.safetensors", gradients=True)
            pack = golden.read_pack(f"{folder}/pack.safetensors")
            for name, precision, dump in honest(model, inputs):
                report = golden.compare(pack, dump, precision=precision)
                rows = [row for row in report.rows if row.name.startswith("grad:")]
                multiple = GRADIENT_MULTIPLES[precision]
                max_abs = max(row.max_abs / row.tolerance for row in rows if row.tolerance) * multiple.max_abs
                rms = max(row.rms / row.rms_tolerance for row in rows if row.rms_tolerance) * multiple.rms
                worst[name, precision].append((not report.ok, max_abs, rms, report.first_divergence or ""))
            for mistake in MISTAKES if not isinstance(model, npbert.BertForTokenClassification) else ():
                report = golden.compare(pack, by_numpy(model, inputs, mistake))
                mildest[mistake].append(max(row.tolerance_used for row in report.rows))
    for (name, precision), found in worst.items():
        wrong = [f"{number}: {where}" for number, (is_wrong, _, _, where) in enumerate(found) if is_wrong]
        max_abs, rms = max(x[1] for x in found), max(x[2] for x in found)
        print(
            f"honest, worst:    {name:<24}{precision:<10} {len(found):5} packs {len(wrong):3} wrong {max_abs:8.2f} {rms:6.2f}"
        )
        print("".join(f"    {line}\n" for line in wrong), end="")
    for mistake, used in mildest.items():
        missed = sum(x <= 1 for x in used)
        print(f"mistake, mildest: {mistake:<40} {len(used):5} packs {missed:3} missed, {min(used):.1f} times what is allowed")


if __name__ == "__main__":
    main()
