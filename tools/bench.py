"""Benchmarks: every figure is a ratio of two things measured side by side, in turns, in this run.

    python tools/bench.py            all that can be measured here
    python tools/bench.py import     those whose name contains "import"

The machine's speed drifts and other work disturbs it; a ratio of neighbours, by the median, survives both. Where the project
promises a ratio (its budget), the line says so. Comparisons with the reference need torch and transformers.
"""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from engines import Engine, tokens

COMPILED = os.path.join(tempfile.gettempdir(), "npbert-bench-pycache")
SENTENCES = ("A man is eating food.", "A man eats something.", "The sky is blue.")


def main() -> None:
    """Run the benchmarks that the arguments name."""
    wanted = sys.argv[1:]
    for benchmark in BENCHMARKS:
        if not wanted or any(word in benchmark.__name__ for word in wanted):
            benchmark()


def import_cost() -> None:
    """`import npbert` over `import numpy`."""
    numpy, npbert = in_turns(python("-c", "import numpy"), python("-c", "import numpy, npbert"), runs=15)
    extra = (statistics.median(npbert) - statistics.median(numpy)) * 1000
    report("import npbert / import numpy", npbert, numpy, f"{extra:.0f} ms more; budget 30 ms")


def help_cost() -> None:
    """`npbert --help` over `import numpy`."""
    numpy, command = in_turns(python("-c", "import numpy"), npbert_command("--help"), runs=9)
    report("npbert --help / import numpy", command, numpy, "budget 2")


def similarity_cost() -> None:
    """A cold `npbert similarity` over `import numpy` plus one pass."""
    one_pass = min(timed(a_pass()) for _ in range(5))
    numpy, command = in_turns(python("-c", "import numpy"), npbert_command("similarity", *SENTENCES), runs=9)
    numpy = [seconds + one_pass for seconds in numpy]
    report("cold npbert similarity / (import numpy + one pass)", command, numpy, "budget 4")


def pass_cost() -> None:
    """npbert's pass over its own matrix products, over the reference's passes and over onnxruntime's."""
    budgets = {"products": "budget 1.25", "torch-eager": "budget 1.05", "onnxruntime": "budget 1.6"}
    others = {name: Engine(name) for name in ("products", *installed("torch-eager", "torch-sdpa", "onnxruntime"))}
    npbert = Engine("npbert")
    cases = [("bert-base", 1, 16), ("bert-base", 1, 128), ("bert-base", 8, 128), ("bert-base", 1, 512), ("MiniLM", 32, 128)]
    for model, batch, length in cases:
        case = {"task": "pass", "model": model, "batch": batch, "length": length}
        for engine in (npbert, *others.values()):
            engine.prepare(case)
        measured: dict[str, list[float]] = {name: [] for name in others}
        for _ in range(9):
            ours = npbert.seconds()
            for name, engine in others.items():
                measured[name].append(ours / engine.seconds())
        for name, ratios in measured.items():
            note = "" if length < 128 and name != "torch-eager" else budgets.get(name, "")
            report_ratios(f"{model} [{batch}, {length}] / {name}", ratios, note)


def decoding_cost() -> None:
    """A token, decoded with the cache, over its own matrix products and over the reference's, and those products over it."""
    for model in ("bert-base", "MiniLM"):
        case = {"task": "decoding", "model": model, "count": 20}
        report_ratios(f"a decoded token, {model} / products", engines_in_turns("npbert", "products", case))
        if installed("torch-eager"):
            theirs = engines_in_turns("npbert", "torch-eager", case)
            report_ratios(f"a decoded token, {model} / reference, eager", theirs, "budget 0.5")
            floor = engines_in_turns("products", "torch-eager", case)
            report_ratios(f"products of a decoded token, {model} / reference", floor)


def embedding_cost() -> None:
    """`embed` of texts of mixed length over onnxruntime's pass over all of them, padded to the longest."""
    if installed("onnxruntime"):
        case = {"task": "embedding", "model": "MiniLM", "texts": 64}
        ratios = engines_in_turns("npbert", "onnxruntime", case)
        report_ratios("embed of 64 texts of mixed length / onnxruntime, padded", ratios, "budget 0.75")


def memory_cost() -> None:
    """The most memory of a process that runs a pass, beyond one that runs a very small pass, over the reference's."""
    if not installed("torch-eager"):
        return
    for batch, length in ((8, 128), (1, 512)):
        grown = {}
        for name in ("npbert", "torch-eager"):
            engine = Engine(name)
            engine.prepare({"task": "pass", "model": "bert-base", "batch": 1, "length": 2})
            before = engine.peak()
            engine.prepare({"task": "pass", "model": "bert-base", "batch": batch, "length": length})
            grown[name] = engine.peak() - before
            engine.stop()
        ratio = grown["npbert"] / grown["torch-eager"]
        report_ratios(f"memory of a pass, bert-base [{batch}, {length}] / reference, eager", [ratio], "budget 1.5")


def float64_cost() -> None:
    """A pass in float64 over one in float32."""
    case = {"task": "pass", "model": "bert-base", "batch": 1, "length": 128}
    report_ratios(
        "a pass in float64 / in float32", engines_in_turns("npbert", "npbert", case | {"dtype": "float64"}, case), "budget 2.5"
    )


def growth_cost() -> None:
    """How the time grows with the number of texts and with their length."""
    case = {"task": "pass", "model": "MiniLM", "batch": 8, "length": 64}
    for name, changed in {"four times the texts": {"batch": 32}, "four times the length": {"length": 256}}.items():
        report_ratios(f"MiniLM [8, 64], {name}", engines_in_turns("npbert", "npbert", case | changed, case))


def activation_cost() -> None:
    """The exact GELU over NumPy's tanh."""
    from npbert import ops

    for dtype in (np.float32, np.float64):
        x = np.random.default_rng(0).standard_normal((8, 128, 1536)).astype(dtype)
        ours, numpy = in_turns(lambda x=x: ops.gelu(x), lambda x=x: np.tanh(x), runs=15)  # type: ignore[misc]
        report(f"gelu / np.tanh, {np.dtype(dtype)}", ours, numpy)


def load_cost() -> None:
    """Loading a checkpoint over reading its file, and what it takes of a 440 MB one."""
    import npbert

    with tempfile.TemporaryDirectory() as folder:
        npbert.BertModel(npbert.BertConfig(), rng=np.random.default_rng(0)).save_pretrained(folder)
        path = Path(folder) / "model.safetensors"
        load, read = in_turns(lambda: npbert.BertModel.from_pretrained(folder), path.read_bytes, runs=9)
        size = path.stat().st_size / 1e6
        report(
            f"from_pretrained / reading the file's {size:.0f} MB", load, read, f"{statistics.median(load):.2f} s; budget 0.2 s"
        )
        code = f"""
import npbert
def private():
    return sum(int(line.split()[1]) for line in open('/proc/self/smaps_rollup') if line.startswith('Private')) / 1e3
before = private()
model = npbert.BertModel.from_pretrained({folder!r})
print(private() - before)
"""
        if os.path.exists("/proc/self/smaps_rollup"):
            used = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
            print(f"private memory of a loaded checkpoint of {size:.0f} MB: {float(used):.0f} MB   budget 50 MB")


def training_cost() -> None:
    """Training bert-base on 8 texts of 128 tokens: the gradients, the optimizer's step, and both beside the reference's own."""
    import npbert
    from npbert.training import AdamW, clip_gradients

    config = npbert.BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = npbert.BertForMaskedLM(config, rng=np.random.default_rng(0))
    ids, mask = tokens(8, 128)
    labels = np.where(np.random.default_rng(1).random(ids.shape) < 0.15, ids, -100)
    inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    optimizer = AdamW(model, 1e-5)
    grads = model.gradients(**inputs)[1]

    def our_step() -> None:
        own = model.gradients(**inputs)[1]
        clip_gradients(own, 1.0)
        optimizer.step(own)

    passes, forward = in_turns(lambda: model.gradients(**inputs), lambda: model(**inputs), runs=5)
    report("gradients / forward pass, bert-base [8, 128]", passes, forward, "budget 3.2")
    steps, forward = in_turns(lambda: optimizer.step(grads), lambda: model(**inputs), runs=5)
    report("AdamW's step / forward pass, bert-base [8, 128]", steps, forward)
    try:
        import torch
        import transformers
    except ImportError:
        print("training against the reference: not measured, torch and transformers are not installed")
        return
    theirs = transformers.BertForMaskedLM(
        transformers.BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation="eager")
    ).train()
    their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=1e-5, weight_decay=0.01)
    tensors = {name: torch.tensor(array) for name, array in inputs.items()}

    def their_gradients() -> None:
        their_optimizer.zero_grad()
        theirs(**tensors).loss.backward()

    def their_step() -> None:
        their_gradients()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        their_optimizer.step()

    ours, reference = in_turns(lambda: model.gradients(**inputs), their_gradients, runs=5)
    report("gradients / reference, eager, bert-base [8, 128]", ours, reference, "budget 1.25")
    ours, reference = in_turns(our_step, their_step, runs=5)
    report("training step / reference, eager, bert-base [8, 128]", ours, reference, "budget 1.25")
    steps, reference = in_turns(lambda: optimizer.step(grads), their_optimizer.step, runs=5)
    report("AdamW's step / the reference's, bert-base", steps, reference)


BENCHMARKS = (
    import_cost,
    help_cost,
    similarity_cost,
    pass_cost,
    decoding_cost,
    embedding_cost,
    memory_cost,
    float64_cost,
    growth_cost,
    activation_cost,
    load_cost,
    training_cost,
)

# --------------------------------------------------------------------------------------------------------- how it is done


def installed(*engines: str) -> list[str]:
    """Those engines whose libraries are installed; the others are named."""
    needed = {
        "torch-eager": ("torch", "transformers"),
        "torch-sdpa": ("torch", "transformers"),
        "onnxruntime": ("onnx", "onnxruntime", "torch"),
    }
    missing = {name: [library for library in needed[name] if importlib.util.find_spec(library) is None] for name in engines}
    for name, libraries in missing.items():
        if libraries:
            print(f"{name}: not measured, {', '.join(libraries)} not installed")
    return [name for name in engines if not missing[name]]


def engines_in_turns(first: str, second: str, case: dict[str, Any], other: dict[str, Any] | None = None) -> list[float]:
    """The ratios of the seconds of two engines; the second one has a case of its own, or the same."""
    ours, theirs = Engine(first), Engine(second)
    ours.prepare(case)
    theirs.prepare(other or case)
    ratios = [ours.seconds() / theirs.seconds() for _ in range(9)]
    ours.stop()
    theirs.stop()
    return ratios


def a_pass(batch: int = 3, length: int = 8) -> Callable[[], object]:
    """A forward pass of all-MiniLM-L6-v2."""
    import npbert

    model = npbert.BertModel.from_pretrained("all-MiniLM-L6-v2")
    ids, mask = tokens(batch, length)
    return lambda: model(ids, mask)


def python(*arguments: str) -> Callable[[], object]:
    """Run a fresh interpreter, which finds everything compiled, as it does wherever packages were installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = COMPILED
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)


def npbert_command(*arguments: str) -> Callable[[], object]:
    """Run the command in a fresh interpreter."""
    return python("-m", "npbert", *arguments)


def timed(function: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def in_turns(first: Callable[[], object], second: Callable[[], object], *, runs: int) -> tuple[list[float], list[float]]:
    """Seconds of both, A B A B ..., after a call of each to warm up."""
    first()
    second()
    pairs = [(timed(first), timed(second)) for _ in range(runs)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def report(name: str, measured: list[float], against: list[float], note: str = "") -> None:
    """Print the median of the ratios and their spread."""
    report_ratios(name, [a / b for a, b in zip(measured, against, strict=True)], note)


def report_ratios(name: str, ratios: list[float], note: str = "") -> None:
    """Print the median and the spread."""
    ratios = sorted(ratios)
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    print(f"{name:<55} {statistics.median(ratios):6.2f}   ({spread}){f'   {note}' if note else ''}", flush=True)


if __name__ == "__main__":
    main()
