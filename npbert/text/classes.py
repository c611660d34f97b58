"""Which tokenizer class of the reference a checkpoint names, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from npbert.checkpoints.reading import read_json_object
from npbert.errors import InputError, InputTypeError, shown, warn
from npbert.text.settings import BERT, TokenizerKind

BARE = "PreTrainedTokenizer"
"""The class that adds nothing to a `tokenizer.json`: how a text is normalized, and which tokens are special, the files say."""

# These cut text into words in a way of their own, though their vocabulary looks like BERT's.
_OTHER_ALGORITHMS = {
    "BertJapaneseTokenizer": "it finds Japanese words with a dictionary (MeCab, Sudachi or Juman++)",
    "RoFormerTokenizer": "it finds Chinese words with a dictionary (jieba)",
}


def class_name(config: Mapping[str, Any], find: Callable[[str], Path | None], kind: TokenizerKind = BERT) -> str:
    """The class that `tokenizer_config.json` names, else `config.json`, else the one for the model; without "Fast".

    A class that gives other ids is refused; for one that npbert does not know, there is a warning.
    """
    named = config.get("tokenizer_class")
    if named is None:
        config_file = find("config.json")
        model = {} if config_file is None else read_json_object(config_file)
        by_model = "DistilBertTokenizer" if kind is BERT and model.get("model_type") == "distilbert" else kind.name
        named = model.get("tokenizer_class") or by_model
    if not isinstance(named, str):
        raise InputTypeError(f"tokenizer_class: takes a text, got {shown(named)}")
    name = named.removesuffix("Fast")
    if name in _OTHER_ALGORITHMS:
        raise InputError(f"tokenizer_class: npbert has no {name}: {_OTHER_ALGORITHMS[name]}, and a BertTokenizer would cut "
                         "the same text into other ids")  # fmt: skip
    if name not in (*kind.same_algorithm, BARE):
        warn(f"the checkpoint's tokenizer is a {shown(name)}, not a {kind.name}: it may cut text in another way")
    return name


def input_names(name: str, kind: TokenizerKind = BERT) -> list[str]:
    """Which arrays the model of such a tokenizer takes: of BERT's all but the token types for DistilBERT."""
    missing = ("token_type_ids",) if name == "DistilBertTokenizer" else ()
    return [array for array in kind.model_input_names if array not in missing]
