"""A port that differs from its pack: where it first differs, what it has right before that, and how far it is off."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from npbert.golden import models
from npbert.golden.kinds import is_forward
from npbert.golden.layers import layer_of, layer_that_reads
from npbert.golden.matching import MatchedDump
from npbert.golden.mistakes.site import PartContext
from npbert.golden.pack import OUTPUT, Pack
from npbert.golden.positions import SOFTMAX_REACH
from npbert.golden.report import Report
from npbert.golden.stage import ConvertedWeights, Stage
from npbert.types import Array

TIMES_CLOSER = 10.0
"""A mistake explains a tensor when its error is this many times smaller than the right pass's, and also near the tolerance."""

NEAR = 100.0
"""Tolerances. A mistake may make more of a port's rounding than the right pass does, but not more than this."""

TIMES_CLOSER_FAR_OFF = 1000.0
"""The same farther from the tolerance: there an error that is a little smaller may be that of a similar mistake."""

TIMES_CLOSER_WITHIN_TOLERANCE = 3.0
"""The same where the mistake's error is within the tolerance: what is left may be rounding of the port."""

LARGEST_GROWTH = 1e5
"""A tolerance grows with the port's values up to this many times: so much larger are hidden scores that no softmax turned into
probabilities."""


class Deviation(NamedTuple):
    """How far a tensor of the port is off from a computed one."""

    rms: float  # over the elements that count
    max_abs: float
    size: float  # rms of the port's own finite values that count
    rms_everywhere: float  # over all elements

    @property
    def everywhere(self) -> Deviation:
        """The same over all elements, as far as it is known."""
        return self._replace(rms=self.rms_everywhere, max_abs=0.0)


class Divergence:
    """The first tensor of a port that differs, and what has to be known to look for the reason.

    Names are those of values inside the pass: an output goes by the name of the value that it is.
    """

    def __init__(self, dump: MatchedDump, model: Any, report: Report, *, dtype: type[np.floating[Any]] = np.float64) -> None:
        self.dump, self.model, self.report, self.dtype = dump, model, report, dtype  # dtype: what passes compute in
        self.precision = report.precision  # what the port is held against
        self.pack = pack = dump.pack
        self._dumped = {_name_inside(pack, name, dump.arrays): name for name in dump.arrays}
        self._values: dict[str, Array] = {}
        self._true_sizes: dict[str, float] = {}
        order = {name: index for index, name in enumerate([*pack.input_arrays, *pack])}
        names = sorted(self._dumped, key=order.__getitem__)
        rows = {row.name: row for row in report.rows}
        self.first = next(name for name in names if not rows[self._dumped[name]].ok)  # the first tensor that differs
        self.row = rows[self._dumped[self.first]]
        right = names[: names.index(self.first)]
        self.right = set(right)  # the tensors before it, all of them right
        self._before = {name for name in pack if order[name] < order[self.first]}
        self.last_right = next((name for name in reversed(right) if name in pack), None)
        self.start, self.first_layer = self._start(right)
        self.contexts = {
            part: PartContext(call, pack.positions[part])
            for part, call in models.parts_of_call(pack.config, pack.inputs).items()
        }
        self.weights = ConvertedWeights(models.weights_of(model), dtype)
        self.stage = Stage(model, self.weights, pack.inputs, self.first_layer, pack.backward)

    def _start(self, right: Sequence[str]) -> tuple[str | None, int]:
        """The last hidden state that is right, and the layer that reads it: the pass is run again from there."""
        config = models.parts_of_config(self.pack.config).get("")
        drops = self.pack.backward is not None and self.pack.backward.dropout_seed is not None
        if config is None or drops or "past_key_values" in self.pack.inputs:
            return None, 0  # a model of two parts, with a cache or with dropout, runs as a whole
        if getattr(config, "scale_attn_by_inverse_layer_idx", False):
            return None, 0  # each layer has to know its number
        for name in reversed(right):
            layer = layer_that_reads(name, config.num_hidden_layers)
            if layer is not None and layer <= layer_of(self.first, config.num_hidden_layers):
                return name, layer
        return None, 0

    def value(self, name: str) -> Array | None:
        """What the port dumped under a name."""
        if name not in self._dumped or name not in self.pack:
            return None
        if name not in self._values:
            self._values[name] = self.dump.value(self._dumped[name]).astype(np.float64)
        return self._values[name]

    def reported(self, name: str) -> str:
        """The name that a value has in the report."""
        return self._dumped[name]

    def truth(self, name: str) -> Array | None:
        """What the pack holds under a name that lies before the first tensor that differs."""
        if name not in self.pack or name not in self._before:
            return None
        return self.pack[name].astype(np.float64)

    def value_where_it_counts(self, name: str, computed: Array) -> Array:
        """The port's own value, and the computed one where nothing counts, since the port may hold anything there."""
        seen = self.value(name)
        assert seen is not None
        return np.where(self.counts(name), seen, computed)

    def counts(self, name: str) -> Array:
        """Which elements of a tensor count. Of masked scores also the hidden ones do: a mask may be what is wrong."""
        if _are_masked_scores(name):
            positions = self.pack.positions
            query = positions[models.part_of(positions, name)].query
            return np.broadcast_to(query[:, None, :, None], self.pack[name].shape)
        return self.pack.counted(name)

    def deviation(self, name: str, computed: Array) -> Deviation | None:
        """How far the port is off from a computed tensor; None where the port did not dump it."""
        seen = self.value(name)
        if seen is None:
            return None
        counts = self.counts(name)
        own = seen[counts & np.isfinite(seen)]
        if _are_masked_scores(name):  # how far down a hidden score lies does not matter
            floors = [x.max(axis=-1, keepdims=True) - SOFTMAX_REACH for x in (seen, computed)]
            own = seen[counts & (seen > floors[0])]
            seen, computed = np.maximum(seen, floors[0]), np.maximum(computed, floors[1])
        wrong = np.where((seen == computed) | (np.isnan(seen) & np.isnan(computed)), 0.0, seen - computed)
        return Deviation(*_rms_and_max(wrong[counts]), _rms_and_max(own)[0], _rms_and_max(wrong)[0])

    def true_size(self, name: str) -> float:
        """The rms of a tensor of the pack, over the elements that count."""
        if name not in self._true_sizes:
            truth = self.pack[name][self.pack.counted(name)].astype(np.float64)
            self._true_sizes[name] = _rms_and_max(truth)[0]
        return self._true_sizes[name]

    def is_within(self, name: str, deviation: Deviation, multiple: float = 1.0) -> bool:
        """Whether a deviation is one that the port's arithmetic may cause, in values as large as the port's."""
        return self.share(name, deviation) <= multiple

    def share(self, name: str, deviation: Deviation) -> float:
        """A deviation as a share of what the port's arithmetic may cause, in values as large as the port's."""
        growth = self._growth(name, deviation)
        bounds = self.pack.tolerances[name][self.precision]
        pairs = ((deviation.max_abs, growth * bounds.max_abs), (deviation.rms, growth * bounds.rms))
        return max(wrong / bound if bound else (math.inf if wrong else 0.0) for wrong, bound in pairs)

    def _growth(self, name: str, deviation: Deviation) -> float:
        """How many times larger than the pack's the port's values are, and so its rounding."""
        size = self.true_size(name)
        return min(deviation.size / size, LARGEST_GROWTH) if deviation.size > size > 0 else 1.0

    def explains(self, name: str, mistake: Deviation, right: Deviation) -> bool:
        """Whether a pass with a mistake reproduces a tensor far better than the right pass does."""
        if self.is_within(name, mistake):
            return mistake.rms * TIMES_CLOSER_WITHIN_TOLERANCE <= right.rms
        return self.is_far_closer(name, mistake, min(mistake.size, right.rms, self.true_size(name) or math.inf))

    def is_far_closer(self, name: str, mistake: Deviation, rms: float) -> bool:
        """Whether a deviation is far smaller than this error."""
        return mistake.rms * (TIMES_CLOSER if self.is_within(name, mistake, NEAR) else TIMES_CLOSER_FAR_OFF) <= rms

    def may_explain(self, name: str, mistake: Deviation, right: Deviation) -> bool:
        """What can be said of that by a pass that is itself off by rounding: False only where an exact pass says so too."""
        allowed = self.pack.tolerances[name][self.precision].rms * self._growth(name, mistake)
        return mistake.rms < right.rms / TIMES_CLOSER_WITHIN_TOLERANCE + allowed


def _are_masked_scores(name: str) -> bool:
    return name.endswith(":masked_scores") and is_forward(name)


def _name_inside(pack: Pack, name: str, dumped: Collection[str]) -> str:
    """The name of the last value of the pass that an output is; the output's own where the port dumped that value too."""
    if not name.startswith(OUTPUT):
        return name
    content = pack.aliases.get(name, name)
    same = [inner for inner in pack if pack.aliases.get(inner, inner) == content and not inner.startswith(OUTPUT)]
    return same[-1] if same and same[-1] not in dumped else name


def _rms_and_max(x: Array) -> tuple[float, float]:
    if not x.size:
        return 0.0, 0.0
    if not np.isfinite(x).all():
        return math.inf, math.inf
    return math.sqrt(float(np.vdot(x, x)) / x.size), float(np.abs(x).max())
