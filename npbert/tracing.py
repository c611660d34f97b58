"""Naming and keeping intermediates.

The forward pass hands every value that has a name to the observer, if there is one, and goes on with what the observer
returns. As a rule there is none. Under `npbert.trace()` every value is kept under its name:

    with npbert.trace(only="encoder.layer.0.*") as t:
        model(**inputs)
    t["encoder.layer.0.attention.self:probs"]  # [B, N, S, T]

A module's path names the module's output. Names with a colon are values inside a module.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

import numpy as np

from npbert.checks import one_or_more_texts
from npbert.errors import MissingNameError
from npbert.types import Array

Observer: TypeAlias = Callable[[str, Array], Array]


class _Layer:
    """One observer that is open: given those that were opened before it, `over` makes the one that sees a value first."""

    def __init__(self, over: Callable[[Observer | None], Observer | None]) -> None:
        self.over = over
        self.is_open = True


_layers: ContextVar[tuple[_Layer, ...]] = ContextVar("npbert_layers", default=())
_piece: ContextVar[int] = ContextVar("npbert_piece", default=0)

GRADIENT, WEIGHT_GRADIENT = "grad:", "grad:weight:"
"""`grad:NAME` is the gradient of the loss by the value NAME, `grad:weight:NAME` by the weight NAME."""

PIECES_AXIS = 1
"""The axis along which chunked work is cut: the positions of `[B, S, D]`."""


def current_observer() -> Observer | None:
    """Who sees the values of a pass that runs now."""
    observer = None
    for layer in _layers.get():
        if layer.is_open:
            observer = layer.over(observer)
    return observer


@contextmanager
def _open(layer: _Layer) -> Iterator[None]:
    """Within this block the layer is over those that are open.

    Blocks need not end in the order that nesting would give: two generators that each hold one may end in the order in which
    they began, or in another thread. So a block takes out its own layer and leaves the others as they are.
    """
    _layers.set((*_layers.get(), layer))
    try:
        yield
    finally:
        layer.is_open = False
        _layers.set(tuple(other for other in _layers.get() if other.is_open))


@contextmanager
def observe(observer: Observer, *, alone: bool = False, last: bool = False) -> Iterator[None]:
    """Within this block every named value goes through `observer(name, value) -> value`.

    An observer that returns its argument only looks. One that returns another array of the same shape changes what the pass
    computes from there on; rounding to a shorter format is emulated in this way. Observers may be nested: an outer one sees
    what the inner ones return, unless the inner one is to be `alone`; with `last` it sees what the outer ones return, which is
    what the pass goes on with. Work in chunks shows each piece of a value under the value's name, one after the other.
    """

    def over(outer: Observer | None) -> Observer:
        if outer is None or alone:
            return observer
        if last:
            return lambda name, x: observer(name, outer(name, x))
        return lambda name, x: outer(name, observer(name, x))

    with _open(_Layer(over)):
        yield


@contextmanager
def under(path: str) -> Iterator[None]:
    """Within this block every name begins with `path.`: the names of a model that is a part of another.

    Gradients by weights are shown under the names that the weights have in the whole model.
    """

    def over(outer: Observer | None) -> Observer | None:
        if outer is None:
            return None

        def rename(name: str, x: Array) -> Array:
            if name.startswith(WEIGHT_GRADIENT):
                return outer(name, x)
            prefix = GRADIENT if name.startswith(GRADIENT) else ""
            return outer(f"{prefix}{path}.{name.removeprefix(prefix)}", x)

        return rename

    with _open(_Layer(over)):
        yield


def in_pieces(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The function, numbering its calls: each call computes the next piece of the values that it names."""
    count = 0

    def call(x: Array) -> Array:
        nonlocal count
        token = _piece.set(count)
        count += 1
        try:
            return function(x)
        finally:
            _piece.reset(token)

    return call


def selection(only: str | Sequence[str] | None) -> Callable[[str], bool]:
    """Whether a name is wanted: all are, or those that match the shell-style pattern or one of several.

    With a value its gradient is wanted as well.
    """
    if only is None:
        return lambda name: True
    patterns = one_or_more_texts("only", only)

    def is_wanted(name: str) -> bool:
        names = {name, name.removeprefix(GRADIENT)}
        return any(fnmatch.fnmatchcase(one, pattern) for one in names for pattern in patterns)

    return is_wanted


class Trace(Mapping[str, Array]):
    """The kept intermediates, in the order in which they were computed: a mapping from names to arrays.

    A module whose output is its last part's output holds the same array as that part: `encoder.layer.0` and
    `encoder.layer.0.output`. When several passes run under one trace, it holds the values of the last one.
    """

    def __init__(self, only: str | Sequence[str] | None = None) -> None:
        self._is_wanted = selection(only)
        self._pieces: dict[str, list[Array]] = {}
        self._last: tuple[Array, Array] | None = None  # the pass's own array and our copy of it

    def observe(self, name: str, x: Array) -> Array:
        """Keep a copy, because what a call returns may be changed by the caller."""
        if self._is_wanted(name):
            if self._last is None or self._last[0] is not x:
                self._last = (x, x.copy())
            self._add(name, self._last[1])
        return x

    def _add(self, name: str, x: Array) -> None:
        if _piece.get() == 0:
            self._pieces.pop(name, None)  # so that the name moves to the end
        self._pieces.setdefault(name, []).append(x)

    def __getitem__(self, name: str) -> Array:
        if name not in self._pieces:
            inside = ":".join(name.rsplit(".", 1))  # `...self.probs` stands for the value `...self:probs`
            close = [kept for kept in self if kept.endswith((name, inside))] or list(self)
            raise MissingNameError(f"trace: no {name!r}; kept are {len(self)} names, such as {', '.join(close[:3])}")
        pieces = self._pieces[name]
        if len(pieces) > 1:
            pieces[:] = [np.concatenate(pieces, axis=PIECES_AXIS)]
        return pieces[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)

    def __repr__(self) -> str:
        rows = [f"{name}  {list(x.shape)}" for name, x in self.items()]
        return "\n".join(["Trace", *rows])


@contextmanager
def trace(only: str | Sequence[str] | None = None) -> Iterator[Trace]:
    """Keep the intermediates of every pass within this block, all of them or those whose names match `only`.

    `only` is a shell-style pattern or several: `"encoder.layer.0.*"`, `["*:probs", "pooler"]`.
    """
    kept = Trace(only)
    with observe(kept.observe):
        yield kept
