"""A whole run in a directory: the loop with a log, evaluation, the best model kept, and a state to go on from."""

from __future__ import annotations

import contextlib
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from npbert import checks
from npbert.checkpoints.writing import replacing
from npbert.errors import InputError
from npbert.training.loop import Run, steps
from npbert.training.state import restore_state, save_state
from npbert.types import StrPath

LOG = "log.jsonl"
STATE = "training_state.safetensors"
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
) -> dict[str, float]:
    """Train the model and leave it in the directory: the best of all evaluations, or the last one where nothing is evaluated.

    `save_model(directory)` writes what is to be used later: the model and its tokenizer. The directory also gets `log.jsonl`,
    with a line of figures for each step and each evaluation, and while the run is not done `training_state.safetensors`. With
    `resume` the run goes on from there, to the same weights as if it had never stopped. `patience` ends the run after so many
    evaluations in a row that were no better than the best. Ctrl-C ends it after the step that is under way, its state saved.

    Returns the figures of the best evaluation, or the last step's.
    """
    for name, value in {"evaluate_every": evaluate_every, "save_every": save_every, "patience": patience}.items():
        if value is not None:
            checks.whole_number(name, value, least=1)
    home, progress, total = Path(directory), run.progress, run.settings.steps
    home.mkdir(parents=True, exist_ok=True)
    state, log = home / STATE, home / LOG
    if resume:
        restore_state(run, state)
        progress = run.progress
    elif state.exists():
        raise InputError(f"{home}: holds a run that is not done; go on with it (resume), or remove {STATE}")
    result = _keep_lines(log, progress.step, run.lessons.figure, run.lessons.more_is_better)
    saved_at = time.monotonic()
    with open(log, "a", encoding="utf-8") as lines, _interrupts() as interrupted, _bar(total, progress.step) as tell:

        def write(figures: dict[str, float]) -> None:
            lines.write(json.dumps(figures) + "\n")
            lines.flush()

        for figures in steps(run) if not _is_over(run, patience) else ():
            write(figures)
            tell(figures)
            is_last = progress.step == total
            if run.lessons.evaluate is None:
                result = figures
            elif is_last or (evaluate_every is not None and progress.step % evaluate_every == 0):
                evaluated = run.lessons.evaluate(run.model)
                write({"step": progress.step, **{f"eval_{name}": value for name, value in evaluated.items()}})
                if _is_better(run, evaluated[run.lessons.figure]):
                    result = evaluated
                    save_model(home)
            if _is_over(run, patience):
                break
            is_due = time.monotonic() - saved_at > SAVE_SECONDS if save_every is None else progress.step % save_every == 0
            if interrupted() or is_due:
                lines.flush()
                save_state(run, state)
                saved_at = time.monotonic()
            if interrupted():
                raise KeyboardInterrupt
    if run.lessons.evaluate is None:
        save_model(home)
    state.unlink(missing_ok=True)
    return result


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


def _keep_lines(log: Path, step: int, figure: str, more_is_better: bool) -> dict[str, float]:
    """Take off the log what a killed run wrote after its last saved state. Returns the best evaluation that stays."""
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
    with replacing(log) as file:
        file.write("".join(f"{line}\n" for line in kept).encode())
    evaluated = [figures for line in kept if f"eval_{figure}" in (figures := json.loads(line))]
    if not evaluated:
        return {}
    best = (max if more_is_better else min)(evaluated, key=lambda figures: figures[f"eval_{figure}"])
    return {name.removeprefix("eval_"): value for name, value in best.items() if name != "step"}


@contextlib.contextmanager
def _bar(total: int, done: int) -> Iterator[Callable[[dict[str, float]], None]]:
    """A bar on standard error, where that is a terminal: steps, time left, the loss and how many tokens a second."""
    from tqdm import tqdm

    started, tokens = time.monotonic(), 0.0
    hidden = True if sys.stderr is None else None  # None: hidden unless it is a terminal
    with tqdm(total=total, initial=done, unit="step", disable=hidden, leave=False) as bar:

        def tell(figures: dict[str, float]) -> None:
            nonlocal tokens
            tokens += figures["tokens"]
            bar.set_postfix_str(
                f"loss {figures['loss']:.3f}, {tokens / (time.monotonic() - started):.0f} tokens/s", refresh=False
            )
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
