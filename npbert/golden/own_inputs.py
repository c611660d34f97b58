"""Each step of a port judged on the port's own inputs: an error that was there before is not blamed on it."""

from __future__ import annotations

from typing import Any

from npbert.golden.divergence import Divergence
from npbert.golden.kinds import is_forward
from npbert.golden.matching import MatchedDump
from npbert.golden.pack import INPUT
from npbert.golden.replay import replay
from npbert.golden.report import Report
from npbert.golden.rerun import Rerun, can_run_again


def shares_on_own_inputs(dump: MatchedDump, model: Any, report: Report) -> dict[str, float]:
    """For each tensor from the first that differs on, by its name in the report: what it is off by from a right pass that goes
    on with the port's own values, as a share of what is allowed. Empty where no step can be computed again."""
    if report.first_divergence is None or report.first_divergence.startswith(INPUT):
        return {}
    divergence = Divergence(dump, model, report)
    if is_forward(divergence.first):
        right = replay(divergence)
    else:
        right = Rerun(divergence).run() if can_run_again(divergence) else None
    if right is None:
        return {}
    return {divergence.reported(name): divergence.share(name, deviation) for name, deviation in right.deviations.items()}
