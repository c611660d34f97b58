"""Whether a mistake survives everything that was dumped, from the first tensor that differs to the end.

Each tensor is computed from the port's own values before it, by the right pass and by the pass with the mistake. Where
the right pass does not arrive at what the port holds, the port made a mistake. The one in question explains it or does not.
"""

from __future__ import annotations

from typing import NamedTuple

from npbert.golden.divergence import Deviation, Divergence
from npbert.golden.layers import is_hidden_state, layer_of, makes_first_state, without_layer
from npbert.golden.pack import OUTPUT
from npbert.golden.replay import Replay

TOLERANCES_OF_REPRODUCED = 3.0
"""A tensor is reproduced when it is off by at most this many tolerances."""


class Verdict(NamedTuple):
    """What the tensors of a dump say about a mistake that explains the first of them that differs."""

    reproduced: int  # tensors from there on
    reproduced_everywhere: int  # tensors that it reproduces also where nothing counts
    unexplained: list[str]  # tensors that another mistake, further on, must have made wrong
    survives: bool


def judge(divergence: Divergence, right: Replay, result: Replay) -> Verdict:
    """Hold a pass with a mistake against the right pass and against all that the port dumped."""

    def is_reproduced(name: str, mistake: Deviation, true: Deviation) -> bool:
        is_within = divergence.is_within(name, mistake, TOLERANCES_OF_REPRODUCED)
        return is_within or divergence.is_far_closer(name, mistake, true.rms)

    pairs = [(name, x, right.deviations[name]) for name, x in result.deviations.items() if name in right.deviations]
    reproduced = [name for name, x, true in pairs if is_reproduced(name, x, true)]
    everywhere = sum(is_reproduced(name, x.everywhere, true.everywhere) for name, x, true in pairs)
    explained = [name for name, _, true in pairs if name in reproduced and not divergence.is_within(name, true)]
    unexplained = [name for name, _, _ in pairs if name not in reproduced]
    made_wrong = [name for name, _, true in pairs if name in unexplained and divergence.is_within(name, true)]
    survives = (
        not made_wrong
        and not any(_must_be_explained(name, explained) for name in unexplained)
        and len({_unit(name) for name in unexplained if without_layer(name) in map(without_layer, explained)}) < 2
    )
    return Verdict(len(reproduced), everywhere, unexplained, survives)


def _must_be_explained(name: str, explained: list[str]) -> bool:
    """Whether a wrong tensor speaks against a mistake that explains others: it lies in the same unit, or is the same step.

    A port may have made two mistakes. But two in one unit, or two different ones in the same step of two layers, are too many.
    """
    if _unit(name) in map(_unit, explained):
        return True
    is_between_layers = is_hidden_state(name) or name.startswith(OUTPUT)
    return not is_between_layers and without_layer(name) in map(without_layer, explained)


def _unit(name: str) -> str:
    """The layer, the embeddings, or what comes after the layers."""
    layer = layer_of(name, -1)
    if layer >= 0:
        return f"{name.partition('encoder.layer.')[0].partition('h.')[0]}{layer}"
    part, embeddings, _ = name.partition("embeddings")
    if embeddings:
        return f"{part}embeddings"
    return "embeddings" if makes_first_state(name) else name.partition(".")[0]
