"""Weights under the names that the checkpoint gives them, and what a model expects under each name.

A model's weights are one flat mapping, `encoder.layer.0.attention.self.query.weight` to an array. Some names are ties: they
stand for another name's array, as the decoder of a masked language model stands for its word table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from npbert.errors import MissingNameError
from npbert.types import Array


class Weights(Mapping[str, Array]):
    """Parameters under their names in the checkpoint, seen from one place in the tree of modules.

        w = Weights({"encoder.layer.0.attention.self.query.weight": ...})
        w.scope("encoder.layer.0").scope("attention.self")["query.weight"]

    A scope is a view: nothing is copied, and what is replaced in one view is replaced in all. `ties` are names that stand for
    another name's array, `{tied name: name}`.
    """

    def __init__(self, arrays: Mapping[str, Array], path: str = "", *, ties: Mapping[str, str] | None = None) -> None:
        self._arrays = arrays
        self._ties = {} if ties is None else ties
        self._tree: tuple[int, dict[str, list[str]]] = (-1, {})
        self.path = path

    def scope(self, path: str) -> Weights:
        """The part of the mapping under `path`, with names relative to it."""
        return Weights(self._arrays, self.full_name(path), ties=self._ties)

    def full_name(self, name: str) -> str:
        """The name from the root: joined with a dot, or directly if it begins with a colon; "" is the scope itself."""
        return join(self.path, name)

    @property
    def tree(self) -> dict[str, list[str]]:
        """For the path of every module the names of its parts and weights: `{"": ["embeddings", ...], "embeddings": ...}`."""
        if self._tree[0] != len(self._arrays):  # names only ever change when a model is given its first weights
            parts: dict[str, dict[str, None]] = {"": {}}
            for name in self:
                path = ""
                for part in name.split("."):
                    parts.setdefault(path, {})[part] = None
                    path = join(path, part)
            self._tree = (len(self._arrays), {path: list(names) for path, names in parts.items()})
        return self._tree[1]

    def replace(self, arrays: Mapping[str, Array]) -> None:
        """Put other arrays under the given names. A tied name replaces what it stands for, so ties stay ties."""
        assert isinstance(self._arrays, dict)
        for name, array in arrays.items():
            full = self.full_name(name)
            self._arrays[self._ties.get(full, full)] = array

    def __getitem__(self, name: str) -> Array:
        full = join(self.path, name) if self.path else name
        if full in self._arrays:
            return self._arrays[full]
        try:
            return self._arrays[self._ties[full]]
        except KeyError:
            raise MissingNameError(f"weights: no {full!r}") from None

    def __contains__(self, name: object) -> bool:
        full = self.full_name(str(name))
        return full in self._arrays or self._ties.get(full) in self._arrays

    def __iter__(self) -> Iterator[str]:
        start = f"{self.path}." if self.path else ""
        tied = (tied for tied, name in self._ties.items() if name in self._arrays and tied not in self._arrays)
        return (name.removeprefix(start) for name in itertools.chain(self._arrays, tied) if name.startswith(start))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Weights({len(self)} arrays{f' under {self.path}' if self.path else ''})"


def join(path: str, name: str) -> str:
    """The name from the root of `name` in the module `path`: joined with a dot, or directly if it begins with a colon."""
    if not path or not name:
        return path or name
    return path + name if name[0] == ":" else f"{path}.{name}"


@dataclass(frozen=True)
class Parameter:
    """What a model expects under a name: the shape, and the values a new model begins with: "normal", "zeros" or "ones"."""

    shape: tuple[int, ...]
    starts_as: str
    scale: float = 1.0  # of normal values
    zero_row: int | None = None  # the padding token's row in the word table


Parameters: TypeAlias = dict[str, Parameter]


def initialize(
    parameters: Mapping[str, Parameter], rng: np.random.Generator, dtype: DTypeLike, *, std: float
) -> dict[str, Array]:
    """First values for a model that is trained from the start, as the paper has them: normal weights, zero biases.

    `std` is the configuration's `initializer_range`.
    """

    def first_values(parameter: Parameter) -> Array:
        if parameter.starts_as == "zeros":
            return np.zeros(parameter.shape, dtype)
        if parameter.starts_as == "ones":
            return np.ones(parameter.shape, dtype)
        values = rng.normal(0.0, std * parameter.scale, parameter.shape).astype(dtype)
        if parameter.zero_row is not None:
            values[parameter.zero_row] = 0
        return values

    return {name: first_values(parameter) for name, parameter in parameters.items()}
