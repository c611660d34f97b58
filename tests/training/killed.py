"""A program that trains in child processes and has each of them killed: at a random moment, or before or after a file is put in
place. It goes on until a child comes to the end, and prints how many were killed and where.

    python killed.py HOME CASE SEED
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
# The helper is loaded by its path: there is no package of tests to import it from.
spec = importlib.util.spec_from_file_location("small", Path(__file__).with_name("small.py"))
assert spec is not None
assert spec.loader is not None
small = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small)

from npbert.training import train  # noqa: E402
from npbert.training.folder import LOG, RESULTS, STATE  # noqa: E402

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulated": {"accumulate": 3, "schedule": "cosine", "warmup": 4},
    "frozen": {"frozen": ["bert.embeddings.*", "*layer.0*"], "schedule": "constant"},
    "checkpointed": {"checkpointing": True},
    "without evaluation": {"evaluate": False},
    "patient": {"patience": 2, "lr": 0.5, "steps": 30},
}


def train_case(case: str, home: Path, *, resume: bool, save_every: int = 2) -> None:
    """The run of a case, to its end."""
    options = dict(CASES[case])
    patience, evaluate = options.pop("patience", None), options.pop("evaluate", True)
    run = small.small_run(small.words_lessons(evaluate=evaluate), **options)
    train(
        run,
        home,
        save_model=run.model.save_pretrained,
        evaluate_every=3,
        save_every=save_every,
        patience=patience,
        resume=resume,
    )


def kill_at(event: int) -> None:
    """Have this process killed at the n-th time that a file is renamed or removed, just before or just after."""
    count = 0

    def killing(function: Any) -> Any:
        def called(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == event:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **options)
            count += 1
            if count == event:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return called

    os.replace, os.unlink = killing(os.replace), killing(os.unlink)


def main() -> None:
    home, case, chance = Path(sys.argv[1]), sys.argv[2], random.Random(int(sys.argv[3]))
    killed: Counter[str] = Counter()
    for attempt in range(400):
        by_event = attempt % 2 == 0
        event, seconds = chance.randint(1, 8 + 2 * attempt), chance.uniform(0, 0.02 + 0.04 * attempt)
        child = os.fork()
        if child == 0:
            if by_event:
                kill_at(event)
            train_case(case, home, resume=True)
            os._exit(0)
        if not by_event:
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, f"a child failed with status {status}"
            break
        killed["at a file" if by_event else "at any moment"] += 1
        if (home / LOG).exists():
            assert (home / STATE).exists() or (home / RESULTS).exists(), "nothing to go on from"
    assert not (home / STATE).exists()
    print(json.dumps(killed))


if __name__ == "__main__":
    main()
