"""Showing how far a task is."""

from __future__ import annotations

import sys
from typing import Any

DELAY_SECONDS = 2.0


def progress_bar(total: int | None) -> Any:
    """A bar on standard error that counts rows. It shows up after a while, and only on a terminal.

    `total` is None for a stream, whose answers are printed as they come: the bar shows only if they go elsewhere.
    """
    from tqdm import tqdm

    answers_on_screen = total is None and sys.stdout is not None and sys.stdout.isatty()
    hidden = True if sys.stderr is None or answers_on_screen else None  # None: hidden unless it is a terminal
    return tqdm(total=total, unit="row", delay=DELAY_SECONDS, disable=hidden, leave=False)
