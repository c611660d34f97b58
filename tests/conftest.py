"""What all tests share: Hypothesis draws the same examples on every run, and `parity` tests need the live reference."""

import importlib.util
import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before NumPy: tests side by side would otherwise fight for the same processors
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

# The gate must not depend on the day's luck; NPBERT_EXPLORE=1 draws new examples, many more of them.
settings.register_profile("gate", derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
settings.register_profile("explore", deadline=None, max_examples=2000, suppress_health_check=list(HealthCheck))
settings.load_profile("explore" if os.environ.get("NPBERT_EXPLORE") else "gate")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `parity` where the reference is not installed."""
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        skip = pytest.mark.skip(reason=f"needs the live reference; not installed: {', '.join(missing)}")
        for item in items:
            if "parity" in item.keywords:
                item.add_marker(skip)
