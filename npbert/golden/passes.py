"""One pass in a chosen precision: the float64 truth, float32, or a shorter one that is emulated by rounding.

The weights are not copied: each is converted when the pass reads it and forgotten afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from npbert.golden import models
from npbert.golden.arithmetic import Arithmetic, step_of_127
from npbert.golden.precision import STORED_IN, round_to
from npbert.tracing import GRADIENT, WEIGHT_GRADIENT, observe
from npbert.types import Array

Look: TypeAlias = Callable[[str, Array], None]
LookAtSpread: TypeAlias = Callable[[str, Array, "Array | None"], None]


class Backward(NamedTuple):
    """That a backward pass follows, and what decides it beside the arguments of the call."""

    dropout_seed: int | None = None  # of the generator that dropout draws from; None: nothing is dropped
    output_gradients: Mapping[str, Array] | None = None  # by outputs, in place of labels

    @property
    def rng(self) -> np.random.Generator | None:
        """A generator at its beginning: every pass drops the same elements."""
        return None if self.dropout_seed is None else np.random.default_rng(self.dropout_seed)


def run(
    model: Any,
    inputs: Mapping[str, Any],
    precision: str,
    look: Look,
    *,
    weights: Mapping[str, Array] | None = None,
    config: Any = None,
    backward: Backward | None = None,
) -> None:
    """Run the model on `inputs` in the given precision. `look(name, value)` sees every named value, then the outputs, then, if
    a backward pass is to follow, the gradients in the order in which they are computed.

    Outputs are called `output:NAME`. Under float16 and bfloat16, weights, floating-point inputs and every named value are
    rounded to that format. What lies between two names (a matrix product with its bias, a softmax, a LayerNorm, an activation)
    is computed in float32, as the hardware for these formats does. Other precisions shorten the operands of products: see
    `npbert.golden.arithmetic`. `weights` (under all their names) and `config` replace the model's own.
    """
    is_emulated = precision != "float64" and STORED_IN[precision] != precision
    arithmetic = Arithmetic(precision, spread=False) if is_emulated else None
    shown = _Shown(precision, lambda name, x, _: look(name, x), arithmetic)
    _run(model, inputs, shown, weights, config, backward)


def run_spread(
    model: Any,
    inputs: Mapping[str, Any],
    precision: str,
    look: LookAtSpread,
    *,
    weights: Mapping[str, Array] | None = None,
    backward: Backward | None = None,
    draw: int = 0,
) -> None:
    """The same, but products and sums are off by what those of another port may be off by: their spread. In which directions,
    the number of the `draw` decides.

    `look(name, value, spread)` sees that too, where the value is the result of a product.
    """
    _run(model, inputs, _Shown(precision, look, Arithmetic(precision, spread=True, draw=draw)), weights, None, backward)


class _Shown:
    """The observer of a pass in a precision: it rounds every value, shows it, and lets the pass go on with it."""

    def __init__(self, precision: str, look: LookAtSpread, arithmetic: Arithmetic | None) -> None:
        self._precision, self._look, self._arithmetic = precision, look, arithmetic

    def cast(self, x: Array) -> Array:
        """x in the precision."""
        if self._precision == "float64":
            return x.astype(np.float64, copy=False)
        return round_to(x.astype(np.float32, copy=False), self._precision)

    def table_cast(self, table: Array) -> Callable[[Array], Array]:
        """What makes rows of a table what the precision makes of them."""
        if self._precision != "int8-tables":
            return self.cast
        step = step_of_127(table, axis=None)
        return lambda rows: (np.rint(rows / step) * step).astype(np.float32)

    def value(self, name: str, x: Array, *, is_shown: bool = True) -> Array:
        """See a value; the pass goes on with the result."""
        x = np.asarray(x)
        if self._precision in ("float16", "bfloat16"):
            x = self.cast(x)
        spread = None if self._arithmetic is None else self._arithmetic.spread_of(x)
        if is_shown:
            self._look(name, x, spread)
        return x if self._arithmetic is None else self._arithmetic.array(x)

    def result(self, name: str, x: Array) -> None:
        """See an array that no more is computed from."""
        self._look(name, self.cast(np.asarray(x)), None)


def _run(
    model: Any,
    inputs: Mapping[str, Any],
    shown: _Shown,
    weights: Mapping[str, Array] | None,
    config: Any,
    backward: Backward | None,
) -> None:
    if weights is None:
        weights = models.under_all_names(model, models.weights_of(model))
    runner = models.computing_with(model, _CastOnAccess(weights, shown), config)
    arguments = {name: _map_arrays(value, shown.cast) for name, value in inputs.items()}
    arguments |= {"output_attentions": False, "output_hidden_states": False, "return_dict": True}
    rng = None if backward is None else backward.rng
    # Some values overflow in a short format. Tolerances are measured on the others.
    with observe(shown.value), np.errstate(over="ignore", invalid="ignore"):
        outputs = runner(**arguments, rng=rng)
    for name, value in outputs.items():
        if name != "past_key_values":  # its arrays have names of their own: `:key` and `:value`
            shown.result(f"output:{name}", value)
    if backward is not None:
        _run_backward(runner, arguments, shown, backward, {name: x.shape for name, x in weights.items()})


def _run_backward(
    runner: Any, arguments: Mapping[str, Any], shown: _Shown, backward: Backward, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Run both passes and show the gradients; those of weights that are used twice, and of unused ones, come last."""
    shared = models.used_twice(runner)
    last: dict[str, Array] = {}

    def see(name: str, x: Array) -> Array:
        weight = name.removeprefix(WEIGHT_GRADIENT)
        is_used_again = name != weight and weight in shared
        x = shown.value(name, x, is_shown=name.startswith(GRADIENT) and not is_used_again)
        if name != weight:
            last[weight] = x
        return x

    given = None
    if backward.output_gradients is not None:
        given = {name: shown.cast(x) for name, x in backward.output_gradients.items()}
        for name, x in given.items():
            shown.result(f"{GRADIENT}output:{name}", x)
    with observe(see), np.errstate(over="ignore", invalid="ignore", under="ignore"):
        _, found = runner.gradients(**arguments, rng=backward.rng, output_gradients=given)
    for name in found:
        if name in shared or name not in last:
            shown.result(WEIGHT_GRADIENT + name, last.get(name, np.zeros(shapes[name], np.float32)))


def _map_arrays(value: Any, cast: Callable[[Array], Array]) -> Any:
    if isinstance(value, tuple):
        return tuple(_map_arrays(part, cast) for part in value)
    return cast(value) if value.dtype.kind == "f" else value


class _CastOnAccess(Mapping[str, Array]):
    """Weights that are converted each time they are read."""

    def __init__(self, weights: Mapping[str, Array], shown: _Shown) -> None:
        self._weights, self._shown = weights, shown

    def __getitem__(self, name: str) -> Array:
        weight = self._weights[name]
        if models.is_table(name):
            return CastRows(weight, self._shown.table_cast(weight))  # type: ignore[return-value]  # the pass only reads rows of it
        return self._shown.cast(weight)

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
