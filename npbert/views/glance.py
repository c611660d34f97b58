"""What a comparison shows at a glance, in words: how far the error reaches, where it begins, of which kind it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from npbert.errors import listed

COARSER = ("float16", "bfloat16")
MOST_OF_THEM = 0.8
"""Where so large a share of what follows is wrong, an error is said to reach to the end."""


def glance(cells: Sequence[dict[str, Any]], lines: dict[str, Any]) -> list[str]:
    """The sentences, the most important one first."""
    compared = [cell for cell in cells if cell["state"] != "open" and cell["place"].section != "inputs"]
    wrong = [cell for cell in compared if cell["state"] != "right"]
    if not wrong:
        return _of_right(compared)
    judged, guilty = _on_own_inputs(compared)
    is_everywhere = len(wrong) > 0.95 * len(compared) and len(guilty) >= len(judged) / 2
    if is_everywhere and (precision := _rounding(lines)):
        return [f"Everything is off by no more than rounding to {precision}: no error is larger than {precision} allows."]
    return [_reach(compared, wrong), *_inside(wrong[0]), *_blamed(judged, guilty)]


def _of_right(compared: Sequence[dict[str, Any]]) -> list[str]:
    padding = sum(cell.get("detail", {}).get("uncounted_differs", 0) > 0 for cell in compared)
    if padding:
        return [
            f"Only what does not count differs (padding, or hidden by the mask), in {padding} tensors: that decides nothing."
        ]
    return ["All that was dumped is right."]


def _rounding(lines: dict[str, Any]) -> str:
    """The coarser precision whose rounding explains every error, if there is one."""
    for precision in COARSER:
        allowed = lines["allowed"].get(precision, [])
        if allowed and all(error <= most for error, most in zip(lines["rms"], allowed, strict=True)):  # False for NaN
            return precision
    return ""


def _reach(compared: Sequence[dict[str, Any]], wrong: Sequence[dict[str, Any]]) -> str:
    """How far the error reaches."""
    first, places = wrong[0], {cell["place"][:2] for cell in wrong}
    what = "NaN or infinite" if first["state"] == "nan" else "wrong"
    if len(wrong) == 1:
        return f"One tensor is {what}: {first['name']}."
    rest = compared[compared.index(first) :]
    if len(wrong) >= MOST_OF_THEM * len(rest):
        return f"From {first['name']} on {'nearly ' if len(wrong) < len(rest) else ''}everything is {what}."
    if len(places) == 1:
        return f"Only {first['place'].row} is {what}, in {len(wrong)} tensors, from {first['name']} on."
    return f"{len(wrong)} of {len(compared)} tensors are {what}, the first of them {first['name']}."


def _inside(first: dict[str, Any]) -> list[str]:
    """Where in the first wrong tensor the error sits."""
    detail = first.get("detail", {})
    if found := detail.get("permutation"):
        return [f"Inside it the numbers are right, and the {found['axis']} stand in another order."]
    return [f"Inside it all that is wrong lies in {'; '.join(detail['where'])}."] if detail.get("where") else []


def _on_own_inputs(compared: Sequence[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The steps that were judged on the port's own inputs, and those of them that are wrong."""
    judged = [cell for cell in compared if cell["own_share"] is not None]
    guilty = [cell for cell in judged if not cell["own_share"] <= 1]
    return [cell["place"].step for cell in judged], [cell["place"].step for cell in guilty]


def _blamed(judged: list[str], guilty: list[str]) -> list[str]:
    if not judged:
        return []
    if not guilty:
        return ["On the port's own inputs every step is right: small errors have added up."]
    if len(guilty) > len(judged) / 2:
        return ["On the port's own inputs most steps are wrong."]
    steps = list(dict.fromkeys(guilty))
    verb, where = "is" if len(steps) == 1 else "are", "once" if len(guilty) == 1 else f"in {len(guilty)} places"
    return [f"On the port's own inputs only {listed(steps)} {verb} wrong, {where}."]
