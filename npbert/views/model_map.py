"""The model as a map: layers down, named steps across, in the order of computation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from npbert.golden import kinds
from npbert.golden.pack import INPUT, Pack

_IN_LAYER = re.compile(r"(.*\b(?:encoder\.layer|h)\.)(\d+)(.*)")
_GPT2_EMBEDDINGS = re.compile(r"(?:.*\.)?((?:wte|wpe)(?:\.weight)?|drop|(?:transformer)?:sum)")


class Place(NamedTuple):
    """Where a name stands on the map."""

    section: str  # "forward: layers"; sections follow each other on the page
    row: str
    step: str  # the column


def place_of(name: str) -> Place:
    """The section, the row and the column of a name."""
    direction = _direction(name)
    bare = name if name.startswith(INPUT) else kinds.bare(name)
    match = _IN_LAYER.fullmatch(bare)
    if match:
        part = _part(match[1])
        return Place(f"{direction}: {part}layers", f"layer {match[2]}", match[3].removeprefix(".") or "the layer's result")
    if bare.startswith(INPUT):
        return Place("inputs", "inputs", bare.removeprefix(INPUT))
    gpt2 = _GPT2_EMBEDDINGS.fullmatch(bare)
    if gpt2:
        return Place(f"{direction}: embeddings", "embeddings", gpt2[1])
    if "embeddings" in bare:
        base, _, step = bare.partition("embeddings.") if "embeddings." in bare else bare.partition("embeddings")
        return Place(f"{direction}: {_part(base)}embeddings", "embeddings", step.lstrip(":") or "the embeddings' result")
    return Place(f"{direction}: what comes after the layers", "after the layers", bare)


def _direction(name: str) -> str:
    """What of a training step a name belongs to."""
    if kinds.step_of(name):
        return f"after optimizer step {kinds.step_of(name)}"
    if not kinds.is_gradient(name):
        return "forward"
    return "gradients of weights" if kinds.is_of_weight(name) else "gradients"


def _part(prefix: str) -> str:
    """Of two models as one, which of them."""
    return next(
        (f"{part}'s " for part in ("encoder", "decoder") if re.match(rf"{part}\.(bert\.|encoder\.|embeddings|$)", prefix)), ""
    )


class Section(NamedTuple):
    """One table of the map."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[int | None]]]  # the row's label, and for each column the number of the cell


def contents(pack: Pack) -> dict[str, list[str]]:
    """Every tensor of a pack once, in the order of computation, with all the names that it has."""
    found: dict[str, list[str]] = {name: [name] for name in pack.input_arrays}
    for name in pack:
        found.setdefault(pack.aliases.get(name, name), []).append(name)
    return found


def sections(names: Sequence[str]) -> list[Section]:
    """Tables of the cells, whose numbers are the places of their names."""
    tables: dict[str, dict[str, dict[str, int]]] = {}
    columns: dict[str, list[str]] = {}
    for number, name in enumerate(names):
        section, row, step = place_of(name)
        tables.setdefault(section, {}).setdefault(row, {})[step] = number
        known = columns.setdefault(section, [])
        if step not in known:
            before = list(tables[section][row])[:-1]
            known.insert(known.index(before[-1]) + 1 if before else 0 if len(tables[section]) > 1 else len(known), step)
    return [
        Section(title, columns[title], [(row, [cells.get(step) for step in columns[title]]) for row, cells in rows.items()])
        for title, rows in tables.items()
    ]
