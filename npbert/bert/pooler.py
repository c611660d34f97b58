"""One vector for a whole sequence."""

from __future__ import annotations

from npbert import ops
from npbert.module import Module
from npbert.types import Array


def pooler(m: Module, hidden: Array) -> Array:
    """The first token's hidden state ([CLS]) through a linear map and tanh: `[B, S, D]` -> `[B, D]`."""
    x = m.linear("dense", hidden[:, 0])  # [B, D]
    return m.keep("", m.keep("activation", ops.ACTIVATIONS[m.config.pooler_act](x)))
