"""The types that signatures are written with."""

import os
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

Rng: TypeAlias = "np.random.Generator | None"
"""A source of random numbers, or none. A string, because NumPy loads its random part only when it is first asked for."""

StrPath: TypeAlias = "str | os.PathLike[str]"
