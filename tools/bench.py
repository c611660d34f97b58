"""Benchmarks: every figure is a ratio of two things measured side by side, in turns, in this run.

    python tools/bench.py            all that can be measured here
    python tools/bench.py import     those whose name contains "import"

The machine's speed drifts and other work disturbs it; a ratio of neighbours, by the median, survives both. Where the project
promises a ratio (its budget), the line says so. Comparisons with the reference need torch and transformers.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

COMPILED = os.path.join(tempfile.gettempdir(), "npbert-bench-pycache")
SENTENCES = ("A man is eating food.", "A man eats something.", "The sky is blue.")


def main() -> None:
    """Run the benchmarks that the arguments name."""
    wanted = sys.argv[1:]
    for benchmark in (import_cost, help_cost, similarity_cost, pass_cost, activation_cost, load_cost, training_cost):
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
    """npbert's pass over the reference's, on all-MiniLM-L6-v2."""
    try:
        import torch
        import transformers
    except ImportError:
        print("passes against the reference: not measured, torch and transformers are not installed")
        return
    from npbert import checkpoints

    path = checkpoints.find("all-MiniLM-L6-v2").arrays_path.parent
    for attention in ("eager", "sdpa"):
        reference = transformers.BertModel.from_pretrained(path, attn_implementation=attention).eval()
        for batch, length in ((1, 16), (1, 128), (8, 128), (32, 32), (4, 512)):
            ids, mask = some_ids(batch, length)
            torch_ids, torch_mask = torch.tensor(ids), torch.tensor(mask)

            def run_reference(model=reference, ids=torch_ids, mask=torch_mask) -> None:  # type: ignore[no-untyped-def]
                with torch.no_grad():
                    model(ids, mask)

            ours, theirs = in_turns(a_pass(batch, length), run_reference, runs=9)
            report(f"pass [{batch}, {length}] / reference, {attention}", ours, theirs)


def activation_cost() -> None:
    """The exact GELU over NumPy's tanh."""
    from npbert import ops

    for dtype in (np.float32, np.float64):
        x = np.random.default_rng(0).standard_normal((8, 128, 1536)).astype(dtype)
        ours, numpy = in_turns(lambda x=x: ops.gelu(x), lambda x=x: np.tanh(x), runs=15)  # type: ignore[misc]
        report(f"gelu / np.tanh, {np.dtype(dtype)}", ours, numpy)


def load_cost() -> None:
    """Loading a checkpoint over reading its file."""
    import npbert
    from npbert import checkpoints

    path = checkpoints.find("all-MiniLM-L6-v2").arrays_path
    load, read = in_turns(lambda: npbert.BertModel.from_pretrained(path.parent), path.read_bytes, runs=9)
    report("from_pretrained / reading the file's bytes", load, read)


def training_cost() -> None:
    """Training bert-base on 8 texts of 128 tokens: the gradients, the optimizer's step, and both beside the reference's own."""
    import npbert
    from npbert.training import AdamW, clip_gradients

    config = npbert.BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model = npbert.BertForMaskedLM(config, rng=np.random.default_rng(0))
    ids, mask = some_ids(8, 128)
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


# --------------------------------------------------------------------------------------------------------- how it is done


def some_ids(batch: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and a mask without padding."""
    return np.random.default_rng(0).integers(1000, 20000, (batch, length)), np.ones((batch, length), np.int64)


def a_pass(batch: int = 3, length: int = 8) -> Callable[[], object]:
    """A forward pass of all-MiniLM-L6-v2."""
    import npbert

    model = npbert.BertModel.from_pretrained("all-MiniLM-L6-v2")
    ids, mask = some_ids(batch, length)
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
    ratios = sorted(a / b for a, b in zip(measured, against, strict=True))
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    print(f"{name:<55} {statistics.median(ratios):6.2f}   ({spread}){f'   {note}' if note else ''}", flush=True)


if __name__ == "__main__":
    main()
