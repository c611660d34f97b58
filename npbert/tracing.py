"""Naming and keeping intermediates.

The forward pass calls `keep` on every value that has a name. As a rule nobody listens and `keep` hands the value back.
Under `npbert.trace()` it is kept under that name:

    with npbert.trace(only="encoder.layer.0.*") as t:
        model(**inputs)
    t["encoder.layer.0.attention.self:probs"]  # [B, N, S, T]

A name that is a module path holds what that module puts out; what is no module's output stands behind a colon.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

from npbert.errors import MissingNameError
from npbert.types import Array
from npbert.weights import Weights

Observer: TypeAlias = Callable[[str, Array], Array]

_observer: ContextVar[Observer | None] = ContextVar("npbert_observer", default=None)


def keep(w: Weights, name: str, x: Array) -> Array:
    """Let the observer, if there is one, see x under its full name; the pass goes on with what the observer returns.

    `name` is relative to the scope: "query" in the scope "encoder.layer.0.attention.self", ":probs" for what is no module's
    output, "" for what the scope itself puts out.
    """
    observer = _observer.get()
    return x if observer is None else observer(w.full_name(name), x)


def is_observed() -> bool:
    """Whether somebody listens."""
    return _observer.get() is not None


@contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Within this block every named value goes through `observer(name, value) -> value`.

    An observer that returns its argument only looks; one that returns another array of the same shape changes what the
    pass computes from there on (how rounding to a shorter format is emulated). Observers may be nested: an outer one sees
    what the inner ones return.
    """
    outer = _observer.get()

    def both(name: str, x: Array) -> Array:
        x = observer(name, x)
        return x if outer is None else outer(name, x)

    token = _observer.set(both)
    try:
        yield
    finally:
        _observer.reset(token)


@contextmanager
def under(path: str) -> Iterator[None]:
    """Within this block every name is one of the module `path`: how a model that is part of another takes its place."""
    outer = _observer.get()
    token = _observer.set(None if outer is None else lambda name, x: outer(f"{path}.{name}", x))
    try:
        yield
    finally:
        _observer.reset(token)


def selection(only: str | Sequence[str] | None) -> Callable[[str], bool]:
    """Whether a name is wanted: all are, or those that match the shell-style pattern or one of several."""
    if only is None:
        return lambda name: True
    patterns = [only] if isinstance(only, str) else only
    return lambda name: any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class Trace(Mapping[str, Array]):
    """The kept intermediates, in the order in which they were computed: a mapping from names to arrays.

    A container whose value is its last part's (`encoder.layer.0` and `encoder.layer.0.output`) holds the same array. When
    several passes run under one trace, the last one is what it holds.
    """

    def __init__(self, only: str | Sequence[str] | None = None) -> None:
        self._is_wanted = selection(only)
        self._kept: dict[str, Array] = {}
        self._last: tuple[Array, Array] | None = None  # the pass's own array and our copy of it

    def observe(self, name: str, x: Array) -> Array:
        """Keep a copy, because the pass may go on to compute in place."""
        if self._is_wanted(name):
            if self._last is None or self._last[0] is not x:
                self._last = (x, x.copy())
            self._kept.pop(name, None)
            self._kept[name] = self._last[1]
        return x

    def __getitem__(self, name: str) -> Array:
        try:
            return self._kept[name]
        except KeyError:
            close = [kept for kept in self._kept if kept.endswith(name)] or list(self._kept)[:3]
            raise MissingNameError(f"trace: no {name!r}; kept are {len(self)} names, such as {', '.join(close[:3])}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        rows = [f"{name}  {list(x.shape)}" for name, x in self._kept.items()]
        return "\n".join(["Trace", *rows])


@contextmanager
def trace(only: str | Sequence[str] | None = None) -> Iterator[Trace]:
    """Keep the intermediates of every pass within this block, all of them or those whose names match `only`.

    `only` is a shell-style pattern or several: `"encoder.layer.0.*"`, `["*:probs", "pooler"]`.
    """
    kept = Trace(only)
    with observe(kept.observe):
        yield kept
