"""What a backward pass works with: the values that the forward pass kept, and the gradients so far.

There is no graph. The forward pass names its values, a `Record` keeps those that gradients are made of, without copying them,
and each backward function reads them under their names.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from npbert.tracing import WEIGHT_GRADIENT, Trace, current_observer
from npbert.types import Array, Rng
from npbert.weights import join

NEEDED = re.compile(
    r"(?:.+\.)?(?:"
    r"embeddings(?::sum|:dropout_mask)?|encoder|layer\.\d+|(?:cross)?attention|output(?::residual|:dropout_mask)"
    r"|self(?::query|:key|:value|:masked_scores|:probs|:dropout_mask|\.dropout|\.distance_embedding)?"
    r"|intermediate(?:\.dense)?|pooler(?:\.dense)?|transform(?:\.dense|\.transform_act_fn)?"
    # GPT-2
    r"|drop|h\.\d+|ln_\w+|mlp(?:\.c_fc|\.act|:dropout_mask)"
    r"|(?:attn|crossattention)(?::query|:key|:value|:masked_scores|:probs|:context|:residual|:\w+_mask|\.attn_dropout)"
    r")|(?:.+)?:drop_mask|dropout|:dropout_mask"
)
"""The values that backward functions read. All others are let go as soon as the forward pass is done with them."""

LAYER = re.compile(r"(?:.+\.)?(?:layer|h)\.\d+")
STATE = re.compile(rf"(?:.+\.)?(?:embeddings|drop)|{LAYER.pattern}")
"""The values between layers: all that gradient checkpointing keeps of the layers."""

DROPPED = re.compile(r"(.*self)\.(dropout)|(.+)\.(attn_dropout)")
"""The dropout behind softmax: the attention, and the dropout's own name."""


class Record(Trace):
    """The values of a forward pass that its backward pass needs: the pass's own arrays, not copies.

    With `checkpointing`, what is inside a layer is forgotten as soon as the layer is done, and computed again when the backward
    pass comes to it. For that, the state of the generator at the beginning of each layer is kept too: dropout repeats exactly.
    """

    def __init__(self, rng: Rng, *, checkpointing: bool) -> None:
        super().__init__()
        self._rng = rng
        self._checkpointing = checkpointing
        self._generator_states: dict[str, Any] = {}

    def observe(self, name: str, x: Array) -> Array:
        """Keep the value if a backward function reads it."""
        self.keep(name, x)
        if self._checkpointing and STATE.fullmatch(name):
            self._generator_states[name] = None if self._rng is None else self._rng.bit_generator.state
            if LAYER.fullmatch(name):
                self.forget(name)
        return x

    def keep(self, name: str, x: Array) -> Array:
        """Keep the value if a backward function reads it, and forget nothing else of the layer.

        Of attention a backward pass needs what softmax made. If nothing is dropped, that is the value of the dropout behind it;
        else softmax is taken of the scores again.
        """
        if dropped := DROPPED.fullmatch(name):
            module, dropout = filter(None, dropped.groups())
            needless = name if f"{module}:{dropout}_mask" in self else f"{module}:masked_scores"
            self._pieces.pop(needless, None)
            if needless == name:
                return x
        if NEEDED.fullmatch(name):
            self._add(name, x)
        return x

    def forget(self, path: str) -> None:
        """Forget what is inside a module; its output stays."""
        for name in [name for name in self if name.startswith((f"{path}.", f"{path}:"))]:
            del self._pieces[name]

    def copied(self) -> Record:
        """A record of the same values, for a backward pass that lets them go, where another is to follow."""
        other = copy.copy(self)
        other._pieces = dict(self._pieces)
        return other

    def generator_before(self, path: str) -> Rng:
        """A generator that draws again what the pass's own generator drew in the layer at `path`."""
        if self._rng is None:
            return None
        states = list(self._generator_states)
        generator = np.random.Generator(type(self._rng.bit_generator)())
        generator.bit_generator.state = self._generator_states[states[states.index(path) - 1]]
        return generator


class Gradients:
    """The gradients by the weights, and by which weights they are wanted. A weight that is used twice gets the sum of both.

    An observer sees each gradient as `grad:weight:NAME`, of a weight that is used twice first what one use adds, then the sum.

    `ties` are names that stand for another name's weight: what is added under either name is added to the one weight. A
    `scope` is the same for a part of the model, with names relative to the part.
    """

    def __init__(self, wanted: Iterable[str], ties: Mapping[str, str]) -> None:
        self.sums: dict[str, Array] = {}
        self._ties = ties
        self._path = ""
        self._wanted: set[str] = set()
        self._modules = {""}
        for name in wanted:
            self.want(name)
        self._weights = frozenset(self._wanted)

    def want(self, name: str) -> None:
        """Ask for one more gradient."""
        for alias in (name, *(tied for tied, weight in self._ties.items() if weight == name)):
            self._modules |= {alias.rsplit(".", parts)[0] for parts in range(1, alias.count(".") + 1)}
        self._wanted.add(name)

    def scope(self, path: str) -> Gradients:
        """The gradients by the weights of a part of the model."""
        part = copy.copy(self)
        part._path = join(self._path, path)
        return part

    def is_wanted(self, name: str) -> bool:
        """Whether the gradient by this weight is wanted."""
        name = join(self._path, name)
        return self._ties.get(name, name) in self._wanted

    def is_wanted_within(self, path: str) -> bool:
        """Whether the gradient by any weight of this module is wanted."""
        return bool(self._wanted) and join(self._path, path) in self._modules

    def add(self, name: str, gradient: Array) -> None:
        """Add to the gradient by a weight, if it is wanted."""
        name = join(self._path, name)
        name = self._ties.get(name, name)
        if name not in self._wanted:
            return
        gradient = self.sums[name] + gradient if name in self.sums else gradient
        observer = current_observer() if name in self._weights else None
        self.sums[name] = gradient if observer is None else observer(WEIGHT_GRADIENT + name, gradient)
