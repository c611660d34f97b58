"""A comparison as a page: where a port differs from a pack, tensor by tensor and inside each tensor."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

from npbert.errors import InputError
from npbert.golden.compare import compare_matched
from npbert.golden.diagnose import diagnose, model_of
from npbert.golden.matching import MatchedDump, Names, match
from npbert.golden.names import meaning_of
from npbert.golden.own_inputs import shares_on_own_inputs
from npbert.golden.pack import Pack, open_pack
from npbert.golden.ports import Port
from npbert.golden.precision import full_name
from npbert.golden.report import Report, Row
from npbert.golden.suspects import Suspect
from npbert.types import StrPath
from npbert.views.compare_pictures import of_comparison
from npbert.views.error_maps import detail
from npbert.views.glance import glance
from npbert.views.model_map import contents, place_of, sections
from npbert.views.page import View, page

MOST_DETAILS = 400
"""A page opens the first so many tensors that were compared, wrong ones first."""

SHOWN_PRECISIONS = ("float32", "float16", "bfloat16")


class Comparison(NamedTuple):
    """What was found, and the page that shows it."""

    report: Report
    view: View


def comparison(
    pack: Pack | StrPath,
    port: Port,
    *,
    names: Names = None,
    precision: str = "float32",
    model: Any = None,
    allow_unused: bool = False,
) -> Comparison:
    """Compare a port's dump with a pack, and show it; the arguments are those of `npbert.golden.diagnose`.

    Without weights, from the pack or as `model`, there is no diagnosis, and no step can be judged on the port's own inputs.
    """
    dump = match(open_pack(pack), port, names, allow_unused=allow_unused)
    report = compare_matched(dump, full_name(precision))
    own, suspects, remark = {}, [], ""
    try:
        model = model_of(dump.pack, model)
    except InputError as error:
        if model is not None:
            raise
        remark = str(error)
    else:
        own = shares_on_own_inputs(dump, model, report)
        suspects = diagnose(dump.pack, port, names=names, precision=precision, model=model, allow_unused=allow_unused)
    return Comparison(report, _view(dump, report, own, suspects, remark))


def _view(dump: MatchedDump, report: Report, own: dict[str, float], suspects: list[Suspect], remark: str) -> View:
    pack = dump.pack
    cells = cells_of(dump, report, own)
    tables = sections([cell["name"] for cell in cells])
    lines = precision_lines(pack, cells, report.precision)
    seen = glance(cells, lines)
    data = {
        "kind": "comparison",
        "file": Path(pack.path).name,
        "digest": pack.metadata["weights_sha256"],
        "written_by": pack.metadata["npbert"],
        "architecture": ", ".join(pack.config.architectures or ["BertModel"]),
        "precision": report.precision,
        "ok": report.ok,
        "text": str(report),
        "hidden": report.hidden,
        "first": next((number for number, cell in enumerate(cells) if cell["is_first"]), None),
        "cells": cells,
        "sections": [{"title": table.title, "columns": table.columns, "rows": table.rows} for table in tables],
        "on_own_inputs": bool(own),
        "remark": remark,
        "suspects": [{**suspect.as_dict(), "text": str(suspect.evidence)} for suspect in suspects],
        "lines": lines,
        "glance": seen,
    }
    title = f"{Path(pack.path).name}: {'right' if report.ok else 'differs'} as {report.precision}"
    return View(title, " ".join(seen), page(title, data, ["compare.js"]), of_comparison(tables, cells, data))


def cells_of(dump: MatchedDump, report: Report, own: dict[str, float]) -> list[dict[str, Any]]:
    """One cell for each tensor of the pack: what the map shows of it, and of those compared what it opens."""
    rows = {row.name: row for row in report.rows}
    grouped = {first: [rows[name] for name in names if name in rows] for first, names in contents(dump.pack).items()}
    wanted = sorted((max(found, key=_share).ok, place) for place, found in enumerate(grouped.values()) if found)
    detailed = {place for _, place in wanted[:MOST_DETAILS]}
    return [
        _cell(dump, report, own, first, names, grouped[first], place in detailed)
        for place, (first, names) in enumerate(contents(dump.pack).items())
        if grouped[first] or first in dump.pack
    ]


def _cell(
    dump: MatchedDump,
    report: Report,
    own: dict[str, float],
    first: str,
    names: list[str],
    rows: list[Row],
    is_detailed: bool,
) -> dict[str, Any]:
    meaning = meaning_of(first)
    cell: dict[str, Any] = {
        "name": first,
        "names": names,
        "place": place_of(first),
        "meaning": "" if meaning is None else meaning.text.replace("{", "").replace("}", ""),
        "axes": "" if meaning is None else meaning.axes,
        "state": "open",
        "is_first": report.first_divergence in names,
    }
    if not rows:
        return cell
    row = max(rows, key=_share)
    is_compared = not row.problem
    cell |= {
        "state": "problem" if row.problem else "nan" if row.not_finite else "right" if row.ok else "wrong",
        "share": row.tolerance_used,
        "own_share": max((own[name] for name in names if name in own), default=row.tolerance_used if row.ok else None),
        "dumped_as": [row.name, dump.own_names.get(row.name, row.name)],
        "row": {key: value for key, value in vars(row).items() if key not in ("name", "ok")},
    }
    if is_compared and is_detailed:
        cell["detail"] = detail(dump, row)
    return cell


def _share(row: Row) -> float:
    return math.inf if row.problem else row.tolerance_used


def precision_lines(pack: Pack, cells: list[dict[str, Any]], precision: str) -> dict[str, Any]:
    """The error of each tensor in the order of computation, beside what each precision allows."""
    compared = [number for number, cell in enumerate(cells) if "row" in cell and cell["name"] in pack]
    wanted = dict.fromkeys((precision, *SHOWN_PRECISIONS))
    allowed = {
        kind: [pack.tolerances[cells[number]["name"]][kind].rms for number in compared]
        for kind in wanted
        if all(kind in pack.tolerances[cells[number]["name"]] for number in compared)
    }
    return {"cells": compared, "rms": [cells[number]["row"]["rms"] for number in compared], "allowed": allowed}
