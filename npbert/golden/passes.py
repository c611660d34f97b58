"""One forward pass in a chosen arithmetic: the float64 truth, float32, or float16 and bfloat16 emulated by rounding.

No second copy of the weights is made: each is cast when the pass reads it and forgotten afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from npbert.golden.precision import round_to
from npbert.models.encoder_decoder import EncoderDecoderModel
from npbert.tracing import observe
from npbert.types import Array
from npbert.weights import Weights


class _Table:
    """A table of embeddings whose rows are cast when they are looked up: the whole of it in float64 could take more memory than
    everything else in the pass."""

    def __init__(self, rows: Array, cast: Callable[[Array], Array]) -> None:
        self._rows, self._cast = rows, cast

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, ids: Array) -> Array:
        return self._cast(self._rows[ids])


class _CastOnAccess(Mapping[str, Array]):
    """Arrays that are cast each time they are read."""

    def __init__(self, arrays: Mapping[str, Array], cast: Callable[[Array], Array]) -> None:
        self._arrays, self._cast = arrays, cast

    def __getitem__(self, name: str) -> Array:
        if name.endswith("_embeddings.weight"):
            return _Table(self._arrays[name], self._cast)  # type: ignore[return-value]  # of which only rows are read
        return self._cast(self._arrays[name])

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def run(model: Any, inputs: Mapping[str, Any], precision: str, look: Callable[[str, Array], None]) -> None:
    """Run the model on `inputs` in the given precision and let `look(name, value)` see every named value, then the outputs.

    Outputs are called `output:NAME`. Under float16 and bfloat16, weights, floating-point inputs and every named value are
    rounded to that format; what lies between two names (a matrix product with its bias, a softmax, a LayerNorm, an activation)
    is computed in float32, as the hardware for these formats does.
    """

    def cast(x: Array) -> Array:
        return x.astype(np.float64) if precision == "float64" else round_to(x.astype(np.float32, copy=False), precision)

    def observer(name: str, x: Array) -> Array:
        x = x if precision in ("float64", "float32") else cast(x)
        look(name, x)
        return x

    arguments = {name: _map_arrays(value, cast) for name, value in inputs.items()}
    # A model may leave the range of a short format; that is no news here, its tolerances are measured on what is left.
    with observe(observer), np.errstate(over="ignore", invalid="ignore"):
        outputs = _computing_in(model, cast)(**arguments, output_attentions=False, output_hidden_states=False, return_dict=True)
    for name, value in outputs.items():
        if name != "past_key_values":  # its arrays have names of their own: `:key` and `:value`
            look(f"output:{name}", cast(np.asarray(value)))


def _map_arrays(value: Any, cast: Callable[[Array], Array]) -> Any:
    if isinstance(value, tuple):
        return tuple(_map_arrays(part, cast) for part in value)
    return cast(value) if value.dtype.kind == "f" else value


def _computing_in(model: Any, cast: Callable[[Array], Array]) -> Any:
    """The same model reading its weights through `cast`."""
    result = copy.copy(model)
    if isinstance(model, EncoderDecoderModel):
        result.encoder, result.decoder = _computing_in(model.encoder, cast), _computing_in(model.decoder, cast)
        result._projection = {name: cast(array) for name, array in model._projection.items()}
        return result
    weights = Weights(_CastOnAccess(model.state_dict(), cast))
    replaced = {"_weights": weights, "dtype": cast(np.zeros(1, np.float32)).dtype}
    result.__class__ = type(type(model).__name__, (type(model),), replaced)
    return result
