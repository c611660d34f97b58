"""Running the part of a pass again that matters for a diagnosis, on a port's own values, with or without a mistake.

The pass begins at the last hidden state that the port has right (the layers before it are left out of the model) and ends with
the layer of the first tensor that differs. Whatever else the port dumped of it and has right takes the place of what is
computed: each step works on the port's own inputs to it, and what little they are off by is not counted twice.
"""

from __future__ import annotations

import copy
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npbert.golden import passes, ports, positions
from npbert.golden.compare import UNREACHABLE, Report
from npbert.golden.mistakes import Call, Form, Step, Value
from npbert.golden.pack import OUTPUT, Pack
from npbert.golden.precision import round_to
from npbert.models.encoder_decoder import EncoderDecoderModel
from npbert.models.encoder_decoder_config import EncoderDecoderConfig
from npbert.tracing import observe
from npbert.types import Array

FAR_BETTER = 10.0
"""A mistake explains a tensor when its error is so many times smaller than the right pass's."""

BETTER = 3.0
"""Where the mistake leaves no more than the tolerance allows, so many times is enough: what is left is the port's rounding."""

LAYER = re.compile(r"(.*\bencoder\.layer\.)(\d+)(.*)")


class Error(NamedTuple):
    """What a tensor of the port is off by from a computed one."""

    rms: float  # over the elements that count
    max_abs: float
    size: float  # rms of the port's own finite values that count
    rms_everywhere: float  # over all elements

    @property
    def everywhere(self) -> Error:
        """The same over all elements, as far as it is known."""
        return self._replace(rms=self.rms_everywhere, max_abs=0.0)


class Case:
    """A port that differs: what it dumped, what of it is right, and which part of the pass has to be run again."""

    def __init__(self, pack: Pack, model: Any, port: ports.Port, names: ports.Names, report: Report) -> None:
        self.pack, self.model, self.port, self.names, self.precision = pack, model, port, names, report.precision
        found = ports.find(pack, port, names).values
        inner = {name: _inner(pack, name, found) for name in found}
        self._load = {inner[name]: load for name, load in found.items()}
        rows = {inner[row.name]: row for row in report.rows}
        order = {name: index for index, name in enumerate([*ports.inputs(pack), *pack])}
        dumped = sorted(rows, key=order.__getitem__)
        self.first = next(name for name in dumped if not rows[name].ok)
        self.first_row = rows[self.first]
        right = dumped[: dumped.index(self.first)]
        self.right = set(right)
        self.last_good = next((name for name in reversed(right) if name in pack), None)
        self._visible = positions.of_call(pack.config, pack.inputs)
        self.calls: dict[str, Call] = {}  # of the parts of the model, by what their names begin with
        for part, visible in self._visible.items():
            argument = "decoder_position_ids" if part == "decoder" else "position_ids"
            config: Any = getattr(pack.config, part) if part else pack.config
            self.calls[f"{part}." if part else ""] = Call(config, visible, pack.inputs.get(argument))
        self._values: dict[str, Array] = {}
        self.arrays = dict(model.named_parameters())

        self.start: str | None = None  # the last right state that all that follows depends on
        self.layer = 0  # the layer that reads it
        for name in right:
            layer = self._read_by(name)
            if layer is not None:
                self.start, self.layer = name, layer
        self.rest, self.rest_inputs = _remaining(self)

    def _read_by(self, name: str) -> int | None:
        """The layer whose hidden state a tensor is; the number of layers for what the encoder puts out."""
        config = self.pack.config
        if isinstance(config, EncoderDecoderConfig) or "past_key_values" in self.pack.inputs:
            return None  # run the whole of it
        match = LAYER.fullmatch(name)
        if match and match[3] in ("", ".output"):
            return int(match[2]) + 1
        if name in ("encoder", "bert.encoder", "bert"):
            return config.num_hidden_layers
        return 0 if name in ("embeddings", "bert.embeddings") else None

    def call_of(self, module: str) -> Call:
        """The call that a module is part of."""
        return next(call for part, call in self.calls.items() if module.startswith(part))

    def value(self, name: str) -> Array | None:
        """What the port dumped under a name."""
        if name not in self._load or name not in self.pack:
            return None
        if name not in self._values:
            shape = self.pack[name].shape
            self._values[name] = ports.in_shape(name, self._load[name](), shape).astype(np.float64)
        return self._values[name]

    def right_value(self, name: str, true: Array) -> Array:
        """The port's own value, and the true one where nothing counts, since the port may hold anything there."""
        seen = self.value(name)
        assert seen is not None
        return np.where(self.counts(name), seen, true)

    def counts(self, name: str) -> Array:
        """Which elements of a tensor count."""
        shape = self.pack[name].shape
        if name.endswith(":masked_scores"):
            return np.broadcast_to(positions.part_of(self._visible, name).query[:, None, :, None], shape)
        return np.broadcast_to(positions.counted(self._visible, name, shape), shape)

    def error(self, name: str, computed: Array) -> Error | None:
        """What the port is off by from a computed tensor; None where the port did not dump it."""
        seen = self.value(name)
        if seen is None:
            return None
        counts = self.counts(name)
        own = seen[counts & np.isfinite(seen)]
        if name.endswith(":masked_scores"):  # how far down a hidden score lies does not matter
            floors = [x.max(axis=-1, keepdims=True) - UNREACHABLE for x in (seen, computed)]
            own = seen[counts & (seen > floors[0])]
            seen, computed = np.maximum(seen, floors[0]), np.maximum(computed, floors[1])
        wrong = np.where((seen == computed) | (np.isnan(seen) & np.isnan(computed)), 0.0, seen - computed)
        return Error(*_rms_and_max(wrong[counts]), _rms_and_max(own)[0], _rms_and_max(wrong)[0])

    def is_within(self, name: str, error: Error, multiple: float = 1.0) -> bool:
        """Whether an error is one that the port's arithmetic may make."""
        bounds = self.pack.tolerances[name][self.precision]
        return error.max_abs <= multiple * bounds.max_abs and error.rms <= multiple * bounds.rms

    def explains(self, name: str, mistake: Error, right: Error) -> bool:
        """Whether a pass with a mistake reproduces a tensor far better than the right pass does."""
        within = self.is_within(name, mistake)
        is_small = within or mistake.rms * FAR_BETTER <= mistake.size
        return is_small and mistake.rms * (BETTER if within else FAR_BETTER) <= right.rms


def _inner(pack: Pack, name: str, found: Mapping[str, Any]) -> str:
    """The last value of the pass that an output stands for, so that all names are in the order of execution."""
    if not name.startswith(OUTPUT):
        return name
    content = pack.aliases.get(name, name)
    same = [inner for inner in pack if pack.aliases.get(inner, inner) == content and not inner.startswith(OUTPUT)]
    return same[-1] if same and same[-1] not in found else name


def _rms_and_max(x: Array) -> tuple[float, float]:
    if not x.size:
        return 0.0, 0.0
    if not np.isfinite(x).all():
        return math.inf, math.inf
    return math.sqrt(float(np.vdot(x, x)) / x.size), float(np.abs(x).max())


# ------------------------------------------------------------------------------------------------------------ the pass


class Replay(NamedTuple):
    """One pass over the part of the model that matters."""

    where: str  # the first value that the mistake changed; "" where none was made
    order: list[str]  # the names that were computed
    errors: dict[str, Error]  # of what the port dumped, from the first tensor that differs on
    first: Array  # the first tensor that differs, as computed


class _Stop(Exception):
    """The pass has gone far enough: to its end, or until the mistake was refuted."""

    def __init__(self, is_refuted: bool) -> None:
        self.is_refuted = is_refuted


def replay(case: Case, form: Form | None = None, modules: Sequence[str] = (), right: Replay | None = None) -> Replay | None:
    """Run the pass, with a mistake made in some modules.

    None is returned where the first tensor that differs is never computed, and, as soon as that is seen, where the mistake is
    refuted: it changes nothing, or changes what the port has right, or explains the first tensor that differs no better than
    the `right` pass.
    """
    steps = {module: Step(module, case.call_of(module), case.arrays, {}, port=case.value) for module in modules}
    values: dict[str, tuple[Step, Value]] = {}  # what replaces them
    weights: dict[str, Array] = {}
    shows: set[str] = set()  # the values that wrong weights go into first
    for module, step in steps.items():
        assert form is not None
        values |= {module + name: (step, value) for name, value in form.values.items()}
        given = form.weights(module, case.arrays) if form.weights else {}
        changed = {name: x for name, x in given.items() if not np.array_equal(x, case.arrays[name])}
        weights |= changed
        shows |= {module + name for name in form.shows_in if changed}
    if form and not values and not weights:
        return None

    where = ""
    order: list[str] = []
    errors: dict[str, Error] = {}
    first: Array | None = None
    seen: dict[str, Array] = {}

    def rounded(x: Array) -> Array:
        if form is None or form.precision is None or not form.rounds_values:
            return x
        return round_to(x.astype(np.float32), form.precision).astype(np.float64)

    def look(name: str, x: Array) -> Array:
        """See a value, perhaps replace it; what is returned goes on."""
        nonlocal where, first
        order.append(name)
        if name in shows:
            where = where or name
        if name in values:
            step, value = values[name]
            step.seen, step.value = seen, x
            step.before[name] = x
            wrong = value(step)
            if wrong is not None and not np.array_equal(wrong, x):
                assert wrong.shape == x.shape, f"{name}: {wrong.shape} for {x.shape}"
                x = wrong
                where = where or name
        error = case.error(name, x)
        if error is not None and name not in case.right:
            errors[name] = error
        if name == case.first:
            first = x
            if form and right and (not where or error is None or not case.explains(name, error, right.errors[name])):
                raise _Stop(is_refuted=True)
        if error is not None and name in case.right:
            if where and not case.is_within(name, error, 2.0):
                raise _Stop(is_refuted=True)
            x = case.right_value(name, x)
        x = rounded(x)
        if _is_state(name):
            if first is not None:
                raise _Stop(is_refuted=False)
            seen.clear()  # what is inside a layer is of no use to the next
        seen[name] = x.copy()
        return x

    def observer(name: str, x: Array) -> Array:
        if case.start is None:
            return look(name, x)
        if name in ("embeddings", "bert.embeddings"):
            x = rounded(case.right_value(case.start, case.pack[case.start].astype(np.float64)))
            seen[name] = seen[name.removesuffix("embeddings") + "encoder"] = x  # the latter where no layer is left
            return x
        if name.startswith(("embeddings", "bert.embeddings")):
            return x
        return look(_moved(name, case.layer), x)

    def look_at_output(name: str, x: Array) -> None:
        if name.startswith(OUTPUT) and case.value(name) is not None:
            look(name, x)

    model = _with_weights(case.rest, case.arrays | weights, case.layer) if weights else case.rest
    try:
        with np.errstate(all="ignore"), observe(observer):
            passes.run(model, case.rest_inputs, "float64", look_at_output)
    except _Stop as stop:
        if stop.is_refuted:
            return None
    return None if first is None else Replay(where, order, errors, first)


def _remaining(case: Case) -> tuple[Any, dict[str, Any]]:
    """The model and its inputs without the layers that need not be run again; what is left of them is numbered from 0."""
    inputs, first = dict(case.pack.inputs), case.layer
    if first:
        config = copy.deepcopy(case.model.config)
        config.num_hidden_layers -= first
        config.pruned_heads = {i - first: heads for i, heads in config.pruned_heads.items() if i >= first}
        model = copy.copy(case.model)
        model.config = config
        if "head_mask" in inputs and inputs["head_mask"].ndim == 2:
            inputs["head_mask"] = inputs["head_mask"][first:]
        return _with_weights(model, case.arrays, first), inputs
    return case.model, inputs


def _with_weights(model: Any, arrays: Mapping[str, Array], first: int) -> Any:
    """The model with other weights, of which the layers from `first` on are its own."""
    if isinstance(model, EncoderDecoderModel):
        return EncoderDecoderModel(model.config, arrays)
    model = copy.copy(model)
    model.load_state_dict({_moved(name, -first): x for name, x in arrays.items() if layer_of(name, first) >= first})
    return model


@functools.cache
def _is_state(name: str) -> bool:
    """Whether all that follows depends on what is before a value through it alone."""
    match = LAYER.fullmatch(name)
    return not match[3] if match else name.rpartition(".")[2] == "embeddings"


@functools.cache
def _moved(name: str, layers: int) -> str:
    """A name with its layer's number raised."""
    match = LAYER.fullmatch(name)
    return f"{match[1]}{int(match[2]) + layers}{match[3]}" if match and layers else name


@functools.cache
def layer_of(name: str, default: int) -> int:
    """The number of the layer that a name lies in."""
    match = LAYER.fullmatch(name)
    return int(match[2]) if match else default
