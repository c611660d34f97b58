"""The tokenizers that the tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from npbert.text.tokenizer import BertTokenizer

from .vocabularies import minilm_directory, vocab_file


@pytest.fixture(scope="module")
def real() -> BertTokenizer:
    return BertTokenizer.from_pretrained(minilm_directory())


@pytest.fixture
def own() -> BertTokenizer:
    """The real vocabulary in a tokenizer that a test may change."""
    return BertTokenizer.from_pretrained(minilm_directory())


@pytest.fixture
def small(tmp_path: Path) -> BertTokenizer:
    return BertTokenizer(vocab_file(tmp_path))
