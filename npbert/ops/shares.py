"""How the sequences of a batch are shared among the processor's cores.

A matrix product keeps all cores busy by itself. What lies between two products does not: Python lets one thread at a time say
what is to be done next, and threads that say so after every few microseconds mostly wait for each other. So each core takes
sequences of its own through all layers, with products on that core alone. Then one core multiplies while another one is at its
softmax, and nobody waits.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from npbert.ops import blocks
from npbert.types import Array

FEW_ROWS = 32  # with so few, BLAS is quicker when the large matrix stands on the left: its rows are what the cores share
LEAST_ROWS = 128  # positions of a share: with fewer, a product takes longer to read the weights than to multiply


def shares(batch: int, length: int) -> list[slice]:
    """Which sequences each core takes of a batch, as many shares as there are cores; none, where that would not be sooner.

    This does not depend on what `set_num_threads` was told, because the sums of a product depend on how many rows it has: with
    fewer threads than cores, some threads take several shares.
    """
    count = blocks.available()
    largest = -(-batch // count)
    is_even = 5 * largest * count <= 6 * batch  # the cores with the smaller shares wait for a sixth of the time at most
    if blocks.is_shared() or count == 1 or not is_even or batch * length < count * LEAST_ROWS or blas_threads() is None:
        return []
    return [slice(batch * number // count, batch * (number + 1) // count) for number in range(count)]


def in_shares(function: Callable[..., Any], inputs: dict[str, Array], *, apart: bool) -> Any:
    """`function(**inputs)`, where each core takes sequences of its own, and what comes back is put together again.

    The first input is `[B, S, ...]`; of the others those are cut that do not have one row for all sequences. The function
    returns an array with the sequences on its first axis, or a tuple of such arrays or tuples; what it leaves out is None. If
    the cores are not to go `apart`, because somebody looks at whole arrays, each product in the function is shared instead, and
    has the same sums.
    """
    first = next(iter(inputs.values()))
    parts = shares(*first.shape[:2]) if blocks.is_plain(first) else []
    if not parts:
        return function(**inputs)
    found: list[Any] = [None] * len(parts)

    def one_share(number: int) -> None:
        found[number] = function(**{name: x if len(x) == 1 else x[parts[number]] for name, x in inputs.items()})

    with one_thread_a_product():
        if apart:
            blocks.side_by_side([functools.partial(one_share, number) for number in range(len(parts))])
            return _joined(found)
        before, _here.parts = _parts(), parts
        try:
            return function(**inputs)
        finally:
            _here.parts = before


def _joined(found: list[Any]) -> Any:
    """The results of all shares as one."""
    first = found[0]
    if first is None:
        return None
    if isinstance(first, np.ndarray):
        return np.concatenate(found)
    together = [_joined(list(items)) for items in zip(*found, strict=True)]
    return type(first)(*together) if hasattr(first, "_fields") else tuple(together)


def product(x: Array, y: Array) -> Array:
    """`x @ y`, of sequences `[B, ..., S, in]` with a matrix `[in, out]`, or of their heads with `[B, N, in, out]`."""
    return by_share(_matrix_product, x, y) if y.ndim == 2 else by_share(np.matmul, x, y)


def by_share(function: Callable[..., Array], x: Array, y: Array) -> Array:
    """`function(x, y)` for x `[B, ...]`, and y too where it is `[B, ...]`, each core for its sequences, within `in_shares`."""
    parts = _parts()
    if not parts or len(x) != parts[-1].stop:  # whoever looks at a value may compute something else meanwhile
        return function(x, y)
    found: list[Any] = [None] * len(parts)

    def one_share(number: int) -> None:
        part = parts[number]
        found[number] = function(x[part], y[part] if y.ndim == x.ndim > 2 else y)

    blocks.side_by_side([functools.partial(one_share, number) for number in range(len(parts))])
    return np.concatenate(found)


def _matrix_product(x: Array, y: Array) -> Array:
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # one large product is faster than one for each sequence
    result = (y.T @ rows.T).T.copy() if len(rows) <= FEW_ROWS else rows @ y
    return result.reshape(*x.shape[:-1], y.shape[1])


_here = threading.local()


def _parts() -> list[slice]:
    """The shares of each product, within a function whose values somebody looks at."""
    return getattr(_here, "parts", [])


# --- the threads of BLAS, the library in which NumPy multiplies ---------------------------------------------------------


@functools.cache
def openblas() -> ctypes.CDLL | None:
    """The OpenBLAS that this process has loaded, on systems that tell."""
    try:
        with open("/proc/self/maps") as maps:
            paths = [line.split(maxsplit=5)[5].strip() for line in maps if "openblas" in line and len(line.split()) > 5]
        return ctypes.CDLL(paths[0]) if paths else None
    except OSError:
        return None


def openblas_function(name: str) -> Any:
    """A function of it, which NumPy's own copy has under another name; None where there is none."""
    library = openblas()
    names = (f"{prefix}openblas_{name}{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", ""))
    return next((getattr(library, name) for name in names if hasattr(library, name)), None)


@functools.cache
def blas_threads() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """What tells and what sets the threads of a product; None where nothing does."""
    found = openblas_function("get_num_threads"), openblas_function("set_num_threads")
    return None if None in found else found


@contextlib.contextmanager
def one_thread_a_product() -> Iterator[None]:
    """Within this block every product is computed by the thread that asks for it. Blocks of several threads may overlap."""
    control = blas_threads()
    assert control is not None
    tell, change = control
    state = _state
    with state.lock:
        if not state.open:
            state.threads = tell()
            change(1)
        state.open += 1
    try:
        yield
    finally:
        if state is _state:  # a process that was forked within the block has its threads already
            with state.lock:
                state.open -= 1
                if not state.open:
                    change(state.threads)


class _State:
    """How many such blocks are open, and how many threads a product had before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open = self.threads = 0


_state = _State()


def _after_fork() -> None:
    """The blocks that were open belong to threads that the new process does not have."""
    global _state
    control = blas_threads()
    if _state.open and control is not None:
        control[1](_state.threads)
    _state = _State()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
