"""Somebody else's training of BERT, in float32, with a switch for every mistake that porters of a backward pass make.

Nothing of npbert is used here. The forward pass is `tests/port.py`'s; `train` goes back through what that dumped and returns
every gradient under npbert's names, as a port would dump them. `adamw` takes optimizer steps. `mistake` is the name of a
mistake, after a blank its variant; `layers` are the layers in which it is made (None: everywhere).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from .. import port

Array = Any


class Back:
    """One backward pass."""

    def __init__(
        self,
        config: Mapping[str, Any],
        weights: Mapping[str, Array],
        inputs: Mapping[str, Array],
        forward: Mapping[str, Array],
        mistake: str,
        layers: Collection[int] | None,
    ) -> None:
        self.config, self.inputs, self.forward = config, inputs, forward
        self.w = {name: np.asarray(x, np.float32) for name, x in weights.items()}
        self.kind, _, self.variant = mistake.partition(" ")
        self.layers = layers
        self.dump: dict[str, Array] = {}
        self.rng = np.random.default_rng(3)

    def on(self, mistake: str, name: str = "") -> bool:
        if self.kind != mistake:
            return False
        return self.layers is None or any(f"layer.{layer}." in f"{name}." for layer in self.layers)

    def keep(self, name: str, x: Array) -> Array:
        self.dump[f"grad:{name}"] = np.asarray(x, np.float32)
        return self.dump[f"grad:{name}"]

    def weight(self, name: str, x: Array) -> None:
        self.dump[f"grad:weight:{name}"] = np.asarray(x, np.float32)

    # ---------------------------------------------------------------------------------------------------------- operations

    def dense(self, name: str, dy: Array, x: Array) -> Array:
        self.keep(name, dy)
        flat, seen = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
        dw = np.einsum("ro,ri->oi", flat, seen)
        if self.on("weight-gradient-transposed", name) and (not self.variant or name.endswith(self.variant)):
            dw = np.ascontiguousarray(dw.T).reshape(dw.shape)
        self.weight(f"{name}.weight", dw)
        self.bias(f"{name}.bias", name, flat)
        return np.einsum("...o,oi->...i", dy, self.w[f"{name}.weight"])

    def bias(self, bias: str, name: str, rows: Array) -> None:
        db = rows.sum(axis=0)
        if self.on("bias-gradient-missing", name):
            db = np.zeros_like(db)
        if self.on("bias-gradient-averaged", name):
            db = db / (len(self.inputs["input_ids"]) if self.variant == "texts" else len(rows))
        self.weight(bias, db)

    def norm(self, name: str, dy: Array, x: Array) -> Array:
        self.keep(name, dy)
        size = x.shape[-1]
        centred = x - x.mean(-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(self.config["layer_norm_eps"]))
        hat = centred / deviation
        self.weight(f"{name}.weight", (dy * hat).reshape(-1, size).sum(0))
        self.bias(f"{name}.bias", name, dy.reshape(-1, size))
        g = dy * self.w[f"{name}.weight"]
        result = g.copy()
        if not self.on("layernorm-backward-mean-term-missing", name):
            result -= g.mean(-1, keepdims=True)
        if not self.on("layernorm-backward-variance-term-missing", name):
            result -= hat * (g * hat).mean(-1, keepdims=True)
        return result / deviation

    def activation(self, name: str, dy: Array, x: Array) -> Array:
        x = x.astype(np.float64)
        if self.on("gelu-derivative-of-another", name) and self.variant != "sigmoid":
            c = math.sqrt(2 / math.pi)
            t = np.tanh(c * (x + 0.044715 * x**3))
            slope = (1 + t) / 2 + x / 2 * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)
        elif self.on("gelu-derivative-of-another", name):
            s = 1 / (1 + np.exp(-1.702 * x))
            slope = s + 1.702 * x * s * (1 - s)
        else:
            slope = 0.5 + 0.5 * port.erf(x / math.sqrt(2)).astype(np.float64) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return (dy * slope).astype(np.float32)

    def dropout(self, place: str, dy: Array) -> Array:
        name = f"{place}.dropout" if place else "dropout"
        self.keep(name, dy)
        mask = self.forward.get(f"{place}:dropout_mask")
        if mask is None:
            return dy
        p = np.float32(self.config["hidden_dropout_prob"])
        if self.on("dropout-mask-not-repeated", f"{name}."):
            if self.variant == "none":
                return dy
            mask = self.rng.random(dy.shape) > p
        return dy * mask if self.on("dropout-not-scaled-in-backward", f"{name}.") else dy * mask / (1 - p)

    def table(self, name: str, dy: Array, ids: Array) -> None:
        self.keep(name, dy)
        dt = np.zeros_like(self.w[f"{name}.weight"])
        flat, rows = np.broadcast_to(ids, dy.shape[:2]).reshape(-1), dy.reshape(-1, dy.shape[-1])
        if self.on("embedding-gradient-overwritten") and name.endswith(self.variant or "word_embeddings"):
            dt[flat] = rows
        else:
            np.add.at(dt, flat, rows)
        if name.endswith("word_embeddings"):
            if not self.on("padding-row-gradient"):
                dt[0] = 0
            decoder = self.dump.get(f"grad:weight:{name}.weight")
            if decoder is not None:
                keep = (
                    {"head": (1, 0), "table": (0, 1)}.get(self.variant, (1, 1)) if self.on("tied-gradient-one-use") else (1, 1)
                )
                dt = keep[0] * decoder + keep[1] * dt
        self.weight(f"{name}.weight", dt)

    # ------------------------------------------------------------------------------------------------------------ modules

    def hand_on(self, name: str, dy: Array, x: Array) -> tuple[Array, Array]:
        self.keep(name, dy)
        dsum = self.keep(f"{name}:residual", self.norm(f"{name}.LayerNorm", dy, self.forward[f"{name}:residual"]))
        return self.dense(f"{name}.dense", self.dropout(name, dsum), x), dsum

    def both(self, through: Array, past: Array, name: str, block: str) -> Array:
        if self.on("residual-gradient-missing", name) and self.variant.partition("/")[0] == block:
            return through if self.variant.endswith("past") else past
        return through + past

    def attend(self, name: str, dcontext: Array, x: Array) -> Array:
        self.keep(name, dcontext)
        f, heads = self.forward, self.config["num_attention_heads"]
        batch, length, size = dcontext.shape
        head = size // heads

        def split(y: Array) -> Array:
            return y.reshape(batch, length, heads, head).swapaxes(1, 2)

        def merge(y: Array) -> Array:
            return y.swapaxes(1, 2).reshape(batch, length, size)

        d = split(dcontext)
        q, k, v = (f[f"{name}:{part}"] for part in ("query", "key", "value"))
        dprobs = self.keep(f"{name}:probs", np.einsum("bnsh,bnth->bnst", d, v))
        dv = np.einsum("bnst,bnsh->bnth", f[f"{name}:probs"], d)
        dsoft = self.dropout(name, dprobs)
        e = np.exp(f[f"{name}:masked_scores"] - f[f"{name}:masked_scores"].max(-1, keepdims=True))
        y = e / e.sum(-1, keepdims=True)
        if self.on("softmax-backward-diagonal-only", name):
            dmasked = dsoft * y * (1 - y)
        else:
            dmasked = y * (dsoft - (dsoft * y).sum(-1, keepdims=True))
        self.keep(f"{name}:masked_scores", dmasked)
        scale = 1 if self.on("attention-scale-missing-in-backward", name) else math.sqrt(head)
        ds = self.keep(f"{name}:scores", dmasked / np.float32(scale))
        dq, dk = np.einsum("bnst,bnth->bnsh", ds, k), np.einsum("bnst,bnsh->bnth", ds, q)
        for part, x_part in (("query", dq), ("key", dk), ("value", dv)):
            self.keep(f"{name}:{part}", x_part)
        parts = (("query", dq), ("key", dk), ("value", dv))
        return sum(self.dense(f"{name}.{part}", merge(x_part), x) for part, x_part in parts)

    def layer(self, name: str, dy: Array, x: Array) -> Array:
        self.keep(name, dy)
        f = self.forward
        through, past = self.hand_on(f"{name}.output", dy, f[f"{name}.intermediate"])
        self.keep(f"{name}.intermediate", through)
        self.keep(f"{name}.intermediate.intermediate_act_fn", through)
        wide = self.activation(f"{name}.intermediate", through, f[f"{name}.intermediate.dense"])
        through = self.dense(f"{name}.intermediate.dense", wide, f[f"{name}.attention"])
        d = self.keep(f"{name}.attention", self.both(through, past, name, "feed-forward"))
        dcontext, past = self.hand_on(f"{name}.attention.output", d, f[f"{name}.attention.self"])
        return self.both(self.attend(f"{name}.attention.self", dcontext, x), past, name, "attention")

    # -------------------------------------------------------------------------------------------------------------- losses

    def loss(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        """The loss and its gradient."""
        z = logits - logits.max(-1, keepdims=True)
        logs = z - np.log(np.exp(z).sum(-1, keepdims=True))
        counted = labels != -100
        w = counted / np.float32(counted.sum())
        if self.on("loss-sum-for-mean"):
            w = counted * np.float32(1)
        if self.on("loss-counts-ignored-labels"):
            w = counted / np.float32(counted.size)
            if self.variant == "zero":
                labels, w = np.where(counted, labels, 0), np.full(labels.shape, 1 / np.float32(labels.size))
        if self.on("loss-averaged-per-sequence"):
            w = counted / counted.sum(1, keepdims=True) / np.float32(len(labels))
        one = np.zeros_like(logits)
        np.put_along_axis(one, np.maximum(labels, 0)[..., None], 1, -1)
        return -(w[..., None] * one * logs).sum(), (w[..., None] * (np.exp(logs) - one)).astype(np.float32)


def train(
    config: Mapping[str, Any],
    weights: Mapping[str, Array],
    inputs: Mapping[str, Array],
    mistake: str = "",
    *,
    layers: Collection[int] | None = None,
    masks: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Everything that a forward and a backward pass computes."""
    prefix = "bert."
    call = {name: x for name, x in inputs.items() if name != "labels"}
    forward = port.run(config, weights, call, prefix=prefix, masks=masks)
    m = Back(config, weights, inputs, forward, mistake, layers)
    labels = inputs["labels"]
    last = forward[f"{prefix}encoder"]
    loss, d = m.loss(forward["output:logits"], labels)
    if "cls.predictions.transform.dense.weight" in weights:
        for name in ("cls", "cls.predictions", "cls.predictions:logits", "cls.predictions.decoder"):
            m.keep(name, d)
        head = "cls.predictions.transform"
        x = forward[head].reshape(-1, last.shape[-1])
        rows = d.reshape(-1, d.shape[-1])
        m.bias("cls.predictions.bias", "cls.predictions.decoder", rows)
        table = f"{prefix}embeddings.word_embeddings.weight"
        m.weight(table, rows.T @ x)
        d = m.keep(head, d @ m.w[table])
        d = m.keep(f"{head}.transform_act_fn", m.norm(f"{head}.LayerNorm", d, forward[f"{head}.transform_act_fn"]))
        d = m.dense(f"{head}.dense", m.activation(head, d, forward[f"{head}.dense"]), last)
    else:
        d = m.dropout("", m.dense("classifier", d, forward["dropout"]))
        m.keep(f"{prefix}pooler", d)
        m.keep(f"{prefix}pooler.activation", d)
        if not m.on("pooler-tanh-derivative-missing"):
            d = d * (1 - forward[f"{prefix}pooler"] ** 2)
        first = m.dense(f"{prefix}pooler.dense", d, last[:, 0])
        d = np.zeros_like(last)
        d[:, 0] = first
    m.keep("bert", d)
    m.keep(f"{prefix}encoder", d)
    for i in reversed(range(config["num_hidden_layers"])):
        below = f"{prefix}encoder.layer.{i - 1}" if i else f"{prefix}embeddings"
        d = m.layer(f"{prefix}encoder.layer.{i}", d, forward[below])
    base = f"{prefix}embeddings"
    m.keep(base, d)
    d = m.keep(f"{base}:sum", m.norm(f"{base}.LayerNorm", m.dropout(base, d), forward[f"{base}:sum"]))
    ids = inputs["input_ids"]
    choose: dict[str, Callable[[Array], Array]] = {"first": lambda x: x[:1], "mean": lambda x: x.mean(0, keepdims=True)}
    of_positions = (
        choose.get(m.variant, lambda x: x[-1:])(d) if m.on("position-gradient-not-summed") else d.sum(0, keepdims=True)
    )
    m.table(f"{base}.position_embeddings", of_positions, np.arange(ids.shape[1])[None])
    m.table(f"{base}.token_type_embeddings", d, inputs.get("token_type_ids", np.zeros_like(ids)))
    m.table(f"{base}.word_embeddings", d, ids)
    if m.on("gradient-accumulated-twice"):
        m.dump |= {name: 2 * x for name, x in m.dump.items() if name.startswith("grad:weight:")}
    return {**forward, "output:loss": np.asarray(loss, np.float32), **m.dump}


def adamw(
    config: Mapping[str, Any],
    weights: Mapping[str, Array],
    inputs: Mapping[str, Array],
    number: int,
    rates: Callable[[int], float],
    mistake: str = "",
    *,
    decay: float,
    max_norm: float | None,
    eps: float = 1e-8,
) -> dict[str, Array]:
    """Everything of the first pass, and what some steps make of the weights."""
    kind, _, variant = mistake.partition(" ")
    w = {name: np.array(x, np.float32) for name, x in weights.items() if not name.startswith("cls.predictions.decoder")}
    state = {name: (np.zeros_like(x), np.zeros_like(x)) for name, x in w.items()}
    held = {name: np.zeros_like(x) for name, x in w.items()}
    dump = train(config, w, inputs)
    seen = dump
    for t in range(1, number + 1):
        grads = {name: seen[f"grad:weight:{name}"] for name in w}
        if kind == "gradient-accumulated-twice":
            held = {name: held[name] + x for name, x in grads.items()}
            grads = held
        square = sum(float((x.astype(np.float64) ** 2).sum()) for x in grads.values())
        norm = square if kind == "clip-norm-squared" else math.sqrt(square)
        if max_norm is not None and norm > max_norm and kind != "clip-not-applied":
            grads = {name: x * np.float32(max_norm / norm) for name, x in grads.items()}
        rate = rates(max(1, t + int(variant or 1)) if kind == "learning-rate-off-by-one" else t)
        for name, g in grads.items():
            pull = decay if w[name].ndim > 1 or kind == "weight-decay-on-bias-and-layernorm" else 0
            if kind == "weight-decay-coupled":
                g = g + np.float32(pull) * w[name]
                pull = 0
            m, v = state[name]
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            state[name] = m.astype(np.float32), v.astype(np.float32)
            c1, c2 = (1.0, 1.0) if kind == "adam-bias-correction-missing" else (1 - 0.9**t, 1 - 0.999**t)
            root = np.sqrt(v / c2 + eps) if kind == "adam-eps-inside-root" else np.sqrt(v / c2) + eps
            w[name] = (w[name] - rate * pull * w[name] - rate * (m / c1) / root).astype(np.float32)
        dump |= {f"step:{t}:weight:{name}": x for name, x in w.items()}
        seen = train(config, w, inputs)
        dump[f"step:{t}:loss"] = seen["output:loss"]
    return dump
