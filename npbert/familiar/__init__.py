"""Names of the reference that a reader of its documentation will try, one line each.

`npbert.AutoModel` and the others are looked up here when they are first asked for. What npbert has under another name, or
cannot have, says in one line what to use.
"""

from __future__ import annotations

import importlib
from typing import Any

from npbert.errors import MissingAttributeError


def _at(module: str, words: str, *, prefix: str = "", there: str | None = None) -> dict[str, str]:
    """Names, each with the prefix, and where they are found: in the module under the same name, or with the prefix `there`."""
    there = prefix if there is None else there
    return {f"{prefix}{word}": f"{module}:{there}{word}" for word in words.split()}


HOMES: dict[str, str] = (
    _at("npbert.familiar.auto", "AutoModel AutoTokenizer AutoConfig")
    | _at("npbert.familiar.auto", "PreTraining MaskedLM CausalLM Seq2SeqLM SequenceClassification", prefix="AutoModelFor")
    | _at("npbert.familiar.auto", "TokenClassification QuestionAnswering MultipleChoice", prefix="AutoModelFor")
    | _at("npbert.familiar.auto", "NextSentencePrediction", prefix="AutoModelFor")
    | _at("npbert.familiar.modules", "Embeddings SelfAttention SelfOutput Attention Intermediate Output Layer", prefix="Bert")
    | _at("npbert.familiar.modules", "Encoder Pooler PredictionHeadTransform LMPredictionHead OnlyMLMHead", prefix="Bert")
    | _at("npbert.familiar.modules", "OnlyNSPHead PreTrainingHeads", prefix="Bert")
    | _at("npbert.familiar.functions", "ACT2FN apply_chunking_to_forward find_pruneable_heads_and_indices prune_linear_layer")
    | _at("npbert.familiar.functions", "load_tf_weights_in_bert")
    # DistilBERT is a BERT with other numbers in its configuration: the same classes compute it.
    | _at("npbert.models.bert", "Model", prefix="DistilBert", there="Bert")
    | _at("npbert.models.heads", "MaskedLM SequenceClassification", prefix="DistilBertFor", there="BertFor")
    | _at("npbert.models.heads", "TokenClassification QuestionAnswering", prefix="DistilBertFor", there="BertFor")
    | _at("npbert.models.heads", "MultipleChoice", prefix="DistilBertFor", there="BertFor")
    | _at("npbert.familiar.distilbert", "DistilBertConfig")
    # There is one tokenizer, and it is the fast one.
    | dict.fromkeys(
        ("BertTokenizerFast", "DistilBertTokenizer", "DistilBertTokenizerFast"), "npbert.text.tokenizer:BertTokenizer"
    )
    | _at("npbert.models.base", "PreTrainedModel")
    | _at("npbert.models.bert", "BertPreTrainedModel")
)
"""Where each name is found, as `module:name`."""

INSTEAD: dict[str, str] = {
    "Trainer": "use npbert.training.train, or the command `npbert train`",
    "TrainingArguments": "use npbert.training.Settings",
    "AdamW": "use npbert.training.AdamW",
    "get_linear_schedule_with_warmup": "use npbert.training.linear(warmup, total), a function of the step",
    "get_cosine_schedule_with_warmup": "use npbert.training.cosine(warmup, total), a function of the step",
    "DataCollatorForLanguageModeling": "use npbert.mask_tokens(input_ids, tokenizer, rng)",
    "DataCollatorWithPadding": "call the tokenizer with padding=True",
    "TextStreamer": "use npbert.stream, which yields the text as it grows",
    "TFBertModel": "use BertModel.from_pretrained, which reads TensorFlow's files too",
    "FlaxBertModel": "use BertModel.from_pretrained",
    "DynamicCache": "past_key_values is a tuple with one entry a layer, (key, value)",
    "set_seed": "hand in a generator, rng=numpy.random.default_rng(seed)",
    "logging": "use Python's warnings: npbert warns through them",
}
"""What to use in place of a name that npbert does not have."""


def find(name: str) -> Any:
    """What a familiar name stands for."""
    if name in INSTEAD:
        raise MissingAttributeError(f"npbert has no {name}: {INSTEAD[name]}")
    if name not in HOMES:
        raise AttributeError(f"module 'npbert' has no attribute {name!r}")
    module, _, attribute = HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
