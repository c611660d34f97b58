"""Somebody else's BERT, written straight from the paper in float32, with a switch for every mistake that porters make.

Nothing of npbert is used here. `run` returns every intermediate under the name that npbert gives it, as a port would dump
them. `mistake` is the name of a mistake, after a blank its variant ("positions-shifted 2"). `layers` are the layers in which it
is made (None: all of them), `block` is the part of a layer ("attention", "crossattention", "feed_forward"; None: all of them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

Array = Any
erf = np.frompyfunc(math.erf, 1, 1)


def run(
    config: Mapping[str, Any],
    weights: Mapping[str, Array],
    inputs: Mapping[str, Array],
    mistake: str = "",
    *,
    layers: Collection[int] | None = None,
    block: str | None = None,
    prefix: str = "",
    rounded: Callable[[Array], Array] = lambda x: x,
    mask_value: float = -10000.0,
    seed: int = 0,
    masks: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    kind, _, variant = mistake.partition(" ")
    size, heads, depth = config["hidden_size"], config["num_attention_heads"], config["num_hidden_layers"]
    head = size // heads
    w = {name: rounded(np.asarray(array, np.float32)) for name, array in weights.items()}
    dump: dict[str, Array] = {}
    rng = np.random.default_rng(seed)

    def keep(name: str, x: Array) -> Array:
        dump[name] = rounded(np.asarray(x, np.float32))
        return dump[name]

    def on(name: str, layer: int | None = None, part: str | None = None) -> bool:
        if kind != name:
            return False
        here = layers is None or layer in layers
        return here and (block is None or part == block)

    def of_layer(name: str, layer: int | None) -> str:
        if layer is None or not on("wrong-layer-weights", layer):
            return name
        other = min(layer + 1, depth - 1) if variant == "next" else int(variant)
        return name.replace(f"layer.{layer}.", f"layer.{other}.")

    def dense(name: str, x: Array, layer: int | None = None, part: str | None = None) -> Array:
        module = of_layer(name, layer)
        swap = {}
        if on("key-value-swapped", layer, part) and variant != "call":
            swap = {"key": "value", "value": "key"}
        if on("query-key-swapped", layer, part) and variant != "call":
            swap = {"query": "key", "key": "query"}
        start, _, last = module.rpartition(".")
        if last in swap:
            module = f"{start}.{swap[last]}"
        weight, bias = w[f"{module}.weight"], w[f"{module}.bias"]
        if on("weight-transposed", layer, part) and variant in ("", last):
            weight = weight.reshape(weight.shape[::-1]).T
        y = np.einsum("...i,oi->...o", x, weight)
        if not (on("bias-missing", layer, part) and variant in ("", last)):
            y = y + bias
        return keep(name, y)

    def norm(name: str, x: Array, layer: int | None = None, part: str | None = None) -> Array:
        module = of_layer(name, layer)
        if (on("layernorm-missing", layer, part) and (part != "embeddings" or variant)) or (
            on("embeddings-layernorm-missing") and "embeddings" in name
        ):
            return keep(name, x)
        eps = config["layer_norm_eps"]
        if on("layernorm-eps", layer, part):
            eps = float(variant)
        centred = x - x.mean(axis=-1, keepdims=True)
        count = x.shape[-1] - 1 if on("layernorm-unbiased", layer, part) else x.shape[-1]
        deviation = np.sqrt((centred * centred).sum(axis=-1, keepdims=True) / np.float32(count) + np.float32(eps))
        return keep(name, w[f"{module}.weight"] * (centred / deviation) + w[f"{module}.bias"])

    def dropout(name: str, x: Array, layer: int | None = None, part: str | None = None) -> Array:
        if on("dropout-left-on", layer, part):
            x = x * (rng.random(x.shape) > 0.1) / np.float32(0.9)
        mask = (masks or {}).get(f"{name.removesuffix('dropout').removesuffix('.')}:dropout_mask")
        if mask is not None:
            dump[f"{name.removesuffix('dropout').removesuffix('.')}:dropout_mask"] = mask
            x = x * mask / np.float32(1 - config["hidden_dropout_prob"])
        return keep(name, x)

    def activation(x: Array, layer: int | None = None) -> Array:
        if on("gelu-tanh", layer):
            return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        if on("gelu-sigmoid", layer):
            return x / (1 + np.exp(-1.702 * x))
        if on("activation-relu", layer):
            return np.where(x > 0, x, np.float32(0))
        return x * (0.5 + 0.5 * erf(x / np.sqrt(2.0)).astype(np.float64))

    def attend(name: str, x: Array, source: Array, mask: Array, causal: bool, layer: int, part: str) -> Array:
        """mask: 1 for keys that may be seen, [B, T]."""
        batch, length = x.shape[:2]
        q = dense(f"{name}.query", x, layer, part)
        k = dense(f"{name}.key", source, layer, part)
        v = dense(f"{name}.value", source, layer, part)

        def split(y: Array) -> Array:
            if on("heads-not-transposed", layer, part):
                return y.reshape(batch, heads, y.shape[1], head)
            return np.stack([y[:, :, n * head : (n + 1) * head] for n in range(heads)], axis=1)

        q, k, v = keep(f"{name}:query", split(q)), keep(f"{name}:key", split(k)), keep(f"{name}:value", split(v))
        left, right, held = q, k, v
        if on("query-key-swapped", layer, part) and variant == "call":
            left, right = k, q
        if on("key-value-swapped", layer, part) and variant == "call":
            right, held = v, k
        scores = keep(f"{name}:scores", np.einsum("bnsh,bnth->bnst", left, right))
        scale = math.sqrt(head)
        if on("scores-not-scaled", layer, part):
            scale = 1.0
        if on("scaled-by-hidden-size", layer, part):
            scale = math.sqrt(size)
        seen = mask[:, None, None, :].astype(bool)
        if on("mask-inverted", layer, part):
            seen = ~seen
        if on("mask-ignored", layer, part):
            seen = np.ones_like(seen)
        if on("mask-wrong-axis", layer, part):
            seen = mask[:, None, :, None].astype(bool)
        if causal and not on("causal-missing", layer, part):
            seen = seen & np.tri(length, dtype=bool)
        hidden = np.where(seen, np.float32(0), np.float32(mask_value))
        scores = keep(f"{name}:masked_scores", scores / np.float32(scale) + hidden)
        axis = -2 if on("softmax-wrong-axis", layer, part) else -1
        e = np.exp(scores - scores.max(axis=axis, keepdims=True))
        probs = keep(f"{name}:probs", dropout(f"{name}.dropout", e / e.sum(axis=axis, keepdims=True), layer, part))
        context = np.einsum("bnst,bnth->bnsh", probs, held)
        if on("heads-not-merged", layer, part):
            return keep(name, context.reshape(batch, length, size))
        return keep(name, np.concatenate([context[:, n] for n in range(heads)], axis=-1))

    def hand_on(name: str, x: Array, residual: Array, layer: int, part: str) -> Array:
        x = dropout(f"{name}.dropout", dense(f"{name}.dense", x, layer, part), layer, part)
        if on("residual-missing", layer, part):
            return keep(name, norm(f"{name}.LayerNorm", keep(f"{name}:residual", x), layer, part))
        if on("residual-after-layernorm", layer, part):
            keep(f"{name}:residual", x)
            return keep(name, norm(f"{name}.LayerNorm", x, layer, part) + residual)
        return keep(name, norm(f"{name}.LayerNorm", keep(f"{name}:residual", x + residual), layer, part))

    # ------------------------------------------------------------------------------------------------------- the model
    ids = inputs["input_ids"]
    length = ids.shape[1]
    types = inputs.get("token_type_ids", np.zeros_like(ids))
    mask = inputs.get("attention_mask", np.ones_like(ids))
    places = np.arange(length)
    if on("positions-shifted"):
        places = places + int(variant) if variant != "zero" else places * 0
    base = f"{prefix}embeddings"
    x = keep(f"{base}.word_embeddings", w[f"{base}.word_embeddings.weight"][ids])
    kinds = w[f"{base}.token_type_embeddings.weight"][
        types * 0 if kind == "token-types-missing" and variant == "zero" else types
    ]
    if kind == "token-types-missing" and variant == "":
        kinds = np.zeros_like(kinds)
    keep(f"{base}.token_type_embeddings", kinds)
    keep(f"{base}.position_embeddings", w[f"{base}.position_embeddings.weight"][places][None])
    x = x + dump[f"{base}.token_type_embeddings"] + dump[f"{base}.position_embeddings"]
    if kind == "token-types-missing" and variant == "":
        del dump[f"{base}.token_type_embeddings"]
    x = norm(f"{base}.LayerNorm", keep(f"{base}:sum", x), None, "embeddings")
    x = keep(base, dropout(f"{base}.dropout", x, None, "embeddings"))
    for i in range(depth):
        layer = f"{prefix}encoder.layer.{i}"
        context = attend(f"{layer}.attention.self", x, x, mask, config.get("is_decoder", False), i, "attention")
        x = keep(f"{layer}.attention", hand_on(f"{layer}.attention.output", context, x, i, "attention"))
        if "encoder_hidden_states" in inputs:
            memory = rounded(np.asarray(inputs["encoder_hidden_states"], np.float32))
            seen = inputs.get("encoder_attention_mask", np.ones(memory.shape[:2]))
            context = attend(f"{layer}.crossattention.self", x, memory, seen, False, i, "crossattention")
            x = keep(f"{layer}.crossattention", hand_on(f"{layer}.crossattention.output", context, x, i, "crossattention"))
        wide = dense(f"{layer}.intermediate.dense", x, i, "feed_forward")
        wide = keep(f"{layer}.intermediate", keep(f"{layer}.intermediate.intermediate_act_fn", activation(wide, i)))
        x = keep(layer, hand_on(f"{layer}.output", wide, x, i, "feed_forward"))
    x = keep(f"{prefix}encoder", x)
    if not prefix:
        keep("output:last_hidden_state", x)
    if f"{prefix}pooler.dense.weight" in w:
        token = -1 if on("pooler-wrong-token") else 0
        y = dense(f"{prefix}pooler.dense", x[:, token], None, "pooler")
        y = keep(f"{prefix}pooler.activation", y if on("pooler-tanh-missing") else np.tanh(y))
        y = keep(f"{prefix}pooler", y)
        if not prefix:
            keep("output:pooler_output", y)
    if "cls.predictions.transform.dense.weight" in w:
        y = activation(dense("cls.predictions.transform.dense", x, None, "head"))
        y = keep("cls.predictions.transform.transform_act_fn", y)
        y = keep("cls.predictions.transform", norm("cls.predictions.transform.LayerNorm", y, None, "head"))
        table = w[f"{prefix}embeddings.word_embeddings.weight"]
        bias = 0 if on("bias-missing", None, "head") and variant in ("", "decoder") else w["cls.predictions.bias"]
        keep("output:logits", keep("cls.predictions.decoder", y @ table.T + bias))
    if "classifier.weight" in w:
        keep("output:logits", dense("classifier", dropout("dropout", dump[f"{prefix}pooler"]), None, "head"))
    return dump
