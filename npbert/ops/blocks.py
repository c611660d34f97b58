"""How elementwise functions are evaluated: in blocks that stay in the processor's cache, side by side on its cores.

A formula of ten NumPy operations over an array of many megabytes would read and write main memory ten times. Cut into
blocks it does so once, and because NumPy lets other threads run while it computes, the blocks go through all cores.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from npbert.types import Array

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

BLOCK = 65536  # elements: at 4 to 8 bytes, with a few temporaries, about what a core has for itself


@functools.cache
def _cores() -> int:
    """How many threads are of use here; OMP_NUM_THREADS limits them, as it limits those of the matrix products."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(limit)) if limit.isdecimal() and int(limit) else available


@functools.cache
def _threads() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # here, so that importing npbert stays cheap

    return ThreadPoolExecutor(_cores(), thread_name_prefix="npbert")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)  # a forked process inherits the pool but not its threads


def for_each_block(function: Callable[..., None], *arrays: Array) -> None:
    """Run an elementwise function that changes arrays of one shape in place, block by block; these lie in C order."""
    flat = [x.reshape(-1) for x in arrays]

    def run(start: int) -> None:
        function(*(x[start : start + BLOCK] for x in flat))

    starts = range(0, flat[0].size, BLOCK)
    if len(starts) == 1 or _cores() == 1:
        for start in starts:
            run(start)
    else:
        list(_threads().map(run, starts))  # list: an error in a block is raised here


def in_blocks(function: Callable[..., Array]) -> Callable[..., Array]:
    """Evaluate an elementwise function of arrays of one shape block by block: the same numbers, sooner and in less memory."""

    @functools.wraps(function)
    def evaluate(*arrays: Array) -> Array:
        if arrays[0].size <= BLOCK:
            return function(*arrays)
        flat = [x.reshape(-1) for x in arrays]
        first = function(*(x[:BLOCK] for x in flat))
        result = np.empty(flat[0].shape, first.dtype)
        result[:BLOCK] = first

        def into(y: Array, *parts: Array) -> None:
            y[...] = function(*parts)

        for_each_block(into, result[BLOCK:], *(x[BLOCK:] for x in flat))
        return result.reshape(arrays[0].shape)

    return evaluate
