"""One way to compute a forward pass, in a process of its own: `tools/bench.py` starts several and lets them run in turns.

    python tools/engines.py npbert            then, a line each: a case as JSON, and "run" as often as wanted

Engines: npbert; torch-eager and torch-sdpa, the reference; onnxruntime, on the reference's exported graph; and products,
nothing but the pass's matrix products with NumPy, the floor under every BERT in NumPy. Each answers a case with "ready" and
every "run" with the seconds that it took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SIZES: dict[str, dict[str, int]] = {
    "bert-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    "MiniLM": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
}


class Engine:
    """An engine's process."""

    def __init__(self, name: str) -> None:
        # A preset for the matrix products may halve their speed, and everyone is measured without it.
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENBLAS_", "OMP_", "MKL_"))}
        self.process = subprocess.Popen(
            [sys.executable, __file__, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, question: str) -> str:
        """Send a line and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(question, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise SystemExit(f"an engine stopped: {self.process.args}")
        return answer

    def prepare(self, **case: Any) -> None:
        """Build the model and its inputs, and run once."""
        self.ask(json.dumps(case))

    def seconds(self) -> float:
        """How long one pass takes."""
        return float(self.ask("run"))


def serve(name: str) -> None:
    """Answer lines until there are no more."""
    make = ENGINES[name]
    run: Callable[[], object] | None = None
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries may print
    for line in sys.stdin:
        if line.strip() != "run":
            run = make(**json.loads(line))
            run()
            print("ready", file=answers, flush=True)
        elif run is not None:
            start = time.perf_counter()
            run()
            print(time.perf_counter() - start, file=answers, flush=True)


def inputs(batch: int, length: int, lengths: list[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and mask."""
    ids = np.random.default_rng(0).integers(1000, 20000, (batch, length))
    mask = np.ones((batch, length), np.int64)
    if lengths is not None:
        mask = (np.arange(length) < np.array(lengths)[:, None]).astype(np.int64)
    return ids * mask, mask


def npbert_pass(model: str, **case: Any) -> Callable[[], object]:
    """npbert, as it is."""
    import npbert

    made = npbert.BertModel(npbert.BertConfig(**SIZES[model]), rng=np.random.default_rng(0))
    ids, mask = inputs(**case)
    return lambda: made(ids, mask)


def reference(model: str, attention: str) -> Any:
    """The reference's model."""
    import transformers

    return transformers.BertModel(transformers.BertConfig(**SIZES[model], attn_implementation=attention)).eval()


def torch_pass(attention: str) -> Callable[..., Callable[[], object]]:
    """The reference, with one of its two ways to compute attention."""

    def make(model: str, **case: Any) -> Callable[[], object]:
        import torch

        made = reference(model, attention)
        ids, mask = (torch.tensor(x) for x in inputs(**case))

        def run() -> None:
            with torch.no_grad():
                made(ids, mask)

        return run

    return make


def onnxruntime_pass(model: str, **case: Any) -> Callable[[], object]:
    """onnxruntime on the exported reference, with all its optimizations."""
    import onnxruntime
    import torch

    ids, mask = inputs(**case)
    with tempfile.TemporaryDirectory() as folder:
        names = ["input_ids", "attention_mask"]
        axes = {name: {0: "batch", 1: "length"} for name in names}
        tensors = (torch.tensor(ids), torch.tensor(mask))
        path = os.path.join(folder, "model.onnx")
        made = reference(model, "eager")
        made.config.return_dict = False
        torch.onnx.export(made, tensors, path, input_names=names, dynamic_axes=axes, dynamo=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"input_ids": ids, "attention_mask": mask})


def products_pass(model: str, **case: Any) -> Callable[[], object]:
    """The pass's matrix products, into arrays that exist: nothing that NumPy computes can be quicker."""
    sizes = SIZES[model]
    ids, _ = inputs(**case)
    batch, length = ids.shape
    width, wide, heads = sizes["hidden_size"], sizes["intermediate_size"], sizes["num_attention_heads"]
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    hidden, widened = numbers(batch * length, width), numbers(batch * length, wide)
    square, up, down = numbers(width, width), numbers(wide, width), numbers(width, wide)
    query, key = numbers(batch, heads, length, width // heads), numbers(batch, heads, width // heads, length)
    scores = numbers(batch, heads, length, length)
    result, context = np.empty_like(hidden), np.empty_like(query)

    def run() -> None:
        for _ in range(sizes["num_hidden_layers"]):
            for _ in range(4):
                np.matmul(hidden, square.T, out=result)
            np.matmul(query, key, out=scores)
            np.matmul(scores, query, out=context)
            np.matmul(hidden, up.T, out=widened)
            np.matmul(widened, down.T, out=result)

    return run


ENGINES: dict[str, Callable[..., Callable[[], object]]] = {
    "npbert": npbert_pass,
    "torch-eager": torch_pass("eager"),
    "torch-sdpa": torch_pass("sdpa"),
    "onnxruntime": onnxruntime_pass,
    "products": products_pass,
}

if __name__ == "__main__":
    serve(sys.argv[1])
