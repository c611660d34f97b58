"""A task object on a real cluster: two worker processes, 20,000 texts, and a worker that is killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert

distributed = pytest.importorskip("distributed")
cloudpickle = pytest.importorskip("cloudpickle")
dd = pytest.importorskip("dask.dataframe")
pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]

TEXTS = 20_000
PARTITION = 2048  # a multiple of the 512 texts that are sorted together: the batches are those of one long list
MOST_PRIVATE = 150e6  # bytes of a worker beyond what it takes to read and write the same tables; 95e6 was measured
ONE_PROCESS = """
import json, sys, numpy as np, npbert
texts = json.load(open(sys.argv[1], encoding="utf-8"))
np.save(sys.argv[2], npbert.Embedder("all-MiniLM-L6-v2")(texts))
"""


def texts() -> list[str]:
    """Texts of 1 to 12 words, all different."""
    rng = np.random.default_rng(0)
    words = ["river", "stone", "quiet", "market", "engine", "yellow", "letter", "winter", "garden", "music", "bread", "paper"]
    return [f"{number} {' '.join(rng.choice(words, rng.integers(1, 12)))}" for number in range(TEXTS)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What one process makes of all texts at once. Workers have one thread each, and so has it: threads change last bits."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "texts.json").write_text(json.dumps(texts()), "utf-8")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-c", ONE_PROCESS, str(folder / "texts.json"), str(folder / "vectors.npy")]
    subprocess.run(command, check=True, env={**os.environ, **threads})
    return np.load(folder / "vectors.npy")


def private_bytes(pid: int) -> int:
    """The memory of a process that it shares with no other."""
    import psutil

    found: int = psutil.Process(pid).memory_full_info().uss
    return found


def run(client: Any, embed: Any, rows: Path, vectors: Path, kill_at: int | None = None) -> dict[int, int]:
    """Write a vector for every row of a table; the most private memory of each worker meanwhile.

    One worker is killed as soon as so many parts of the result are there.
    """
    parts = dd.read_parquet(rows).map_partitions(embed, meta={"number": "int64", "text": "string", "vector": "object"})
    schema = pa.schema({"number": pa.int64(), "text": pa.string(), "vector": pa.list_(pa.float32())})
    work = client.compute(parts.to_parquet(vectors, schema=schema, write_index=False, compute=False))
    most = dict.fromkeys(client.run(os.getpid).values(), 0)
    alive = list(most)
    while not work.done():
        for pid in alive:
            most[pid] = max(most[pid], private_bytes(pid))
        if kill_at and len(alive) == len(most) and len(list(vectors.glob("*.parquet"))) >= kill_at:
            os.kill(alive.pop(), signal.SIGKILL)
        time.sleep(0.2)
    work.result()
    assert len(alive) == len(most) - (kill_at is not None)
    return most


def test_twenty_thousand_texts(expected: Any, tmp_path: Path) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test
    table = pd.DataFrame({"number": np.arange(TEXTS), "text": texts()})
    dd.from_pandas(table, chunksize=PARTITION).to_parquet(tmp_path / "texts")
    task = npbert.Embedder("all-MiniLM-L6-v2")

    def embed(part: Any) -> Any:
        return part.assign(vector=list(task(part["text"])))

    def same_for_all(part: Any) -> Any:
        return part.assign(vector=list(np.ones((len(part), 384), np.float32)))

    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        own = run(client, same_for_all, tmp_path / "texts", tmp_path / "same")
        most = run(client, embed, tmp_path / "texts", tmp_path / "vectors", kill_at=2)
    found = pd.read_parquet(tmp_path / "vectors").sort_values("number")
    np.testing.assert_array_equal(found["number"], np.arange(TEXTS))  # every row, and every row once
    assert found["text"].tolist() == texts()
    np.testing.assert_array_equal(np.stack(found["vector"].to_list()).view(np.uint32), expected.view(np.uint32))
    for pid, size in most.items():
        assert 0 < size - own[pid] < MOST_PRIVATE, f"{(size - own[pid]) / 1e6:.0f} MB"


def test_the_lines_of_the_readme(tmp_path: Path) -> None:
    table = pd.DataFrame({"number": np.arange(30), "text": texts()[:30]})
    dd.from_pandas(table, npartitions=3).to_parquet(tmp_path / "texts")
    readme = Path(npbert.__file__).parent / "tasks" / "README.md"
    (tmp_path / "script.py").write_text(readme.read_text("utf-8").split("```python\n")[1].split("```")[0], "utf-8")
    subprocess.run([sys.executable, "script.py"], check=True, cwd=tmp_path)
    found = pd.read_parquet(tmp_path / "vectors").sort_values("number")
    expected = npbert.Embedder("all-MiniLM-L6-v2")(table["text"])
    np.testing.assert_allclose(np.stack(found["vector"].to_list()), expected, rtol=0, atol=1e-6)
