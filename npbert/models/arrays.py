"""The arrays that a model hands out: NumPy's, which answer what code for the reference asks of a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from npbert.errors import MissingAttributeError

_GRADIENTS = "out, grads = model.gradients(**inputs, labels=labels)"
_FREEZING = "model.requires_grad_(False, only=...) freezes weights, model.num_parameters(only_trainable=True) counts the others"
_PLACE = "npbert computes on the processor, with NumPy; array.astype(...) makes another type of it"

INSTEAD = {
    **dict.fromkeys(("backward", "grad", "grad_fn", "retain_grad"), _GRADIENTS),
    **dict.fromkeys(("requires_grad", "requires_grad_"), _FREEZING),
    **dict.fromkeys(("to", "cuda", "device", "half", "float", "double", "long"), _PLACE),
    "unsqueeze": "array[:, None] has one more axis",
    "permute": "array.transpose(...)",
    "expand": "numpy.broadcast_to(array, shape)",
    "masked_fill": "numpy.where(mask, value, array)",
    "gather": "numpy.take_along_axis(array, indices, axis)",
    "softmax": "npbert.ops.softmax(array)",
    "log_softmax": "npbert.ops.log_softmax(array)",
    "topk": "npbert.ops.top_k(array, k)",
}
"""What to use in place of something that a tensor has and an array has not."""


class OutputArray(np.ndarray):
    """An array that a model hands out; a loss is one without axes. What is computed from it is NumPy's own."""

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = np.asarray(array)
        return plain if plain.ndim else plain[()]

    def __getattr__(self, name: str) -> Any:
        _missing(name)
        raise AttributeError(f"an array has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        _missing(name)
        super().__setattr__(name, value)

    def __reduce__(self) -> Any:
        return np.asarray(self).__reduce__()  # whoever unpickles it need not have npbert

    def __repr__(self) -> str:
        return repr(self.numpy())

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.item(), digits)

    def detach(self) -> OutputArray:
        """The array itself: nothing hangs on it."""
        return self

    cpu = detach

    def numpy(self) -> Any:
        """The same as NumPy's own array, or number."""
        return np.asarray(self) if self.ndim else self[()]

    def clone(self) -> OutputArray:
        """A copy."""
        return self.copy()

    def numel(self) -> int:
        """How many numbers there are."""
        return self.size


def handed_out(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results, and tuples of results, as they leave a model. A cache, which is a tuple of tuples, stays as it is.

    An array that has two places among the results is one array afterwards too.
    """
    made: dict[int, OutputArray] = {}

    def hand_out(x: Any) -> OutputArray:
        return made.setdefault(id(x), np.asarray(x).view(OutputArray))

    found: dict[str, Any] = {}
    for name, value in results.items():
        if isinstance(value, np.ndarray | np.floating):
            found[name] = hand_out(value)
        elif isinstance(value, tuple) and all(isinstance(x, np.ndarray) for x in value):
            found[name] = tuple(map(hand_out, value))
    return found


def _missing(name: str) -> None:
    if name in INSTEAD:
        raise MissingAttributeError(f"an array has no {name!r}: {INSTEAD[name]}")
