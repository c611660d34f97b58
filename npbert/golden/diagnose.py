"""Naming the mistake that makes a port differ.

The pass is run again from the last hidden state that the port had right, on the port's own values wherever it dumped them, once
for each known mistake (`npbert.golden.mistakes`) in each place where it can have been made. A mistake is a suspect when making
it reproduces the port's numbers far better than the right pass does. When none does, nothing is guessed.
"""

from __future__ import annotations

import copy
import functools
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from npbert.checkpoints.reading import StrPath
from npbert.encoder_decoder import EncoderDecoderConfig, EncoderDecoderModel
from npbert.errors import InputError, InputTypeError
from npbert.golden import mistakes, passes, ports, positions
from npbert.golden.compare import UNREACHABLE, Report, compare
from npbert.golden.mistakes import Call, Form, Step
from npbert.golden.pack import INPUT, OUTPUT, Pack, read_pack, weights_sha256
from npbert.golden.precision import EPSILON, full_name, round_to
from npbert.models import MODELS, BertModel, BertPreTrainedModel
from npbert.trace import observe

Array: TypeAlias = NDArray[Any]

FAR_BETTER = 10.0
"""A mistake is a suspect when its error is so many times smaller than the right pass's."""

BETTER = 3.0
"""Where the mistake leaves no more than the tolerance allows, so many times is enough: what is left is the port's rounding."""

FEW_LAYERS = 4
"""A mistake that was made in a single layer is looked for among so many; the port should dump its hidden states otherwise."""

_LAYER = re.compile(r"(.*\bencoder\.layer\.)(\d+)(.*)")


class Evidence(NamedTuple):
    """How well a mistake reproduces the port's numbers, in the first tensor that differs."""

    tensor: str
    error_of_truth: float  # rms of the port against the right pass, from the port's own values before
    error_of_mistake: float  # rms of the port against the pass that makes the mistake; infinite where no mistake was found
    tolerance: float  # rms that is allowed there
    reproduced: int  # of the tensors from there to the end of the layer, how many the mistake reproduces
    dumped: int  # how many there are
    precision: str | None  # for a shorter precision: which

    def __str__(self) -> str:
        if math.isinf(self.error_of_mistake):
            return f"{self.tensor} is off by {self.error_of_truth:.2e} (rms), {self.tolerance:.2e} is allowed"
        if math.isinf(self.error_of_truth):
            much = "the mistake has NaN or infinity where the port has it"
        else:
            ratio = self.error_of_truth / self.error_of_mistake if self.error_of_mistake else math.inf
            much = "exactly" if math.isinf(ratio) else f"{ratio:,.0f} times closer"
        more = f", and {self.reproduced} of the {self.dumped} tensors from there on" if self.dumped > 1 else ""
        return (
            f"in {self.tensor} the port is off by {self.error_of_truth:.2e} (rms); made on purpose, this mistake comes within "
            f"{self.error_of_mistake:.2e} of it ({much}){more}"
        )


@dataclass(frozen=True)
class Suspect:
    """A mistake that the port may have made."""

    mistake: str  # one of npbert.golden.mistakes.MISTAKES
    where: str  # the first tensor that it makes wrong
    explanation: str  # what is wrong and what to change
    evidence: Evidence

    def __str__(self) -> str:
        return f"{self.mistake} at {self.where}\n    {self.explanation}\n    evidence: {self.evidence}"


def diagnose(
    pack: Pack | StrPath, port: ports.Port, *, names: ports.Names = None, precision: str = "float32", model: Any = None
) -> list[Suspect]:
    """Which mistakes explain the first tensors that differ, the best explanation first; nothing where the port is right.

    `port`, `names` and `precision` are what `compare` takes. The weights are the pack's, or those of `model` where the pack was
    exported without.

    A mistake that is made in every layer is reported at its first place. When several mistakes reproduce what the port dumped
    equally well, all of them are in the list, the usual ones first; when none does, the answer is one suspect called `unknown`,
    at the first tensor that differs. A port that computes in a shorter precision than it is held against is a `low-precision`
    suspect, behind what is wrong with it in that precision.
    """
    precision = full_name(precision)
    opened = pack if isinstance(pack, Pack) else read_pack(pack)
    report = compare(opened, port, names=names, precision=precision)
    if report.ok:
        return []
    model = _checked_model(opened, model)
    case = _Case(opened, model, port, names, report)
    return _suspects(case)


def _suspects(case: _Case) -> list[Suspect]:
    if case.first.startswith(INPUT):
        return [_unknown(case, None, "The port was given another input than the pack holds.")]
    right = _replay(case)
    if right is None or case.first not in right.errors:
        return [_unknown(case, None, "Nothing can be computed again here, so no mistake was tried.")]
    found = _reproducing(case, right, lambda form: form.precision is None)
    if found:
        return found
    rounded = _reproducing(
        case, right, lambda form: bool(form.precision) and EPSILON[form.precision or ""] > EPSILON[case.precision]
    )
    precision = rounded[0].evidence.precision if rounded else _stored_precision(case, right)
    if precision is None:
        return [_unknown(case, right, _what_is_known(case, right))]
    low = rounded[0] if rounded else _stored_short(case, right, precision)
    report = compare(case.pack, case.port, names=case.names, precision=precision)
    return [*([] if report.ok else _suspects(_Case(case.pack, case.model, case.port, case.names, report))), low]


def _unknown(case: _Case, right: _Replay | None, explanation: str) -> Suspect:
    row = case.first_row
    error = row.rms if right is None else right.errors[case.first].rms
    return Suspect("unknown", case.first, explanation, Evidence(case.first, error, math.inf, row.rms_tolerance, 0, 1, None))


def _what_is_known(case: _Case, right: _Replay) -> str:
    """What to tell where no mistake is recognised."""
    after = f"{case.last_good} is still right" if case.last_good else "nothing was dumped before it"
    if case.is_within(case.first, right.errors[case.first]):
        return (
            "From the port's own values before it, this tensor is right: the error was there before, still within what is "
            f"allowed, and has added up ({after})."
        )
    return f"No known mistake reproduces these numbers; {after}. Dump what lies between to narrow it down."


def _stored_precision(case: _Case, right: _Replay) -> str | None:
    """The shorter precision that the first bad tensor is written in: it holds all its numbers, and no shorter one would."""
    seen = case.value(case.first)
    assert seen is not None
    counts = case.counts(case.first)
    numbers = seen[counts & (seen != 0)].astype(np.float32)
    true = right.values[case.first][counts].astype(np.float32)
    if len(numbers) < 16:  # a few numbers may be short by chance
        return None
    for precision in ("bfloat16", "float16"):  # in this order: most numbers of the first can be written in the second
        if EPSILON[precision] <= EPSILON[case.precision]:
            continue
        last_bits = np.frexp(numbers)[0] * (2 / EPSILON[precision]) % 2  # half of them are 1, if the precision is made use of
        is_written = np.array_equal(round_to(numbers, precision), numbers) and last_bits.mean() > 0.2
        if is_written and not np.array_equal(round_to(true, precision), true):
            return precision
    return None


def _stored_short(case: _Case, right: _Replay, precision: str) -> Suspect:
    error = right.errors[case.first].rms
    rounding = EPSILON[precision] / 2 * right.errors[case.first].size
    evidence = Evidence(case.first, error, math.inf, case.first_row.rms_tolerance, 0, 1, precision)
    explanation = (
        f"No mistake: every number here is one that {precision} can hold, and rounding to it costs about {rounding:.1e}. "
        f"Compare with precision={precision!r}."
    )
    return Suspect("low-precision", case.first, explanation, evidence)


# ------------------------------------------------------------------------------------------------------------- the case


def _checked_model(pack: Pack, model: Any) -> Any:
    """The model whose weights the pack's values came from."""
    if model is None:
        if pack.weights is None:
            raise InputError(f"{pack.path}: was exported without weights, which a diagnosis needs: hand in model=")
        if isinstance(pack.config, EncoderDecoderConfig):
            return EncoderDecoderModel(pack.config, pack.weights)
        model_class = MODELS[(pack.config.architectures or ["BertModel"])[0]]
        if model_class is BertModel:
            return BertModel(pack.config, pack.weights, add_pooling_layer="pooler.dense.weight" in pack.weights)
        return model_class(pack.config, pack.weights)
    if not isinstance(model, BertPreTrainedModel):
        raise InputTypeError(f"model: takes a model of npbert, got {type(model).__name__}")
    if weights_sha256(dict(model.named_parameters())) != pack.metadata["weights_sha256"]:
        raise InputError(f"model: its weights are not those that {pack.path} was exported from")
    return model


class _Error(NamedTuple):
    """What a tensor of the port is off by from a computed one."""

    rms: float  # over the elements that count
    max_abs: float
    whole: float  # rms over all elements
    size: float  # rms of the port's own finite values that count


class _Case:
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
        match = _LAYER.fullmatch(name)
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

    def error(self, name: str, computed: Array) -> _Error | None:
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
        return _Error(*_rms_and_max(wrong[counts]), _rms_and_max(wrong)[0], _rms_and_max(own)[0])

    def is_within(self, name: str, error: _Error, multiple: float = 1.0) -> bool:
        """Whether an error is one that the port's arithmetic may make."""
        bounds = self.pack.tolerances[name][self.precision]
        return error.max_abs <= multiple * bounds.max_abs and error.rms <= multiple * bounds.rms

    def explains(self, name: str, mistake: _Error, right: _Error) -> bool:
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


# ------------------------------------------------------------------------------------------------------ running it again


class _Replay(NamedTuple):
    """One pass over the part of the model that matters."""

    where: str  # the first value that the mistake changed
    order: list[str]  # the names that were computed
    errors: dict[str, _Error]  # of what the port dumped, from the first tensor that differs on
    values: dict[str, Array]  # the first tensor that differs, as computed


class _Stop(Exception):
    """The pass has gone far enough."""


def _replay(case: _Case, form: Form | None = None, modules: Sequence[str] = (), right: _Replay | None = None) -> _Replay | None:
    """Run the pass with a mistake made in some modules, on the port's own values as far as they are right.

    It begins at the last hidden state that the port has right and ends with the layer of the first tensor that differs. None is
    returned as soon as the mistake turns out to be none here: it changes nothing, or changes what the port has right, or does
    not reproduce the first tensor that differs.
    """
    arrays = case.arrays
    changed: dict[str, Array] = {}
    shows: set[str] = set()  # the values that wrong weights go into first
    for module in modules:
        assert form is not None
        given = form.weights(module, arrays) if form.weights else {}
        other = {name: x for name, x in given.items() if not np.array_equal(x, arrays[name])}
        changed |= other
        shows |= {module + name for name in form.shows_in if other}
    if form and not form.values and not changed:
        return None
    steps = {module: Step(module, case.call_of(module), arrays, {}, port=case.value) for module in modules}
    values = {
        module + name: (steps[module], value) for module in modules for name, value in (form.values if form else {}).items()
    }
    model = _with_weights(case.rest, arrays | changed, case.layer) if changed else case.rest

    result = _Replay("", [], {}, {})
    where = ""
    seen: dict[str, Array] = {}
    passed = False  # the first tensor that differs

    def look(name: str, x: Array) -> Array:
        """See a value, perhaps replace it; what is returned goes on."""
        nonlocal where, passed
        result.order.append(name)
        if name in shows and not where:
            where = name
        if name in values:
            step, value = values[name]
            step.seen, step.value = seen, x
            step.before[name] = x
            wrong = value(step)
            if wrong is not None and not np.array_equal(wrong, x):
                x = wrong
                where = where or name
        error = case.error(name, x)
        if error is not None:
            if name in case.right:
                if where and not case.is_within(name, error, 2.0):
                    raise _Stop
                x = case.right_value(name, x)
            else:
                result.errors[name] = error
        if name == case.first:
            passed = True
            result.values[name] = x
            if form and right and (not where or error is None or not case.explains(name, error, right.errors[name])):
                raise _Stop
        if form and form.rounds_values and name not in case.right:
            assert form.precision is not None
            x = round_to(x.astype(np.float32), form.precision).astype(np.float64)
        if _is_state(name):
            if passed:
                raise _Stop
            seen.clear()  # what is inside a layer is of no use to the next
        seen[name] = np.array(x)
        return x

    def observer(name: str, x: Array) -> Array:
        if case.start is None:
            return look(name, x)
        if name in ("embeddings", "bert.embeddings"):
            hidden = case.right_value(case.start, case.pack[case.start].astype(np.float64))
            seen[name.removesuffix("embeddings") + "encoder"] = seen[name] = hidden
            return hidden
        if name.startswith(("embeddings", "bert.embeddings")):
            return x
        return look(_moved(name, case.layer), x)

    def look_at_output(name: str, x: Array) -> None:
        if name.startswith(OUTPUT) and case.value(name) is not None:
            look(name, x)

    try:
        with np.errstate(all="ignore"), observe(observer):
            passes.run(model, case.rest_inputs, "float64", look_at_output)
    except _Stop:
        if not passed or (
            form and right and (not where or not case.explains(case.first, result.errors[case.first], right.errors[case.first]))
        ):
            return None
    return result._replace(where=where)


def _remaining(case: _Case) -> tuple[Any, dict[str, Any]]:
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
    model.load_state_dict({_moved(name, -first): x for name, x in arrays.items() if _layer_of(name, first) >= first})
    return model


@functools.cache
def _is_state(name: str) -> bool:
    """Whether all that follows depends on what is before a value through it alone."""
    match = _LAYER.fullmatch(name)
    return not match[3] if match else name.rpartition(".")[2] == "embeddings"


@functools.cache
def _moved(name: str, layers: int) -> str:
    """A name with its layer's number raised."""
    match = _LAYER.fullmatch(name)
    return f"{match[1]}{int(match[2]) + layers}{match[3]}" if match and layers else name


@functools.cache
def _layer_of(name: str, default: int) -> int:
    """The number of the layer that a name lies in."""
    match = _LAYER.fullmatch(name)
    return int(match[2]) if match else default


# ----------------------------------------------------------------------------------------------------- trying the mistakes


class _Found(NamedTuple):
    """A form of a mistake, made in some modules, that reproduces the first tensor that differs."""

    form: Form
    replay: _Replay
    reproduced: int  # tensors from there on
    reproduced_whole: int  # tensors that it reproduces where nothing counts as well
    error: float  # in the first


def _reproducing(case: _Case, right: _Replay, is_tried: Callable[[Form], bool]) -> list[Suspect]:
    """The mistakes that reproduce the port, the best first.

    A mistake is first tried in all places of a kind at once, as porters make it, then in single ones.
    """
    forms = [(part, form) for part, call in case.calls.items() for form in mistakes.known(call.config) if is_tried(form)]
    places = [_places(case, right, form, part) for part, form in forms]
    together = [(form, modules) for (_, form), where in zip(forms, places, strict=True) for modules in _together(form, where)]
    alone = [
        (form, [module])
        for (_, form), where in zip(forms, places, strict=True)
        for module in where
        if not form.only_together and (form, [module]) not in together
    ]
    found = _tried(case, right, together)
    if not found and len({_layer_of(name, -1) for name in right.order}) <= FEW_LAYERS:
        found = _tried(case, right, alone)
    order = {id(form): index for index, (_, form) in enumerate(forms)}
    found.sort(key=lambda one: (-one.reproduced, -one.reproduced_whole, one.error, order[id(one.form)]))
    best: dict[str, _Found] = {}
    for one in found:
        is_as_good = one.reproduced == found[0].reproduced and one.error <= BETTER * found[0].error
        is_new = all(
            (one.replay.where, one.replay.errors) != (other.replay.where, other.replay.errors) for other in best.values()
        )
        if is_as_good and is_new:
            best.setdefault(one.form.mistake, one)
    return [_suspect(case, right, one) for one in best.values()]


def _tried(case: _Case, right: _Replay, attempts: Sequence[tuple[Form, list[str]]]) -> list[_Found]:
    """The attempts that reproduce the first tensor that differs, with a progress bar where somebody looks at a terminal."""
    steps: Iterable[tuple[Form, list[str]]] = attempts
    if sys.stderr.isatty():
        from tqdm import tqdm

        steps = tqdm(attempts, unit=" passes", desc="diagnosis", leave=False)
    replays = ((form, _replay(case, form, modules, right)) for form, modules in steps)
    return [_judged(case, right, form, replay) for form, replay in replays if replay is not None]


def _places(case: _Case, right: _Replay, form: Form, part: str) -> list[str]:
    """The modules in which a mistake can have been made: not where the port has right what it would make wrong."""
    index = {name: number for number, name in enumerate(right.order)}
    modules = dict.fromkeys(part for name in right.order for part in (name.partition(":")[0], name.rpartition(".")[0]) if part)
    pattern, last = re.compile(form.module), index[case.first]
    places = []
    for module in modules:
        names = [module + name for name in form.names if module + name in index]
        if not names or not module.startswith(part) or not pattern.fullmatch(module):
            continue
        is_open = min(names, key=index.__getitem__) not in case.right
        if is_open and (form.values or (form.weights and form.weights(module, case.arrays))):
            places.append(module)
    reachable = any(index.get(module + name, last + 1) <= last for module in places for name in form.names)
    return places if reachable else []


def _together(form: Form, places: list[str]) -> list[list[str]]:
    """All places at once, those of each group, and those of each kind, which is the place without its layer's number."""
    kinds: dict[str, list[str]] = {}
    for place in places:
        kinds.setdefault(re.sub(r"layer\.\d+", "layer", place), []).append(place)
    groups = [[place for place in places if re.fullmatch(group, place)] for group in form.groups]
    chosen: list[list[str]] = []
    for modules in (places, *groups, *([] if form.only_together else kinds.values())):
        if modules and modules not in chosen:
            chosen.append(modules)
    return chosen


def _judged(case: _Case, right: _Replay, form: Form, replay: _Replay) -> _Found:
    def is_reproduced(name: str, error: _Error, true: _Error) -> bool:
        return case.is_within(name, error, BETTER) or error.rms * FAR_BETTER <= true.rms

    pairs = [(name, error, right.errors[name]) for name, error in replay.errors.items() if name in right.errors]
    reproduced = sum(is_reproduced(*pair) for pair in pairs)
    whole = sum(
        is_reproduced(name, error._replace(rms=error.whole, max_abs=0.0), true._replace(rms=true.whole))
        for name, error, true in pairs
    )
    tolerance = case.pack.tolerances[case.first][case.precision].rms
    return _Found(form, replay, reproduced, whole, max(replay.errors[case.first].rms, tolerance))


def _suspect(case: _Case, right: _Replay, found: _Found) -> Suspect:
    evidence = Evidence(
        case.first,
        right.errors[case.first].rms,
        found.replay.errors[case.first].rms,
        case.pack.tolerances[case.first][case.precision].rms,
        found.reproduced,
        len(right.errors),
        found.form.precision,
    )
    return Suspect(found.form.mistake, found.replay.where, found.form.explanation, evidence)
