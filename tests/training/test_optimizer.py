"""The optimizer's step against the formula written out, and against torch where the reference is installed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.ops.blocks import BLOCK
from npbert.training import SCHEDULES, AdamW, clip_gradients, constant, cosine, linear
from npbert.training.optimizer import adamw_step

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def model_of(dtype: Any = np.float64) -> Any:
    return npbert.BertForMaskedLM(npbert.BertConfig(**SIZES), rng=np.random.default_rng(0)).astype(dtype)


def batch_of(rng: np.random.Generator) -> dict[str, Any]:
    ids = rng.integers(5, 50, (4, 9))
    return {"input_ids": ids, "labels": np.where(rng.random(ids.shape) < 0.3, ids, -100)}


@pytest.mark.parametrize("bias_correction", [True, False])
def test_a_step_is_the_formula(bias_correction: bool) -> None:
    """One weight alone, followed through three steps in plain Python numbers."""
    model = model_of()
    name = "bert.encoder.layer.0.output.dense.weight"
    optimizer = AdamW(model, 0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=0.2, bias_correction=bias_correction)
    w, m, v = float(model.weights[name][0, 0]), 0.0, 0.0
    for step, g in enumerate((0.5, -2.0, 0.25), 1):
        optimizer.step({name: np.full_like(model.weights[name], g)})
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        c1, c2 = (1 - 0.8**step, 1 - 0.9**step) if bias_correction else (1.0, 1.0)
        w = w - 0.1 * 0.2 * w - 0.1 * (m / c1) / (math.sqrt(v / c2) + 1e-3)
        assert model.weights[name][0, 0] == pytest.approx(w, rel=1e-13)


def test_what_decays() -> None:
    """Without a gradient only decay moves a weight: matrices and tables by default, never biases and LayerNorms."""

    def moved(**options: Any) -> set[str]:
        model = model_of()
        before = {name: array.copy() for name, array in model.named_parameters()}
        grads = {name: np.zeros_like(array) for name, array in before.items()}
        for name in before:
            model.weights.replace({name: before[name] + 1})
        optimizer = AdamW(model, 0.1, weight_decay=0.5, **options)
        optimizer.step(grads)
        return {name for name, array in model.named_parameters() if not np.array_equal(array, before[name] + 1)}

    names = {name for name, _ in model_of().named_parameters()}
    without = {name for name in names if name.endswith(".bias") or "LayerNorm" in name}
    assert moved() == names - without
    assert moved(no_decay=["*.bias", "*LayerNorm.weight"]) == names - without
    assert moved(no_decay=()) == names


def test_the_model_learns_on_weights_of_its_own() -> None:
    arrays = {name: array.copy() for name, array in model_of().named_parameters()}
    model = npbert.BertForMaskedLM(npbert.BertConfig(**SIZES), arrays)
    kept = {name: array.copy() for name, array in arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False  # as weights are that were mapped from a file
    optimizer = AdamW(model, 1e-2)
    first, last = None, None
    for _ in range(30):
        out, grads = model.gradients(**batch_of(np.random.default_rng(1)))
        optimizer.step(grads)
        first, last = first or float(out.loss), float(out.loss)
    assert last is not None
    assert first is not None
    assert last < first / 4
    assert all(np.array_equal(arrays[name], kept[name]) for name in arrays)


def test_frozen_weights_stay() -> None:
    model = model_of().requires_grad_(False, only="bert.*")
    before = {name: array.copy() for name, array in model.named_parameters()}
    optimizer = AdamW(model, 1e-2)
    _, grads = model.gradients(**batch_of(np.random.default_rng(1)))
    optimizer.step(grads)
    changed = {name for name, array in model.named_parameters() if not np.array_equal(array, before[name])}
    assert changed == {name for name in before if not name.startswith("bert.")}


def test_blocks_change_nothing() -> None:
    rng = np.random.default_rng(0)
    size = 2 * BLOCK + 77
    w, g, m, v = (rng.normal(size=size).astype(np.float32) for _ in range(4))
    v = v * v
    parts = [
        (w[i : i + 1000].copy(), g[i : i + 1000], m[i : i + 1000].copy(), v[i : i + 1000].copy()) for i in range(0, size, 1000)
    ]
    options: dict[str, Any] = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1, "corrections": (0.5, 0.3)}
    adamw_step(w, g, m, v, **options)
    for part in parts:
        adamw_step(*part, **options)
    for place, whole in ((0, w), (2, m), (3, v)):
        np.testing.assert_array_equal(whole, np.concatenate([part[place] for part in parts]))


def test_clipping() -> None:
    grads = {"a": np.array([3.0, 0.0], np.float32), "b": np.array([[4.0]], np.float32)}
    assert clip_gradients(grads, 10.0) == pytest.approx(5.0)
    assert grads["a"][0] == 3.0
    assert clip_gradients(grads, 1.0) == pytest.approx(5.0)
    assert math.hypot(*grads["a"], *grads["b"][0]) == pytest.approx(1.0, rel=1e-5)
    assert grads["a"][0] / grads["b"][0, 0] == pytest.approx(0.75)


def test_schedules() -> None:
    assert [linear(4, 8)(step) for step in range(10)] == [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0, 0]
    assert [linear(0, 2)(step) for step in range(3)] == [1, 0.5, 0]
    assert [constant(2, 4)(step) for step in range(6)] == [0, 0.5, 1, 1, 1, 1]
    assert [cosine(2, 4)(step) for step in range(6)] == pytest.approx([0, 0.5, 1, 0.5, 0, 0])
    assert set(SCHEDULES) == {"linear", "cosine", "constant"}


@pytest.mark.parametrize(
    "options", [{"lr": -1}, {"lr": "fast"}, {"eps": np.nan}, {"betas": (0.9, 1.0)}, {"betas": (0.9,)}, {"weight_decay": -0.1}]
)
def test_wrong_settings(options: dict[str, Any]) -> None:
    with pytest.raises(npbert.NpbertError, match=next(iter(options))):
        AdamW(model_of(), **options)


def test_wrong_gradients() -> None:
    optimizer = AdamW(model_of().requires_grad_(False, only="*embeddings*"))
    with pytest.raises(npbert.InputError, match="made without"):
        optimizer.step({"bert.embeddings.word_embeddings.weight": np.zeros((50, 16))})
    with pytest.raises(npbert.InputError, match="takes shape"):
        optimizer.step({"cls.predictions.bias": np.zeros(3)})
    assert optimizer.steps == 0


@pytest.mark.parity
@pytest.mark.parametrize(
    ("dtype", "loss_bound", "weight_bound"),
    [(np.float64, 1e-9, 1e-8), (np.float32, 5e-6, 1e-4)],  # measured: 1.3e-15 and 1.2e-14; 4.8e-7 and 1.2e-5
)
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_fifty_steps_as_the_reference_takes_them(schedule: str, dtype: Any, loss_bound: float, weight_bound: float) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = model_of(dtype)
    config = transformers.BertConfig(**SIZES, attn_implementation="eager")
    theirs = transformers.BertForMaskedLM(config).to(getattr(torch, np.dtype(dtype).name)).train()
    theirs.load_state_dict({name: torch.tensor(array.copy()) for name, array in model.state_dict().items()}, strict=False)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in theirs.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    their_optimizer = torch.optim.AdamW(groups, lr=1e-2)
    make = {
        "linear": transformers.get_linear_schedule_with_warmup,
        "cosine": transformers.get_cosine_schedule_with_warmup,
        "constant": lambda optimizer, warmup, total: transformers.get_constant_schedule_with_warmup(optimizer, warmup),
    }
    their_schedule = make[schedule](their_optimizer, 10, 50)
    optimizer, factor, rng = AdamW(model, 1e-2), SCHEDULES[schedule](10, 50), np.random.default_rng(1)
    for step in range(50):
        batch = batch_of(rng)
        out, grads = model.gradients(**batch)
        norm = clip_gradients(grads, 1.0)
        optimizer.lr = 1e-2 * factor(step)
        optimizer.step(grads)
        their_optimizer.zero_grad()
        loss = theirs(**{name: torch.tensor(x) for name, x in batch.items()}).loss
        loss.backward()
        their_norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        their_optimizer.step()
        their_schedule.step()
        assert abs(float(out.loss) - loss.item()) < loss_bound
        assert norm == pytest.approx(their_norm.item(), rel=1e-4)
    for name, parameter in theirs.named_parameters():
        assert np.abs(model.weights[name] - parameter.detach().numpy()).max() < weight_bound, name
