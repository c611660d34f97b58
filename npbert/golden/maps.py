"""Maps: how the names of a port become the names of a pack.

A map is JSON, or a mapping in Python:

    {"h0": "encoder.layer.0",                                        one name
     "layers.*.attn.q": "encoder.layer.*.attention.self.query",      a pattern: each * stands for the same text on both sides
     "transformer.": "bert.",                                        a prefix
     "layers.*.k": {"name": "encoder.layer.*.attention.self:key", "layout": "S B N H"},
     "*": {"layout": "S B D"}}                                       a layout alone: the names stay as they are

Names that are written out go first, then the patterns, longer ones before shorter ones. Layouts are described in
`npbert.golden.layouts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from npbert.checkpoints.reading import read_json
from npbert.checks import path
from npbert.errors import InputError, shown
from npbert.types import StrPath

Names: TypeAlias = "Mapping[str, str | Mapping[str, str]] | StrPath | None"

LETTERS = "BSTENHDFVCOI"


class Rule(NamedTuple):
    """One entry of a map."""

    own: str  # the port's name, or a pattern
    name: str | None  # the pack's; None where the entry only says the layout
    layout: str | None

    @property
    def is_pattern(self) -> bool:
        """Whether it may match several names."""
        return "*" in self.own

    def matches(self, own: str) -> bool:
        """Whether it says something of a port's name."""
        return self._match(own) is not None

    def translated(self, own: str) -> str | None:
        """The pack's name for a port's; None where the entry does not say it."""
        matched = self._match(own)
        if matched is None or self.name is None:
            return None
        texts = iter(matched)
        return re.sub(r"\*", lambda _: next(texts), self.name)

    def _match(self, own: str) -> list[str] | None:
        """What each * stands for, the first ones for as little as possible; in a single walk, however many there are."""
        first, *others = self.own.split("*")
        if not others:
            return [] if own == first else None
        *middle, last = others
        end = len(own) - len(last)
        place = len(first)
        if not own.startswith(first) or not own.endswith(last) or place > end:
            return None
        texts = []
        for text in middle:
            found = own.find(text, place, end)
            if found < 0:
                return None
            texts.append(own[place:found])
            place = found + len(text)
        return [*texts, own[place:end]]


def read_map(names: Names) -> list[Rule]:
    """The entries of a map, in the order in which they are asked."""
    if names is None:
        return []
    read = names if isinstance(names, Mapping) else read_json(path("names", names))
    if not isinstance(read, Mapping) or not all(isinstance(own, str) for own in read):
        raise InputError(f"names: takes an object that maps the port's names to the pack's, got {shown(read)}")
    rules = [_rule(own, value) for own, value in read.items()]
    return sorted(rules, key=lambda rule: (rule.is_pattern, -len(rule.own)))


def _rule(own: str, value: Any) -> Rule:
    fields = {"name": value} if isinstance(value, str) else value
    is_sound = isinstance(fields, Mapping) and fields and fields.keys() <= {"name", "layout"}
    if not is_sound or not all(isinstance(text, str) for text in fields.values()):
        raise InputError(f'names: {shown(own)} takes a name of the pack, or {{"name": ..., "layout": ...}}, got {shown(value)}')
    name, layout = fields.get("name"), fields.get("layout")
    if own.endswith((".", "/")) and name is not None and (name.endswith(".") or not name):
        own, name = own + "*", name + "*"
    if name is not None and name.count("*") > own.count("*"):
        raise InputError(f"names: {shown(own)} has fewer * than {shown(name)}, so there is nothing to put there")
    if layout is not None and not re.fullmatch(f"[{LETTERS}]([ *][{LETTERS}])*", layout):
        raise InputError(f"names: {shown(own)} takes a layout such as 'S B D' or 'B*S N*H', got {shown(layout)}")
    return Rule(own, name, layout)


def translated(rules: Sequence[Rule], own: str, found: Callable[[str], str | None]) -> str | None:
    """The pack's name for a port's, `found` of the first entry that leads to one."""
    names = [name for rule in rules if (name := rule.translated(own)) is not None]
    return next((there for name in names if (there := found(name)) is not None), None)


def layouts(rules: Sequence[Rule], own: str) -> list[str]:
    """What the map says of the layout of a port's array, the first that fits it counts."""
    return [rule.layout for rule in rules if rule.layout is not None and rule.matches(own)]
