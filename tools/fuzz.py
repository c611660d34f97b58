"""Try damaged files on every reader, for as long as there is time, and count what came of them.

    python tools/fuzz.py                          200 inputs of every target
    python tools/fuzz.py --inputs 5000 config     5000 of those targets whose name contains "config"
    python tools/fuzz.py --first 5000             other inputs: damage number 5000 and following

Each target has a process of its own, with an end to its memory, so that an input that ends the process is one failure among
others. The damage that a number stands for is always the same: `tests.fuzzing.attempt(target, folder, number)` repeats it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests import fuzzing  # noqa: E402

MEMORY = 4 << 30
PATIENCE = 60  # seconds for one input, after which it counts as endless


def work(name: str, first: int, last: int) -> None:
    """Try inputs of one target, and print a line of JSON before and after each."""
    target = next(target for target in fuzzing.TARGETS if target.name == name)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, last):
            print(json.dumps([seed, "begins", ""]), flush=True)
            signal.alarm(PATIENCE)  # whose default is to end the process
            outcome = fuzzing.attempt(target, Path(folder) / "files", seed)
            signal.alarm(0)
            print(json.dumps([seed, *outcome]), flush=True)


def campaign(target: fuzzing.Target, first: int, inputs: int) -> tuple[Counter[str], dict[str, list[int]]]:
    """How often each kind of outcome came, and for each failure the inputs that show it."""
    kinds: Counter[str] = Counter()
    failures: dict[str, list[int]] = {}
    at, last = first, first + inputs
    while at < last:
        command = [sys.executable, __file__, "--worker", target.name, "--first", str(at), "--inputs", str(last - at)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT)
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"[")]
        if lines and lines[-1][1] == "begins":
            endless = done.returncode == -signal.SIGALRM
            what = f"after {PATIENCE} s" if endless else f"exit status {done.returncode}"
            lines.append([lines[-1][0], "endless" if endless else "process ended", what])
        if not lines:
            raise SystemExit(f"{target.name}: the worker does not start, exit status {done.returncode}")
        for seed, kind, what in lines:
            if kind != "begins":
                kinds[kind] += 1
                if kind not in ("read", "refused"):
                    failures.setdefault(f"{kind}: {what}", []).append(seed)
        at = lines[-1][0] + 1
    return kinds, failures


def counts(kinds: Counter[str]) -> str:
    """For the table: how many inputs, and what came of them."""
    failed = sum(kinds.values()) - kinds["read"] - kinds["refused"]
    return f"{sum(kinds.values()):7} inputs {kinds['read']:6} read {kinds['refused']:6} refused {failed:5} failed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="", help="only targets whose name contains this")
    parser.add_argument("--inputs", type=int, default=200, help="how many inputs of each target (default: 200)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (default: 0)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        work(args.worker, args.first, args.first + args.inputs)
        return
    every: Counter[str] = Counter()
    for target in fuzzing.TARGETS:
        if args.name not in target.name:
            continue
        kinds, failures = campaign(target, args.first, args.inputs)
        every += kinds
        print(f"{target.name:32}{counts(kinds)}")
        for failure, seeds in sorted(failures.items(), key=lambda item: -len(item[1])):
            print(f"    {len(seeds):4} x {failure}, such as number {seeds[0]}", flush=True)
    print(f"{'all':32}{counts(every)}")
    sys.exit(1 if every.keys() - {"read", "refused"} else 0)


if __name__ == "__main__":
    main()
