"""One way to compute something, in a process of its own: `tools/bench.py` starts several and lets them run in turns.

    python tools/engines.py npbert        then, a line each: a case as JSON, and "run" as often as wanted

A case says what to compute: a "pass" of so many texts of so many tokens, "decoding" of so many tokens, one by one, or
"embedding" so many texts of mixed length. Engines: npbert; torch-eager and torch-sdpa, the reference; onnxruntime, on the
reference's exported graph; and products, nothing but the matrix products with NumPy: the floor under every BERT in NumPy. An
engine answers a case with "ready", "run" with the seconds that it took, and "peak" with the most memory that its process ever
had, in bytes.
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
VOCABULARY = 30522
PROMPT = 16  # tokens
LONGEST = 128  # tokens of a text among those of mixed length


class Engine:
    """An engine's process."""

    def __init__(self, name: str) -> None:
        # A preset for the matrix products may halve their speed, so everyone is measured without any.
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENBLAS_", "OMP_", "MKL_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, question: str) -> str:
        """Send a line and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(question, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise SystemExit(f"an engine stopped: {self.process.args!r}")
        return answer

    def prepare(self, case: dict[str, Any]) -> None:
        """Build the model and its inputs, and run once."""
        self.ask(json.dumps(case))

    def seconds(self) -> float:
        """How long it takes."""
        return float(self.ask("run"))

    def peak(self) -> float:
        """The most memory that the process ever had, in bytes."""
        return float(self.ask("peak"))

    def stop(self) -> None:
        """End the process."""
        self.process.communicate()


def serve(name: str) -> None:
    """Answer lines until there are no more."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries may print
    run: Callable[[], object] = lambda: None  # noqa: E731
    for line in sys.stdin:
        start = time.perf_counter()
        if line.strip() == "run":
            run()
            answer: object = time.perf_counter() - start
        elif line.strip() == "peak":
            import resource

            answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        else:
            case = json.loads(line)
            run = ENGINES[name][case.pop("task")](**case)
            run()
            answer = "ready"
        print(answer, file=answers, flush=True)


def tokens(batch: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids without padding, and their mask."""
    return np.random.default_rng(0).integers(1000, 20000, (batch, length)), np.ones((batch, length), np.int64)


def mixed(texts: int) -> list[list[int]]:
    """Token ids of texts of 8 to `LONGEST` tokens: as in most collections, short ones are frequent."""
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.uniform(np.log(8), np.log(LONGEST), texts)).astype(int)
    return [rng.integers(1000, 20000, length).tolist() for length in lengths]


# --- npbert -----------------------------------------------------------------------------------------------------------


def npbert_pass(model: str, batch: int, length: int, dtype: str = "float32") -> Callable[[], object]:
    import npbert

    made = npbert.BertModel(npbert.BertConfig(**SIZES[model]), rng=np.random.default_rng(0))
    if dtype != "float32":
        made = npbert.BertModel(made.config, {name: array.astype(dtype) for name, array in made.named_parameters()})
    ids, mask = tokens(batch, length)
    return lambda: made(ids, mask)


def npbert_decoding(model: str, count: int) -> Callable[[], object]:
    import npbert

    made = npbert.BertLMHeadModel(npbert.BertConfig(**SIZES[model], is_decoder=True), rng=np.random.default_rng(0))
    ids, mask = tokens(1, PROMPT)

    def run() -> None:
        out = made(ids, mask, use_cache=True)
        for length in range(PROMPT + 1, PROMPT + count):
            word = out.logits[:, -1:].argmax(axis=-1)
            out = made(word, np.ones((1, length), np.int64), past_key_values=out.past_key_values, use_cache=True)

    return run


def npbert_embedding(model: str, texts: int) -> Callable[[], object]:
    import npbert

    made = npbert.BertModel(npbert.BertConfig(**SIZES[model]), rng=np.random.default_rng(0))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        print(*special, *(f"w{number}" for number in range(len(special), 20000)), sep="\n", file=file, flush=True)
        tokenizer = npbert.BertTokenizer(file.name)
    written = [" ".join(f"w{number}" for number in row[2:]) for row in mixed(texts)]  # two are [CLS] and [SEP]
    return lambda: npbert.embed(made, tokenizer, written)


# --- the others -------------------------------------------------------------------------------------------------------


def reference(model: str, attention: str, name: str = "BertModel", **fields: Any) -> Any:
    """A model of the reference."""
    import transformers

    return getattr(transformers, name)(transformers.BertConfig(**SIZES[model], attn_implementation=attention, **fields)).eval()


def torch_pass(model: str, batch: int, length: int, attention: str = "eager") -> Callable[[], object]:
    import torch

    made = reference(model, attention)
    ids, mask = (torch.tensor(x) for x in tokens(batch, length))

    def run() -> None:
        with torch.no_grad():
            made(ids, mask)

    return run


def torch_decoding(model: str, count: int) -> Callable[[], object]:
    import torch

    made = reference(model, "eager", "BertLMHeadModel", is_decoder=True)
    ids, mask = (torch.tensor(x) for x in tokens(1, PROMPT))

    def run() -> None:
        with torch.no_grad():
            out = made(ids, mask, use_cache=True)
            for length in range(PROMPT + 1, PROMPT + count):
                word = out.logits[:, -1:].argmax(-1)
                known = torch.ones((1, length), dtype=torch.int64)
                out = made(word, known, past_key_values=out.past_key_values, use_cache=True)

    return run


def onnxruntime_on(model: str, ids: np.ndarray, mask: np.ndarray) -> Callable[[], object]:
    """onnxruntime on the exported reference, with all its optimizations."""
    import onnxruntime
    import torch

    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "batch", 1: "length"} for name in names}
    made = reference(model, "eager")
    made.config.return_dict = False
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        small = (torch.tensor(ids[:2, :8]), torch.tensor(mask[:2, :8]))
        torch.onnx.export(made, small, path, input_names=names, dynamic_axes=axes, dynamo=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"input_ids": ids, "attention_mask": mask})


def onnxruntime_pass(model: str, batch: int, length: int) -> Callable[[], object]:
    return onnxruntime_on(model, *tokens(batch, length))


def onnxruntime_embedding(model: str, texts: int) -> Callable[[], object]:
    rows = mixed(texts)
    ids = np.array([row + [0] * (LONGEST - len(row)) for row in rows])
    mask = np.array([[1] * len(row) + [0] * (LONGEST - len(row)) for row in rows])
    return onnxruntime_on(model, ids, mask)


def products_pass(model: str, batch: int, length: int) -> Callable[[], object]:
    """Into arrays that exist: nothing that NumPy computes can be quicker."""
    sizes = SIZES[model]
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


def products_decoding(model: str, count: int) -> Callable[[], object]:
    """Each matrix is an array of its own, because to read them all, for every token, is what takes the time."""
    sizes = SIZES[model]
    width, wide = sizes["hidden_size"], sizes["intermediate_size"]
    rng = np.random.default_rng(0)
    layer = [(width, width)] * 4 + [(wide, width), (width, wide)]
    shapes = layer * sizes["num_hidden_layers"] + [(width, width), (VOCABULARY, width)]
    matrices = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    hidden = {(rows, size): np.ones((size, rows), np.float32) for rows in (1, PROMPT) for size in (width, wide)}

    def run() -> None:
        for rows in [PROMPT] + [1] * (count - 1):
            for matrix in matrices:
                matrix @ hidden[rows, matrix.shape[1]]

    return run


def torch_sdpa_pass(**case: Any) -> Callable[[], object]:
    return torch_pass(**case, attention="sdpa")


ENGINES: dict[str, dict[str, Callable[..., Callable[[], object]]]] = {
    "npbert": {"pass": npbert_pass, "decoding": npbert_decoding, "embedding": npbert_embedding},
    "torch-eager": {"pass": torch_pass, "decoding": torch_decoding},
    "torch-sdpa": {"pass": torch_sdpa_pass},
    "onnxruntime": {"pass": onnxruntime_pass, "embedding": onnxruntime_embedding},
    "products": {"pass": products_pass, "decoding": products_decoding},
}

if __name__ == "__main__":
    serve(sys.argv[1])
