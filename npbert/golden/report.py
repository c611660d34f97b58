"""What a comparison found, as values and as a table."""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import dataclass, field
from typing import Any

from npbert.errors import listed

ROWS_AROUND = 3
"""How many rows a table shows before and after the row that matters."""

WIDTH = 118
"""Of the notes below a table, about as wide as the table."""


@dataclass(frozen=True)
class Row:
    """One tensor of the port against the pack's."""

    name: str
    shape: tuple[int, ...]
    max_abs: float  # the largest difference; infinite where the port holds NaN or infinity and the pack does not
    rms: float  # the root of the mean square of the differences
    cosine: float  # of the angle between the two tensors as vectors
    tolerance: float  # of max_abs
    rms_tolerance: float
    compared: int  # how many elements: those that the mask hides may hold anything
    not_finite: int  # how many of them are NaN or infinite in the port alone
    ok: bool
    nan: int = 0  # how many are NaN in the port
    first_not_finite: str = ""  # where the first of those is, in words
    assumed: str = ""  # how the port's array was read, in words; "" where it has the pack's shape
    right_as: str = ""  # another layout that the shape allows, in which the tensor is right; "" for none
    problem: str = ""  # why it could not be compared; "" where it was

    @property
    def tolerance_used(self) -> float:
        """The share of its tolerance that the tensor uses up; above 1 it is wrong."""
        if self.problem:
            return math.inf
        pairs = ((self.max_abs, self.tolerance), (self.rms, self.rms_tolerance))
        return max(wrong / bound if bound else (math.inf if wrong else 0.0) for wrong, bound in pairs)


@dataclass(frozen=True)
class Report:
    """What a comparison found; `str(report)` is a table of what matters in it."""

    precision: str
    rows: list[Row]  # in the order of execution
    not_in_port: list[str]  # names of the pack; a tensor that equals one that was compared is not missing
    not_in_pack: list[str]  # names of the port
    hidden: str  # what was not compared because the mask hides it; "" where nothing was
    other_precision: str | None = None  # another precision that all tensors fit, where they do not fit this one
    shows_precision: bool = False  # whether the numbers show that it is the other precision, and not a small mistake
    coarser: str = ""  # where all tensors fit int8, what is coarser in the port all the same; "" where nothing is
    dump_at_fault: list[str] = field(default_factory=list)  # wrong tensors from which the port computed what is right
    questions: list[str] = field(default_factory=list)  # what only the user can know

    @property
    def ok(self) -> bool:
        """Whether every tensor that the port dumped is right, and the port no coarser than the precision."""
        return all(row.ok for row in self.rows) and not self.coarser

    @property
    def first_divergence(self) -> str | None:
        """The name of the first tensor, in the order of execution, that was compared and is wrong."""
        return next((row.name for row in self.rows if not row.ok and not row.problem), None)

    def to_json(self) -> str:
        """The whole report as a JSON text; NaN and infinity become null."""
        rows = [{field: finite_or_none(value) for field, value in vars(row).items()} for row in self.rows]
        fields = {
            "ok": self.ok,
            "precision": self.precision,
            "first_divergence": self.first_divergence,
            "rows": rows,
            "not_in_port": self.not_in_port,
            "not_in_pack": self.not_in_pack,
            "hidden": self.hidden,
            "other_precision": self.other_precision,
            "shows_precision": self.shows_precision,
            "coarser": self.coarser,
            "dump_at_fault": self.dump_at_fault,
            "questions": self.questions,
        }
        return json.dumps(fields, ensure_ascii=False)

    def __str__(self) -> str:
        bad = [index for index, row in enumerate(self.rows) if not row.ok]
        differ = [index for index in bad if not self.rows[index].problem]
        nearest = max(range(len(self.rows)), key=lambda index: self.rows[index].tolerance_used)
        centre = (differ or bad or [nearest])[0]
        first_line = self._first_line()
        head = [*([wrapped(first_line), ""] if first_line else []), *_table(self.rows, centre), ""]
        return "\n".join([*head, self._verdict(self.rows[centre], len(differ)), *map(wrapped, self._notes())])

    def _first_line(self) -> str:
        """What spares the reader all that follows; "" where there is no such thing."""
        if self.other_precision is not None:
            other = self.other_precision
            if self.coarser:
                return fits_but_is_coarser(other, self.coarser)
            if self.shows_precision:
                return right_as(other, self.precision)
            return (
                f"wrong as {self.precision}, but no further off than {other} allows: right if the port computes in it "
                f"(precision={other!r}), else a small mistake"
            )
        wrong = [row.name for row in self.rows if not row.ok]
        if wrong and set(wrong) <= set(self.dump_at_fault):
            return blames_the_dump(wrong)
        return ""

    def _verdict(self, row: Row, differ: int) -> str:
        """What the table says in one line."""
        if differ:
            return f"first divergence: {row.name}; {differ} of {len(self.rows)} tensors differ as {self.precision}"
        if not row.ok:
            right = sum(row.ok for row in self.rows)
            return f"not ok: {right} of {len(self.rows)} tensors are right as {self.precision}, the others cannot be compared"
        if self.coarser:
            return wrapped(f"not ok: {fits_but_is_coarser(self.precision, self.coarser)}")
        return (
            f"ok: {len(self.rows)} {'tensor is' if len(self.rows) == 1 else 'tensors are'} right as {self.precision}; "
            f"{row.name} comes nearest to its bound, {row.tolerance_used:.0%} of it"
        )

    def _notes(self) -> list[str]:
        """What else there is to say, a sentence each."""
        problems = [f"{row.name} {row.problem}" for row in self.rows if row.problem]
        notes = [f"cannot be compared: {listed(problems, most=3)}"] if problems else []
        first = next((row for row in self.rows if row.nan), None)
        if first is not None:
            notes.append(
                f"NaN: {first.nan} of the {first.compared} elements of {first.name} that count, {first.first_not_finite}"
            )
        if self.dump_at_fault and not self._first_line():
            notes.append(blames_the_dump(self.dump_at_fault))
        notes += self.questions
        for assumed in dict.fromkeys(row.assumed for row in self.rows if row.assumed):
            names = [row.name for row in self.rows if row.assumed == assumed]
            notes.append(f"read as {assumed}: {listed(names, most=3)}")
        notes += [f"not compared: {self.hidden}"] if self.hidden else []
        notes += [f"not in the port: {listed(self.not_in_port)}"] if self.not_in_port else []
        notes += [f"not in the pack: {listed(self.not_in_pack)}"] if self.not_in_pack else []
        return notes


def right_as(other: str, precision: str) -> str:
    """What is said of a dump that is right in another precision."""
    return f"right as {other}, not as {precision}: compare with precision={other!r}"


def fits_but_is_coarser(precision: str, coarser: str) -> str:
    """What is said of a dump that stays within the bounds of a precision, and is coarser all the same."""
    return f"no tensor is further off than {precision} allows, but {coarser}"


def blames_the_dump(names: list[str]) -> str:
    """What is said of tensors that are wrong although what is computed from them is right."""
    differ, them = ("differs", "it") if len(names) == 1 else ("differ", "them")
    return f"the dump, not the computation: {listed(names, most=3)} {differ}, but what is computed from {them} is right"


def wrapped(text: str, indent: str = "") -> str:
    """A sentence in lines that fit a terminal; names stay whole."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def finite_or_none(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinity become None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(rows: list[Row], centre: int) -> list[str]:
    """The rows around one of them, and how many there are before and after."""
    start, stop = max(0, centre - ROWS_AROUND), centre + ROWS_AROUND + 1
    shown = rows[start:stop]
    shapes = [str(list(row.shape)) for row in shown]
    name_width, shape_width = max(len(row.name) for row in shown), max(map(len, shapes))
    lines = [f"    {'tensor':<{name_width}}  {'shape':<{shape_width}}   max_abs   allowed       rms   allowed     cosine"]
    if start:
        lines.append(f"    ... {_count(rows[:start])}")
    for row, shape in zip(shown, shapes, strict=True):
        numbers = f"{row.max_abs:8.2e}  {row.tolerance:8.2e}  {row.rms:8.2e}  {row.rms_tolerance:8.2e}  {row.cosine:9.7f}"
        numbers += f"  {row.not_finite} NaN or infinite" if row.not_finite else ""
        lines.append(f"{'ok ' if row.ok else 'BAD'} {row.name:<{name_width}}  {shape:<{shape_width}}  {row.problem or numbers}")
    if stop < len(rows):
        lines.append(f"    ... {_count(rows[stop:])}")
    return lines


def _count(rows: list[Row]) -> str:
    bad = sum(not row.ok for row in rows)
    good = len(rows) - bad
    parts = [f"{good} more {'is' if good == 1 else 'are'} ok"] if good else []
    parts += [f"{bad} more {'differs' if bad == 1 else 'differ'}"] if bad else []
    return " and ".join(parts)
