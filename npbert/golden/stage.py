"""The part of a model that a diagnosis runs again and again: built once, then run with other weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from npbert.golden import models
from npbert.golden.layers import layer_of, renumbered
from npbert.golden.passes import CastRows
from npbert.types import Array


class Float64Weights(Mapping[str, Array]):
    """Weights in float64, each converted when it is first read. Tables of embeddings stay as they are: few rows are read."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self._weights = weights
        self._converted: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        return self._weights[name] if models.is_table(name) else self.whole(name)

    def whole(self, name: str) -> Array:
        """A weight in float64, even a table."""
        if name not in self._converted:
            self._converted[name] = self._weights[name].astype(np.float64)
        return self._converted[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


class Stage:
    """A model without its first layers, in float64. Its layers are numbered from the first that runs."""

    def __init__(self, model: Any, weights: Float64Weights, inputs: Mapping[str, Any], first_layer: int) -> None:
        self._weights = _StageWeights(model, weights, first_layer)
        self._runner = models.computing_with(model, self._weights, _config_from(model.config, first_layer))
        self._inputs = _inputs_from(inputs, first_layer)

    def run(self, replaced_weights: Mapping[str, Array], look: Callable[[str, Array], object]) -> None:
        """Run the pass with some weights replaced. `look(name, value)` sees the outputs."""
        self._weights.replaced = replaced_weights
        outputs = self._runner(**self._inputs, output_attentions=False, output_hidden_states=False, return_dict=True)
        for name, value in outputs.items():
            if name != "past_key_values":  # its arrays have names of their own: `:key` and `:value`
                look(f"output:{name}", np.asarray(value))


class _StageWeights(Mapping[str, Array]):
    """The weights under the names that the shortened model reads them by."""

    def __init__(self, model: Any, weights: Float64Weights, skipped: int) -> None:
        self._weights = weights
        names = models.all_names(model).items()
        self._names = {renumbered(name, -skipped): own for name, own in names if layer_of(name, skipped) >= skipped}
        self.replaced: Mapping[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        own = self._names[name]
        if own in self.replaced:
            return self.replaced[own].astype(np.float64, copy=False)
        if models.is_table(name):
            return CastRows(self._weights[own], lambda x: x.astype(np.float64))  # type: ignore[return-value]  # only its rows are read
        return self._weights.whole(own)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _config_from(config: Any, first_layer: int) -> Any:
    """The configuration of the model without its first layers."""
    config = copy.deepcopy(config)
    if first_layer:
        config.num_hidden_layers -= first_layer
        pruned = config.pruned_heads.items()
        config.pruned_heads = {layer - first_layer: heads for layer, heads in pruned if layer >= first_layer}
    return config


def _inputs_from(inputs: Mapping[str, Any], first_layer: int) -> dict[str, Any]:
    """The arguments of the model without its first layers, in float64."""
    inputs = {name: _as_float64(value) for name, value in inputs.items()}
    if first_layer and "head_mask" in inputs and inputs["head_mask"].ndim == 2:
        inputs["head_mask"] = inputs["head_mask"][first_layer:]
    return inputs


def _as_float64(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_as_float64(part) for part in value)
    return value.astype(np.float64) if value.dtype.kind == "f" else value
