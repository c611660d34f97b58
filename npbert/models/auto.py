"""Which class a checkpoint is a model of, and loading it without naming the class."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbert import checkpoints
from npbert.bert.config import BertConfig
from npbert.checkpoints import Checkpoint
from npbert.configuration import Configuration
from npbert.errors import FileError, InputError, InputTypeError, listed, shown, warn
from npbert.gpt2.config import GPT2Config
from npbert.models import bert, gpt2, heads, loading
from npbert.models.base import PreTrainedModel
from npbert.models.encoder_decoder import EncoderDecoderModel
from npbert.models.encoder_decoder_config import EncoderDecoderConfig
from npbert.types import StrPath

MODELS: dict[str, type[PreTrainedModel]] = {
    model.__name__: model
    for model in (
        bert.BertModel,
        heads.BertLMHeadModel,
        heads.BertForMaskedLM,
        heads.BertForPreTraining,
        heads.BertForNextSentencePrediction,
        heads.BertForSequenceClassification,
        heads.BertForMultipleChoice,
        heads.BertForTokenClassification,
        heads.BertForQuestionAnswering,
        gpt2.GPT2Model,
        gpt2.GPT2LMHeadModel,
        gpt2.GPT2ForSequenceClassification,
        EncoderDecoderModel,
    )
}
"""The models by the name that a configuration's `architectures` gives."""

CONFIGURATIONS: dict[str, type[Configuration]] = {
    "bert": BertConfig,
    "distilbert": BertConfig,
    "gpt2": GPT2Config,
    "encoder-decoder": EncoderDecoderConfig,
}
"""The configurations by their `model_type`."""


def model_class(config: Configuration) -> type[PreTrainedModel]:
    """The class that a configuration's `architectures` names; where it names none, the base model."""
    if isinstance(config, EncoderDecoderConfig):
        return EncoderDecoderModel
    base = "GPT2Model" if isinstance(config, GPT2Config) else "BertModel"
    architectures = getattr(config, "architectures", None) or [base]
    known = [architecture for architecture in architectures if architecture in MODELS]
    if not known:
        raise InputError(f"npbert has no {listed(architectures)}; it has {', '.join(MODELS)}")
    return MODELS[known[0]]


def load(path_or_id: StrPath, *, dtype: DTypeLike | None = np.float32, config: Any = None, **options: Any) -> Any:
    """The model that a checkpoint is, loaded: `npbert.load("bert-base-uncased")`.

    The class is the one that the configuration's `architectures` names. Where it names none (Google's own checkpoints), or none
    that npbert knows (a class of the authors' own, which ends in a warning), it is the one that has a place for every head in
    the file; a configuration that says nothing of labels gets as many as its classifier tells apart. Takes what
    `from_pretrained` takes; with `dtype=None` the model computes in float64 if that is what the file has, else in float32.
    """
    location = {name: options.pop(name) for name in checkpoints.LOCATION_OPTIONS if name in options}
    checkpoint = checkpoints.find(path_or_id, **location)
    names_labels = config is None and bool(checkpoint.fields.keys() & {"id2label", "num_labels"})  # Google's do not
    if config is None:
        config = read_config(checkpoint)
    elif not isinstance(config, Configuration):
        raise InputTypeError(f"config: takes a BertConfig or another configuration, got {type(config).__name__}")
    if isinstance(config, BertConfig | GPT2Config) and not any(name in MODELS for name in config.architectures or ()):
        of_the_heads = architecture_of(checkpoint.arrays) if isinstance(config, BertConfig) else gpt2_of(checkpoint.arrays)
        if config.architectures:
            theirs = listed([shown(name) for name in config.architectures])
            warn(f"{checkpoint.name}: npbert has no {theirs}, and loads a {of_the_heads}, which the heads in the file show")
        config.architectures = [of_the_heads]
        classifier = checkpoint.arrays.get("classifier.weight")
        if classifier is not None and classifier.ndim == 2 and not names_labels and len(classifier) != config.num_labels:
            options.setdefault("num_labels", len(classifier))
    return loading.from_checkpoint(model_class(config), checkpoint, config=config, dtype=dtype, **options)


def read_config(checkpoint: Checkpoint) -> Any:
    """A checkpoint's configuration, of whatever kind its `model_type` says."""
    model_type = checkpoint.fields.get("model_type", "bert")
    if not isinstance(model_type, str) or model_type not in CONFIGURATIONS:
        raise FileError(
            f"{checkpoint.fields_path}: has the model_type {shown(model_type)}; npbert reads {', '.join(CONFIGURATIONS)}"
        )
    return CONFIGURATIONS[model_type].from_file_fields(checkpoint.fields, checkpoint.fields_path)


def architecture_of(weights: Iterable[str]) -> str:
    """The model whose heads a file's weights are."""
    parts = {".".join(name.split(".")[:2]) for name in weights} | {name.split(".")[0] for name in weights}
    if "cls.predictions" in parts:
        return "BertForPreTraining" if "cls.seq_relationship" in parts else "BertForMaskedLM"
    if "cls.seq_relationship" in parts:
        return "BertForNextSentencePrediction"
    if "qa_outputs" in parts or "cls.squad" in parts:
        return "BertForQuestionAnswering"
    if "classifier" in parts:
        return "BertForSequenceClassification" if parts & {"pooler.dense", "bert.pooler"} else "BertForTokenClassification"
    return "BertModel"


def gpt2_of(weights: Collection[str]) -> str:
    """The same for GPT-2, whose language model's head is the word table, which every file has."""
    return "GPT2ForSequenceClassification" if "score.weight" in weights else "GPT2LMHeadModel"
