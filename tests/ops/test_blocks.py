"""Evaluation in blocks and threads: the same numbers as at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import ops
from npbert.models.arrays import OutputArray
from npbert.ops import blocks
from npbert.ops.blocks import BLOCK, in_blocks, in_blocks_of_rows


def cube(x: np.ndarray) -> np.ndarray:
    return x * x * x


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("shape", [(0,), (), (5, 3), (BLOCK,), (BLOCK + 1,), (3, BLOCK - 1), (2, 3, BLOCK // 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_numbers_as_at_once(shape: tuple[int, ...], dtype: Any, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "cores", lambda: cores)
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    y = in_blocks(cube)(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, cube(x))
    np.testing.assert_array_equal(in_blocks(cube)(x.T), cube(x).T)


def test_no_block_is_longer_and_none_is_left_out() -> None:
    seen: list[int] = []
    lock = threading.Lock()

    @in_blocks
    def count(x: np.ndarray) -> np.ndarray:
        with lock:
            seen.append(x.size)
        return x

    count(np.zeros(2 * BLOCK + 5))
    assert sorted(seen) == [5, BLOCK, BLOCK]


@pytest.mark.parametrize("shape", [(), (0,), (7,), (100,), (3, 40), (2, 3, 5), (2, 0, 3), (50, 1), (1, 50), (3, 2, 2, 9)])
@pytest.mark.parametrize("size", [0, 1, 7, 16, 1000])
def test_blocks_cover_an_array_once(shape: tuple[int, ...], size: int) -> None:
    seen = np.zeros(shape, int)
    for block in blocks._blocks(shape, size):
        assert seen[block].size <= max(size, 1)
        seen[block] += 1
    assert (seen == 1).all()


def of_row(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    y: np.ndarray = x * weight / x.sum(axis=-1, keepdims=True)
    return y


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("shape", [(5, 3), (BLOCK // 8, 9), (3, BLOCK + 7), (2, 3, BLOCK // 10, 4), (BLOCK + 1,)])
def test_rows_stay_whole(shape: tuple[int, ...], cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "cores", lambda: cores)
    x = np.random.default_rng(0).uniform(1, 2, size=shape)
    weight = np.arange(shape[-1], dtype=float)
    expected = of_row(x, weight)
    np.testing.assert_array_equal(in_blocks_of_rows(of_row)(x, weight), expected)
    assert in_blocks_of_rows(of_row)(x, weight, out=x) is x, "in place"
    np.testing.assert_array_equal(x, expected)


def test_an_error_in_a_block_is_raised() -> None:
    @in_blocks
    def fail(x: np.ndarray) -> np.ndarray:
        if x[0] > 0:
            raise FloatingPointError("here")
        return x

    x = np.zeros(3 * BLOCK)
    x[-1] = x[2 * BLOCK] = 1
    with pytest.raises(FloatingPointError, match="here"):
        fail(x)


def test_many_threads_at_once() -> None:
    x = np.random.default_rng(0).normal(size=4 * BLOCK)
    expected, found = cube(x), []
    threads = [threading.Thread(target=lambda: found.append(in_blocks(cube)(x))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(np.array_equal(y, expected) for y in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forking is for POSIX systems")
def test_a_forked_process_has_threads_of_its_own() -> None:
    program = """
import os, numpy as np
from npbert import ops
from npbert.ops import blocks
blocks.cores = lambda: 2
x = np.linspace(-3, 3, 100_000)
y = ops.gelu(x)
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(ops.gelu(x), y) else 3)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    home = os.path.dirname(os.path.dirname(npbert.__file__))
    environment = {**os.environ, "PYTHONPATH": home}
    done = subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", program], env=environment, timeout=60)
    assert done.returncode == 0


@pytest.mark.parametrize(("limit", "expected"), [("1", 1), ("", None), ("nonsense", None), ("0", None), ("100000", None)])
def test_cores_are_limited_as_those_of_matrix_products(
    limit: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    available = blocks.available.__wrapped__()
    assert available >= 1
    assert expected in (None, available)


def test_the_number_of_threads_can_be_set() -> None:
    x = np.random.default_rng(0).normal(size=5 * BLOCK)
    expected = in_blocks(cube)(x)
    before = threading.active_count()
    try:
        for count in (1, blocks.available() + 5):  # more than any test before this one has asked for
            npbert.set_num_threads(count)
            assert blocks.cores() == count
            np.testing.assert_array_equal(in_blocks(cube)(x), expected)
        assert before < threading.active_count() <= before + 4, "five blocks, one of them the caller's own"
        with pytest.raises(npbert.InputError, match="count"):
            npbert.set_num_threads(0)
    finally:
        npbert.set_num_threads(None)
    assert blocks.cores() == blocks.available()


def test_what_a_model_puts_out_is_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(blocks, "for_each_block", lambda function, *arrays, **options: seen.append(len(arrays)))
    ops.softmax(np.zeros((2, blocks.BLOCK), np.float32).view(OutputArray))
    assert seen == [2]
