"""Mistakes in the embeddings: which rows are looked up, how they are added, LayerNorm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from npbert.bert.config import BertConfig
from npbert.errors import listed
from npbert.golden.mistakes.hypothesis import EMBEDDINGS_MODULES, Hypothesis, ReplaceValue
from npbert.golden.mistakes.site import Site
from npbert.types import Array

WORDS, TYPES, POSITIONS = ".word_embeddings", ".token_type_embeddings", ".position_embeddings"

Change = Callable[[Array], Array]


def hypotheses(config: BertConfig) -> Iterator[Hypothesis]:
    """Every way to get the embeddings wrong."""
    yield from _token_types(config)
    yield from _lookups(config)
    yield from _sums(config)
    yield _in("embeddings-layernorm-missing", "The sum of the embeddings goes on as it is: apply embeddings.LayerNorm to it",
              ".LayerNorm", lambda site: site[":sum"])  # fmt: skip
    yield _in("norm-before-positions", "The positions are added after LayerNorm: it is taken of the whole sum", ".LayerNorm",
              _positions_after_norm)  # fmt: skip


def _in(mistake: str, explanation: str, name: str, value: ReplaceValue) -> Hypothesis:
    return Hypothesis(mistake, f"{explanation}.", EMBEDDINGS_MODULES, {name: value})


def _zeros(site: Site) -> Array:
    return np.zeros_like(site.value)


# ---------------------------------------------------------------------------------------------------------------- the tables


def _token_types(config: BertConfig) -> Iterator[Hypothesis]:
    yield _in("token-types-missing", "The token type embeddings are not added: add the row of token_type_embeddings that "
              "token_type_ids names (row 0 where none are given)", TYPES, _zeros)  # fmt: skip
    for row in range(config.type_vocab_size):
        yield _in("token-types-missing", f"Every token is taken to be of type {row}: look token_type_ids up instead", TYPES,
                  _looked_up(TYPES, "token_type_ids", lambda ids, row=row: np.full_like(ids, row)))  # type: ignore[misc]  # fmt: skip
    yield _in("token-types-swapped", "The token types are the other way round: 0 is the first text, 1 the second", TYPES,
              _looked_up(TYPES, "token_type_ids", lambda ids: ids.max(initial=0) - ids))  # fmt: skip
    yield _in("token-types-swapped", "The token types of the texts are in reverse order", TYPES,
              _looked_up(TYPES, "token_type_ids", lambda ids: ids[::-1]))  # fmt: skip


COUNTED = "BERT counts from 0 and knows no offset for padding"

LOOKUPS: list[tuple[str, str, str, Change]] = [
    *[("positions-shifted", f"The positions are off by {shift}: {COUNTED}", POSITIONS, lambda ids, shift=shift: ids + shift)
      for shift in (1, 2, -1, 3, 4)],
    ("positions-shifted", "Every token is given position 0: count 0, 1, 2, ... along the sequence", POSITIONS, np.zeros_like),
    ("positions-reversed", "The positions count backwards: count 0, 1, 2, ...", POSITIONS, lambda ids: ids[:, ::-1]),
    ("ids-differ", "The token ids are shifted by one to the right", WORDS, lambda ids: np.roll(ids, 1, axis=1)),
    ("ids-differ", "The token ids are shifted by one to the left", WORDS, lambda ids: np.roll(ids, -1, axis=1)),
    ("ids-differ", "The token ids are in reverse order", WORDS, lambda ids: ids[:, ::-1]),
    ("ids-differ", "The texts are in reverse order", WORDS, lambda ids: ids[::-1]),
    ("ids-differ", "The first text is read in the place of all", WORDS, lambda ids: np.broadcast_to(ids[:1], ids.shape)),
    ("ids-differ", "The token ids are one too small", WORDS, lambda ids: np.maximum(ids - 1, 0)),
    ("ids-differ", "The token ids are one too large", WORDS, lambda ids: ids + 1),
]  # fmt: skip
"""A line here is all that another way to look rows up needs."""


def _lookups(config: BertConfig) -> Iterator[Hypothesis]:
    for mistake, explanation, name, change in LOOKUPS:
        argument = "input_ids" if name == WORDS else "position_ids"
        yield _in(mistake, explanation, name, _looked_up(name, argument, change))
    yield _in("positions-missing", "The position embeddings are not added: add row 0, 1, 2, ... of position_embeddings along "
              "the sequence", POSITIONS, _zeros)  # fmt: skip
    yield _in("positions-sinusoidal", "The positions are sines and cosines: look them up in position_embeddings", POSITIONS,
              _sinusoids(interleaved=True))  # fmt: skip
    yield _in("positions-sinusoidal", "The positions are sines, then cosines: look them up in position_embeddings", POSITIONS,
              _sinusoids(interleaved=False))  # fmt: skip
    yield _in("ids-differ", "The port reads other token ids than the pack's input_ids", WORDS, _rows_that_the_port_holds)
    yield Hypothesis("ids-differ", "The port reads other token ids than the pack's input_ids.", EMBEDDINGS_MODULES,
                     {":sum": _rows_that_the_port_normalised}, is_last_resort=True)  # fmt: skip
    root = math.sqrt(config.hidden_size)
    for factor, what in (
        (root, f"multiplied by sqrt({config.hidden_size})"),
        (1 / root, f"divided by sqrt({config.hidden_size})"),
    ):
        yield _in("embeddings-scaled", f"The word embeddings are {what}: BERT adds them as they are", WORDS,
                  lambda site, factor=factor: site.value * factor)  # type: ignore[misc]  # fmt: skip


def _looked_up(name: str, argument: str, change: Change) -> ReplaceValue:
    """The rows of other ids, where the table has them."""

    def look_up(site: Site) -> Array | None:
        table = site.weights[f"{site.module}{name}.weight"]
        given = site.context.ids(argument)
        ids = None if given is None else change(given)
        if ids is None or ids.min(initial=0) < 0 or ids.max(initial=0) >= len(table):
            return None
        rows = table[ids].astype(site.value.dtype)
        return rows if rows.shape == site.value.shape else None

    return look_up


def _sinusoids(*, interleaved: bool) -> ReplaceValue:
    def value(site: Site) -> Array | None:
        width = site.value.shape[-1]
        even = np.arange(0, width, 2)
        angles = site.context.position_ids[..., None] / 10000 ** (even / width)  # [1 or B, S, D / 2]
        sines, cosines = np.sin(angles), np.cos(angles)[..., : width // 2]
        if not interleaved:
            return np.concatenate([sines, cosines], axis=-1)
        rows = np.empty(site.value.shape)
        rows[..., 0::2], rows[..., 1::2] = sines, cosines
        return rows

    return value


def _rows_that_the_port_holds(site: Site) -> Array | None:
    """The rows of the table that the port dumped as its word embeddings, if all of them are rows of the table."""
    dumped = site.dumped(site.module + WORDS)
    if dumped is None or dumped.shape != site.value.shape:
        return None
    table = site.weights[f"{site.module}{WORDS}.weight"]
    differs = np.argwhere(np.abs(dumped - site.value).max(axis=-1) > 0)
    found = {(b, s): int(np.abs(table[:, :4] - dumped[b, s, :4]).sum(axis=1).argmin()) for b, s in differs}
    rows = _with_rows(site, site.value, found)
    return rows if np.allclose(rows, dumped, rtol=1e-2, atol=1e-6) else None


MOST_TOKENS = 64
"""So many tokens at most are looked for in the whole vocabulary."""


def _rows_that_the_port_normalised(site: Site) -> Array | None:
    """The sum with those rows of the table that LayerNorm makes what the port dumped as the result of the embeddings."""
    dumped = next((x for name in (".LayerNorm", ".dropout", "") if (x := site.dumped(site.module + name)) is not None), None)
    counts, gamma = site.counts(site.module), site.weight(".LayerNorm.weight")
    if dumped is None or dumped.shape != site.value.shape or not gamma.all() or WORDS not in site:
        return None
    table = site.weights[f"{site.module}{WORDS}.weight"]
    wanted = (dumped - site.weight(".LayerNorm.bias")) / gamma  # [B, S, D], of mean 0 and variance 1
    others = site.value - site[WORDS]  # what is added to the row
    is_far = np.abs(site.norm(site.value) - dumped).max(axis=-1) > 1e-3
    differs = np.argwhere(is_far & counts[..., 0])
    if not 0 < len(differs) <= MOST_TOKENS:
        return None
    found = {}
    for b, s in differs:
        sums = table + others[b, s].astype(table.dtype)  # [V, D]
        found[b, s] = int((sums @ wanted[b, s].astype(table.dtype) / sums.std(axis=-1)).argmax())
    return site.value + _with_rows(site, site[WORDS], found) - site[WORDS]


def _with_rows(site: Site, words: Array, found: Mapping[tuple[int, int], int]) -> Array:
    """The word embeddings with other rows of the table, which are noted."""
    table, ids = site.weights[f"{site.module}{WORDS}.weight"], site.context.ids("input_ids")
    rows, told = words.copy(), []
    for (b, s), row in found.items():
        rows[b, s] = table[row]
        told.append(f"[{b}, {s}] is {row}" + ("" if ids is None else f" instead of {ids[b, s]}"))
    if told:
        site.notes.append(f"Token {listed(told, most=4)}.")
    return rows


# -------------------------------------------------------------------------------------------------------------------- the sum


def _sums(config: BertConfig) -> Iterator[Hypothesis]:
    root = math.sqrt(config.hidden_size)
    for what, names in (("words", (WORDS,)), ("words and types", (WORDS, TYPES)), ("whole sum", (WORDS, TYPES, POSITIONS))):
        says = f"The {what} are multiplied by sqrt({config.hidden_size}): BERT adds the embeddings as they are"
        yield _in("embeddings-scaled", says.replace("sum are", "sum is"), ":sum", _multiplied(names, root))
    yield _in("embeddings-scaled", "The three embeddings are averaged: BERT adds them", ":sum", lambda site: site.value / 3)

    def multiplied(site: Site) -> Array | None:
        return (site.value - site[POSITIONS]) * site[POSITIONS] if POSITIONS in site else None

    yield _in("positions-multiplied", "The sum is multiplied by the position embeddings: add them", ":sum", multiplied)


def _multiplied(names: tuple[str, ...], factor: float) -> ReplaceValue:
    """The sum with some of its terms multiplied, those that the model has."""
    return lambda site: site.value + (factor - 1) * sum(site[name] for name in names if name in site)


def _positions_after_norm(site: Site) -> Array | None:
    return site.norm(site[":sum"] - site[POSITIONS]) + site[POSITIONS] if POSITIONS in site else None
