"""Naming the mistake that makes a port differ.

The pass is run again from the last hidden state that the port had right, on the port's own values wherever it dumped them, once
for each known mistake (`npbert.golden.mistakes`) in each place where it can have been made. A mistake is a suspect when making
it reproduces the port's numbers far better than the right pass does. When none does, nothing is guessed.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from npbert.errors import InputError, InputTypeError
from npbert.golden import mistakes, ports
from npbert.golden.compare import compare, wrapped
from npbert.golden.mistakes import Form
from npbert.golden.pack import INPUT, Pack, read_pack, weights_sha256
from npbert.golden.precision import EPSILON, full_name, round_to
from npbert.golden.replay import BETTER, FAR_BETTER, Case, Error, Replay, layer_of, replay
from npbert.models.auto import MODELS
from npbert.models.base import PreTrainedModel
from npbert.models.bert import BertModel
from npbert.models.encoder_decoder import EncoderDecoderModel
from npbert.models.encoder_decoder_config import EncoderDecoderConfig
from npbert.types import StrPath

FEW_LAYERS = 4
"""A mistake that was made in a single layer is looked for among so many; the port should dump its hidden states otherwise."""


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

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values that JSON can hold: what is infinite is None."""
        evidence = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in self.evidence._asdict().items()
        }
        return {"mistake": self.mistake, "where": self.where, "explanation": self.explanation, "evidence": evidence}

    def __str__(self) -> str:
        lines = (self.explanation, f"evidence: {self.evidence}")
        return "\n".join([f"{self.mistake} at {self.where}", *(wrapped(line, indent="    ") for line in lines)])


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
    case = Case(opened, model, port, names, report)
    return _suspects(case)


def _suspects(case: Case) -> list[Suspect]:
    if case.first.startswith(INPUT):
        return [_unknown(case, None, "The port was given another input than the pack holds.")]
    right = replay(case)
    if right is None:
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
    return [*([] if report.ok else _suspects(Case(case.pack, case.model, case.port, case.names, report))), low]


def _unknown(case: Case, right: Replay | None, explanation: str) -> Suspect:
    row = case.first_row
    error = row.rms if right is None else right.errors[case.first].rms
    return Suspect("unknown", case.first, explanation, Evidence(case.first, error, math.inf, row.rms_tolerance, 0, 1, None))


def _what_is_known(case: Case, right: Replay) -> str:
    """What to tell where no mistake is recognised."""
    after = f"{case.last_good} is still right" if case.last_good else "nothing was dumped before it"
    if case.is_within(case.first, right.errors[case.first]):
        return (
            "From the port's own values before it, this tensor is right: the error was there before, still within what is "
            f"allowed, and has added up ({after})."
        )
    return f"No known mistake reproduces these numbers; {after}. Dump what lies between to narrow it down."


def _stored_precision(case: Case, right: Replay) -> str | None:
    """The shorter precision that the first bad tensor is written in: it holds all its numbers, and no shorter one would."""
    seen = case.value(case.first)
    assert seen is not None
    counts = case.counts(case.first)
    numbers = seen[counts & (seen != 0)].astype(np.float32)
    true = right.first[counts].astype(np.float32)
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


def _stored_short(case: Case, right: Replay, precision: str) -> Suspect:
    error = right.errors[case.first].rms
    rounding = EPSILON[precision] / 2 * right.errors[case.first].size
    evidence = Evidence(case.first, error, math.inf, case.first_row.rms_tolerance, 0, 1, precision)
    explanation = (
        f"No mistake: every number here is one that {precision} can hold, and rounding to it costs about {rounding:.1e}. "
        f"Compare with precision={precision!r}."
    )
    return Suspect("low-precision", case.first, explanation, evidence)


def _checked_model(pack: Pack, model: Any) -> Any:
    """The model whose weights the pack's values came from."""
    if model is None:
        if pack.weights is None:
            raise InputError(f"{pack.path}: was exported without weights: a diagnosis needs them: hand in model= (or --model)")
        if isinstance(pack.config, EncoderDecoderConfig):
            return EncoderDecoderModel(pack.config, pack.weights)
        architecture = (pack.config.architectures or ["BertModel"])[0]
        if architecture not in MODELS:
            raise InputError(f"{pack.path}: npbert has no {architecture}; hand in model=")
        model_class = MODELS[architecture]
        if model_class is BertModel:
            return BertModel(pack.config, pack.weights, add_pooling_layer="pooler.dense.weight" in pack.weights)
        return model_class(pack.config, pack.weights)
    if not isinstance(model, PreTrainedModel):
        raise InputTypeError(f"model: takes a model of npbert, got {type(model).__name__}")
    if weights_sha256(dict(model.named_parameters())) != pack.metadata["weights_sha256"]:
        raise InputError(f"model: its weights are not those that {pack.path} was exported from")
    return model


# ----------------------------------------------------------------------------------------------------- trying the mistakes


class _Found(NamedTuple):
    """A form of a mistake, made in some modules, that reproduces the first tensor that differs."""

    form: Form
    places: int  # how many: the fewer are needed, the better
    result: Replay
    reproduced: int  # tensors from there on
    reproduced_whole: int  # tensors that it reproduces also where nothing counts
    error: float  # in the first


def _reproducing(case: Case, right: Replay, is_tried: Callable[[Form], bool]) -> list[Suspect]:
    """The mistakes that reproduce the port, the best first.

    A mistake is first tried in all places of a kind at once, as porters make it, then in single layers and places.
    """
    forms = [(part, form) for part, call in case.calls.items() for form in mistakes.known(call.config) if is_tried(form)]
    places = [(form, _places(case, right, form, part)) for part, form in forms]
    together = [(form, modules) for form, where in places for modules in _together(form, where)]
    found = _tried(case, right, together)
    if not found and len({layer_of(name, -1) for name in right.order} - {-1}) <= FEW_LAYERS:
        alone = [(form, modules) for form, where in places for modules in _alone(form, where)]
        found = _tried(case, right, [attempt for attempt in alone if attempt not in together])
    order = {id(form): index for index, (form, _) in enumerate(places)}
    found.sort(key=lambda one: (-one.reproduced, -one.reproduced_whole, one.error, order[id(one.form)], one.places))
    best: dict[str, _Found] = {}
    for one in found:
        is_as_good = one.reproduced == found[0].reproduced and one.error <= BETTER * found[0].error
        is_new = all(
            (one.result.where, one.result.errors) != (other.result.where, other.result.errors) for other in best.values()
        )
        if is_as_good and is_new:
            best.setdefault(one.form.mistake, one)
    return [_suspect(case, right, one) for one in best.values()]


def _tried(case: Case, right: Replay, attempts: Sequence[tuple[Form, list[str]]]) -> list[_Found]:
    """The attempts that reproduce the first tensor that differs, with a progress bar where somebody looks at a terminal."""
    steps: Iterable[tuple[Form, list[str]]] = attempts
    if sys.stderr.isatty():
        from tqdm import tqdm

        steps = tqdm(attempts, unit=" passes", desc="diagnosis", leave=False)
    results = ((form, len(modules), replay(case, form, modules, right)) for form, modules in steps)
    return [_judged(case, right, form, places, result) for form, places, result in results if result is not None]


def _places(case: Case, right: Replay, form: Form, part: str) -> list[str]:
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


def _alone(form: Form, places: list[str]) -> list[list[str]]:
    """The places of a single layer at once, then each place by itself."""
    if form.only_together:
        return []
    layers: dict[int, list[str]] = {}
    for place in places:
        layers.setdefault(layer_of(place, -1), []).append(place)
    return [modules for modules in layers.values() if len(modules) > 1] + [[place] for place in places]


def _judged(case: Case, right: Replay, form: Form, places: int, result: Replay) -> _Found:
    def is_reproduced(name: str, error: Error, true: Error) -> bool:
        return case.is_within(name, error, BETTER) or error.rms * FAR_BETTER <= true.rms

    pairs = [(name, error, right.errors[name]) for name, error in result.errors.items() if name in right.errors]
    everywhere = [(name, error.everywhere, true.everywhere) for name, error, true in pairs]
    tolerance = case.pack.tolerances[case.first][case.precision].rms
    return _Found(
        form,
        places,
        result,
        sum(is_reproduced(*pair) for pair in pairs),
        sum(is_reproduced(*pair) for pair in everywhere),
        max(result.errors[case.first].rms, tolerance),
    )


def _suspect(case: Case, right: Replay, found: _Found) -> Suspect:
    evidence = Evidence(
        case.first,
        right.errors[case.first].rms,
        found.result.errors[case.first].rms,
        case.pack.tolerances[case.first][case.precision].rms,
        found.reproduced,
        len(right.errors),
        found.form.precision,
    )
    return Suspect(found.form.mistake, found.result.where, found.form.explanation, evidence)
