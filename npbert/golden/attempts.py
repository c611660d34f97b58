"""Where a mistake can have been made: everywhere, in modules of one kind, in a single layer, in a single module."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from npbert.golden.divergence import Divergence
from npbert.golden.layers import layer_of, without_layer
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.golden.models import part_of


class Attempt(NamedTuple):
    """A hypothesis, and the modules in which the mistake is made at once."""

    hypothesis: Hypothesis
    modules: tuple[str, ...]


class Places:
    """The modules of a pass, and which of them a mistake can have been made in."""

    def __init__(self, divergence: Divergence, order: Sequence[str]) -> None:
        self._divergence = divergence
        self._index = {name: number for number, name in enumerate(order)}
        self._last = self._index[divergence.first]
        both = (module for name in order for module in (name.partition(":")[0], name.rpartition(".")[0]))
        self._modules = list(dict.fromkeys(module for module in both if module))
        self.layers = {layer_of(name, -1) for name in order[: self._last + 1]} - {-1}  # that lie before the first wrong tensor

    def together(self, hypothesis: Hypothesis, part: str) -> list[Attempt]:
        """All modules at once, those of each group, and those of each kind, which differ in the number of their layer."""
        modules = self._open(hypothesis, part)
        kinds: dict[str, list[str]] = {}
        for module in modules:
            kinds.setdefault(without_layer(module), []).append(module)
        groups = [[module for module in modules if re.fullmatch(group, module)] for group in hypothesis.groups]
        chosen = [modules, *groups, *([] if hypothesis.only_together else kinds.values())]
        return self._attempts(hypothesis, chosen)

    def alone(self, hypothesis: Hypothesis, part: str) -> list[Attempt]:
        """The modules of a single layer at once, then each module by itself."""
        if hypothesis.only_together:
            return []
        modules = self._open(hypothesis, part)
        layers: dict[int, list[str]] = {}
        for module in modules:
            layers.setdefault(layer_of(module, -1), []).append(module)
        return self._attempts(hypothesis, [*layers.values(), *([module] for module in modules)])

    def reached(self, attempt: Attempt) -> tuple[str, ...]:
        """The modules of an attempt in which the mistake shows up to the first tensor that differs."""
        values = attempt.hypothesis.wrong_values
        return tuple(
            m for m in attempt.modules if any(self._index.get(m + name, self._last + 1) <= self._last for name in values)
        )

    def _attempts(self, hypothesis: Hypothesis, choices: Sequence[Sequence[str]]) -> list[Attempt]:
        attempts = (Attempt(hypothesis, modules) for modules in dict.fromkeys(tuple(chosen) for chosen in choices))
        return [attempt for attempt in attempts if self.reached(attempt)]

    def _open(self, hypothesis: Hypothesis, part: str) -> list[str]:
        """Not those modules where the port has right what the mistake would make wrong."""
        return [module for module in self._with_values(hypothesis, part) if self._is_open(hypothesis, module)]

    def _with_values(self, hypothesis: Hypothesis, part: str) -> Iterator[str]:
        pattern, parts = re.compile(hypothesis.modules), self._divergence.contexts
        return (module for module in self._modules if pattern.fullmatch(module) and part_of(parts, module) == part)

    def _is_open(self, hypothesis: Hypothesis, module: str) -> bool:
        names = [module + name for name in hypothesis.wrong_values if module + name in self._index]
        if not names or min(names, key=self._index.__getitem__) in self._divergence.right:
            return False
        return bool(hypothesis.values or (hypothesis.weights and hypothesis.weights(module, self._divergence.weights)))
