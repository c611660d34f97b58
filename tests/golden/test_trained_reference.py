"""The live reference as a port that learns: right in float32 and bfloat16, and named where autograd functions are patched."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from npbert import golden

from .lessons import STEPS, Lesson

pytestmark = pytest.mark.parity

LAYER = "grad:bert.encoder.layer.1."


def dump_of(lesson: Lesson, patch: Callable[[Any], None] | None = None, *, dtype: str = "float32") -> dict[str, np.ndarray]:
    """What hooks see of a forward and a backward pass of the reference."""
    import torch

    from .. import reference

    name = type(lesson.model).__name__
    model = reference.build(name, lesson.model.config.to_dict(), lesson.model.state_dict()).to(getattr(torch, dtype))
    if patch is not None:
        patch(model)
    dump: dict[str, Any] = {}

    def hook(path: str) -> Any:
        def see(module: Any, arguments: Any, output: Any) -> None:
            while not isinstance(output, torch.Tensor):
                output = output[0]
            dump[path] = output.detach().clone()
            if output.requires_grad:
                output.register_hook(lambda gradient: dump.update({f"grad:{path}": gradient.detach().clone()}))

        return see

    for path, module in model.named_modules():
        if path:
            module.register_forward_hook(hook(path))
    out = model(**reference.converted(model, lesson.inputs))
    out.loss.backward()
    dump |= {f"output:{path}": x.detach() for path, x in out.items()}
    dump |= {f"grad:weight:{path}": weight.grad for path, weight in model.named_parameters() if weight.grad is not None}
    return {path: x.float().numpy() for path, x in dump.items()}


@pytest.mark.parametrize("kind", ["lm", "classifier"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_reference_is_right(lessons: dict[str, Lesson], kind: str, dtype: str) -> None:
    lesson = lessons[kind]
    report = golden.compare(lesson.pack, dump_of(lesson, dtype=dtype), precision=dtype)
    assert report.ok, report
    assert sum(row.name.startswith("grad:weight:") for row in report.rows) == len(dict(lesson.model.named_parameters()))


def test_the_references_optimizer_is_right(lessons: dict[str, Lesson]) -> None:
    import torch

    from .. import reference

    lesson = lessons["steps"]
    model = reference.build(type(lesson.model).__name__, lesson.model.config.to_dict(), lesson.model.state_dict())
    weights = dict(model.named_parameters())
    groups = [
        {"params": [x for x in weights.values() if x.ndim > 1], "weight_decay": STEPS.weight_decay},
        {"params": [x for x in weights.values() if x.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=STEPS.lr)
    dump: dict[str, np.ndarray] = {}
    for step in range(1, STEPS.number + 1):
        optimizer.zero_grad()
        model(**reference.converted(model, lesson.inputs)).loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), STEPS.max_norm)
        for group in optimizer.param_groups:
            group["lr"] = STEPS.rate(step)
        optimizer.step()
        dump |= {f"step:{step}:weight:{path}": x.detach().numpy().copy() for path, x in weights.items()}
        dump[f"step:{step}:loss"] = model(**reference.converted(model, lesson.inputs)).loss.detach().numpy().copy()
    report = golden.compare(lesson.pack, dump)
    assert report.ok, report


# ------------------------------------------------------------------------------------------------- patched autograd functions


@contextmanager
def patched(place: Any, name: str, function: Any) -> Iterator[None]:
    original = getattr(place, name)
    setattr(place, name, function)
    try:
        yield
    finally:
        setattr(place, name, original)


def norm_without(term: str) -> Any:
    import torch

    class Norm(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any, eps: float) -> Any:
            centred = x - x.mean(-1, keepdim=True)
            deviation = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
            ctx.save_for_backward(centred / deviation, deviation, weight)
            return centred / deviation * weight + bias

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            n, deviation, weight = ctx.saved_tensors
            g = dy * weight
            mean = 0 if term == "mean" else g.mean(-1, keepdim=True)
            variance = 0 if term == "variance" else n * (g * n).mean(-1, keepdim=True)
            axes = tuple(range(dy.ndim - 1))
            return (g - mean - variance) / deviation, (dy * n).sum(axes), dy.sum(axes), None

    return lambda x, shape, weight, bias, eps: Norm.apply(x, weight, bias, eps)


def softmax_of_the_diagonal() -> Any:
    import torch

    class Softmax(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = torch.softmax(x, -1)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            (y,) = ctx.saved_tensors
            return dy * y * (1 - y)

    return lambda x, dim=-1, **options: Softmax.apply(x)


def gelu_with_the_derivative_of_tanhs() -> Any:
    import torch

    class Gelu(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            (x,) = ctx.saved_tensors
            t = torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
            slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
            return dy * 0.5 * (1 + t + x * (1 - t**2) * slope)

    return lambda x, approximate="none": Gelu.apply(x)


def linear_with(change: str) -> Any:
    import torch

    class Linear(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
            ctx.save_for_backward(x, weight)
            return x @ weight.T + bias

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            x, weight = ctx.saved_tensors
            rows, seen = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
            dw, db = rows.T @ seen, rows.sum(0)
            if change == "transposed":
                dw = dw.T.reshape(dw.shape)
            if change == "missing":
                db = torch.zeros_like(db)
            return dy @ weight, dw, db / len(rows) if change == "averaged" else db

    return Linear.apply


def without_padding_row(model: Any) -> None:
    model.bert.embeddings.word_embeddings.padding_idx = None


def twice(model: Any) -> None:
    def double(weight: Any) -> None:
        weight.grad.mul_(2)

    for weight in model.parameters():
        weight.register_post_accumulate_grad_hook(double)


def past_the_block(model: Any) -> None:
    """The gradient of the feed-forward's residual connection is lost."""
    for layer in model.bert.encoder.layer:
        output = layer.output
        forward = output.forward
        output.forward = lambda hidden, residual, f=forward: f(hidden, residual.detach())


def functional_of(name: str) -> Any:
    import torch

    return torch.nn.functional, name


FUNCTIONS: list[tuple[str, str, str, Callable[[], Any], str]] = [
    ("layernorm-backward-mean-term-missing", "layer_norm", "lm", lambda: norm_without("mean"), ""),
    ("layernorm-backward-variance-term-missing", "layer_norm", "classifier", lambda: norm_without("variance"), ""),
    ("softmax-backward-diagonal-only", "softmax", "lm", softmax_of_the_diagonal, LAYER + "attention.self:masked_scores"),
    ("gelu-derivative-of-another", "gelu", "classifier", gelu_with_the_derivative_of_tanhs, LAYER + "intermediate.dense"),
    ("weight-gradient-transposed", "linear", "classifier", lambda: linear_with("transposed"), "grad:weight:classifier.weight"),
    ("bias-gradient-missing", "linear", "classifier", lambda: linear_with("missing"), "grad:weight:classifier.bias"),
    ("bias-gradient-averaged", "linear", "classifier", lambda: linear_with("averaged"), "grad:weight:classifier.bias"),
]


@pytest.mark.parametrize(
    ("mistake", "function", "kind", "make", "where"), FUNCTIONS, ids=lambda x: x if isinstance(x, str) else ""
)
@pytest.mark.parametrize("which", ["hooks", "weights"])
def test_patched_functions(
    lessons: dict[str, Lesson], mistake: str, function: str, kind: str, make: Callable[[], Any], where: str, which: str
) -> None:
    lesson = lessons[kind]
    place, name = functional_of(function)
    with patched(place, name, make()):
        dump = dump_of(lesson)
    if which == "weights":
        dump = {path: x for path, x in dump.items() if path.startswith("grad:weight:")}
    suspects = golden.diagnose(lesson.pack, dump)
    assert suspects[0].mistake == mistake
    assert not where or suspects[0].where == where


@pytest.mark.parametrize(
    ("mistake", "kind", "patch", "where"),
    [
        ("padding-row-gradient", "lm", without_padding_row, "grad:weight:bert.embeddings.word_embeddings.weight"),
        ("gradient-accumulated-twice", "classifier", twice, "grad:weight:classifier.weight"),
        ("residual-gradient-missing", "classifier", past_the_block, LAYER + "attention"),
    ],
)
def test_patched_modules(lessons: dict[str, Lesson], mistake: str, kind: str, patch: Callable[[Any], None], where: str) -> None:
    lesson = lessons[kind]
    suspects = golden.diagnose(lesson.pack, dump_of(lesson, patch))
    assert (suspects[0].mistake, suspects[0].where) == (mistake, where)


@pytest.mark.parametrize("how", ["sum", "all labels", "text by text"])
def test_patched_losses(lessons: dict[str, Lesson], how: str) -> None:
    import torch

    lesson = lessons["lm"]
    mean = torch.nn.functional.cross_entropy

    def cross_entropy(logits: Any, labels: Any, *arguments: Any, **options: Any) -> Any:
        if how == "text by text":
            pairs = zip(logits.reshape(3, 7, -1), labels.reshape(3, 7), strict=True)
            return sum(mean(x, at) for x, at in pairs) / 3
        total = mean(logits, labels, reduction="sum")
        return total if how == "sum" else total / labels.numel()

    with patched(*functional_of("cross_entropy"), cross_entropy):
        dump = dump_of(lesson)
    suspects = golden.diagnose(lesson.pack, dump)
    names = {"sum": "sum-for-mean", "all labels": "counts-ignored-labels", "text by text": "averaged-per-sequence"}
    assert (suspects[0].mistake, suspects[0].where) == (f"loss-{names[how]}", "output:loss")
