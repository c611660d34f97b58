"""A whole run in a directory: the loop with a log, evaluation, the best model kept, and a state to go on from."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from npbert import checks
from npbert.checkpoints.writing import make_directory, system_errors
from npbert.errors import InputError
from npbert.training.folder import LOG, RESULTS, STATE, Figures, cut_log, read_log, read_results, results_of, write_json
from npbert.training.loop import Run, steps
from npbert.training.state import restore_state, save_state
from npbert.types import StrPath

SAVE_SECONDS = 300.0  # between two saved states, where the caller does not say after how many steps


def train(
    run: Run,
    directory: StrPath,
    *,
    save_model: Callable[[Path], object],
    evaluate_every: int | None = None,
    save_every: int | None = None,
    patience: int | None = None,
    resume: bool = False,
) -> Figures:
    """Train the model and leave it in the directory: the best of all evaluations, or the last one where nothing is evaluated.

    `save_model(directory)` writes what is to be used later: the model and its tokenizer. The directory also gets `log.jsonl`,
    with a line of figures for each step and each evaluation, and at the end `results.json`. While the run is not done it holds
    `training_state.safetensors`. With `resume` the run goes on from there, to the same weights as if it had never stopped; a
    run that is done stays as it is.

    There is an evaluation at the end, and with `evaluate_every` one after so many steps. `patience` ends the run after so many
    evaluations in a row that were no better than the best. Ctrl-C ends it after the step that is under way, its state saved.

    Returns the figures of the best evaluation with its `step`, or the last step's.
    """
    for name, value in {"evaluate_every": evaluate_every, "save_every": save_every, "patience": patience}.items():
        if value is not None:
            checks.whole_number(name, value, least=1)
    home = make_directory(directory)
    state, log = home / STATE, home / LOG
    if not resume and (found := [name for name in (STATE, LOG, RESULTS) if (home / name).exists()]):
        raise InputError(f"{home}: holds another run ({found[0]}); go on with it (resume), or take another directory")
    if resume and not state.exists() and (done := read_results(home)) is not None:
        return done
    if state.exists():
        restore_state(run, state)
    else:  # from here on there is a state or there are results: so a run that was killed can be told from one that is done
        save_state(run, state)
    cut_log(log, run.progress.step)
    progress, total, saved_at = run.progress, run.settings.steps, time.monotonic()
    with _appending(log) as (write, sync), _interrupts() as interrupted, _bar(total, progress.step) as tell:
        for figures in steps(run) if not _is_over(run, patience) else ():
            write(figures)
            tell(figures)
            if run.lessons.evaluate is not None and _is_due(progress.step, evaluate_every, total):
                evaluated = run.lessons.evaluate(run.model)
                write({"step": progress.step, **{f"eval_{name}": value for name, value in evaluated.items()}})
                if _is_better(run, evaluated[run.lessons.figure]):
                    save_model(home)
            if _is_over(run, patience):
                break
            late = time.monotonic() - saved_at > SAVE_SECONDS if save_every is None else progress.step % save_every == 0
            if interrupted() or late:
                sync()  # the log is to hold every step that the state has done
                save_state(run, state)
                saved_at = time.monotonic()
            if interrupted():
                raise KeyboardInterrupt
    if run.lessons.evaluate is None:
        save_model(home)
    results = results_of(read_log(log), run.lessons)
    write_json(home / RESULTS, results)
    state.unlink(missing_ok=True)
    return results


def _is_due(step: int, every: int | None, total: int) -> bool:
    return step == total or (every is not None and step % every == 0)


def _is_better(run: Run, value: float) -> bool:
    """Whether this evaluation is the best so far; the run's progress takes note of it."""
    progress, sign = run.progress, 1 if run.lessons.more_is_better else -1
    if not math.isfinite(value):
        raise InputError(f"step {progress.step}: {run.lessons.figure} is {value} in the evaluation; try a smaller lr")
    if progress.best is None or sign * value > sign * progress.best:
        progress.best, progress.worse = value, 0
        return True
    progress.worse += 1
    return False


def _is_over(run: Run, patience: int | None) -> bool:
    return patience is not None and run.progress.worse >= patience


@contextlib.contextmanager
def _appending(log: Path) -> Iterator[tuple[Callable[[Figures], None], Callable[[], None]]]:
    """Two functions: one writes figures at the end of the log, as a line; the other waits until all lines are on the disk."""
    with system_errors(log):
        lines = open(log, "a", encoding="utf-8")  # noqa: SIM115

    def write(figures: Figures) -> None:
        with system_errors(log):
            lines.write(json.dumps(figures) + "\n")
            lines.flush()

    def sync() -> None:
        with system_errors(log):
            os.fsync(lines.fileno())

    try:
        yield write, sync
    finally:
        with system_errors(log):  # closing writes what a failed write has left
            lines.close()


@contextlib.contextmanager
def _bar(total: int, done: int) -> Iterator[Callable[[Figures], None]]:
    """A bar on standard error, where that is a terminal: steps, time left, the loss and how many tokens a second."""
    from tqdm import tqdm

    started, tokens = time.monotonic(), 0.0
    hidden = True if sys.stderr is None else None  # None: hidden unless it is a terminal
    with tqdm(total=total, initial=done, unit="step", disable=hidden, leave=False) as bar:

        def tell(figures: Figures) -> None:
            nonlocal tokens
            tokens += figures["tokens"]
            speed = tokens / max(time.monotonic() - started, 1e-9)
            bar.set_postfix_str(f"loss {figures['loss']:.3f}, {speed:.0f} tokens/s", refresh=False)
            bar.update()

        yield tell


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Within the block Ctrl-C only sets a flag, so that no step is left half done. A second one ends the program at once."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
