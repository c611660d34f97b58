"""What describes one way to make a mistake: in which modules it can be made, and which values or weights it replaces."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from npbert.golden.mistakes.site import Site
from npbert.types import Array

ReplaceValue: TypeAlias = Callable[[Site], "Array | None"]
"""What a mistake makes of a value, or None where it cannot be made."""

ReplaceWeights: TypeAlias = Callable[[str, Mapping[str, Array]], dict[str, Array]]
"""From a module and all weights: the weights that a mistake replaces, under their full names."""

# Regular expressions for the modules that several files name.
SELF_MODULES = r".*attention\.self"
OUTPUT_MODULES = r".*\.output"
EMBEDDINGS_MODULES = r"(?:.*\.)?embeddings"
LAYER_MODULES = r"(?:.*\.)?encoder\.layer\.\d+"


@dataclass(frozen=True)
class Hypothesis:
    """One way to make a mistake. Names of values are relative to the module that it is made in."""

    mistake: str  # one of npbert.golden.mistakes.MISTAKES
    explanation: str
    modules: str  # a regular expression for the modules that it can be made in
    values: Mapping[str, ReplaceValue] = field(default_factory=dict)  # of these, the ones that the module has are replaced
    weights: ReplaceWeights | None = None
    shows_in: tuple[str, ...] = ()  # the first values that are computed from the replaced weights
    groups: tuple[str, ...] = ()  # regular expressions for modules in which it is often made at once
    only_together: bool = False  # it makes no sense in a single module of several
    is_rare: bool = False  # it is left out where a whole model has to be run for each attempt
    is_last_resort: bool = False  # it is read off the port's own numbers, so it is tried when nothing else fits
    needs_all: bool = False  # it mixes all texts, or counts numbers, so that a few texts show nothing
    precision: str | None = None  # for a shorter precision: which
    round_values: Callable[[Array], Array] | None = None  # what is done to every value of the pass besides

    @property
    def wrong_values(self) -> tuple[str, ...]:
        """The values that are wrong first."""
        return (*self.values, *self.shows_in)
