"""How elementwise functions are evaluated: in blocks that stay in the processor's cache, side by side on its cores.

A formula of ten NumPy operations over an array of many megabytes would read and write main memory ten times. Cut into
blocks it does so once, and because NumPy lets other threads run while it computes, the blocks go through all cores.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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


def in_blocks(function: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Evaluate an elementwise function block by block: the same numbers, sooner and in less memory."""

    @functools.wraps(function)
    def evaluate(x: NDArray[Any]) -> NDArray[Any]:
        if x.size <= BLOCK:
            return function(x)
        flat = x.reshape(-1)
        first = function(flat[:BLOCK])
        result = np.empty(flat.shape, first.dtype)
        result[:BLOCK] = first

        def run(start: int) -> None:
            result[start : start + BLOCK] = function(flat[start : start + BLOCK])

        starts = range(BLOCK, flat.size, BLOCK)
        if _cores() == 1:
            for start in starts:
                run(start)
        else:
            list(_threads().map(run, starts))  # list: an error in a block is raised here
        return result.reshape(x.shape)

    return evaluate
