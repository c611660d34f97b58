"""A moment of a backward pass: what a mistake that replaces a gradient can look at, and how such a mistake is described."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np

from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.golden.mistakes.site import Site
from npbert.types import Array


@dataclass
class Moment(Site):
    """A gradient that has just been computed. Its full name is the `module` here, so that `site.name` is `module` alone."""

    call: Any = None  # the arguments and the results of the forward pass
    before: Array = field(default_factory=lambda: np.zeros(()))  # of a weight that is used twice: what the first use added
    pattern: str = ""  # of the names that the mistake is made in

    @property
    def match(self) -> re.Match[str]:
        """The parts of the name."""
        found = re.fullmatch(self.pattern, self.name)
        assert found is not None
        return found

    @property
    def owner(self) -> str:
        """The module that the gradient is computed in: the group `m` of the pattern."""
        return self.match["m"]

    def forward(self, name: str) -> Array:
        """A value of the forward pass, under its full name."""
        return self.values[name]

    def gradient(self, name: str) -> Array:
        """A gradient that was computed before, by the full name of its value."""
        return self.values[f"grad:{name}"]

    def has_gradient(self, name: str) -> bool:
        """Whether that gradient was computed before."""
        return f"grad:{name}" in self.values

    @property
    def contribution(self) -> Array:
        """What the last use of a weight adds to its gradient."""
        return self.value - self.before


Edit: TypeAlias = Callable[[Moment], "Array | None"]
"""What a mistake makes of a gradient, or None where it cannot be made."""


def slip(mistake: str, explanation: str, names: str, edit: Edit, **options: Any) -> Hypothesis:
    """A mistake in all gradients whose names match a regular expression."""

    def value(site: Site) -> Array | None:
        moment = cast(Moment, site)
        moment.pattern = names
        return edit(moment)

    return Hypothesis(mistake, explanation, names, {"": value}, **options)
