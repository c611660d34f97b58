"""Which tokenizer class of the reference a checkpoint names, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from npbert.checkpoints.reading import read_json_object
from npbert.errors import InputError, InputTypeError, shown, warn
from npbert.text.settings import MODEL_INPUT_NAMES

BARE = "PreTrainedTokenizer"
"""The class that adds nothing to a `tokenizer.json`: how a text is normalized, and which tokens are special, the files say."""

# These cut text as a BertTokenizer does. Names are compared without "Fast": the slow and the fast form do the same.
_SAME_ALGORITHM = ("BertTokenizer", "DistilBertTokenizer", BARE)

# These cut text into words in a way of their own, though their vocabulary looks like BERT's.
_OTHER_ALGORITHMS = {
    "BertJapaneseTokenizer": "it finds Japanese words with a dictionary (MeCab, Sudachi or Juman++)",
    "RoFormerTokenizer": "it finds Chinese words with a dictionary (jieba)",
}


def class_name(config: Mapping[str, Any], find: Callable[[str], Path | None]) -> str:
    """The class that `tokenizer_config.json` names, else `config.json`, else the one for the model; without "Fast".

    A class that gives other ids is refused; for one that npbert does not know, there is a warning.
    """
    named = config.get("tokenizer_class")
    if named is None:
        config_file = find("config.json")
        model = {} if config_file is None else read_json_object(config_file)
        by_model = "DistilBertTokenizer" if model.get("model_type") == "distilbert" else "BertTokenizer"
        named = model.get("tokenizer_class") or by_model
    if not isinstance(named, str):
        raise InputTypeError(f"tokenizer_class: takes a text, got {shown(named)}")
    name = named.removesuffix("Fast")
    if name in _OTHER_ALGORITHMS:
        raise InputError(f"tokenizer_class: npbert has no {name}: {_OTHER_ALGORITHMS[name]}, and a BertTokenizer would cut "
                         "the same text into other ids")  # fmt: skip
    if name not in _SAME_ALGORITHM:
        warn(f"the checkpoint's tokenizer is a {shown(name)}, not a BertTokenizer: it may cut text in another way")
    return name


def input_names(name: str) -> list[str]:
    """Which arrays the model of such a tokenizer takes: all but the token types for DistilBERT."""
    missing = ("token_type_ids",) if name == "DistilBertTokenizer" else ()
    return [array for array in MODEL_INPUT_NAMES if array not in missing]
