"""How far a correct port may be from the truth: the error that its arithmetic makes anyway, times a stated multiple.

For each tensor the pack knows two errors against the float64 truth: the largest and the root of the mean square (rms). The
largest finds one wrong element, the rms finds a small error in every element. They are measured in a pass of npbert's own in
the port's precision, in which every sum is off by as much as another port's sum may be: `npbert.golden.arithmetic` says how
much that is. A port is right where each of its errors is at most

    multiple * max(error measured, FLOOR * EPSILON[precision] * the tensor's largest value, or its values' rms)

Chance must not make this too little:

- Two errors may cancel in the measured pass. So an element counts as wrong by the spread of its own sum at least, and a sum of
  two tensors is allowed at least what each of them is. So is the gradient of a bias, which is a sum over all positions: where
  a loss has only a softmax above it, the true sum is 0.
- One element may be larger than all others together, and so may its error. How many elements really share in an error is
  e = (sum x^2)^2 / sum x^4 of the errors x: n where all are alike, 1 where one is all.
- The mean square of few errors can be small by chance: two logits may both happen to come out exact. So it is also taken over
  the e squares and PRIOR_COUNT more, which are as large in proportion to the values as they were in the tensor before, and the
  larger of the two counts.
- Few tokens, in a backward pass, may all be right by luck. Two passes are measured there, and the larger tolerance counts
  (`npbert.golden.export.DRAWS`).
- The rms of a port's own errors varies by chance with a standard deviation of one part in sqrt(2e). STANDARD_DEVIATIONS of them
  are added to its bound.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np

from npbert.golden.kinds import is_forward, is_gradient, is_of_weight, step_of
from npbert.golden.precision import EPSILON
from npbert.tracing import WEIGHT_GRADIENT
from npbert.types import Array


class Tolerance(NamedTuple):
    """The largest error and the rms error that a port may show."""

    max_abs: float
    rms: float


MULTIPLES = {
    "float32": Tolerance(8, 2),
    "float16": Tolerance(12, 3.5),
    "bfloat16": Tolerance(12, 3.5),
    "tf32": Tolerance(9, 3),
    "bfloat16-products": Tolerance(9, 3),
    "int8": Tolerance(10, 3),
    "int8-per-row": Tolerance(10, 3),
    "int8-tables": Tolerance(10, 3),
}
"""A port is allowed this many times the measured errors. tools/measure_ports.py prints how many times the measured errors ports
are off by. On packs of one text of 1 to 10 tokens, where luck is worst, of all-MiniLM-L6-v2 and of random models with hidden
sizes up to 1024 and intermediate sizes up to 4096, the worst honest ports were off

                                                      max_abs   rms   packs    allowed
    float32               plain loops in C                4.7   0.9     825    8     2
    float16, bfloat16     rounded after every step        6.9   2.0      20   12   3.5
    tf32, bfloat16-prod.  operands cut off                3.5   1.7      20    9     3
    int8, int8-per-row    PyTorch's                       5.2   1.6      20   10     3
    int8-tables           PyTorch's                       3.8   1.1      32   10     3

so every multiple is 1.7 times the worst or more. Of the mistakes in float32 the mildest pack had gelu-tanh off 10 times as far
as allowed, and 2.2 times in the outputs of layers alone (a random model of hidden size 64, where the approximation hardly
differs; 141 times in all-MiniLM-L6-v2); layernorm-eps 138 times, wherever one looks.

No tolerance can see a mistake that is smaller than the rounding itself: in float16 and bfloat16 gelu-tanh, often layernorm-eps
and layernorm-unbiased, and in bfloat16, where the weights are random, gelu-sigmoid.
"""

GRADIENT_MULTIPLES = MULTIPLES | {"float16": Tolerance(12, 4.5), "bfloat16": Tolerance(42, 11)}
"""The same for gradients. Between two names of a backward pass lie more steps, such as the three terms of LayerNorm's, which
ports in 16 bits round one by one. On random models of all heads with one to three texts of 1 to 10 tokens PyTorch was off 25
and 6.5 times in bfloat16, 5 and 2.6 times in float16, 3 and 1 times in float32. tools/measure_gradients.py measures PyTorch and
plain loops in NumPy, and how far three mistakes are off: the mildest, GELU's other derivative, 30 times what is allowed."""

FLOOR = 0.5
"""In units of the precision's EPSILON: rounding the result alone may cost half a unit, also where npbert made no error."""

SUMS = re.compile(r".*(?::residual|:sum)|(?:.*[.:])?h\.\d+")
"""Names of sums of the tensor before and, but for the embeddings, of what the last LayerNorm put out; in GPT-2, which leaves
sums alone, of the sum before."""

GRADIENT_SUMS = re.compile(r".*(?:attention|layer\.\d+|embeddings|attn:residual|crossattention:residual|h\.\d+|drop)")
"""Names of values whose gradient is a sum of the last LayerNorm's, which goes past the block, and of one through the block; in
GPT-2 of the last sum's."""

PRIOR_COUNT = 32
STANDARD_DEVIATIONS = 3.0
PEAK = 3.0
"""The largest of several errors is expected to be at least this many times their rms."""

PIECE = 1 << 18  # elements


class MeasuredError(NamedTuple):
    """How far one pass is off in one tensor, over the elements that count and are finite."""

    number: int  # of these elements
    effective: float  # how many elements of equal error would be as many
    max_abs: float
    rms: float
    largest: float  # of the true values
    size: float  # rms of the true values


def measure(truth: Array, value: Array, counts: Array, spread: Array | None = None) -> MeasuredError:
    """Measure `value` against `truth`; `counts` are truth values that broadcast to their shape.

    An element is off by `spread` at least: what it brought along and what its own sum added may happen to cancel. The work is
    done in pieces, so that it needs little memory of its own.
    """
    flat_truth, flat_value = np.asarray(truth).reshape(-1), value.reshape(-1)
    flat_spread = None if spread is None else spread.reshape(-1)
    flat_counts = np.broadcast_to(counts, truth.shape).reshape(-1)
    number, max_abs, wrong_squares, wrong_fourths, largest, true_squares = 0, 0.0, 0.0, 0.0, 0.0, 0.0
    for start in range(0, truth.size, PIECE):
        piece = slice(start, start + PIECE)
        true = flat_truth[piece].astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            wrong = np.abs(flat_value[piece] - true)
        if flat_spread is not None:
            np.maximum(wrong, flat_spread[piece], out=wrong)
        kept = flat_counts[piece] & np.isfinite(wrong)
        number += int(np.count_nonzero(kept))
        np.logical_not(kept, out=kept)
        true[kept] = wrong[kept] = 0  # adds nothing below, and is far quicker than to select the others
        max_abs = max(max_abs, float(wrong.max(initial=0)))
        largest = max(largest, float(np.abs(true).max(initial=0)))
        true_squares += float(np.vdot(true, true))
        np.square(wrong, out=wrong)
        wrong_squares += float(wrong.sum())
        wrong_fourths += float(np.vdot(wrong, wrong))
    rms, size = (math.sqrt(squares / max(number, 1)) for squares in (wrong_squares, true_squares))
    effective = wrong_squares**2 / wrong_fourths if wrong_fourths else number
    return MeasuredError(number, effective, max_abs, rms, largest, size)


class Allowance:
    """Turns the errors of one pass, tensor by tensor in execution order, into what a port in that precision is allowed."""

    def __init__(self, precision: str) -> None:
        self._precision = precision
        self._floor = FLOOR * EPSILON[precision]
        self._relative = self._floor  # the error that is expected after the tensor before, relative to the values
        self._relative_of_loss = self._floor  # the same after the loss before
        self._before = self._normed = Tolerance(0.0, 0.0)  # of the tensor before, and of the last LayerNorm or sum
        self._summed = Tolerance(0.0, 0.0)  # of the last gradient by a value, of which the gradient of a bias is the sum

    def next(self, name: str, measured: MeasuredError) -> Tolerance:
        """What a port is allowed in the next tensor."""
        expected = self._expected(name) * measured.size
        squares = measured.effective * measured.rms**2 + PRIOR_COUNT * expected**2
        rms = max(math.sqrt(squares / (measured.effective + PRIOR_COUNT)), measured.rms, self._floor * measured.size)
        max_abs = max(measured.max_abs, PEAK * rms, self._floor * measured.largest)
        if 0 < rms < measured.size:
            self._note(name, rms / measured.size)
        chance = 1 + STANDARD_DEVIATIONS / math.sqrt(2 * max(measured.effective, 1))
        backward, is_sum = is_gradient(name), SUMS.fullmatch(name)
        multiple = (GRADIENT_MULTIPLES if backward else MULTIPLES)[self._precision]
        bounds = Tolerance(multiple.max_abs * max_abs, multiple.rms * rms * chance)
        if name.startswith(WEIGHT_GRADIENT) and name.endswith(".bias"):
            bounds = Tolerance(*map(max, bounds, self._summed))
        if GRADIENT_SUMS.fullmatch(name) if backward else is_sum:
            bounds = Tolerance(*map(max, bounds, self._normed if backward else self._before, self._normed))
        self._before = bounds
        if is_sum or (not backward and name.endswith("LayerNorm")):
            self._normed = bounds
        if backward and not is_of_weight(name):
            self._summed = bounds
        return Tolerance(*map(_round_up, bounds))

    def _expected(self, name: str) -> float:
        """The relative error that is expected. A step begins with weights that are only rounded."""
        if name.endswith("loss") and step_of(name):
            return self._relative_of_loss
        return self._floor if step_of(name) else self._relative

    def _note(self, name: str, relative: float) -> None:
        """Note a relative error for what is computed next. Nothing is computed from the gradient of a weight."""
        if name.endswith("loss"):
            self._relative_of_loss = relative
        if is_forward(name) or not is_of_weight(name):
            self._relative = relative


def _round_up(x: float) -> float:
    """To three digits: the estimate is not more precise than that."""
    if x == 0 or not math.isfinite(x):
        return x
    unit = 10.0 ** (math.floor(math.log10(x)) - 2)
    return float(f"{math.ceil(x / unit) * unit:.3g}")
