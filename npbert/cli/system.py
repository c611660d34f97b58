"""What `npbert info --system` says: what computes here, how fast, and which setting stands in the way."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from npbert.cli import printing
from npbert.errors import InputError
from npbert.ops import blocks, shares
from npbert.version import __version__

PRESETS = ("OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "VECLIB_", "OMP_")
"""How the names of settings begin that change how matrices are multiplied."""

SHORT_WAIT = {"OPENBLAS_THREAD_TIMEOUT": "10"}
"""After a product OpenBLAS's threads wait for the next one at full speed, on cores that npbert's own threads could use."""

PROBE = """
import time
import numpy as np, npbert

def seconds(function):
    function()
    measured = []
    for _ in range(7):
        start = time.perf_counter()
        function()
        measured.append(time.perf_counter() - start)
    return sorted(measured)[3]

rng = np.random.default_rng(0)
x = rng.standard_normal((1024, 1024), dtype=np.float32)
model = npbert.BertModel(npbert.BertConfig(vocab_size=100, num_hidden_layers=1), rng=rng)
ids = rng.integers(0, 100, (8, 128))
print(2 * 1024**3 / seconds(lambda: x @ x) / 1e9, seconds(lambda: model(ids)))
"""
"""Prints the billions of operations a second in a product of matrices, and the seconds of a layer of BERT."""


def describe() -> dict[str, Any]:
    """What is in use, and what a process like this one measures, with its settings, without them, and with a short wait."""
    presets = {name: value for name, value in os.environ.items() if name.startswith(PRESETS)}
    plain = {name: value for name, value in os.environ.items() if name not in presets}
    gigaflops, seconds = probe(os.environ)
    without = probe(plain) if presets else (gigaflops, seconds)
    _, waiting_less = probe({**os.environ, **SHORT_WAIT})
    return {
        "npbert": __version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": blocks.cores(),
        "blas": blas(),
        "settings": presets,
        "gigaflops": gigaflops,
        "layer_seconds": seconds,
        "without_settings": {"gigaflops": without[0], "layer_seconds": without[1]},
        "with_short_wait": {"layer_seconds": waiting_less},
    }


def probe(environment: Mapping[str, str]) -> tuple[float, float]:
    """What `PROBE` prints, in an environment of its own: the settings are read when NumPy is imported."""
    done = subprocess.run([sys.executable, "-c", PROBE], env=dict(environment), capture_output=True, text=True)
    if done.returncode:
        said = printing.printable((done.stderr.strip().splitlines() or ["nothing"])[-1])
        raise InputError(f"info --system: the process that measures ended with status {done.returncode} and said: {said}")
    gigaflops, seconds = map(float, done.stdout.split())
    return gigaflops, seconds


def blas() -> dict[str, Any]:
    """The library that multiplies matrices: its name and version, and of an OpenBLAS its kernel and its threads."""
    built: Any = np.show_config(mode="dicts")
    known = built.get("Build Dependencies", {}).get("blas", {})
    found = {"name": known.get("name", "unknown"), "version": known.get("version", "unknown")}
    for key, function, kind in (("kernel", "get_corename", ctypes.c_char_p), ("threads", "get_num_threads", ctypes.c_int)):
        ask = shares.openblas_function(function)
        if ask is not None:
            ask.restype = kind
            answer = ask()
            found[key] = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return found


def advice(found: Mapping[str, Any]) -> list[str]:
    """What to set, where something would be faster by a tenth or more."""
    lines = []
    names = " ".join(found["settings"])
    faster = found["without_settings"]["gigaflops"] / found["gigaflops"]
    if faster > 1.1:
        lines.append(f"unset {names}: without, matrix products are {faster:.1f} times as fast")
    share = found["with_short_wait"]["layer_seconds"] / found["layer_seconds"]
    if share < 0.9:
        setting = " ".join(f"{name}={value}" for name, value in SHORT_WAIT.items())
        lines.append(f"set {setting} before NumPy is imported: a layer then takes {share:.2f} of the time")
    return lines or ["nothing to set: no setting that npbert knows of would be faster by a tenth"]


def show(*, as_json: bool) -> None:
    """Print it."""
    found = describe()
    if as_json:
        printing.print_json({**found, "advice": advice(found)})
        return
    library = found["blas"]
    details = [f"kernel {library['kernel']}"] if "kernel" in library else []
    details += [f"{library['threads']} threads"] if "threads" in library else []
    rows = [
        ("npbert", f"{found['npbert']}, Python {found['python']}, NumPy {found['numpy']}"),
        ("cores", f"{found['cores']}, of which npbert uses {found['threads']} for what is not a matrix product"),
        ("matrix products", ", ".join([f"{library['name']} {library['version']}", *details])),
        (
            "measured",
            f"{found['gigaflops']:.0f} GFLOP/s in float32, {found['layer_seconds'] * 1e3:.0f} ms a layer of bert-base, 8 x 128",
        ),
        ("settings", " ".join(f"{name}={value}" for name, value in found["settings"].items()) or "none"),
        *(("advice", line) for line in advice(found)),
    ]
    print(printing.table([(name, printing.printable(text)) for name, text in rows]))
