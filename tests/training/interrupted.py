"""A program that trains slowly and tells of each step, so that a test can press Ctrl-C in the middle.

python interrupted.py HOME [--resume]
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
spec = importlib.util.spec_from_file_location("small", Path(__file__).with_name("small.py"))
assert spec is not None
assert spec.loader is not None
small = importlib.util.module_from_spec(spec)
spec.loader.exec_module(small)

from npbert.training import train  # noqa: E402

lessons = small.words_lessons()


def slow(batch: Any, rng: Any) -> Any:
    print("step", flush=True)
    time.sleep(0.05)
    return batch


run = small.small_run(lessons._replace(arguments=slow))
try:
    train(run, Path(sys.argv[1]), save_model=run.model.save_pretrained, evaluate_every=3, resume="--resume" in sys.argv)
except KeyboardInterrupt:
    print(f"stopped after {run.progress.step}")
    sys.exit(130)
