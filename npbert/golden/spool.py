"""Arrays on disk that wait to be written into a pack, so that all of a pass need not be in memory at once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from npbert.errors import InputError
from npbert.types import Array


class _Place(NamedTuple):
    """Where an array lies in the file."""

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Spool(Mapping[str, Array]):
    """Named arrays in a file. Each is in memory only while somebody holds it, and equal ones are stored once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: dict[str, _Place] = {}
        self._names: dict[str, str] = {}  # the first name of each content
        self.first_name: dict[str, str] = {}  # of the content that a name stands for

    def add(self, name: str, array: Array) -> None:
        """Append an array, or only its name where an equal one is there."""
        if name in self._places:
            raise InputError(f"{name}: the model computes it twice in one pass; only the values of one can be packed")
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        key = f"{array.dtype} {array.shape} {hashlib.sha256(content).hexdigest()}"
        first = self.first_name[name] = self._names.setdefault(key, name)
        if first != name:
            self._places[name] = self._places[first]
            return
        self._places[name] = _Place(self._file.tell(), array.dtype, array.shape)
        self._file.write(content)

    def __getitem__(self, name: str) -> Array:
        place = self._places[name]
        size = math.prod(place.shape)
        if not size:
            return np.empty(place.shape, place.dtype)
        self._file.flush()
        return np.memmap(self._file, place.dtype, "r", place.start, (size,)).reshape(place.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class FetchedArrays(Mapping[str, Array]):
    """Arrays that are fetched each time they are asked for."""

    def __init__(self, fetch: Mapping[str, Callable[[], Array]]) -> None:
        self._fetch = fetch

    def __getitem__(self, name: str) -> Array:
        return self._fetch[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._fetch)

    def __len__(self) -> int:
        return len(self._fetch)
