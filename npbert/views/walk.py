"""The whole pass as a walk: every named value in the order in which it was computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from npbert.golden.names import meaning_of
from npbert.tracing import GRADIENT
from npbert.types import Array
from npbert.views.one_pass import OnePass
from npbert.views.pictures import as_rows, picture

FUNCTIONS = (
    (":query", "ops.split_heads"),
    (":key", "ops.split_heads"),
    (":value", "ops.split_heads"),
    (":scores", "ops.scaled_dot_product_attention: query key^T"),
    (":relative_scores", "bert.attention.relative_scores"),
    (":masked_scores", "ops.scaled_dot_product_attention: scores / sqrt(H) + mask"),
    ("self.dropout", "ops.softmax"),
    (":probs", "ops.softmax, after dropout and head mask"),
    ("LayerNorm", "ops.layer_norm"),
    ("_act_fn", "ops.activations"),
    ("_embeddings", "ops.embedding: rows of a table"),
    (":residual", "+"),
    (":sum", "+"),
    ("attention.self", "ops.merge_heads(probs value)"),
    (".dense", "ops.linear: x W^T + b"),
    (".query", "ops.linear: x W^T + b"),
    (".key", "ops.linear: x W^T + b"),
    (".value", "ops.linear: x W^T + b"),
    (".c_attn", "ops.linear: x W + b"),
    (".c_proj", "ops.linear: x W + b"),
    (".c_fc", "ops.linear: x W + b"),
    (".act", "ops.activations"),
    (".ln_1", "ops.layer_norm"),
    (".ln_2", "ops.layer_norm"),
    (".ln_f", "ops.layer_norm"),
    (".attn_dropout", "ops.softmax"),
    (".wte", "ops.embedding: rows of a table"),
    (".wpe", "ops.embedding: rows of a table"),
    (":context", "ops.merge_heads(probs value)"),
    ("lm_head", "ops.linear: x W^T + b"),
    ("decoder", "ops.linear: x W^T + b"),
    ("classifier", "ops.linear: x W^T + b"),
)
"""The end of a name, and the function that computes it."""

SMALL, LARGE, FEW = (24, 48), (64, 96), 120
"""The most rows and columns of a picture; large where a pass has few values."""


def data(done: OnePass, gradients: Mapping[str, Array], is_short: bool) -> list[dict[str, Any]]:
    """The steps, an array that has several names once; with the gradient by it where there is one."""
    names: dict[int, list[str]] = {}
    for name, x in done.values.items():
        names.setdefault(id(x), []).append(name)
    return [_step(done.values[group[0]], group, gradients, LARGE if is_short else SMALL) for group in names.values()]


def _step(x: Array, names: list[str], gradients: Mapping[str, Array], most: tuple[int, int]) -> dict[str, Any]:
    meaning = meaning_of(names[0])
    step: dict[str, Any] = {
        "names": names,
        "shape": x.shape,
        "axes": "" if meaning is None else meaning.axes.split("|")[0],
        "meaning": "" if meaning is None else meaning.text.replace("{", "").replace("}", ""),
        "function": next((function for end, function in FUNCTIONS if names[0].endswith(end)), ""),
        "picture": picture(as_rows(x), most),
    }
    gradient = next((gradients[GRADIENT + name] for name in names if GRADIENT + name in gradients), None)
    if gradient is not None:
        step["gradient"] = picture(as_rows(gradient), most)
    return step
