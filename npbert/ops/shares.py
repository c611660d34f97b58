"""How a batch is shared among the processor's cores.

A matrix product keeps all cores busy by itself. What lies between two products does not: Python lets one thread at a time say
what is to be done next, and threads that say so after every few microseconds mostly wait for each other. So each core takes
sequences of its own through all layers, with products on that core alone. Then one core multiplies while another one is at its
softmax, and nobody waits. Where there are not enough sequences, each core takes some positions of every sequence. Those need
each other once a layer, when they look at the keys and values of all positions.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from npbert.ops import blocks
from npbert.types import Array

FEW_ROWS = 32  # with so few, BLAS is quicker when the large matrix stands on the left: its rows are what the cores share
LEAST_ROWS = 128  # positions of a share: with fewer, a product takes longer to read the weights than to multiply
SEQUENCES, POSITIONS = 0, -2  # the axes of [B, S, D] and [B, N, S, H] that may be cut


class Shares(NamedTuple):
    """What each core takes of a batch."""

    axis: int  # SEQUENCES or POSITIONS
    parts: list[slice]

    def cut(self, x: Array, number: int) -> Array:
        """What the core of this number takes of x; all of x, where it has one row for all."""
        if x.shape[self.axis] == 1:
            return x
        part = self.parts[number]
        return x[part] if self.axis == SEQUENCES else x[..., part, :]

    def fit(self, x: Array) -> bool:
        """Whether x is as long as what was shared."""
        return x.ndim >= -self.axis and x.shape[self.axis] == self.parts[-1].stop


def shares_of(batch: int, length: int, *, positions: bool = False) -> Shares | None:
    """As many shares as there are cores: of the sequences, or of the `positions` if they may be cut and the sequences are too
    few to be shared evenly; None, where that would not be sooner.

    This does not depend on what `set_num_threads` was told, because the sums of a product depend on how many rows it has: with
    fewer threads than cores, some threads take several shares.
    """
    count = blocks.available()
    if blocks.is_shared() or count == 1 or batch * length < count * LEAST_ROWS or blas_threads() is None:
        return None
    for axis, total in ((SEQUENCES, batch), (POSITIONS, length if positions else 0)):
        largest = -(-total // count)
        if 0 < 5 * largest * count <= 6 * total:  # the cores with the smaller shares wait for a sixth of the time at most
            return Shares(axis, [slice(total * number // count, total * (number + 1) // count) for number in range(count)])
    return None


def in_shares(
    function: Callable[[Array, Array | None], Any], hidden: Array, mask: Array | None, *, apart: bool, positions: bool = False
) -> Any:
    """`function(hidden, mask)`, where each core takes its share, and what comes back is put together again.

    hidden is `[B, S, D]`, mask `[B or 1, 1, S or 1, T]`. The function returns arrays `[B, S, D]` or `[B, N, S, ...]`, or tuples
    of them; what it leaves out is None. `positions` may be cut if it asks `of_all_positions` for what they need of each other.
    If the cores are not to go `apart`, because somebody looks at whole arrays, each product in the function is shared instead,
    and has the same sums.
    """
    shares = shares_of(*hidden.shape[:2], positions=positions) if blocks.is_plain(hidden) else None
    if shares is None:
        return function(hidden, mask)

    def one_share(number: int) -> Any:
        return function(shares.cut(hidden, number), None if mask is None else shares.cut(mask, number))

    with one_thread_a_product():
        if apart and shares.axis == SEQUENCES:
            return _joined(_for_each_share(one_share, shares), shares.axis)
        if apart:
            with _meeting_of(shares) as meeting:
                if meeting is not None:
                    return _joined(_for_each_share(functools.partial(meeting.join, one_share), shares), shares.axis)
        before, _here.shares = _here.shares, shares
        try:
            return function(hidden, mask)
        finally:
            _here.shares = before


def _for_each_share(function: Callable[[int], Any], shares: Shares) -> list[Any]:
    """What the function returns for the number of each share."""
    found: list[Any] = [None] * len(shares.parts)

    def one_share(number: int) -> None:
        found[number] = function(number)

    blocks.side_by_side([functools.partial(one_share, number) for number in range(len(found))])
    return found


def _joined(found: list[Any], axis: int) -> Any:
    """The results of all shares as one."""
    first = found[0]
    if first is None:
        return None
    if isinstance(first, np.ndarray):
        return np.concatenate(found, axis=axis)
    together = [_joined(list(items), axis) for items in zip(*found, strict=True)]
    return type(first)(*together) if hasattr(first, "_fields") else tuple(together)


# --- positions of one sequence, which need each other -------------------------------------------------------------------


class _Meeting:
    """Where the shares of one pass hand each other what they have of the same layer."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count)
        self.brought: list[list[tuple[Array, ...]]] = [[()] * count, [()] * count]  # by layers in turn: see `of_all_positions`

    def join(self, function: Callable[[int], Any], number: int) -> Any:
        """`function(number)`, as the share of this number."""
        _here.meeting, _here.number, _here.turn = self, number, 0
        try:
            return function(number)
        except threading.BrokenBarrierError:  # another share failed, and raises what went wrong
            return None
        except BaseException:
            self.barrier.abort()
            raise
        finally:
            _here.meeting = None


@contextlib.contextmanager
def _meeting_of(shares: Shares) -> Iterator[_Meeting | None]:
    """A meeting of these shares; None, where they could not all be there at once.

    A share that others wait for must not wait for a thread itself. So there is one meeting at a time, and only if every share
    has a thread.
    """
    lock, count = _state.meeting, len(shares.parts)
    if blocks.cores() < count or not lock.acquire(blocking=False):
        yield None
        return
    meeting = _Meeting(count)
    try:
        yield meeting
    except BaseException:  # a share that has not begun cannot tell the others, who would wait for it for ever
        meeting.barrier.abort()
        raise
    finally:
        lock.release()


def of_all_positions(key: Array, value: Array) -> tuple[Array, Array]:
    """Keys and values of this core's positions -> those of all positions, `[B, N, T, H]`. Outside a share they are all."""
    meeting = _here.meeting
    if meeting is None:
        return key, value
    # Whoever is here for the next layer may bring it while others still read this one, but no more: then all must have come.
    brought = meeting.brought[_here.turn]
    _here.turn = 1 - _here.turn
    brought[_here.number] = key, value
    meeting.barrier.wait()
    keys, values = zip(*brought, strict=True)
    return np.concatenate(keys, axis=POSITIONS), np.concatenate(values, axis=POSITIONS)


# --- products that are shared because somebody looks at whole arrays ----------------------------------------------------


def product(x: Array, y: Array) -> Array:
    """`x @ y`, of sequences `[B, ..., S, in]` with a matrix `[in, out]`, or of their heads with `[B, N, in, out]`."""
    return by_share(_matrix_product, x, y) if y.ndim == 2 else by_share(np.matmul, x, y)


def by_share(function: Callable[..., Array], x: Array, y: Array) -> Array:
    """`function(x, y)` for x `[B, ...]`, and y too where it is `[B, ...]`, each core for its share, within `in_shares`."""
    shares = _here.shares
    if shares is None or not shares.fit(x):  # whoever looks at a value may compute something else meanwhile
        return function(x, y)
    has_sequences = shares.axis == SEQUENCES and y.ndim == x.ndim > 2
    found = _for_each_share(
        lambda number: function(shares.cut(x, number), shares.cut(y, number) if has_sequences else y), shares
    )
    return np.concatenate(found, axis=shares.axis)


def _matrix_product(x: Array, y: Array) -> Array:
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])  # one large product is faster than one for each sequence
    result = (y.T @ rows.T).T.copy() if len(rows) <= FEW_ROWS else rows @ y
    return result.reshape(*x.shape[:-1], y.shape[1])


class _Here(threading.local):
    """What holds in one thread."""

    shares: Shares | None = None  # how each product is shared, within a function whose values somebody looks at
    meeting: _Meeting | None = None  # where the share that this thread computes meets the others
    number = 0  # of this share
    turn = 0  # which of the meeting's two places the next layer's keys and values go to


_here = _Here()


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
        self.meeting = threading.Lock()  # held by the one meeting that there may be
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
