"""One vector for a whole sequence."""

from __future__ import annotations

import numpy as np

from npbert import ops
from npbert.module import Module
from npbert.types import Array


def pooler(m: Module, hidden: Array) -> Array:
    """The first token's hidden state ([CLS]) through a linear map and tanh: `[B, S, D]` -> `[B, D]`."""
    x = m.linear("dense", hidden[:, 0])  # [B, D]
    return m.keep("", m.keep("activation", ops.ACTIVATIONS[m.config.pooler_act](x)))


def pooler_backward(m: Module, dy: Array, hidden: Array) -> Array:
    """The gradient by the hidden states: all of it goes to the first token."""
    dy = m.keep_gradient("activation", m.keep_gradient("", dy))
    dx = m.activation_backward(ops.ACTIVATIONS[m.config.pooler_act], dy, m.kept("dense"))  # [B, D]
    dhidden = np.zeros_like(hidden)  # [B, S, D]
    dhidden[:, 0] = m.linear_backward("dense", dx, hidden[:, 0])
    return dhidden
