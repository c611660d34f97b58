"""Checkpoints of tiny GPT-2s, as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEXTS = [
    "The quick brown fox jumps over the lazy dog. The dog doesn't mind: it's asleep!",
    "Once upon a time there was a vocabulary of bytes, and it was small.",
    "日本語のテキスト and ünïcödé, emoji 🦊🦊, tabs\tand\nlines   and     spaces",
]
"""What the vocabulary is learned from."""


def write_byte_pairs(directory: Path, *, size: int = 330) -> Path:
    """A `vocab.json` and a `merges.txt` that the Rust library learned from TEXTS."""
    from tokenizers import ByteLevelBPETokenizer

    learner = ByteLevelBPETokenizer()
    learner.train_from_iterator(TEXTS, vocab_size=size, min_frequency=1, special_tokens=["<|endoftext|>"], show_progress=False)
    directory.mkdir(exist_ok=True)
    learner.save_model(str(directory))
    return directory


def write_config(directory: Path, **fields: Any) -> Path:
    """A tokenizer_config.json."""
    (directory / "tokenizer_config.json").write_text(json.dumps(fields), "utf-8")
    return directory
