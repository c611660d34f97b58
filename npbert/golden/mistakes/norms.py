"""Mistakes in LayerNorm, wherever it stands."""

from __future__ import annotations

import math
from collections.abc import Iterator

from npbert.bert.config import BertConfig
from npbert.golden.mistakes.hypothesis import EMBEDDINGS_MODULES, OUTPUT_MODULES, Hypothesis
from npbert.golden.mistakes.site import Site
from npbert.types import Array

NORM_MODULES = rf"{EMBEDDINGS_MODULES}|{OUTPUT_MODULES}|.*\.transform"
USUAL_EPS = (1e-5, 1e-12, 1e-6, 1e-3, 1e-8)


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get LayerNorm wrong."""
    yield Hypothesis(
        "layernorm-missing",
        "LayerNorm is left out: normalise, scale and shift the sum with the residual.",
        NORM_MODULES,
        {".LayerNorm": _input},
        groups=(OUTPUT_MODULES,),
    )
    yield Hypothesis(
        "layernorm-unbiased",
        "LayerNorm divides the squares by D - 1: its variance is the biased one, divided by D.",
        NORM_MODULES,
        {".LayerNorm": _unbiased},
        groups=(OUTPUT_MODULES,),
    )
    for eps in USUAL_EPS:
        if not math.isclose(eps, config.layer_norm_eps):
            yield Hypothesis(
                "layernorm-eps",
                f"LayerNorm's eps is {eps:g}: the configuration's layer_norm_eps is {config.layer_norm_eps:g}.",
                NORM_MODULES,
                {".LayerNorm": lambda site, eps=eps: site.norm(_input(site), eps)},  # type: ignore[misc]
                groups=(OUTPUT_MODULES,),
            )


def _input(site: Site) -> Array:
    """What LayerNorm reads."""
    return next(site[name] for name in (":sum", ":residual", ".transform_act_fn") if name in site)


def _unbiased(site: Site) -> Array | None:
    """(x - mean) / sqrt(variance D / (D - 1) + eps), which is LayerNorm with a smaller eps, scaled."""
    x = _input(site)
    size = x.shape[-1]  # D
    if size == 1:
        return None
    factor = size / (size - 1)
    bias = site.weight(".LayerNorm.bias")
    return (site.norm(x, site.config.layer_norm_eps / factor) - bias) / math.sqrt(factor) + bias
