"""How functions of many elements or rows are evaluated: in blocks that stay in the processor's cache, on all its cores.

A formula of ten NumPy operations over an array of many megabytes would read and write main memory ten times. Cut into
blocks it does so once, and because NumPy lets other threads run while it computes, each core takes its share of the blocks.
Where an array is cut does not depend on the number of cores, so no result does.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import functools
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npbert.checks import whole_number
from npbert.types import Array

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

BLOCK = 262144  # elements: larger blocks would not stay in the cache; with smaller ones the threads would wait for each other

# The C library keeps the memory of arrays for the next ones instead of giving it back, up to twice the size of the largest
# (of at most 32 MB) that was ever freed. To be given memory back by the system costs more than many an operation.
np.empty(2**25 - 2**16, np.uint8)


@functools.cache
def keep_freed_memory() -> None:
    """From now on, let the C library keep what arrays of any size leave behind, up to 2 GB, where it can be told so (glibc).

    A backward pass reads hundreds of megabytes that its forward pass kept. Given back to the system after each pass and asked
    for again before the next, they would cost a quarter of the time.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):  # somebody has decided already
        return
    trim_threshold, mmap_max = -1, -4  # the numbers of these settings in malloc.h
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)


def cores() -> int:
    """How many threads share the blocks: what `set_num_threads` was told, or else as many as there are cores of use."""
    return _told or available()


def set_num_threads(count: int | None) -> None:
    """Share npbert's own work among so many threads; None: as many as there are cores. The results are the same.

    Where a batch is shared among the cores, this counts for its matrix products too (see `npbert.ops.shares`). Elsewhere
    those are NumPy's, whose threads are set in the environment (OMP_NUM_THREADS, before NumPy is imported), which limits
    npbert's own as well.
    """
    global _told
    _told = None if count is None else whole_number("count", count, least=1)


_told: int | None = None


@functools.cache
def available() -> int:
    """How many cores the process may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(limit)) if limit.isdecimal() and int(limit) else available


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # here, so that importing npbert stays cheap

    return ThreadPoolExecutor(count, thread_name_prefix="npbert")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a forked process inherits the pool but not its threads


def for_each_block(function: Callable[..., object], *arrays: Array, uncut: int = 0) -> None:
    """`function(*parts)` for the same part of all arrays, block by block, to change some of them in place.

    The arrays have one shape. What lies along the last `uncut` axes stays together.
    """
    cut, whole = arrays[0].shape[: arrays[0].ndim - uncut], arrays[0].shape[arrays[0].ndim - uncut :]
    blocks = list(_blocks(cut, BLOCK // max(math.prod(whole), 1)))

    def stretch(blocks: list[tuple[slice, ...]]) -> None:
        for block in blocks:
            function(*(x[block] for x in arrays))

    share = -(-len(blocks) // cores())
    side_by_side([functools.partial(stretch, blocks[start : start + share]) for start in range(0, len(blocks), share)])


def side_by_side(tasks: Sequence[Callable[[], object]]) -> None:
    """Run tasks on all cores; what a task itself would share among the cores, its own core does alone."""
    threads = 1 if is_shared() else min(cores(), len(tasks))

    def run(tasks: Sequence[Callable[[], object]]) -> None:
        outside, _here.is_shared = is_shared(), True
        try:
            for task in tasks:
                task()
        finally:
            _here.is_shared = outside

    if threads == 1:
        run(tasks)
        return
    # NumPy's errstate, and whatever else holds within a `with` of the caller, holds in the other threads too.
    others = [
        _threads(cores()).submit(contextvars.copy_context().run, run, tasks[number::threads]) for number in range(1, threads)
    ]
    try:
        run(tasks[::threads])
    finally:
        for other in others:
            other.result()  # waits for it, and raises what it raised


def is_shared() -> bool:
    """Whether this thread is at a task of `side_by_side`, beside others."""
    return getattr(_here, "is_shared", False)


_here = threading.local()


def _blocks(shape: tuple[int, ...], size: int) -> Iterator[tuple[slice, ...]]:
    """Indices that cut an array of this shape into blocks of at most `size` elements, or of one where that is less."""
    if math.prod(shape) <= max(size, 1):
        yield ()
        return
    step = size // math.prod(shape[1:])  # how many along the first axis make a block; if none, the next axis is cut too
    for start in range(0, shape[0], max(step, 1)):
        for rest in [()] if step else _blocks(shape[1:], size):
            yield slice(start, start + max(step, 1)), *rest


def is_plain(x: Array) -> bool:
    """Whether NumPy computes with an array; not with those that bring an arithmetic of their own, as a golden pack's do."""
    return type(x).__array_ufunc__ is np.ndarray.__array_ufunc__


def in_blocks(function: Callable[..., Array]) -> Callable[..., Array]:
    """Evaluate a function that treats every element by itself block by block: the same numbers, sooner and in less memory.

    Of its arguments, arrays of the first one's shape are cut, and the others handed to it as they are. With `out=` the result
    goes into an array that exists; it may be the first argument. A function that takes `out` itself writes its last step there;
    the results of others are copied.
    """
    return _in_blocks(function, uncut=0)


def in_blocks_of_rows(function: Callable[..., Array]) -> Callable[..., Array]:
    """The same for a function that treats every row, all that lies along the last axis, by itself."""
    return _in_blocks(function, uncut=1)


def _in_blocks(function: Callable[..., Array], *, uncut: int) -> Callable[..., Array]:
    takes_out = "out" in (function.__kwdefaults__ or {})

    @functools.wraps(function)
    def evaluate(x: Array, *others: Array, out: Array | None = None, **options: Any) -> Array:
        if not is_plain(x) or (x.size <= BLOCK and out is None):
            return function(x, *others, **options)
        if x.size <= BLOCK and takes_out:
            return function(x, *others, out=out, **options)
        is_cut = [y.shape == x.shape for y in others]

        def one_block(result: Array, x: Array, *parts: Array) -> None:
            part = iter(parts)
            own = [next(part) if cut else y for y, cut in zip(others, is_cut, strict=True)]
            if takes_out:
                function(x, *own, out=result, **options)
            else:
                result[...] = function(x, *own, **options)

        if out is None:
            out = np.empty(x.shape, x.dtype if x.dtype.kind == "f" else np.float64)
        for_each_block(one_block, out, x, *itertools.compress(others, is_cut), uncut=uncut)
        return out

    return evaluate
