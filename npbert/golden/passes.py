"""One forward pass in a chosen precision: the float64 truth, float32, or a shorter one that is emulated by rounding.

The weights are not copied: each is converted when the pass reads it and forgotten afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from npbert.golden import models
from npbert.golden.arithmetic import Arithmetic
from npbert.golden.precision import STORED_IN, round_to
from npbert.tracing import observe
from npbert.types import Array

Look: TypeAlias = Callable[[str, Array], None]
LookAtSpread: TypeAlias = Callable[[str, Array, "Array | None"], None]


def run(
    model: Any,
    inputs: Mapping[str, Any],
    precision: str,
    look: Look,
    *,
    weights: Mapping[str, Array] | None = None,
    config: Any = None,
) -> None:
    """Run the model on `inputs` in the given precision. `look(name, value)` sees every named value, then the outputs.

    Outputs are called `output:NAME`. Under float16 and bfloat16, weights, floating-point inputs and every named value are
    rounded to that format. What lies between two names (a matrix product with its bias, a softmax, a LayerNorm, an activation)
    is computed in float32, as the hardware for these formats does. Other precisions shorten the operands of products: see
    `npbert.golden.arithmetic`. `weights` (under all their names) and `config` replace the model's own.
    """
    is_emulated = precision != "float64" and STORED_IN[precision] != precision
    arithmetic = Arithmetic(precision, spread=False) if is_emulated else None
    _run(model, inputs, precision, lambda name, x, _: look(name, x), arithmetic, weights, config)


def run_spread(model: Any, inputs: Mapping[str, Any], precision: str, look: LookAtSpread) -> None:
    """The same, but products and sums are off by what those of another port may be off by: their spread.

    `look(name, value, spread)` sees that too, where the value is the result of a product.
    """
    weights, arithmetic = None, Arithmetic(precision, spread=True)
    _run(model, inputs, precision, look, arithmetic, weights, None)


def _run(
    model: Any,
    inputs: Mapping[str, Any],
    precision: str,
    look: LookAtSpread,
    arithmetic: Arithmetic | None,
    weights: Mapping[str, Array] | None,
    config: Any,
) -> None:
    def cast(x: Array) -> Array:
        return (
            x.astype(np.float64, copy=False)
            if precision == "float64"
            else round_to(x.astype(np.float32, copy=False), precision)
        )

    def observer(name: str, x: Array) -> Array:
        x = np.asarray(x)
        if precision in ("float16", "bfloat16"):
            x = cast(x)
        look(name, x, None if arithmetic is None else arithmetic.spread_of(x))
        return x if arithmetic is None else arithmetic.array(x)

    if weights is None:
        weights = models.under_all_names(model, models.weights_of(model))
    runner = models.computing_with(model, _CastOnAccess(weights, cast), config)
    arguments = {name: _map_arrays(value, cast) for name, value in inputs.items()}
    # Some values overflow in a short format. Tolerances are measured on the others.
    with observe(observer), np.errstate(over="ignore", invalid="ignore"):
        outputs = runner(**arguments, output_attentions=False, output_hidden_states=False, return_dict=True)
    for name, value in outputs.items():
        if name != "past_key_values":  # its arrays have names of their own: `:key` and `:value`
            look(f"output:{name}", cast(np.asarray(value)), None)


def _map_arrays(value: Any, cast: Callable[[Array], Array]) -> Any:
    if isinstance(value, tuple):
        return tuple(_map_arrays(part, cast) for part in value)
    return cast(value) if value.dtype.kind == "f" else value


class _CastOnAccess(Mapping[str, Array]):
    """Weights that are converted each time they are read."""

    def __init__(self, weights: Mapping[str, Array], cast: Callable[[Array], Array]) -> None:
        self._weights, self._cast = weights, cast

    def __getitem__(self, name: str) -> Array:
        if name.endswith("_embeddings.weight"):
            return CastRows(self._weights[name], self._cast)  # type: ignore[return-value]  # the pass only reads rows of it
        return self._cast(self._weights[name])

    def __contains__(self, name: object) -> bool:
        return name in self._weights

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


class CastRows:
    """A table of embeddings whose rows are converted when they are looked up. The whole table in float64 could take more memory
    than everything else in the pass."""

    def __init__(self, rows: Array, cast: Callable[[Array], Array]) -> None:
        self._rows, self._cast = rows, cast

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, ids: Array) -> Array:
        return self._cast(self._rows[ids])
