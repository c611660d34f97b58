"""The linear maps of a port, as it dumped them: what they read, what they put out, and the weights that they should have."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from npbert.golden.arithmetic import step_of_255
from npbert.golden.matching import MatchedDump
from npbert.golden.mistakes import places, steps
from npbert.types import Array

MOST_MAPS, MOST_TOKENS = 36, 64  # are enough


class LinearMap(NamedTuple):
    """One linear map: y = x W^T + b, but for the port's rounding."""

    x: Array  # [tokens, in]: of the tokens that count
    y: Array  # [tokens, out]
    weight: Array  # [out, in]
    bias: Array  # [out]
    x_step: float  # of inputs in 8 bits

    @property
    def is_finite(self) -> bool:
        """Whether there is something to measure, and all of it numbers."""
        return bool(self.x.size and np.isfinite(self.x).all() and np.isfinite(self.y).all())


def linear_maps(dump: MatchedDump) -> Iterator[LinearMap]:
    """The linear maps whose input and output the port dumped; where they are many, some of them."""
    pack, weights = dump.pack, dump.weights
    by_content = {pack.aliases.get(name, name): name for name in dump.arrays}
    found = []
    for name in dump.arrays:
        for place in _inputs_of(name) if f"{name}.weight" in weights else ():
            source = by_content.get(pack.aliases.get(place, place))
            if source is not None:
                found.append((source, name))
                break
    for source, name in random.Random(0).sample(found, min(len(found), MOST_MAPS)):
        x, y, counts = dump.value(source), dump.value(name), pack.counted(name)[..., 0]
        weight, bias = (weights[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias"))
        rows, results = (z[counts][:MOST_TOKENS].astype(np.float64) for z in (x, y))
        yield LinearMap(rows, results, weight, bias, float(step_of_255(x)))


def _inputs_of(name: str) -> tuple[str, ...]:
    """What a linear map reads, the first of these names that there is; nothing where the name is another value's."""
    for step in steps.of_kind("linear"):
        module = name.removesuffix(step.value)
        if name.endswith(step.value) and re.fullmatch(step.modules, module):
            return places.names(step.operands[0], module)
    return ()
