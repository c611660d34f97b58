"""BERT written out as plain NumPy: readable, complete, and exact enough to hold other implementations against.

model = npbert.BertModel.from_pretrained("bert-base-uncased")
tokenizer = npbert.BertTokenizer.from_pretrained("bert-base-uncased")
out = model(**tokenizer(["hello world"], return_tensors="np"))
out.last_hidden_state  # [B, S, D]
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from npbert.errors import FileError, InputError, InputTypeError, MissingFileError, MissingNameError, NpbertError, WriteError
from npbert.version import __version__ as __version__

if TYPE_CHECKING:
    from npbert import golden, ops, training, views
    from npbert.bert.config import BertConfig
    from npbert.generation import GenerationConfig
    from npbert.gpt2.config import GPT2Config
    from npbert.models import outputs
    from npbert.models.auto import load
    from npbert.models.bert import BertModel
    from npbert.models.encoder_decoder import EncoderDecoderModel
    from npbert.models.encoder_decoder_config import EncoderDecoderConfig
    from npbert.models.generating import generate, stream
    from npbert.models.gpt2 import GPT2ForSequenceClassification, GPT2LMHeadModel, GPT2Model
    from npbert.models.heads import (
        BertForMaskedLM,
        BertForMultipleChoice,
        BertForNextSentencePrediction,
        BertForPreTraining,
        BertForQuestionAnswering,
        BertForSequenceClassification,
        BertForTokenClassification,
        BertLMHeadModel,
    )
    from npbert.ops import masks
    from npbert.ops.blocks import set_num_threads
    from npbert.tasks import (
        Embedder,
        Pipeline,
        Pooling,
        embed,
        feature_extraction,
        fill_mask,
        mask_tokens,
        next_sentence,
        pipeline,
        question_answering,
        read_pooling,
        similarity,
        text_classification,
        text_generation,
        token_classification,
        zero_shot_classification,
    )
    from npbert.text.byte_pairs import GPT2Tokenizer, GPT2TokenizerFast
    from npbert.text.tokenizer import BatchEncoding, BertTokenizer
    from npbert.tracing import Trace, trace
    from npbert.weights import Weights

# Imported when they are first asked for, NumPy with them, so that `import npbert` costs nothing.
_LATER = {
    "bert.config": ("BertConfig",),
    "generation": ("GenerationConfig",),
    "gpt2.config": ("GPT2Config",),
    "models.auto": ("load",),
    "models.bert": ("BertModel",),
    "models.encoder_decoder": ("EncoderDecoderModel",),
    "models.encoder_decoder_config": ("EncoderDecoderConfig",),
    "models.generating": ("generate", "stream"),
    "models.gpt2": ("GPT2ForSequenceClassification", "GPT2LMHeadModel", "GPT2Model"),
    "models.heads": (
        "BertForMaskedLM",
        "BertForMultipleChoice",
        "BertForNextSentencePrediction",
        "BertForPreTraining",
        "BertForQuestionAnswering",
        "BertForSequenceClassification",
        "BertForTokenClassification",
        "BertLMHeadModel",
    ),
    "ops.blocks": ("set_num_threads",),
    "tasks": (
        "Embedder",
        "Pipeline",
        "Pooling",
        "embed",
        "feature_extraction",
        "fill_mask",
        "mask_tokens",
        "next_sentence",
        "pipeline",
        "question_answering",
        "read_pooling",
        "similarity",
        "text_classification",
        "text_generation",
        "token_classification",
        "zero_shot_classification",
    ),
    "text.byte_pairs": ("GPT2Tokenizer", "GPT2TokenizerFast"),
    "text.tokenizer": ("BatchEncoding", "BertTokenizer"),
    "tracing": ("Trace", "trace"),
    "weights": ("Weights",),
}
_MODULES = {
    "golden": "golden",
    "masks": "ops.masks",
    "ops": "ops",
    "outputs": "models.outputs",
    "training": "training",
    "views": "views",
}
_HOME = {name: module for module, names in _LATER.items() for name in names}

__all__ = [
    "BatchEncoding",
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
    "Embedder",
    "EncoderDecoderConfig",
    "EncoderDecoderModel",
    "FileError",
    "GPT2Config",
    "GPT2ForSequenceClassification",
    "GPT2LMHeadModel",
    "GPT2Model",
    "GPT2Tokenizer",
    "GPT2TokenizerFast",
    "GenerationConfig",
    "InputError",
    "InputTypeError",
    "MissingFileError",
    "MissingNameError",
    "NpbertError",
    "Pipeline",
    "Pooling",
    "Trace",
    "Weights",
    "WriteError",
    "embed",
    "feature_extraction",
    "fill_mask",
    "generate",
    "golden",
    "load",
    "mask_tokens",
    "masks",
    "next_sentence",
    "ops",
    "outputs",
    "pipeline",
    "question_answering",
    "read_pooling",
    "set_num_threads",
    "similarity",
    "stream",
    "text_classification",
    "text_generation",
    "token_classification",
    "trace",
    "training",
    "views",
    "zero_shot_classification",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"npbert.{_MODULES[name]}")
    if name not in _HOME:
        importing = sys._getframe(1).f_code.co_name == "_handle_fromlist"  # Python's work on `from npbert import NAME`
        return importlib.import_module("npbert.familiar").find(name, for_import=importing)
    value = globals()[name] = getattr(importlib.import_module(f"npbert.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
