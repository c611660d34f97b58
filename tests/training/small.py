"""Tiny models, tokenizers and runs for the tests of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import npbert
from npbert.training import Lessons, Run, Settings

TEXT = "the a cat dog sat ran on mat hat in to of and sun moon is was red blue big"
WORDS = TEXT.split()
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "##ing", ".", ",", "0", "1", "2", "3"]
SIZES: dict[str, Any] = {
    "vocab_size": len(PIECES),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}


def vocab_file(directory: Path) -> Path:
    """The vocabulary as a file."""
    path = directory / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", "utf-8")
    return path


def tokenizer_in(directory: Path) -> npbert.BertTokenizer:
    """The tokenizer of the vocabulary above."""
    return npbert.BertTokenizer(vocab_file(directory), model_max_length=SIZES["max_position_embeddings"])


def checkpoint_in(directory: Path, cls: Any = npbert.BertForPreTraining, **fields: Any) -> Path:
    """A checkpoint with random weights and its tokenizer."""
    config = npbert.BertConfig(**{**SIZES, **fields})
    cls(config, rng=np.random.default_rng(0)).save_pretrained(directory)
    tokenizer_in(directory).save_pretrained(directory)
    return directory


def sentences(count: int, seed: int = 0) -> list[str]:
    """Sentences of words that the vocabulary has."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(2, 9))) + " ." for _ in range(count)]


def words_lessons(count: int = 7, *, evaluate: bool = True) -> Lessons:
    """A masked language model learns random ids: batches of 3, drawn anew in every epoch."""

    def batch_of(rng: np.random.Generator) -> dict[str, Any]:
        ids = rng.integers(5, len(PIECES), (3, 8))
        return {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "labels": np.where(rng.random(ids.shape) < 0.4, ids, -100),
        }

    def epoch(rng: np.random.Generator) -> Sequence[Any]:
        return [batch_of(rng) for _ in range(count)]

    def figures(model: Any) -> dict[str, float]:
        return {"loss": float(model(**batch_of(np.random.default_rng(99))).loss)}

    return Lessons(epoch, lambda batch, rng: batch, figures if evaluate else None)


def small_run(
    lessons: Lessons | None = None, *, frozen: Sequence[str] = (), checkpointing: bool = False, **settings: Any
) -> Run:
    """A run of a masked language model with dropout."""
    model = npbert.BertForMaskedLM(npbert.BertConfig(**SIZES), rng=np.random.default_rng(0))
    if frozen:
        model.requires_grad_(False, only=frozen)
    if checkpointing:
        model.gradient_checkpointing_enable()
    return Run(model, words_lessons() if lessons is None else lessons, Settings(**{"steps": 12, "lr": 1e-2, **settings}))
