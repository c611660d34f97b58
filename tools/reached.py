"""A plugin of pytest, and its reader: which tests reach which lines of the package.

What runs while the fixtures of a test are made counts for all tests of its file, because they may share the fixture. Processes
that a test starts are followed. It needs the coverage package.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

Reached = dict[tuple[str, int], dict[str, float]]  # (file, line): {test: its seconds}
SECONDS = "seconds.json"
RULES = """[run]
source = {tree}/npbert
data_file = {folder}/reached
parallel = true
context = ${{PYTEST_CURRENT_TEST-}}
core = ctrace
disable_warnings = no-data-collected
"""  # pytest keeps the name of the running test in that variable, where the processes find it that the test starts
_seconds: dict[str, float] = defaultdict(float)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """All tests of the file."""
    with _counted_for(item.nodeid.partition("::")[0]):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """This test alone."""
    with _counted_for(item.nodeid):
        return (yield)


@contextlib.contextmanager
def _counted_for(tests: str) -> Iterator[None]:
    running = coverage.Coverage.current()
    if running is not None:
        running.switch_context(tests)
    yield
    if running is not None:
        running.switch_context("")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """How long each test takes."""
    _seconds[report.nodeid] += report.duration


def pytest_sessionfinish() -> None:
    """Keep that, once for all the processes that run tests side by side."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        Path(os.environ["COVERAGE_PROCESS_START"]).with_name(SECONDS).write_text(json.dumps(_seconds), "utf-8")


def record(tree: Path, folder: Path, tests: list[str]) -> None:
    """Run the tests of a tree, and keep in the folder what they reach."""
    folder.mkdir()
    rules = folder / "rules"
    rules.write_text(RULES.format(tree=tree, folder=folder), "utf-8")
    path = os.pathsep.join([str(tree), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "COVERAGE_PROCESS_START": str(rules)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "reached", "-n", "auto", *tests]
    subprocess.run(
        command, cwd=tree, env=environment, check=False
    )  # a test that fails while it is watched has reached its lines


def read(tree: Path, folder: Path) -> Reached:
    """The tests that reach each line (file, number), with their seconds. A line that runs on import has "" among them."""
    seconds = json.loads((folder / SECONDS).read_text("utf-8"))
    for test, took in list(seconds.items()):
        file = test.partition("::")[0]
        seconds[file] = seconds.get(file, 0.0) + took
    reached: Reached = defaultdict(dict)
    for file in folder.glob("reached.*"):
        data = coverage.CoverageData(basename=str(file))
        data.read()
        for path in data.measured_files():
            name = Path(path).relative_to(tree).as_posix()
            for line, contexts in data.contexts_by_lineno(path).items():
                # A process that a test started has the test's name as "file::name (call)|".
                tests = {context.partition("|")[0].partition(" (")[0] for context in contexts}
                reached[name, line].update({test: seconds.get(test, 0.0) for test in tests})
    return reached
