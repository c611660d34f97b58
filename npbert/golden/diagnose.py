"""Naming the mistake that makes a port differ.

The pass is run again from the last hidden state that the port had right, on the port's own values wherever it dumped them, once
for each known mistake (`npbert.golden.mistakes`) in each place where it can have been made. A mistake is a suspect when making
it reproduces the port's numbers far better than the right pass does. When none does, nothing is guessed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from npbert.errors import InputError
from npbert.golden import models
from npbert.golden.compare import compare_matched
from npbert.golden.diagnose_backward import find_backward_suspects
from npbert.golden.diagnose_steps import find_step_suspects
from npbert.golden.differences import described
from npbert.golden.divergence import Divergence
from npbert.golden.dump_faults import dump_fault
from npbert.golden.kinds import is_forward, step_of
from npbert.golden.layers import layer_of
from npbert.golden.matching import MatchedDump, Names, match
from npbert.golden.mistakes.backward.losses import LOSS
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.golden.pack import INPUT, Pack, open_pack, weights_sha256
from npbert.golden.ports import Port
from npbert.golden.precision import EPSILON, full_name, round_to
from npbert.golden.replay import Replay, replay
from npbert.golden.report import Report, blames_the_dump, fits_but_is_coarser, right_as
from npbert.golden.rerun import Rerun, can_run_again
from npbert.golden.search import find_suspects
from npbert.golden.suspects import Evidence, Suspect
from npbert.golden.text_order import right_in_another_order
from npbert.types import StrPath

FEWEST_NUMBERS = 16
"""Fewer numbers than this may all be short by chance."""


def diagnose(
    pack: Pack | StrPath,
    port: Port,
    *,
    names: Names = None,
    precision: str = "float32",
    model: Any = None,
    allow_unused: bool = False,
) -> list[Suspect]:
    """Which mistakes explain the first tensors that differ, the best explanation first; nothing where the port is right.

    `port`, `names`, `precision` and `allow_unused` are what `compare` takes. The weights are the pack's, or those of `model`
    where the pack was exported without.

    A mistake that is made in every layer is reported at its first place. When several mistakes reproduce what the port dumped
    equally well, all of them are in the list, the usual ones first; when none does, the answer is one suspect called `unknown`,
    at the first tensor that differs. A port that computes in a shorter precision than it is compared in is a `low-precision`
    suspect, after what is wrong with it in that precision.
    """
    dump = match(open_pack(pack), port, names, allow_unused=allow_unused)
    given = None if model is None else model_of(dump.pack, model)
    if given is not None:
        dump = dump._replace(weights=models.weights_of(given))
    report = compare_matched(dump, full_name(precision))
    if report.first_divergence is None:
        return [_coarser(report)] if report.coarser else _not_compared(report)
    return _with_headline(_suspects(dump, model_of(dump.pack) if given is None else given, report), report.precision)


def _with_headline(suspects: list[Suspect], precision: str) -> list[Suspect]:
    """The suspects, the first of them with what spares the reader all others."""
    first = suspects[0]
    if first.headline:
        return suspects
    if all(suspect.mistake == "dump-not-computation" for suspect in suspects):
        return [replace(first, headline=blames_the_dump([suspect.where for suspect in suspects])), *suspects[1:]]
    if len(suspects) == 1 and first.evidence.precision is not None:
        return [replace(first, headline=right_as(first.evidence.precision, precision))]
    return suspects


def model_of(pack: Pack, model: Any = None) -> Any:
    """The model whose weights the pack's values came from: the pack's own, or the one that is handed in."""
    if model is None:
        if pack.weights is None:
            raise InputError(f"{pack.path}: was exported without weights: a diagnosis needs them: hand in model= (or --model)")
        return models.build_model(pack.config, pack.weights)
    models.check_model(model)
    if weights_sha256(models.weights_of(model)) != pack.metadata["weights_sha256"]:
        raise InputError(f"model: its weights are not those that {pack.path} was exported from")
    return model


def _suspects(dump: MatchedDump, model: Any, report: Report) -> list[Suspect]:
    reordered = right_in_another_order(dump, report)
    if reordered is not None:
        return [reordered]
    divergence = Divergence(dump, model, report)
    if divergence.first.startswith(INPUT) and divergence.first in report.dump_at_fault:
        told = "The dump is wrong, not the computation: what the layers computed is right, and would not be with these ids."
        of_input = replace(_unknown(divergence, divergence.row.rms, told), mistake="dump-not-computation")
        return [of_input, *_without(divergence.first, dump, model, report.precision)]
    if divergence.first.startswith(INPUT):
        return [_unknown(divergence, divergence.row.rms, "The port was given another input than the pack holds.")]
    if step_of(divergence.first):
        return find_step_suspects(divergence) or [_unknown(divergence, divergence.row.rms, _told_of_a_step(divergence))]
    if not is_forward(divergence.first) or divergence.first == LOSS:
        return _backward_suspects(divergence)
    right = replay(divergence)
    if right is None:
        return [_unknown(divergence, divergence.row.rms, "Nothing can be computed again here, so no mistake was tried.")]
    fault = dump_fault(divergence, {row.name for row in report.rows if row.ok})
    suspects = [] if fault else find_suspects(divergence, right, lambda hypothesis: hypothesis.precision is None)
    if suspects:
        return suspects
    low = _low_precision(divergence, right)
    if low is not None and low.evidence.precision is not None:
        later = compare_matched(dump, low.evidence.precision)
        return [low] if later.first_divergence is None else [*_suspects(dump, model, later), low]
    if fault is not None:
        return [fault, *_without(divergence.row.name, dump, model, report.precision)]
    return [_unknown(divergence, right.deviations[divergence.first].rms, _what_is_known(divergence, right))]


def _backward_suspects(divergence: Divergence) -> list[Suspect]:
    rerun = Rerun(divergence) if can_run_again(divergence) else None
    right = None if rerun is None else rerun.run()
    if rerun is None or right is None:
        return [_unknown(divergence, divergence.row.rms, "Nothing can be computed again here, so no mistake was tried.")]
    suspects = find_backward_suspects(divergence, rerun, right)
    if suspects:
        return suspects
    low = _low_stored_precision(divergence, right)
    return (
        [low]
        if low is not None
        else [_unknown(divergence, right.deviations[divergence.first].rms, _what_is_known(divergence, right))]
    )


def _not_compared(report: Report) -> list[Suspect]:
    """What is said of the first tensor that could not be compared, where all others are right; nothing where there is none."""
    row = next((row for row in report.rows if row.problem), None)
    if row is None:
        return []
    explanation = f"It {row.problem}, so nobody can tell whether it is right. All that can be compared is."
    return [Suspect("unknown", row.name, explanation, Evidence(row.name, math.nan, math.inf, row.rms_tolerance))]


def _coarser(report: Report) -> Suspect:
    """What is said of a port whose tensors are all within their bounds, and which is coarser than its precision."""
    row = next((row for row in report.rows if layer_of(row.name, -1) >= 0), report.rows[0])
    told = fits_but_is_coarser(report.precision, report.coarser)
    return Suspect(
        "unknown", row.name, f"{told[0].upper()}{told[1:]}.", Evidence(row.name, row.rms, math.inf, row.rms_tolerance)
    )


def _told_of_a_step(divergence: Divergence) -> str:
    before = f"{divergence.last_right} is still right" if divergence.last_right else "nothing was dumped before it"
    return f"No known mistake of an optimizer makes these numbers; {before}."


def _without(name: str, dump: MatchedDump, model: Any, precision: str) -> list[Suspect]:
    """What else is wrong with a port, one tensor left aside."""
    rest = dump.without(name)
    report = compare_matched(rest, precision)
    return [] if report.first_divergence is None else _suspects(rest, model, report)


def _unknown(divergence: Divergence, error: float, explanation: str) -> Suspect:
    evidence = Evidence(divergence.first, error, math.inf, divergence.row.rms_tolerance)
    return Suspect("unknown", divergence.first, explanation, evidence)


def _what_is_known(divergence: Divergence, right: Replay) -> str:
    """What to tell where no mistake is recognised."""
    before = f"{divergence.last_right} is still right" if divergence.last_right else "nothing was dumped before it"
    if divergence.is_within(divergence.first, right.deviations[divergence.first]):
        return (
            "From the port's own values before it, this tensor is right: the error was there before, still within what is "
            f"allowed, and has added up ({before})."
        )
    assert right.first is not None
    told = described(divergence, right.first) or "Dump what lies between to narrow it down."
    if divergence.row.right_as:  # what the report asks comes from such rows
        told = " ".join(f"{question[0].upper()}{question[1:]}." for question in divergence.report.questions)
    other, coarser = divergence.report.other_precision, divergence.report.coarser
    if other is not None and coarser:
        told = f"It may be a precision: {fits_but_is_coarser(other, coarser)}."
    elif other is not None:
        told += f" Nothing is further off than {other} allows: if the port computes in it, all is right."
    return f"No known mistake reproduces these numbers; {before}. {told}"


# ----------------------------------------------------------------------------------------------------------- low precision


def _low_precision(divergence: Divergence, right: Replay) -> Suspect | None:
    """The shorter precision that the port computes in."""

    def is_shorter(hypothesis: Hypothesis) -> bool:
        return hypothesis.precision is not None and EPSILON[hypothesis.precision] > EPSILON[divergence.precision]

    computed = find_suspects(divergence, right, is_shorter)
    return computed[0] if computed else _low_stored_precision(divergence, right)


def _low_stored_precision(divergence: Divergence, right: Replay) -> Suspect | None:
    """The shorter precision that the port wrote its numbers in, or that all its errors show."""
    deviation, report = right.deviations[divergence.first], divergence.report
    precision = _stored_precision(divergence, right)
    if precision is not None:
        rounding = EPSILON[precision] / 2 * deviation.size
        told = f"every number here is one that {precision} can hold, and rounding to it costs about {rounding:.1e}"
    elif report.shows_precision:
        precision = report.other_precision
        told = f"every tensor is as far off as {precision} makes it"
    else:
        return None
    explanation = f"No mistake: {told}. Compare with precision={precision!r}."
    evidence = Evidence(divergence.first, deviation.rms, math.inf, divergence.row.rms_tolerance, precision=precision)
    return Suspect("low-precision", divergence.first, explanation, evidence)


def _stored_precision(divergence: Divergence, right: Replay) -> str | None:
    """The shorter precision that the first wrong tensor is written in: it holds all its numbers, and no shorter one would."""
    dumped = divergence.value(divergence.first)
    assert dumped is not None
    assert right.first is not None
    counts = divergence.counts(divergence.first)
    numbers = dumped[counts & (dumped != 0) & np.isfinite(dumped)].astype(np.float32)
    computed = right.first[counts].astype(np.float32)
    if len(numbers) < FEWEST_NUMBERS:
        return None
    for precision in ("bfloat16", "float16"):  # in this order: most numbers of the first can be written in the second
        if EPSILON[precision] <= EPSILON[divergence.precision]:
            continue
        last_bits = np.frexp(numbers)[0] * (2 / EPSILON[precision]) % 2  # about half of them are 1, if all bits are used
        is_written = np.array_equal(round_to(numbers, precision), numbers) and last_bits.mean() > 0.2
        if is_written and not np.array_equal(round_to(computed, precision), computed):
            return precision
    return None
