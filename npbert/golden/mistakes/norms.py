"""Mistakes in LayerNorm, wherever it stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from npbert.bert.config import BertConfig
from npbert.golden.mistakes import steps
from npbert.golden.mistakes.hypothesis import OUTPUT_MODULES, Hypothesis
from npbert.golden.mistakes.site import Site
from npbert.types import Array

NORM_MODULES = "|".join(step.modules for step in steps.of_kind("norm"))
USUAL_EPS = (1e-5, 1e-12, 1e-6, 1e-3, 1e-8, 1e-7, 1e-2, 1e-4)

Formula = Callable[[Array, Array, Array, float], "Array | None"]
"""From x, weight, bias and eps."""


def _deviations(x: Array) -> Array:
    return x - x.mean(axis=-1, keepdims=True)


def _variance(x: Array) -> Array:
    return np.square(_deviations(x)).mean(axis=-1, keepdims=True)


def _unbiased(x: Array, weight: Array, bias: Array, eps: float) -> Array | None:
    size = x.shape[-1]  # D
    if size == 1:
        return None
    return _deviations(x) / np.sqrt(_variance(x) * size / (size - 1) + eps) * weight + bias


def _over_positions(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    centred = x - x.mean(axis=-2, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=-2, keepdims=True) + eps) * weight + bias


def _over_pieces(number: int) -> Formula:
    """Of each piece of a token's numbers by itself."""

    def formula(x: Array, weight: Array, bias: Array, eps: float) -> Array | None:
        if x.shape[-1] % number:
            return None
        return _normed(x.reshape(*x.shape[:-1], number, -1), 1, 0, eps).reshape(x.shape) * weight + bias

    return formula


def _over_everything(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    axes = tuple(range(1, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + eps) * weight + bias


def _rms(x: Array) -> Array:
    return np.square(x).mean(axis=-1, keepdims=True)


FORMULAS: list[tuple[str, str, Formula]] = [
    ("layernorm-missing", "LayerNorm is left out: normalise, scale and shift what it reads",
     lambda x, w, b, eps: x),
    ("layernorm-unbiased", "LayerNorm divides the squares by D - 1: its variance is the biased one, divided by D", _unbiased),
    ("layernorm-rms", "LayerNorm does not remove the mean, as RMSNorm: x / sqrt(mean(x^2) + eps) * weight + bias",
     lambda x, w, b, eps: x / np.sqrt(_rms(x) + eps) * w + b),
    ("layernorm-rms", "LayerNorm is RMSNorm, without mean and bias: x / sqrt(mean(x^2) + eps) * weight",
     lambda x, w, b, eps: x / np.sqrt(_rms(x) + eps) * w),
    ("layernorm-rms", "LayerNorm removes the mean but divides by the root of mean(x^2)",
     lambda x, w, b, eps: _deviations(x) / np.sqrt(_rms(x) + eps) * w + b),
    ("layernorm-mean-kept", "LayerNorm keeps the mean but divides by the standard deviation",
     lambda x, w, b, eps: x / np.sqrt(_variance(x) + eps) * w + b),
    ("layernorm-root-missing", "LayerNorm divides by the variance: divide by its root",
     lambda x, w, b, eps: _deviations(x) / (_variance(x) + eps) * w + b),
    ("layernorm-not-divided", "LayerNorm removes the mean and does not divide by the standard deviation",
     lambda x, w, b, eps: _deviations(x) * w + b),
    ("layernorm-not-divided", "LayerNorm multiplies by the standard deviation: divide by it",
     lambda x, w, b, eps: _deviations(x) * np.sqrt(_variance(x) + eps) * w + b),
    ("layernorm-not-divided", "LayerNorm divides by the root of the sum of the squares: divide that sum by D first",
     lambda x, w, b, eps: _deviations(x) / np.sqrt(_variance(x) * x.shape[-1] + eps) * w + b),
    ("layernorm-mean-deviation", "LayerNorm divides by the mean absolute deviation: divide by the standard deviation",
     lambda x, w, b, eps: _deviations(x) / (np.abs(_deviations(x)).mean(axis=-1, keepdims=True) + eps) * w + b),
    ("layernorm-wrong-axis", "LayerNorm is taken over the positions: it belongs over the last axis, D numbers of one token",
     _over_positions),
    ("layernorm-wrong-axis", "LayerNorm is taken over a whole text: it belongs over one token", _over_everything),
    ("layernorm-twice", "LayerNorm is applied twice",
     lambda x, w, b, eps: _normed(_normed(x, w, b, eps), w, b, eps)),
    ("layernorm-twice", "LayerNorm's result is normalised once more",
     lambda x, w, b, eps: _normed(_normed(x, w, b, eps), 1, 0, eps)),
    ("gamma-missing", "LayerNorm's weight is not applied: multiply by it before the bias is added",
     lambda x, w, b, eps: _normed(x, 1, b, eps)),
    ("gamma-missing", "LayerNorm only normalises: multiply by its weight and add its bias",
     lambda x, w, b, eps: _normed(x, 1, 0, eps)),
    ("gamma-plus-one", "LayerNorm multiplies by 1 + weight: multiply by the weight",
     lambda x, w, b, eps: _normed(x, 1 + w, b, eps)),
    ("gamma-after-bias", "LayerNorm adds its bias before it multiplies by the weight: (x + bias) * weight",
     lambda x, w, b, eps: (_normed(x, 1, 0, eps) + b) * w),
    ("gamma-beta-swapped", "LayerNorm's weight and bias are exchanged: multiply by the weight, add the bias",
     lambda x, w, b, eps: _normed(x, b, w, eps)),
    ("beta-subtracted", "LayerNorm's bias is subtracted: add it", lambda x, w, b, eps: _normed(x, w, -b, eps)),
]  # fmt: skip
"""A line here is all that another formula needs."""


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get LayerNorm wrong."""
    for mistake, explanation, formula in FORMULAS:
        yield _with(mistake, f"{explanation}.", formula, config.layer_norm_eps)
    says = "LayerNorm is taken over each head: it belongs over the last axis, D numbers of one token."
    yield _with("layernorm-wrong-axis", says, _over_pieces(config.num_attention_heads), config.layer_norm_eps)
    own = config.layer_norm_eps
    for eps in USUAL_EPS:
        if not math.isclose(eps, own):
            says = f"LayerNorm's eps is {eps:g}: the configuration's layer_norm_eps is {own:g}."
            yield _with("layernorm-eps", says, _normed, eps)
    for eps in dict.fromkeys((own, *USUAL_EPS)):
        says = f"LayerNorm adds eps {eps:g} to the root: it stands inside, sqrt(variance + eps)."
        yield _with("layernorm-eps", says, _eps_outside, eps)


def _with(mistake: str, explanation: str, formula: Formula, eps: float) -> Hypothesis:
    def value(site: Site) -> Array | None:
        weight, bias = site.weight(".LayerNorm.weight"), site.weight(".LayerNorm.bias")
        return formula(_input(site), weight, bias, eps)

    return Hypothesis(mistake, explanation, NORM_MODULES, {".LayerNorm": value}, groups=(OUTPUT_MODULES,))


def _input(site: Site) -> Array:
    """What LayerNorm reads."""
    return next(site[name] for name in (":sum", ":residual", ".transform_act_fn") if name in site)


def _normed(x: Array, weight: Array | float, bias: Array | float, eps: float) -> Array:
    return _deviations(x) / np.sqrt(_variance(x) + eps) * weight + bias


def _eps_outside(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    return _deviations(x) / (np.sqrt(_variance(x)) + eps) * weight + bias
