"""What the tests of every reader share: the promise that a hostile file does no harm, as something to call."""

import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npbert.errors import NpbertError

SLACK = 1 << 20  # bytes that a reader may take beyond the size of the file
Survives = Callable[[Callable[[Path], dict[str, Any]], Path, bytes], "dict[str, Any] | NpbertError"]


@pytest.fixture(scope="session")
def survives() -> Survives:
    """Read `content`, put at `path`: the arrays, whose every element could be touched, or the NpbertError that names the file;
    quickly, with little memory, without importing anything."""

    def check(read: Callable[[Path], dict[str, Any]], path: Path, content: bytes) -> dict[str, Any] | NpbertError:
        path.write_bytes(content)
        modules = set(sys.modules)
        began = time.perf_counter()
        tracemalloc.start()
        result: dict[str, Any] | NpbertError
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # what is no tensor may be left out
                result = read(path)
            for array in result.values():
                assert isinstance(array, np.ndarray)
                if array.nbytes < SLACK:
                    array.tobytes()  # an array that reaches outside its file would crash here
        except NpbertError as error:
            result = error
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        if isinstance(result, NpbertError):
            assert str(path) in str(result)
            assert len(str(result)) < 2000
        assert peak < len(content) + SLACK
        assert time.perf_counter() - began < 5
        assert set(sys.modules) == modules
        return result

    return check
