"""Somebody else's training of GPT-2, in float32, with a switch for every mistake that porters of a backward pass make.

Nothing of npbert is used here. The forward pass is `tests/gpt2/port.py`'s; `train` goes back through what that dumped and
returns every gradient under npbert's names. `mistake` is the name of a mistake, after a blank its variant.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..gpt2 import port

Array = Any
ROOT = "transformer"


class Back:
    """One backward pass."""

    def __init__(self, config: Any, weights: dict[str, Array], inputs: dict[str, Array], mistake: str) -> None:
        self.kind, _, self.variant = mistake.partition(" ")
        self.config, self.inputs = config, inputs
        self.w = {name: x.astype(np.float32) for name, x in weights.items()}
        self.forward = port.run(config, weights, inputs)
        self.dump: dict[str, Array] = {}

    def on(self, mistake: str, name: str = "") -> bool:
        return self.kind == mistake and (not name or self.variant in name)

    def keep(self, name: str, x: Array) -> Array:
        self.dump[f"grad:{name}"] = np.asarray(x, np.float32)
        return self.dump[f"grad:{name}"]

    def weight(self, name: str, x: Array) -> None:
        self.dump[f"grad:weight:{name}"] = np.asarray(x, np.float32)

    def conv(self, name: str, dy: Array, x: Array) -> Array:
        self.keep(name, dy)
        flat, seen = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
        dw, db = seen.T @ flat, flat.sum(0)
        if self.on("weight-gradient-transposed", name):
            dw = np.ascontiguousarray(dw.T).reshape(dw.shape)
        if self.on("bias-gradient-missing", name):
            db = db * 0
        if self.on("bias-gradient-averaged", name):
            db = db / len(flat)
        self.weight(f"{name}.weight", dw)
        self.weight(f"{name}.bias", db)
        return dy @ self.w[f"{name}.weight"].T

    def norm(self, name: str, dy: Array, x: Array) -> Array:
        self.keep(name, dy)
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(self.config.layer_norm_epsilon))
        hat = centred / deviation
        self.weight(f"{name}.weight", (dy * hat).sum((0, 1)))
        self.weight(f"{name}.bias", dy.sum((0, 1)))
        g = dy * self.w[f"{name}.weight"]
        mean = 0 if self.on("layernorm-backward-mean-term-missing", name) else g.mean(-1, keepdims=True)
        variance = 0 if self.on("layernorm-backward-variance-term-missing", name) else hat * (g * hat).mean(-1, keepdims=True)
        return (g - mean - variance) / deviation

    def both(self, through: Array, past: Array, block: str) -> Array:
        if self.on("residual-gradient-missing") and self.variant.partition("/")[0] == block:
            return through if self.variant.endswith("past") else past
        return through + past

    def attend(self, name: str, dy: Array, x: Array) -> Array:
        self.keep(name, dy)
        f, heads = self.forward, self.config.n_head
        d = self.keep(f"{name}:context", self.conv(f"{name}.c_proj", dy, f[f"{name}:context"]))
        batch, length, size = d.shape

        def merge(y: Array) -> Array:
            return y.swapaxes(1, 2).reshape(batch, length, size)

        d = d.reshape(batch, length, heads, -1).swapaxes(1, 2)
        q, k, v, y = (f[f"{name}:{part}"] for part in ("query", "key", "value", "probs"))
        dy = self.keep(f"{name}:probs", d @ v.swapaxes(2, 3))
        dv = y.swapaxes(2, 3) @ d
        diagonal = self.on("softmax-backward-diagonal-only")
        ds = self.keep(f"{name}:masked_scores", dy * y * (1 - y) if diagonal else y * (dy - (dy * y).sum(-1, keepdims=True)))
        if not self.on("attention-scale-missing-in-backward"):
            ds = ds / np.float32(math.sqrt(q.shape[-1]))
        self.keep(f"{name}:scores", ds)
        parts = {"query": ds @ k, "key": ds.swapaxes(2, 3) @ q, "value": dv}
        for part, dpart in parts.items():
            self.keep(f"{name}:{part}", dpart)
        return self.conv(f"{name}.c_attn", np.concatenate([merge(dpart) for dpart in parts.values()], axis=-1), x)

    def feed_forward(self, name: str, dy: Array, x: Array) -> Array:
        self.keep(name, dy)
        wide = self.forward[f"{name}.c_fc"].astype(np.float64)
        d = self.keep(f"{name}.act", self.conv(f"{name}.c_proj", dy, self.forward[f"{name}.act"]))
        if self.on("gelu-derivative-of-another"):
            slope = 0.5 + 0.5 * np.vectorize(math.erf)(wide / math.sqrt(2))
            slope = slope + wide * np.exp(-wide * wide / 2) / math.sqrt(2 * math.pi)
        else:
            c = math.sqrt(2 / math.pi)
            t = np.tanh(c * (wide + 0.044715 * wide**3))
            slope = (1 + t) / 2 + wide / 2 * (1 - t * t) * c * (1 + 3 * 0.044715 * wide * wide)
        return self.conv(f"{name}.c_fc", (d * slope).astype(np.float32), x)

    def loss(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        if not self.on("loss-labels-not-shifted"):
            labels = np.concatenate([labels[:, 1:], np.full((len(labels), 1), -100)], axis=1)
        counted = labels != -100
        share = counted / np.float32(1 if self.on("loss-sum-for-mean") else counted.sum())
        z = logits - logits.max(-1, keepdims=True)
        logs = z - np.log(np.exp(z).sum(-1, keepdims=True))
        one = np.zeros_like(logits)
        np.put_along_axis(one, np.maximum(labels, 0)[..., None], 1, -1)
        return -(share[..., None] * one * logs).sum(), (share[..., None] * (np.exp(logs) - one)).astype(np.float32)


def train(config: Any, weights: dict[str, Array], inputs: dict[str, Array], mistake: str = "") -> dict[str, Array]:
    """Everything that a forward and a backward pass of a GPT2LMHeadModel computes."""
    m = Back(config, weights, {name: x for name, x in inputs.items() if name != "labels"}, mistake)
    f, ids = m.forward, inputs["input_ids"]
    loss, d = m.loss(f["output:logits"], inputs["labels"])
    m.keep("lm_head", d)
    table = m.w[f"{ROOT}.wte.weight"]
    by_head = d.reshape(-1, len(table)).T @ f[ROOT].reshape(-1, table.shape[1])
    d = m.keep(ROOT, d @ table)
    d = m.norm(f"{ROOT}.ln_f", d, f[f"{ROOT}.h.{config.n_layer - 1}"])
    for layer in reversed(range(config.n_layer)):
        name = f"{ROOT}.h.{layer}"
        m.keep(name, d)
        through = m.norm(f"{name}.ln_2", m.feed_forward(f"{name}.mlp", d, f[f"{name}.ln_2"]), f[f"{name}.attn:residual"])
        d = m.keep(f"{name}.attn:residual", m.both(through, d, "feed-forward"))
        below = f[f"{ROOT}.h.{layer - 1}"] if layer else f[f"{ROOT}.drop"]
        d = m.both(m.norm(f"{name}.ln_1", m.attend(f"{name}.attn", d, f[f"{name}.ln_1"]), below), d, "attention")
    m.keep(f"{ROOT}.drop", d)
    m.keep(f"{ROOT}:sum", d)
    m.keep(f"{ROOT}.wte", d)
    choose = {"first": d[:1], "mean": d.mean(0, keepdims=True)}.get(m.variant, d[-1:])
    by_position = m.keep(f"{ROOT}.wpe", choose if m.on("position-gradient-not-summed") else d.sum(0, keepdims=True))
    places = np.zeros_like(m.w[f"{ROOT}.wpe.weight"])
    places[: ids.shape[1]] = by_position[0]
    m.weight(f"{ROOT}.wpe.weight", places)
    looked_up = np.zeros_like(table)
    if m.on("embedding-gradient-overwritten"):
        looked_up[ids.reshape(-1)] = d.reshape(-1, d.shape[-1])
    else:
        np.add.at(looked_up, ids.reshape(-1), d.reshape(-1, d.shape[-1]))
    uses = {"head": (1, 0), "table": (0, 1)}.get(m.variant, (1, 1))
    m.weight(f"{ROOT}.wte.weight", uses[0] * by_head + uses[1] * looked_up)
    if m.on("gradient-accumulated-twice"):
        m.dump |= {name: 2 * x for name, x in m.dump.items() if name.startswith("grad:weight:")}
    return {**f, "output:loss": np.asarray(loss, np.float32), **m.dump}
