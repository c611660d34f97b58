"""Vocabularies: the same at every run, with what the text needs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import npbert
from npbert.training.vocabulary import SPECIAL_TOKENS, build_vocabulary

from .small import sentences

ROOT = Path(__file__).parents[2]
# Words of random letters: among their pairs many are equally frequent, so that an order by chance would show.
PROGRAM = """
import hashlib, random
from npbert.training.vocabulary import build_vocabulary
rng = random.Random(0)
texts = ["".join(rng.choice("abcdefghijklm") for _ in range(rng.randint(2, 8))) for _ in range(400)]
print(hashlib.sha256("\\n".join(build_vocabulary(texts, 120)).encode()).hexdigest())
"""


def test_the_same_texts_make_the_same_vocabulary_in_every_process() -> None:
    """The library numbers pieces in the order of a hash table, which is another one in every process."""
    runs = [subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(4)]
    found = {run.communicate()[0] for run in runs}
    assert len(found) == 1
    assert len(found.pop().strip()) == hashlib.sha256().digest_size * 2


def test_what_is_in_a_vocabulary(tmp_path: Path) -> None:
    texts = [*sentences(200), "Élan VITAL"]
    tokens = build_vocabulary(texts, 100)
    assert tokens[:5] == list(SPECIAL_TOKENS)
    assert len(tokens) == len(set(tokens)) <= 100
    words = tokens[5:]
    assert words == sorted(words, key=lambda token: (token.startswith("##"), token))
    assert {"the", "moon", "."} <= set(words)
    assert all(token == token.lower() for token in words)
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", "utf-8")
    tokenizer = npbert.BertTokenizer(tmp_path / "vocab.txt")
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert all(tokenizer.unk_token_id not in row for row in ids)
    assert tokenizer.decode(ids[-1]) == "elan vital"


def test_a_cased_vocabulary() -> None:
    assert "V" in build_vocabulary(["Vital Vivid"], 30, lowercase=False)


def test_sizes() -> None:
    with pytest.raises(npbert.InputError, match="size: takes"):
        build_vocabulary(["abcdefgh"], 8)
    with pytest.raises(npbert.InputError, match="size"):
        build_vocabulary(["a"], 5)
    signs = [chr(0x4E00 + number) for number in range(1500)]
    tokens = build_vocabulary([sign * 2 if number < 900 else sign for number, sign in enumerate(signs)], 4000)
    assert set(signs[:900]) <= set(tokens)
    assert len(set(signs) & set(tokens)) == 1000
