"""Proposing a map from a port's names to a pack's: by what arrays hold, by their shapes, by the words in their names.

What equals a tensor of the pack, in whatever layout, is that tensor. What equals none (the port may be wrong there) is named as
the others of its kind are: where `blocks.0.q` is the query of layer 0, `blocks.1.q` is the query of layer 1. What is left is
judged by the words in its name, and left open where they do not decide.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

from npbert.errors import InputError, listed
from npbert.golden import maps, ports
from npbert.golden.compare import not_hidden
from npbert.golden.layers import is_hidden_state, layer_of, renumbered
from npbert.golden.matching import match_names
from npbert.golden.models import part_of
from npbert.golden.names import axes_of, shapes_of
from npbert.golden.pack import Pack, open_pack
from npbert.golden.resemblance import (
    CLEARLY,
    LIKE,
    Likeness,
    Samples,
    by_content,
    layers_in,
    likeness_of_names,
    may_be,
    numbers_of,
    words_of,
)
from npbert.types import Array, StrPath

FEWEST_WORDS = 0.3
"""Names are alike when they have this share of their words in common, and with no other name as much."""

EXCHANGED = {"query", "key", "value"}
"""What ports mix up. No map may hide that, so names with these words are not mapped to another."""


class Proposal(NamedTuple):
    """A map, and what is to be said of it."""

    names: dict[str, str | dict[str, str]]  # as `names=` and `--map` take it
    remarks: list[str]


class Choice(NamedTuple):
    """What an array of the port is taken for."""

    name: str
    layout: str | None  # where the shape alone would be read otherwise
    by_value: bool


def propose_map(reference: Pack | StrPath | Any, port: ports.Port) -> Proposal:
    """A map from the names of a port's dump to those of a pack, which `compare` takes as `names`.

    `reference` is a pack, whose values tell what is what, or a model, of which only names and shapes are known. Names that need
    no map are left out. The remarks say what was decided by names alone and what was left open.
    """
    pack = open_pack(reference) if isinstance(reference, (Pack, str, PathLike)) else None
    shapes = {name: pack[name].shape for name in pack} if pack is not None else shapes_of(reference)
    dump = ports.read(port)
    if not dump:
        raise InputError(f"port: {ports.described(port)} holds no arrays")
    matched, unmatched = match_names({*shapes, *(pack.input_arrays if pack is not None else ())}, dump)
    free = [name for name in shapes if name not in matched]
    chosen, remarks, candidates = _by_values(pack, dump, unmatched, free) if pack is not None else ({}, [], {})
    if pack is None:
        candidates = {
            own: [n for n in free if may_be(dump[own]().shape, axes_of(n, len(shapes[n])), shapes[n])] for own in unmatched
        }
    _by_kind(chosen, candidates)
    _by_words(chosen, candidates)
    guessed = [own for own, choice in chosen.items() if not choice.by_value]
    if guessed and pack is not None:
        remarks.append(f"taken by their names, since their values are like none: {listed(guessed)}")
    if not unmatched:
        remarks.append("all names are in the pack as they are, so no map is needed")
    left = [own for own in unmatched if own not in chosen]
    if left:
        remarks.append(f"left open: {listed(left, most=10)}")
    return Proposal(_as_map(chosen, list(dump)), remarks)


# ------------------------------------------------------------------------------------------------------------------ values


def _by_values(
    pack: Pack, dump: Mapping[str, Callable[[], Array]], unmatched: Sequence[str], free: Sequence[str]
) -> tuple[dict[str, Choice], list[str], dict[str, list[str]]]:
    """What arrays are by what they hold; remarks on those that are nearly something; and what each of the others may be by its
    shape."""
    contents = {content: [name for name in names if name in free] for content, names in by_content(pack).items()}
    samples = Samples(pack, contents)
    found: dict[str, list[tuple[str, str | None]]] = {}  # by content, the port's names and their layouts
    remarks, candidates = [], {}
    for own in unmatched:
        x = dump[own]()
        likest = samples.likest(x)
        candidates[own] = [name for content in dict.fromkeys(like.name for like in likest) for name in contents[content]]
        best = _clearly_best(likest)
        scaled = min(likest, key=lambda like: like.difference_after, default=None)
        if best is not None and _shows_what_is_hidden(pack, best, x):
            remarks.append(f"{own} is {best.name} without the mask, which the pack does not hold")
        elif best is not None and (said := words_of(own) & EXCHANGED) and not said & words_of(best.name):
            remarks.append(f"{own} equals {best.name}: either its name is wrong or the port is")
        elif best is not None:
            found.setdefault(best.name, []).append((own, _layout_to_say(best, likest)))
        elif scaled is not None and scaled.difference_after <= LIKE / 10:
            remarks.append(f"{own} is {scaled.name} times {scaled.factor:.4g}")
    chosen, twice = _assigned(found, contents)
    if twice:
        remarks.append(f"the same as others, so not needed: {listed(twice)}")
    # What the port has is known: another array, with other values, is not that.
    known = {_merged(name) for content in found for name in by_content(pack)[content]}
    known |= {_merged(name) for names in by_content(pack).values() if not set(names) <= set(free) for name in names}
    equal = {own for owners in found.values() for own, _ in owners}
    left = {
        own: [name for name in names if _merged(name) not in known] for own, names in candidates.items() if own not in equal
    }
    return chosen, remarks, left


def _assigned(
    found: Mapping[str, Sequence[tuple[str, str | None]]], contents: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Choice], list[str]]:
    """A name of its own for each array that equals a content of the pack, the likest names first; and the arrays for which no
    name is left."""

    def order(pair: tuple[str, str]) -> tuple[Any, ...]:
        own, name = pair
        return -likeness_of_names(own, name), not is_hidden_state(name), name.endswith("dropout"), len(name)

    chosen: dict[str, Choice] = {}
    twice: list[str] = []
    for content, owners in found.items():
        taken: set[str] = set()
        layouts = dict(owners)
        for own, name in sorted(((own, name) for own in layouts for name in contents[content]), key=order):
            if own not in chosen and name not in taken:
                chosen[own] = Choice(name, layouts[own], by_value=True)
                taken.add(name)
        twice += [own for own in layouts if own not in chosen]
    return chosen, twice


def _clearly_best(likest: Sequence[Likeness]) -> Likeness | None:
    """The tensor that an array equals, unless others are as like; heads split or not, it is the same tensor."""
    if not likest or likest[0].difference > LIKE:
        return None
    same = [like for like in likest if _merged(like.name) == _merged(likest[0].name)]
    others = [like.difference for like in likest if like not in same]
    if others and min(others) < CLEARLY * likest[0].difference:
        return None
    as_like = [like for like in same if like.difference <= CLEARLY * likest[0].difference]
    return min(as_like, key=lambda like: (bool(like.reading.assumed), ".self:" in like.name))


def _merged(name: str) -> str:
    """The name of a query, key or value whose heads are not split, and any other name as it is."""
    return re.sub(r"\.self:(query|key|value)$", r".self.\1", name)


def _shows_what_is_hidden(pack: Pack, best: Likeness, x: Array) -> bool:
    """Whether scores are like the masked ones but for the mask."""
    if not best.name.endswith(":masked_scores"):
        return False
    visible, truth = pack.positions[part_of(pack.positions, best.name)], pack[best.name]
    return bool(not_hidden(visible, truth, best.reading.read(x), pack.counted(best.name)).any())


def _layout_to_say(best: Likeness, likest: Sequence[Likeness]) -> str | None:
    """The layout, where the shape alone would be read in another."""
    first = next(likeness for likeness in likest if likeness.name == best.name and likeness.is_first)
    return None if first.reading.layout == best.reading.layout else best.reading.layout


# --------------------------------------------------------------------------------------------------------------- and names


def _by_kind(chosen: dict[str, Choice], candidates: Mapping[str, Sequence[str]]) -> None:
    """Name what is left as the others of its kind are: names that differ in one number, and so do the pack's."""
    shifts: dict[tuple[str, str], set[tuple[int, str | None]]] = {}
    for own, choice in chosen.items():
        layer = layer_of(choice.name, -1)
        for place, number in enumerate(numbers_of(own) if layer >= 0 else ()):
            kind = (_without_number(own, place), _in_layer(choice.name, 0))
            shifts.setdefault(kind, set()).add((layer - number, choice.layout))
    for own, possible in candidates.items():
        for place, number in enumerate(numbers_of(own)):
            kinds = [(name, shift) for (kind, name), shift in shifts.items() if kind == _without_number(own, place)]
            if own in chosen or len(kinds) != 1 or len(kinds[0][1]) != 1:
                continue
            name, ((by, layout),) = kinds[0]
            name = _in_layer(name, number + by)
            if name in possible and name not in {choice.name for choice in chosen.values()}:
                chosen[own] = Choice(name, layout, by_value=False)


def _by_words(chosen: dict[str, Choice], candidates: Mapping[str, Sequence[str]]) -> None:
    """Name what is left by the words in its name, where one name of the pack is clearly the likest."""
    taken = {choice.name for choice in chosen.values()}
    wanted: dict[str, list[str]] = {}  # by the pack's name, who would like to be it
    for own, possible in candidates.items():
        numbers = layers_in(own)
        fitting = [name for name in possible if name not in taken and (layer_of(name, -1) in numbers or layer_of(name, -1) < 0)]
        most = max((likeness_of_names(own, name) for name in fitting), default=0.0)
        best = [name for name in fitting if likeness_of_names(own, name) == most]
        if own not in chosen and most >= FEWEST_WORDS and len(set(map(_merged, best))) == 1:
            wanted.setdefault(best[0], []).append(own)
    for name, owners in wanted.items():
        if len(owners) == 1:
            chosen[owners[0]] = Choice(name, None, by_value=False)


def _without_number(name: str, place: int) -> str:
    """A name with one of its numbers, by its place, replaced by `*`."""
    parts = re.split(r"(\d+)", name)
    parts[2 * place + 1] = "*"
    return "".join(parts)


def _in_layer(name: str, layer: int) -> str:
    return renumbered(name, layer - layer_of(name, layer))


# --------------------------------------------------------------------------------------------------------------------- map


def _as_map(chosen: Mapping[str, Choice], dump: Sequence[str]) -> dict[str, str | dict[str, str]]:
    """The map, with a pattern for what is alike in all layers, unless patterns would say more than is meant."""
    full = {own: _entry(choice.name, choice.layout) for own, choice in chosen.items()}
    short: dict[str, str | dict[str, str]] = {}
    for own, choice in chosen.items():
        own_pattern, pattern = _pattern(own, choice, chosen)
        short[own_pattern] = _entry(pattern, choice.layout)
    rules = maps.read_map(short)
    meant = {own: choice.name for own, choice in chosen.items()}
    says_the_same = all(maps.translated(rules, own, lambda name: name) == meant.get(own) for own in dump)
    return short if says_the_same else full


def _entry(name: str, layout: str | None) -> str | dict[str, str]:
    return name if layout is None else {"name": name, "layout": layout}


def _pattern(own: str, choice: Choice, chosen: Mapping[str, Choice]) -> tuple[str, str]:
    """A pattern that is right for all names of this kind, for the port's name and for the pack's; or the two names."""
    layer = layer_of(choice.name, -1)
    for place in (place for place, number in enumerate(numbers_of(own)) if number == layer):
        kind = _without_number(own, place)
        alike = [other for other in chosen if len(numbers_of(other)) > place and _without_number(other, place) == kind]
        rule = maps.Rule(kind, re.sub(r"\blayer\.\d+", "layer.*", choice.name), choice.layout)
        if len(alike) > 1 and all((chosen[x].name, chosen[x].layout) == (rule.translated(x), rule.layout) for x in alike):
            return rule.own, rule.name or ""
    return own, choice.name
