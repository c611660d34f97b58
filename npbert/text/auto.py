"""Which tokenizer a checkpoint has."""

from __future__ import annotations

import os
from typing import Any

from npbert import checkpoints
from npbert.checkpoints.reading import read_json_object
from npbert.text import backend
from npbert.text.byte_pairs import GPT2Tokenizer
from npbert.text.settings import BERT, GPT2
from npbert.text.tokenizer import BertTokenizer
from npbert.types import StrPath


def load_tokenizer(path_or_id: StrPath, **options: Any) -> BertTokenizer | GPT2Tokenizer:
    """The tokenizer of a checkpoint: what its files say, whatever the model. A GPT-2 may have a BERT's vocabulary.

    `options` are those of `from_pretrained`.
    """
    location = {name: options[name] for name in checkpoints.LOCATION_OPTIONS if name in options}
    kind: Any = GPT2Tokenizer if _has_byte_pairs(path_or_id, location) else BertTokenizer
    found: BertTokenizer | GPT2Tokenizer = kind.from_pretrained(path_or_id, **options)
    return found


def _has_byte_pairs(path_or_id: StrPath, location: dict[str, Any]) -> bool:
    """Whether the files are GPT-2's: by the class that they name, else by what lies there."""
    if os.path.isfile(path_or_id) and os.fspath(path_or_id).endswith(".txt"):
        return False
    find = checkpoints.find(path_or_id, **location).file
    for name in ("tokenizer_config.json", "config.json"):
        path = find(name)
        named = read_json_object(path).get("tokenizer_class") if path is not None else None
        if isinstance(named, str) and named.removesuffix("Fast") in (BERT.name, GPT2.name):
            return named.removesuffix("Fast") == GPT2.name
    if find("vocab.txt") is not None:
        return False
    if all(find(name) is not None for name in GPT2.vocab_files):
        return True
    tokenizer_file = find("tokenizer.json")
    return tokenizer_file is not None and backend.model_in(tokenizer_file) == GPT2.model
