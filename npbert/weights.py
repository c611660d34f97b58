"""Weights: a read-only mapping from the checkpoint's names to arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from npbert.errors import MissingNameError
from npbert.types import Array


class Weights(Mapping[str, Array]):
    """Parameters under their names in the checkpoint, seen from one place in the tree of modules.

        w = Weights({"encoder.layer.0.attention.self.query.weight": ...})
        w.scope("encoder.layer.0").scope("attention.self")["query.weight"]

    A scope is a view: nothing is copied.
    """

    def __init__(self, arrays: Mapping[str, Array], path: str = "") -> None:
        self._arrays = arrays
        self.path = path

    def scope(self, path: str) -> Weights:
        """The part of the mapping under `path`, with names relative to it."""
        return Weights(self._arrays, self.full_name(path))

    def full_name(self, name: str) -> str:
        """The name from the root: joined with a dot, or directly if it begins with a colon; "" is the scope itself."""
        if not self.path or not name:
            return self.path or name
        return self.path + name if name.startswith(":") else f"{self.path}.{name}"

    def __getitem__(self, name: str) -> Array:
        try:
            return self._arrays[self.full_name(name)]
        except KeyError:
            raise MissingNameError(f"weights: no {self.full_name(name)!r}") from None

    def __iter__(self) -> Iterator[str]:
        start = f"{self.path}." if self.path else ""
        return (name.removeprefix(start) for name in self._arrays if name.startswith(start))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Weights({len(self)} arrays{f' under {self.path}' if self.path else ''})"
