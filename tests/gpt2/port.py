"""A GPT-2 that somebody else wrote, in float32, with the mistakes that porters make. It shares no code with npbert."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Dump = dict[str, np.ndarray]


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x: np.ndarray) -> np.ndarray:
    return (0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))).astype(x.dtype)


def run(config: Any, weights: dict[str, np.ndarray], inputs: dict[str, np.ndarray], mistake: str = "") -> Dump:
    """Every value under the name that it has in a pack of a GPT2LMHeadModel."""
    dump: Dump = {}
    w = {name: x.astype(np.float32) for name, x in weights.items()}
    ids, mask = inputs["input_ids"], inputs["attention_mask"].astype(bool)
    length, heads = ids.shape[1], config.n_head

    def keep(name: str, x: np.ndarray) -> np.ndarray:
        dump[name] = x.astype(np.float32)
        return dump[name]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        if mistake == f"layernorm-missing {name.rpartition('.')[2]}":
            return keep(name, x)
        eps = 1e-3 if mistake == "layernorm-eps" else config.layer_norm_epsilon
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return keep(name, (x - mean) / np.sqrt(variance + eps) * w[f"{name}.weight"] + w[f"{name}.bias"])

    def conv(name: str, x: np.ndarray) -> np.ndarray:
        weight = w[f"{name}.weight"]
        if mistake == f"weight-transposed {name.partition('.h.')[2].partition('.')[2]}":
            weight = weight.reshape(weight.shape[::-1]).T
        bias = 0 if mistake == "bias-missing" and name.endswith("mlp.c_fc") else w[f"{name}.bias"]
        return keep(name, x @ weight + bias)

    def split(x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)

    def attention(name: str, x: np.ndarray) -> np.ndarray:
        joined = conv(f"{name}.c_attn", x)
        q, k, v = (split(part) for part in np.split(joined, 3, axis=-1))
        if mistake == "qkv-cut-wrongly":
            q, k, v = joined.reshape(*joined.shape[:2], heads, 3, -1).transpose(3, 0, 2, 1, 4)
        if mistake == "qkv-rotated":
            q, k, v = k, v, q
        q, k, v = keep(f"{name}:query", q), keep(f"{name}:key", k), keep(f"{name}:value", v)
        scores = keep(f"{name}:scores", q @ k.swapaxes(2, 3))
        scores = scores / (1 if mistake == "scores-not-scaled" else np.float32(math.sqrt(q.shape[-1])))
        causal = np.tril(np.ones((length, length), bool), 1 if mistake == "mask-off-by-one" else 0)
        seen = np.ones_like(causal) if mistake == "causal-missing" else causal
        padding = np.ones_like(mask) if mistake == "mask-ignored" else mask
        scores = keep(f"{name}:masked_scores", np.where(seen & padding[:, None, None], scores, np.float32(-1e9)))
        probs = np.exp(scores - scores.max(-1, keepdims=True))
        probs = keep(f"{name}:probs", probs / probs.sum(-1, keepdims=True))
        context = (probs @ v).transpose(0, 2, 1, 3).reshape(*ids.shape, -1)
        return keep(name, conv(f"{name}.c_proj", keep(f"{name}:context", context)))

    def mlp(name: str, x: np.ndarray) -> np.ndarray:
        gelu = gelu_erf if mistake == "gelu-exact" else gelu_tanh
        return keep(name, conv(f"{name}.c_proj", keep(f"{name}.act", gelu(conv(f"{name}.c_fc", x)))))

    positions = inputs.get("position_ids", np.arange(length)[None])
    if mistake == "positions-count-padding":
        positions = np.arange(length)[None]
    if mistake == "positions-skip-padding":
        positions = np.where(mask, mask.cumsum(1) - 1, 1)
    if mistake == "positions-shifted":
        positions = positions + 1
    x = keep("transformer.wte", w["transformer.wte.weight"][ids])
    places = w["transformer.wpe.weight"][positions]
    if mistake != "positions-skip-padding":
        keep("transformer.wpe", places)
    x = keep("transformer.drop", keep("transformer:sum", x + places))
    for layer in range(config.n_layer):
        name = f"transformer.h.{layer}"
        if mistake == "post-norm":
            x = norm(f"{name}.ln_1", x + attention(f"{name}.attn", x))
            x = keep(name, norm(f"{name}.ln_2", x + mlp(f"{name}.mlp", x)))
            del dump[f"{name}.ln_1"], dump[f"{name}.ln_2"]  # they stand elsewhere
            continue
        normed = norm(f"{name}.ln_1", x)
        added = attention(f"{name}.attn", normed)
        before = normed if mistake == "residual-after-norm" else 0 if mistake == "residual-missing" else x
        x = keep(f"{name}.attn:residual", before + added)
        normed = norm(f"{name}.ln_2", x)
        before = normed if mistake == "residual-after-norm" else x
        x = keep(name, before + mlp(f"{name}.mlp", normed))
    x = keep("transformer", norm("transformer.ln_f", x))
    keep("output:logits", keep("lm_head", x @ w["transformer.wte.weight"].T))
    return dump
