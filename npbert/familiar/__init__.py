"""Names of the reference that a reader of its documentation will try, one line each.

`npbert.AutoModel` and the others are looked up here when they are first asked for. What npbert has under another name, or
cannot have, says in one line what to use.
"""

from __future__ import annotations

import importlib
from typing import Any

from npbert.errors import MissingAttributeError, NpbertError


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
    | _at("npbert.familiar.modules", "Encoder Pooler", prefix="Bert")
    | _at("npbert.familiar.heads", "PredictionHeadTransform LMPredictionHead OnlyMLMHead OnlyNSPHead", prefix="Bert")
    | _at("npbert.familiar.heads", "PreTrainingHeads", prefix="Bert")
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
    | _at("npbert.models.bert", "PreTrainedModel", prefix="DistilBert", there="Bert")
    | _at("npbert.models.gpt2", "GPT2PreTrainedModel")
    | _at("npbert.models.outputs", "GenerateOutput ModelOutput")
    | _at("npbert.text.backend", "load_vocab")
    | _at("npbert.text.batch_encoding", "CharSpan TokenSpan")
    | _at("npbert.ops", "gelu gelu_new")
    | _at("npbert.tasks.objects", "FillMaskPipeline FeatureExtractionPipeline TextClassificationPipeline NerPipeline")
    | _at("npbert.tasks.objects", "TokenClassificationPipeline QuestionAnsweringPipeline TextGenerationPipeline")
    | _at("npbert.tasks.objects", "ZeroShotClassificationPipeline")
    | _at("npbert.tasks.entities", "AggregationStrategy")
)
"""Where each name is found, as `module:name`."""


class MissingImportError(NpbertError, ImportError):
    """`from npbert import NAME`, where npbert has no such name. The message says what to use."""


_ONLY_NUMPY = "npbert computes with NumPy alone; from_pretrained reads TensorFlow's and PyTorch's files"
_ARCHITECTURE = "npbert has BERT, DistilBERT, GPT-2, and encoder-decoders of BERT"
_HEAD = "take GPT2Model and put the head on its last_hidden_state"
_COLLATE = "call the tokenizer with padding=True and return_tensors='np'"
_STREAM = "use npbert.stream, which yields tokens as they are found"
_SETTINGS = "give generate the setting itself, such as repetition_penalty= or bad_words_ids="
_CACHE = "past_key_values is a tuple with one entry a layer, (key, value)"
_SCHEDULE = "use npbert.training.linear or npbert.training.cosine (warmup, total), functions of the step"
_DATA = "npbert.training reads plain text files"

INSTEAD: dict[str, str] = {
    "TrainingArguments": "use npbert.training.Settings",
    "AdamW": "use npbert.training.AdamW",
    "get_scheduler": _SCHEDULE,
    "AddedToken": "from tokenizers import AddedToken",
    "SpecialTokensMixin": "use BertTokenizer, GPT2Tokenizer or AutoTokenizer",
    "Conv1D": "walk to it in a model: model.transformer.h[0].attn.c_attn",
    "DataCollatorForLanguageModeling": "use npbert.mask_tokens(input_ids, tokenizer, rng)",
    "DataCollatorForWholeWordMask": "use npbert.mask_tokens(input_ids, tokenizer, rng, whole_words=True)",
    "set_seed": "hand in a generator, rng=numpy.random.default_rng(seed)",
    "logging": "use Python's warnings: npbert warns through them",
    "is_torch_available": "npbert needs no torch",
    "AutoModelWithLMHead": "use AutoModelForMaskedLM, AutoModelForCausalLM or AutoModelForSeq2SeqLM",
    "AutoModelForTextEncoding": "use AutoModel",
    "BasicTokenizer": "BertTokenizer does this step too; `npbert tokenize` shows the steps",
    "WordpieceTokenizer": "BertTokenizer does this step too; `npbert tokenize` shows the steps",
    "PreTrainedTokenizer": "use BertTokenizer, GPT2Tokenizer or AutoTokenizer",
    "PreTrainedTokenizerFast": "use BertTokenizer, GPT2Tokenizer or AutoTokenizer",
    "PreTrainedTokenizerBase": "use BertTokenizer, GPT2Tokenizer or AutoTokenizer",
    "PretrainedConfig": "use BertConfig, GPT2Config or AutoConfig",
    "BertLayerNorm": "use npbert.ops.layer_norm(x, weight, bias, eps=eps)",
    "BertSdpaSelfAttention": "use BertSelfAttention",
    "GPT2Attention": "walk to it in a model: model.transformer.h[0].attn",
    "GPT2MLP": "walk to it in a model: model.transformer.h[0].mlp",
    "GPT2Block": "walk to it in a model: model.transformer.h[0]",
    "GenerationMixin": "every model that writes has generate",
    "BeamSearchScorer": "call generate with num_beams=",
    "SummarizationPipeline": "use TextGenerationPipeline with an EncoderDecoderModel",
    "Text2TextGenerationPipeline": "use TextGenerationPipeline with an EncoderDecoderModel",
    "TranslationPipeline": "use TextGenerationPipeline with an EncoderDecoderModel",
    **dict.fromkeys(("GPT2DoubleHeadsModel", "GPT2ForTokenClassification", "GPT2ForQuestionAnswering"), _HEAD),
    "default_data_collator": _COLLATE,
    **dict.fromkeys(("TextStreamer", "TextIteratorStreamer"), _STREAM),
    **dict.fromkeys(("LogitsProcessorList", "StoppingCriteriaList"), _SETTINGS),
    **dict.fromkeys(("Cache", "DynamicCache", "StaticCache", "EncoderDecoderCache"), _CACHE),
    "LineByLineTextDataset": _DATA,
}
"""What to use in place of a name that npbert does not have."""

_KINDS = {
    "TF": _ONLY_NUMPY,
    "Flax": _ONLY_NUMPY,
    **dict.fromkeys(
        ("Roberta", "XLMRoberta", "Albert", "Electra", "T5", "Bart", "Llama", "OpenAIGPT", "BertGeneration"), _ARCHITECTURE
    ),
    "DataCollator": _COLLATE,
    "TextDataset": _DATA,
    "Squad": "npbert.training and question_answering take questions and contexts as they are",
    "Trainer": "use npbert.training.train, or the command `npbert train`",
}
"""The same by how a name begins."""

_ENDINGS = {
    "LogitsProcessor": _SETTINGS,
    "Criteria": _SETTINGS,
    "_schedule": _SCHEDULE,
    "_schedule_with_warmup": _SCHEDULE,
}
"""The same by how a name ends."""


def find(name: str, *, for_import: bool = False) -> Any:
    """What a familiar name stands for. `for_import` says that an import statement asks: Python replaces the message of an
    AttributeError by one of its own there, and leaves that of an ImportError as it is."""
    by_kind = [words for start, words in _KINDS.items() if name.startswith(start)]
    by_kind += [words for end, words in _ENDINGS.items() if name.endswith(end)]
    instead = INSTEAD.get(name) or next(iter(by_kind), None)
    if instead is not None:
        raise (MissingImportError if for_import else MissingAttributeError)(f"npbert has no {name}: {instead}")
    if name not in HOMES:
        raise AttributeError(f"module 'npbert' has no attribute {name!r}")
    module, _, attribute = HOMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
