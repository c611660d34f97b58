"""What a diagnosis answers: suspects, each with its evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from npbert.golden.report import finite_or_none, wrapped


class Evidence(NamedTuple):
    """How well a mistake reproduces the port's numbers, in the first tensor that differs."""

    tensor: str
    error_of_truth: float  # rms of the port against the right pass, from the port's own values before
    error_of_mistake: float  # rms of the port against the pass that makes the mistake; infinite where no mistake was found
    tolerance: float  # rms that is allowed there
    reproduced: int = 0  # of the dumped tensors from there to the end, how many the mistake reproduces
    dumped: int = 1  # how many there are
    precision: str | None = None  # for a shorter precision: which
    tie: str = ""  # where several mistakes fit equally well: what would tell them apart
    later: str = ""  # the first tensor further on that this mistake does not explain

    def __str__(self) -> str:
        if math.isnan(self.error_of_truth):
            return f"{self.tensor} could not be compared"
        if math.isinf(self.error_of_mistake):
            is_finite = math.isfinite(self.error_of_truth)
            off = f"is off by {self.error_of_truth:.2e} (rms)" if is_finite else "holds NaN or infinity"
            told = f"{self.tensor} {off}, {self.tolerance:.2e} is allowed"
            return f"{told}. {self.tie}" if self.tie else told
        if math.isinf(self.error_of_truth):
            closeness = "the mistake has NaN or infinity where the port has it"
        elif not self.error_of_mistake:
            closeness = "exactly"
        else:
            closeness = f"{self.error_of_truth / self.error_of_mistake:,.0f} times closer"
        more = f", and {self.reproduced} of the {self.dumped} tensors from there on" if self.dumped > 1 else ""
        return (
            f"in {self.tensor} the port is off by {self.error_of_truth:.2e} (rms); made on purpose, this mistake comes within "
            f"{self.error_of_mistake:.2e} of it ({closeness}){more}"
            f"{f'; it does not explain {self.later}' if self.later else ''}{f'. {self.tie}' if self.tie else ''}"
        )


@dataclass(frozen=True)
class Suspect:
    """A mistake that the port may have made."""

    mistake: str  # one of MISTAKES in npbert.golden.mistakes, or in its `backward` or `optimizer`
    where: str  # the first tensor that it makes wrong
    explanation: str  # what is wrong and what to change
    evidence: Evidence
    headline: str = ""  # of the whole answer, before its first suspect: another precision fits, or the dump alone is wrong

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values that JSON can hold: infinity becomes None."""
        evidence = {name: finite_or_none(value) for name, value in self.evidence._asdict().items()}
        return {**vars(self), "evidence": evidence}

    def __str__(self) -> str:
        head = [wrapped(self.headline), ""] if self.headline else []
        lines = (self.explanation, f"evidence: {self.evidence}")
        return "\n".join([*head, f"{self.mistake} at {self.where}", *(wrapped(line, indent="    ") for line in lines)])
