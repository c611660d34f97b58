"""How strong are the tests? Change one thing in the package at random, run the tests, and see whether they notice.

    python tools/mutants.py                         20 mutants, drawn with seed 0
    python tools/mutants.py --count 100 --seed 7    others
    python tools/mutants.py --only golden           of files whose path contains "golden"
    python tools/mutants.py --minutes 30            begin no mutant after half an hour

A mutant changes one comparison, operator, constant, flag or condition, in a copy of the working tree. First all tests run once,
to see which of them reach which lines (this needs the coverage package). Then those that reach the line of a mutant run, the
quickest first, up to the first failure; for a line that runs on import, those that reach its file. What fails is run again
without the mutant: where it fails still, nothing can be said, and the sampling ends. A mutant that no test notices is printed
as a survivor: write a test that says what matters there, or see that the change changes nothing.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from reached import Reached, read, record

ROOT = Path(__file__).parents[1]
ORDINARY = "not parity and not browser and not cluster"
NO_TESTS = 5  # pytest's exit status where the tests are none, or all of them need the reference
PATIENCE = 15 * 60  # seconds for the tests of one mutant; one that hangs has been noticed

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


class Mutant(NamedTuple):
    """One change to one file."""

    path: Path  # in the package
    lines: range  # from the first line of its statement to the last one of what is changed
    before: str
    after: str
    text: str  # the whole file with the change

    @property
    def line(self) -> int:
        """Where its statement begins."""
        return self.lines.start


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every change to a file."""
    text = path.read_text("utf-8")
    for statement, node in _expressions(ast.parse(text)):
        for changed in _changes(node):
            start, end = _place(text, node.lineno, node.col_offset), _place(text, node.end_lineno, node.end_col_offset)
            lines = range(statement.lineno, (node.end_lineno or node.lineno) + 1)
            after = f"({ast.unparse(changed)})"
            yield Mutant(path.relative_to(ROOT), lines, text[start:end], after, text[:start] + after + text[end:])


def _expressions(node: ast.AST, statement: Any = None) -> Iterator[tuple[ast.stmt, ast.expr]]:
    """The expressions of a file that are computed, each with its statement: no types, and nothing that only checkers read."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST):
                continue
            is_for_checkers = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            if is_for_checkers or isinstance(child, ast.JoinedStr):  # messages are for people
                continue
            if isinstance(child, ast.expr):
                yield statement, child
            yield from _expressions(child, child if isinstance(child, ast.stmt) else statement)


def _changes(node: ast.expr) -> Iterator[ast.expr]:
    """The expression with one thing in it changed."""
    changed = copy.deepcopy(node)
    if isinstance(changed, ast.Compare):
        for place, operator in enumerate(changed.ops):
            other = copy.deepcopy(changed)
            other.ops[place] = COMPARISONS[type(operator)]()
            yield other
    elif isinstance(changed, ast.BinOp | ast.BoolOp) and type(changed.op) in OPERATORS:
        changed.op = OPERATORS[type(changed.op)]()
        yield changed
    elif isinstance(changed, ast.UnaryOp) and isinstance(changed.op, ast.Not | ast.USub):
        yield changed.operand
    elif isinstance(changed, ast.IfExp):
        changed.test = ast.UnaryOp(ast.Not(), changed.test)
        yield changed
    elif isinstance(changed, ast.Constant) and isinstance(changed.value, bool):
        yield ast.Constant(not changed.value)
    elif isinstance(changed, ast.Constant) and isinstance(changed.value, int | float):
        yield ast.Constant(changed.value + 1)


def _place(text: str, line: int | None, column: int | None) -> int:
    """The index of a place that the syntax tree tells as a line from 1 and a column in bytes."""
    lines = text.splitlines(keepends=True)
    assert line is not None
    assert column is not None
    return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())


def tests_of(mutant: Mutant, reached: Reached) -> list[str]:
    """The tests that can notice a mutant, the quickest first: those that reach its statement, or its file where that runs on
    import."""
    name = mutant.path.as_posix()
    places = [(name, line) for line in mutant.lines]
    if any("" in reached.get(place, {"": 0.0}) for place in places):
        places = [place for place in reached if place[0] == name]
    seconds = {test: took for place in places for test, took in reached[place].items() if test}
    return sorted(seconds, key=seconds.__getitem__) or ["tests"]


def is_noticed(mutant: Mutant, tree: Path, reached: Reached) -> bool:
    """Whether a test of the tree fails where the mutant is at home, and passes where it is not."""
    file = tree / mutant.path
    sound = file.read_bytes()
    tests = tests_of(mutant, reached)
    file.write_text(mutant.text, "utf-8")
    try:
        passes = _pass(tree, tests)
    finally:
        file.write_bytes(sound)
    if not passes and not _pass(tree, ["--last-failed", "--last-failed-no-failures=none", "tests"]):
        raise SystemExit(f"{mutant.path}:{mutant.line}: what fails there fails without the mutant too")
    return not passes


def _pass(tree: Path, tests: list[str]) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", ORDINARY, *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode in (0, NO_TESTS)


def copied_tree(folder: Path) -> Path:
    """A copy of what git knows of the working tree."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in names.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, folder / name)
    return folder


def main() -> None:
    """Draw mutants and try them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20, metavar="N", help="how many mutants (default: 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which ones (default: 0)")
    parser.add_argument("--only", default="", metavar="TEXT", help="of files whose path contains TEXT")
    parser.add_argument("--minutes", type=float, default=float("inf"), metavar="M", help="begin no mutant after M minutes")
    args = parser.parse_args()
    files = [path for path in sorted((ROOT / "npbert").rglob("*.py")) if args.only in str(path.relative_to(ROOT))]
    everything = [mutant for path in files for mutant in mutants_of(path)]
    drawn = random.Random(args.seed).sample(everything, min(args.count, len(everything)))
    begun = time.monotonic()
    noticed = tried = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = copied_tree(Path(folder) / "tree")
        record(tree, Path(folder) / "reached", ["-m", ORDINARY])
        reached = read(tree, Path(folder) / "reached")
        for mutant in drawn:
            if time.monotonic() - begun > args.minutes * 60:
                break
            tried += 1
            found = is_noticed(mutant, tree, reached)
            noticed += found
            print(
                f"{'noticed ' if found else 'SURVIVES'} {mutant.path}:{mutant.line}: {mutant.before!r} -> {mutant.after!r}",
                flush=True,
            )
    print(f"{noticed} of {tried} noticed; {len(everything)} mutants in {len(files)} files, seed {args.seed}")


if __name__ == "__main__":
    main()
