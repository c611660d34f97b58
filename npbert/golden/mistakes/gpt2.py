"""The mistakes of those who port GPT-2, or who port it as if it were BERT.

Modules are GPT-2's: a layer `h.0` with `ln_1`, `attn`, `ln_2`, `mlp`; the tables `wte` and `wpe`; `ln_f` at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from typing import TypeAlias

import numpy as np

from npbert import ops
from npbert.golden.layers import layer_of, state_before
from npbert.golden.mistakes.activations import OTHERS
from npbert.golden.mistakes.hypothesis import Hypothesis, ReplaceValue
from npbert.golden.mistakes.site import Site
from npbert.gpt2.config import GPT2Config
from npbert.types import Array

NAMES = (
    "post-norm",
    "qkv-cut-wrongly",
    "gelu-exact",
    "positions-count-padding",
    "positions-skip-padding",
    "residual-after-norm",
)
"""The mistakes that BERT's porters cannot make; the others have the same names as theirs."""

LAYER = r"(?:.*\.)?h\.\d+"
ATTENTION = rf"{LAYER}\.attn"
ANY_ATTENTION = rf"{LAYER}\.(?:attn|crossattention)"
NORM = r"(?:.*\.)?ln_\w+"
MAPS = r".*\.(?:c_attn|q_attn|c_proj|c_fc)"
POSITIONS = r"(?:.*\.)?wpe"


def hypotheses(config: GPT2Config) -> Iterator[Hypothesis]:
    """Every mistake, the usual ones first."""
    yield from _weights()
    yield from _cuts()
    yield from _norms(config)
    yield from _masks()
    yield from _scales(config)
    yield from _activations()
    yield from _residuals()
    yield from _positions()


# --------------------------------------------------------------------------------------------------------------- weights


def _weights() -> Iterator[Hypothesis]:
    yield _of_weights(
        "weight-transposed",
        "The weight is read as [out, in]: GPT-2's maps are [in, out], x @ weight + bias.",
        lambda weight: {".weight": weight[".weight"].reshape(weight[".weight"].shape[::-1]).T},
    )
    explanation = "The bias is not added: x @ weight + bias."
    yield _of_weights("bias-missing", explanation, lambda weight: {".bias": np.zeros_like(weight[".bias"])})


def _of_weights(mistake: str, explanation: str, change: Callable[[dict[str, Array]], dict[str, Array]]) -> Hypothesis:
    def weights(module: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
        own = {part: arrays[module + part] for part in (".weight", ".bias") if module + part in arrays}
        return {module + part: x for part, x in change(own).items()} if own else {}

    return Hypothesis(mistake, explanation, MAPS, weights=weights, shows_in=("",))


# ----------------------------------------------------------------------------------------------------- query, key, value


PARTS = ("query", "key", "value")
SWAPPED: dict[tuple[str, ...], str] = {
    ("key", "query", "value"): "query-key-swapped",
    ("query", "value", "key"): "key-value-swapped",
    ("value", "key", "query"): "query-value-swapped",
}


def _cuts() -> Iterator[Hypothesis]:
    right = "c_attn holds the query of all heads, then the key of all heads, then the value of all heads."
    for told, cut in (
        ("Each head's piece of c_attn is cut in three", _each_head_in_three),
        ("c_attn is cut into triples: one number of the query, one of the key, one of the value", _in_triples),
    ):
        yield _cut("qkv-cut-wrongly", f"{told}: {right}", cut)
    for order in permutations(PARTS):
        if order != PARTS:
            told = f"c_attn is read as {order[0]}, {order[1]}, {order[2]}: {right}"
            yield _cut(SWAPPED.get(order, "qkv-rotated"), told, _in_order(order))


def _cut(mistake: str, explanation: str, cut: Callable[[Array, int], dict[str, Array]]) -> Hypothesis:
    """`cut(c_attn, H)` gives `[B, N, S, H]` for query, key and value."""

    def part(name: str) -> ReplaceValue:
        def value(site: Site) -> Array | None:
            new = cut(site[".c_attn"], site.config.head_size)[name]
            return np.concatenate([site.value[:, :, : site.value.shape[2] - new.shape[2]], new], axis=2)  # behind a cache

        return value

    return Hypothesis(mistake, explanation, ATTENTION, {f":{name}": part(name) for name in PARTS})


def _each_head_in_three(x: Array, head_size: int) -> dict[str, Array]:
    batch, length, _ = x.shape
    pieces = x.reshape(batch, length, -1, 3, head_size).transpose(3, 0, 2, 1, 4)  # [3, B, N, S, H]
    return dict(zip(PARTS, pieces, strict=True))


def _in_triples(x: Array, head_size: int) -> dict[str, Array]:
    return {name: ops.split_heads(x[..., index::3], head_size) for index, name in enumerate(PARTS)}


def _in_order(order: tuple[str, ...]) -> Callable[[Array, int], dict[str, Array]]:
    def cut(x: Array, head_size: int) -> dict[str, Array]:
        return {name: ops.split_heads(x, head_size) for name, x in zip(order, np.split(x, 3, axis=-1), strict=True)}

    return cut


# ----------------------------------------------------------------------------------------------------------------- norms


def _norms(config: GPT2Config) -> Iterator[Hypothesis]:
    yield Hypothesis(
        "post-norm",
        "Each sum is normalized, as in BERT: GPT-2 normalizes what a block reads, x + attn(ln_1(x)) and x + mlp(ln_2(x)).",
        LAYER,
        {
            ".ln_1": _came_in,
            ".attn:residual": lambda site: _norm(site, "ln_1", site.value),
            ".ln_2": lambda site: site[".attn:residual"],
            "": lambda site: _norm(site, "ln_2", site.value),
        },
    )
    for name in ("ln_1", "ln_2", "ln_cross_attn", "ln_f"):
        explanation = f"{name} is left out." if name != "ln_f" else "ln_f, the LayerNorm after the last layer, is left out."
        yield Hypothesis("layernorm-missing", explanation, rf"(?:.*\.)?{name}", {"": _read_by_norm})
    for eps in (1e-12, 1e-6, 1e-8, 1e-3):
        if eps != config.layer_norm_epsilon:
            explanation = f"The LayerNorm's eps is {eps:g}: the configuration says {config.layer_norm_epsilon:g}."
            yield Hypothesis("layernorm-eps", explanation, NORM, {"": _with_eps(eps)})


def _with_eps(eps: float) -> ReplaceValue:
    def value(site: Site) -> Array | None:
        x = _read_by_norm(site)
        return None if x is None else ops.layer_norm(x, site.weight(".weight"), site.weight(".bias"), eps=eps)

    return value


def _norm(site: Site, name: str, x: Array) -> Array:
    weight, bias = site.weight(f".{name}.weight"), site.weight(f".{name}.bias")
    return ops.layer_norm(x, weight, bias, eps=site.config.layer_norm_epsilon)


def _came_in(site: Site) -> Array | None:
    """What a layer reads; the site is the layer."""
    base, index = site.module.rpartition("h.")[0], layer_of(site.module, 0)
    return _known(site, state_before(f"{base}drop", index))


def _read_by_norm(site: Site) -> Array | None:
    """What a LayerNorm reads; the site is the LayerNorm."""
    path, _, name = site.module.rpartition(".")
    if name == "ln_1":
        return _came_in(site.inside(path))
    if name == "ln_f":
        base = f"{path}." if path else ""
        return _known(site, state_before(f"{base}drop", site.config.n_layer))
    attended = _known(site, f"{path}.attn:residual")
    crossed = _known(site, f"{path}.crossattention:residual") if name == "ln_2" else None
    return attended if crossed is None else crossed


def _known(site: Site, name: str) -> Array | None:
    """A value by its full name: of this pass, or one that the port has right."""
    return site.values[name] if name in site.values else site.truth(name)


# ----------------------------------------------------------------------------------------------------------------- masks


FILLS = (-math.inf, -1e4, -1e9)


Visible: TypeAlias = Callable[[Array, Array], "Array | None"]
"""From padding `[B, 1, 1 or S, T]` and causal `[S, T]`: what the wrong mask leaves visible; None where it makes no sense."""

PATTERNS: list[tuple[str, str, Visible]] = [
    ("causal-missing", "Every token sees those that come later: hide the keys that lie after the query", lambda p, c: p),
    ("mask-off-by-one", "The causal mask is off by one: a token sees the next one too", lambda p, c: p & _shifted(c, 1)),
    ("mask-off-by-one", "The causal mask is off by one: a token does not see itself", lambda p, c: p & _shifted(c, -1)),
    ("mask-ignored", "Padding is not hidden: use the attention_mask beside the causal mask", lambda p, c: c),
    ("mask-ignored", "Nothing is hidden: neither padding nor what comes later", lambda p, c: np.ones_like(c)),
    ("mask-inverted", "The attention_mask is used the other way round: 1 is a real token", lambda p, c: ~p & c),
    ("causal-added", "The causal mask is turned: a token sees itself and those that come later",
     lambda p, c: p & c.T if c.shape[0] == c.shape[1] else None),
]  # fmt: skip


def _masks() -> Iterator[Hypothesis]:
    for mistake, told, visible in PATTERNS:
        for fill in FILLS:
            yield Hypothesis(mistake, f"{told}.", ATTENTION, {":masked_scores": _hidden(visible, fill)})


def _shifted(causal: Array, by: int) -> Array:
    queries, keys = causal.shape
    return np.arange(keys) <= np.arange(keys - queries, keys)[:, None] + by


def _hidden(visible: Visible, fill: float) -> ReplaceValue:
    def value(site: Site) -> Array | None:
        if site.causal.shape != site.value.shape[2:]:
            return None  # the call has a mask of its own for each query
        seen = visible(site.padding, site.causal)
        return None if seen is None else np.where(seen, _scaled(site), _scaled(site) + fill)

    return value


def _scaled(site: Site, divisor: float | None = None) -> Array:
    """The scores before the mask."""
    return site[":scores"] / (_divisor(site) if divisor is None else divisor)


def _divisor(site: Site) -> float:
    scale = math.sqrt(site.config.head_size) if site.config.scale_attn_weights else 1.0
    return scale * (layer_of(site.module, 0) + 1) if site.config.scale_attn_by_inverse_layer_idx else scale


# ----------------------------------------------------------------------------------- scale, activation, residual, positions


def _scales(config: GPT2Config) -> Iterator[Hypothesis]:
    for mistake, explanation, divisor in (
        ("scores-not-scaled", "The scores are not divided by sqrt(H).", 1.0),
        (
            "scaled-by-hidden-size",
            "The scores are divided by sqrt(D): divide by sqrt(H).",
            math.sqrt(config.n_embd),
        ),
        ("wrong-scale", "The scores are divided by H: divide by sqrt(H).", float(config.head_size)),
    ):
        yield Hypothesis(mistake, explanation, ANY_ATTENTION, {":masked_scores": _rescaled(divisor)})
    if config.scale_attn_by_inverse_layer_idx:
        explanation = "The scores are not divided by the number of the layer: scale_attn_by_inverse_layer_idx asks for it."
        yield Hypothesis("wrong-scale", explanation, ANY_ATTENTION, {":masked_scores": _rescaled(math.sqrt(config.head_size))})


def _rescaled(divisor: float) -> ReplaceValue:
    def value(site: Site) -> Array:
        return np.where(np.isfinite(site.value), site.value - _scaled(site) + _scaled(site, divisor), site.value)

    return value


def _activations() -> Iterator[Hypothesis]:
    exact = "GELU is exact (erf), as in BERT: the configuration asks for the approximation with tanh, gelu_new."
    yield _activation("gelu-exact", exact, ops.gelu)
    for mistake, told, function in OTHERS:
        yield _activation(mistake, f"{told}: the configuration asks for another.", function)


def _activation(mistake: str, explanation: str, function: Callable[[Array], Array]) -> Hypothesis:
    return Hypothesis(mistake, explanation, rf"{LAYER}\.mlp", {".act": lambda site: function(site[".c_fc"])})


def _residuals() -> Iterator[Hypothesis]:
    explanation = "The residual is not added: a block adds to what came into it."
    yield Hypothesis("residual-missing", explanation, LAYER, {".attn:residual": lambda site: site[".attn"]})
    yield Hypothesis("residual-missing", explanation, LAYER, {"": lambda site: site[".mlp"]})
    explanation = "The block is added to what its LayerNorm put out: add it to what the LayerNorm read."
    both = {".attn:residual": _after_norm(".attn", ".ln_1"), "": _after_norm(".mlp", ".ln_2")}
    yield Hypothesis("residual-after-norm", explanation, LAYER, both)
    for name, value in both.items():
        yield Hypothesis("residual-after-norm", explanation, LAYER, {name: value})


def _after_norm(block: str, norm: str) -> ReplaceValue:
    return lambda site: site[block] + site[norm]


def _positions() -> Iterator[Hypothesis]:
    counted = "Positions count padding: the call's position_ids count real tokens alone."
    yield Hypothesis("positions-count-padding", counted, POSITIONS, {"": _looked_up(_all_positions)})
    skipped = "Positions skip padding: the call gives no position_ids, so they count every token."
    for at_padding in (1, 0):  # what padding itself gets
        yield Hypothesis("positions-skip-padding", skipped, r"transformer", {":sum": _sum_of_real(at_padding, ".wpe")})
        yield Hypothesis("positions-skip-padding", skipped, r"(?:.*\.)?drop", {"": _sum_of_real(at_padding, "wpe")})
    for shift in (1, -1, 2):
        explanation = f"The positions are off by {shift}: GPT-2 counts from 0."
        yield Hypothesis("positions-shifted", explanation, POSITIONS, {"": _looked_up(_shifted_positions(shift))})
    explanation = "The position embeddings are not added: wte[id] + wpe[position]."
    yield Hypothesis("positions-missing", explanation, POSITIONS, {"": lambda site: np.zeros_like(site.value)})


def _looked_up(positions: Callable[[Site], Array]) -> ReplaceValue:
    def value(site: Site) -> Array | None:
        rows = _rows(site.weight(".weight"), positions(site))
        return None if rows is None else np.broadcast_to(rows, site.value.shape)

    return value


def _rows(table: Array, at: Array) -> Array | None:
    return table[at] if at.min() >= 0 and at.max() < len(table) else None


def _all_positions(site: Site) -> Array:
    return np.arange(site.value.shape[1])[None]


def _shifted_positions(shift: int) -> Callable[[Site], Array]:
    return lambda site: site.context.position_ids + shift


def _sum_of_real(at_padding: int, table: str) -> ReplaceValue:
    """The sum of the embeddings with positions that count real tokens alone, where the right ones count all."""

    def value(site: Site) -> Array | None:
        real = site.context.padding("")[:, 0, -1].astype(np.int64)  # [B, T]
        if site.context.ids("position_ids") is None or real.shape[1] != site.value.shape[1]:
            return None
        base = site if table[0] == "." else site.inside(site.module.removesuffix("drop"))
        at = np.where(real == 0, at_padding, real.cumsum(axis=1) - 1)
        rows = _rows(base.weight(f"{table}.weight"), at)
        return None if rows is None else site.value - base.values[base.module + table] + rows

    return value
