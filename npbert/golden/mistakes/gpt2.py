"""The mistakes of those who port GPT-2, or who port it as if it were BERT.

Modules are GPT-2's: a layer `h.0` with `ln_1`, `attn`, `ln_2`, `mlp`; the tables `wte` and `wpe`; `ln_f` at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from npbert import ops
from npbert.golden.layers import layer_of, state_before
from npbert.golden.mistakes import gpt2_attention
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
NORM = r"(?:.*\.)?ln_\w+"
MAPS = r".*\.(?:c_attn|q_attn|c_proj|c_fc)"
POSITIONS = r"(?:.*\.)?wpe"


def hypotheses(config: GPT2Config) -> Iterator[Hypothesis]:
    """Every mistake, the usual ones first."""
    yield from _weights()
    yield from _norms(config)
    yield from gpt2_attention.hypotheses(config)
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


# ----------------------------------------------------------------------------------------- activation, residual, positions


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
