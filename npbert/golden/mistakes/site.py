"""Where a mistake is made: what a function that replaces a value can look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npbert import ops
from npbert.golden.mistakes import places
from npbert.golden.models import PartCall
from npbert.golden.positions import Positions
from npbert.ops import masks
from npbert.types import Array


class PartContext:
    """What the call of one part of a model says: its configuration, its masks and the positions of its tokens."""

    def __init__(self, call: PartCall, positions: Positions) -> None:
        self.config: Any = call.config
        keys = positions.visible.shape[2]  # T
        triangle = masks.causal(positions.query.shape[1], keys) != 0  # [S, T]
        padding = positions.visible[:, -1:]  # [B, 1, T]: the last query sees all keys that are real
        is_causal = call.config.is_causal and np.array_equal(positions.visible, padding & triangle)
        has_own_rows = not is_causal and not np.array_equal(
            positions.visible, np.broadcast_to(padding, positions.visible.shape)
        )
        self._padding = (positions.visible if has_own_rows else padding)[:, None]  # [B, 1, 1 or S, T]
        self._causal = triangle if is_causal else np.ones((1, 1), np.bool_)
        self._cross = positions.cross_visible[:, None]  # [B, 1, S, E]
        position_ids = call.inputs.get("position_ids")
        if position_ids is None:
            position_ids = np.arange(keys - positions.query.shape[1], keys)[None]
        self._inputs = call.inputs
        self.position_ids = position_ids.reshape(-1, position_ids.shape[-1])  # [1 or B, S]

    def ids(self, argument: str) -> Array | None:
        """The ids of an argument, `[1 or B, S]`; token types are 0 where none are given."""
        if argument == "position_ids":
            return self.position_ids
        given: Array | None = self._inputs.get(argument)
        words = self._inputs.get("input_ids")
        return np.zeros_like(words) if given is None and argument == "token_type_ids" and words is not None else given

    def padding(self, module: str) -> Array:
        """Which keys are real for the attention in `module`: truth values `[B, 1, 1 or S, T]`."""
        return self._cross if "crossattention" in module else self._padding

    def causal(self, module: str) -> Array:
        """Which keys do not lie after the query: truth values `[S, T]`, or `[1, 1]` where all keys may be seen."""
        return np.ones((1, 1), np.bool_) if "crossattention" in module else self._causal


@dataclass
class Site:
    """A module of a running pass, one of whose values has just been computed. `site[":scores"]` is a value before it."""

    module: str
    context: PartContext
    weights: Mapping[str, Array]
    values: Mapping[str, Array]  # the values so far, under their full names
    dumped: Callable[[str], Array | None]  # what the port dumped under a full name
    truth: Callable[[str], Array | None]  # what the pack holds under a full name, before the first tensor that differs
    counts: Callable[[str], Array]  # which elements of a value count, by its full name
    notes: list[str]  # what a mistake found out, for its explanation
    name: str = ""  # the full name of the value that is computed now
    value: Array = field(default_factory=lambda: np.empty(0))  # the value as npbert computed it
    originals: dict[str, Array] = field(default_factory=dict)  # values that were replaced, as npbert had computed them

    def __getitem__(self, name: str) -> Array:
        return self.values[self.module + name]

    def __contains__(self, name: str) -> bool:
        return self.module + name in self.values

    def at(self, place: str) -> Array | None:
        """The value at a place, which `npbert.golden.mistakes.places` explains; None where there is none yet."""
        for name in places.names(place, self.module):
            if name in self.values:
                return self.values[name]
            known = self.truth(name)
            if known is not None:
                return known
        return None

    def inside(self, module: str) -> Site:
        """The same moment of the pass, seen from another module."""
        return replace(self, module=module)

    @property
    def config(self) -> Any:
        return self.context.config

    @property
    def padding(self) -> Array:
        """Which keys are real: truth values `[B, 1, 1 or S, T]`."""
        return self.context.padding(self.module)

    @property
    def causal(self) -> Array:
        """Which keys do not lie after the query: truth values `[S, T]` or `[1, 1]`."""
        return self.context.causal(self.module)

    def weight(self, name: str) -> Array:
        """A weight of the module, in the type of the pass."""
        return self.weights[self.module + name].astype(self.value.dtype)

    def linear(self, name: str, x: Array) -> Array:
        """Apply the linear map `name` of the module."""
        return ops.linear(x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"))

    def norm(self, x: Array, eps: float | None = None) -> Array:
        """Apply the module's LayerNorm."""
        eps = self.config.layer_norm_eps if eps is None else eps
        return ops.layer_norm(x, self.weight(".LayerNorm.weight"), self.weight(".LayerNorm.bias"), eps=eps)
