"""Mistakes in the gradients by weights: sums over positions, tables, ties, and gradients of the step before."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from npbert import ops
from npbert.configuration import ModelConfiguration
from npbert.golden.mistakes.backward.moment import Edit, Moment, slip
from npbert.golden.mistakes.hypothesis import Hypothesis
from npbert.types import Array

BIAS = r"grad:weight:(?P<m>.*)\.bias"
MATRIX = r"grad:weight:(?P<m>.*(?<!_embeddings)(?<!wte)(?<!wpe))\.weight"
TABLE = r"grad:weight:(?P<m>.*(?:_embeddings|wte|wpe))\.weight"
WORD_TABLE = r"grad:weight:(?P<m>.*(?:word_embeddings|wte))\.weight"
POSITIONS = r"grad:(?:(?P<m>(?:.*\.)?embeddings)\.position_embeddings|(?P<base>(?:transformer)?)\.?wpe)"
ANY_WEIGHT = r"grad:weight:.*"


# ------------------------------------------------------------------------------------------------------- biases, matrices


def _averaged(count: Callable[[Array, Moment], int]) -> Edit:
    def edit(at: Moment) -> Array | None:
        owner = f"{at.owner}.decoder" if at.owner.endswith("cls.predictions") else at.owner
        number = count(at.gradient(owner), at) if at.has_gradient(owner) else 1
        return at.value / number if number > 1 else None

    return edit


AVERAGES: list[tuple[str, Callable[[Array, Moment], int]]] = [
    ("all positions", lambda dy, at: dy.size // dy.shape[-1]),
    ("the texts", lambda dy, at: dy.shape[0]),
    ("the tokens of a text", lambda dy, at: dy.shape[1] if dy.ndim == 3 else 1),
    ("the real tokens", lambda dy, at: int(at.padding.sum()) if dy.ndim == 3 else 1),
]


def _turned(at: Moment) -> Array | None:
    x = at.contribution
    if x.ndim != 2:
        return None
    return at.before + x.T.reshape(x.shape)  # of a matrix that is not square, the numbers in the order of the other


# ---------------------------------------------------------------------------------------------------------------- tables


def _ids(at: Moment) -> Array | None:
    kind = at.owner.rpartition(".")[2]
    arguments = {
        "word_embeddings": "input_ids",
        "token_type_embeddings": "token_type_ids",
        "position_embeddings": "position_ids",
        "wte": "input_ids",
        "wpe": "position_ids",
    }
    return at.context.ids(arguments[kind])


def _assigned(order: int) -> Edit:
    """`dtable[ids] = dy`: of an id that occurs more than once the last, or the first, alone counts."""

    def edit(at: Moment) -> Array | None:
        ids = _ids(at)
        if ids is None or not at.has_gradient(at.owner):
            return None
        dy, table = at.gradient(at.owner), np.zeros_like(at.value)
        table[np.broadcast_to(ids, dy.shape[:2]).reshape(-1)[::order]] = dy.reshape(-1, dy.shape[-1])[::order]
        if at.owner.endswith("word_embeddings") and at.config.pad_token_id is not None:
            table[at.config.pad_token_id] = 0
        return at.before + table

    return edit


def _with_padding_row(at: Moment) -> Array | None:
    ids = _ids(at)
    if ids is None or not at.has_gradient(at.owner) or at.owner.endswith("wte"):  # GPT-2's row has a gradient anyway
        return None
    return at.before + ops.embedding_backward(at.gradient(at.owner), ids, len(at.value))


def _of_texts(choose: Callable[[Array], Array]) -> Edit:
    def edit(at: Moment) -> Array | None:
        dx = at.gradient(f"{at.match['m'] or at.match['base'] or ''}:sum")  # [B, S, D]
        return choose(dx)[None] if len(dx) > 1 and len(at.value) == 1 else None

    return edit


# --------------------------------------------------------------------------------------------------------------- all of it

_TABLE: list[tuple[str, str, str, Edit]] = [
    ("bias-gradient-missing", BIAS, "The bias has no gradient: it is the sum of the output's gradient over all positions",
     lambda at: np.zeros_like(at.value)),
    *(("bias-gradient-averaged", BIAS, f"The gradient of the bias is averaged over {what}: it is the sum over all positions",
       _averaged(count)) for what, count in AVERAGES),
    ("weight-gradient-transposed", MATRIX,
     "The gradient of the weight is turned round: it is dy^T x for y = x W^T, [out, in], and x^T dy for y = x W, [in, out]",
     _turned),
    ("embedding-gradient-overwritten", TABLE,
     "Of tokens with the same id only the last one's gradient is kept: all of them add up", _assigned(1)),
    ("embedding-gradient-overwritten", TABLE,
     "Of tokens with the same id only the first one's gradient is kept: all of them add up", _assigned(-1)),
    ("position-gradient-not-summed", POSITIONS,
     "The gradient of the positions is that of the first text: all texts read the same rows, so theirs add up",
     _of_texts(lambda dx: dx[0])),
    ("position-gradient-not-summed", POSITIONS,
     "The gradient of the positions is that of the last text: all texts read the same rows, so theirs add up",
     _of_texts(lambda dx: dx[-1])),
    ("position-gradient-not-summed", POSITIONS,
     "The gradient of the positions is averaged over the texts: theirs add up", _of_texts(lambda dx: dx.mean(axis=0))),
    ("padding-row-gradient", WORD_TABLE,
     "The word table's row of the padding token has a gradient: it has none from being looked up (padding_idx)",
     _with_padding_row),
    ("tied-gradient-one-use", WORD_TABLE,
     "The word table has the gradient of the decoder alone: it is used twice, so both gradients add up",
     lambda at: at.before if at.before.ndim else None),
    ("tied-gradient-one-use", WORD_TABLE,
     "The word table has the gradient of being looked up alone: the decoder uses it too, so both gradients add up",
     lambda at: at.contribution if at.before.ndim else None),
]  # fmt: skip
"""A line here is all that another mistake in a weight's gradient needs."""


def hypotheses(config: ModelConfiguration) -> Iterator[Hypothesis]:
    """Every way to get the gradient of a weight wrong."""
    for mistake, names, explanation, edit in _TABLE:
        yield slip(mistake, f"{explanation}.", names, edit)
    yield slip(
        "gradient-accumulated-twice",
        "Every weight's gradient is twice as large: gradients were not set to 0 before this pass, or the loss counts twice.",
        ANY_WEIGHT,
        lambda at: 2 * at.value,
        only_together=True,
    )
