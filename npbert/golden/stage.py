"""The part of a model that a diagnosis runs again and again: built once, then run with other weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from npbert.golden import models
from npbert.golden.layers import layer_of, renumbered
from npbert.golden.passes import Backward, CastRows
from npbert.types import Array


class ConvertedWeights(Mapping[str, Array]):
    """Weights in another type, each converted when it is first read. Tables stay as they are: few rows are read."""

    def __init__(self, weights: Mapping[str, Array], dtype: type[np.floating[Any]]) -> None:
        self._weights = weights
        self.dtype = dtype
        self._converted: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        return self._weights[name] if models.is_table(name) else self.whole(name)

    def whole(self, name: str) -> Array:
        """A weight in that type, even a table."""
        if name not in self._converted:
            self._converted[name] = self._weights[name].astype(self.dtype, copy=False)
        return self._converted[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


class Stage:
    """A model without its first layers, in the type of the weights. Its layers are numbered from the first that runs."""

    def __init__(
        self,
        model: Any,
        weights: ConvertedWeights,
        inputs: Mapping[str, Any],
        first_layer: int,
        backward: Backward | None = None,
    ) -> None:
        self._weights = _StageWeights(model, weights, first_layer)
        self._backward = Backward() if backward is None else backward
        options = {"output_attentions": False, "output_hidden_states": False, "return_dict": True}
        self.runner = models.computing_with(model, self._weights, _config_from(model.config, first_layer))
        self.inputs = _inputs_from(inputs, first_layer, weights.dtype) | options

    def run(self, replaced_weights: Mapping[str, Array], look: Callable[[str, Array], object]) -> None:
        """Run the pass with some weights replaced. `look(name, value)` sees the outputs."""
        self._weights.replaced = replaced_weights
        outputs = self.runner(**self.inputs, rng=self._backward.rng)
        for name, value in outputs.items():
            if name != "past_key_values":  # its arrays have names of their own: `:key` and `:value`
                look(f"output:{name}", np.asarray(value))


class _StageWeights(Mapping[str, Array]):
    """The weights under the names that the shortened model reads them by."""

    def __init__(self, model: Any, weights: ConvertedWeights, skipped: int) -> None:
        self._weights = weights
        names = models.all_names(model).items()
        self._names = {renumbered(name, -skipped): own for name, own in names if layer_of(name, skipped) >= skipped}
        self.replaced: Mapping[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        own = self._names[name]
        if own in self.replaced:
            return self.replaced[own].astype(self._weights.dtype, copy=False)
        if models.is_table(name):
            dtype = self._weights.dtype
            return CastRows(self._weights[own], lambda x: x.astype(dtype))  # type: ignore[return-value]  # only its rows are read
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


def _inputs_from(inputs: Mapping[str, Any], first_layer: int, dtype: type[np.floating[Any]]) -> dict[str, Any]:
    """The arguments of the model without its first layers, in the type of its weights."""
    inputs = {name: _converted(value, dtype) for name, value in inputs.items()}
    if first_layer and "head_mask" in inputs and inputs["head_mask"].ndim == 2:
        inputs["head_mask"] = inputs["head_mask"][first_layer:]
    return inputs


def _converted(value: Any, dtype: type[np.floating[Any]]) -> Any:
    if isinstance(value, tuple):
        return tuple(_converted(part, dtype) for part in value)
    return value.astype(dtype) if value.dtype.kind == "f" else value
