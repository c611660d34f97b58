"""BERT written out as plain NumPy: readable, complete, and exact enough to hold other implementations against.

model = npbert.BertModel.from_pretrained("bert-base-uncased")
tokenizer = npbert.BertTokenizer.from_pretrained("bert-base-uncased")
out = model(**tokenizer(["hello world"], return_tensors="np"))
out.last_hidden_state  # [B, S, D]
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import masks, ops
from .config import BertConfig
from .errors import FileError, InputError, InputTypeError, MissingFileError, MissingNameError, NpbertError
from .models import (
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertLMHeadModel,
    BertModel,
)
from .trace import Trace, trace
from .weights import Weights

if TYPE_CHECKING:
    from .pretrained import load
    from .tokenizer import BertTokenizer

__version__ = "0.1.0"

# Imported when they are first asked for, so that `import npbert` costs little more than `import numpy`.
_LATER = {
    "BertTokenizer": "npbert.tokenizer",
    "load": "npbert.pretrained",
}

__all__ = [
    "BertConfig",
    "BertForMaskedLM",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertForPreTraining",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertLMHeadModel",
    "BertModel",
    "BertTokenizer",
    "FileError",
    "InputError",
    "InputTypeError",
    "MissingFileError",
    "MissingNameError",
    "NpbertError",
    "Trace",
    "Weights",
    "load",
    "masks",
    "ops",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'npbert' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
