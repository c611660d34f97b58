"""The classes that pick a class: `AutoModel`, `AutoModelFor...`, `AutoTokenizer`, `AutoConfig`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from npbert import checkpoints
from npbert.errors import InputError
from npbert.models.auto import MODELS, read_config
from npbert.types import Rng, StrPath


class AutoConfig:
    """Whatever configuration a checkpoint has."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: StrPath, **options: Any) -> Any:
        """The configuration, of the class that its `model_type` says; options that are fields override them."""
        location = {name: options.pop(name) for name in checkpoints.LOCATION_OPTIONS if name in options}
        config = read_config(checkpoints.find(pretrained_model_name_or_path, **location))
        return type(config).from_dict(config.to_dict(), **options)


class AutoTokenizer:
    """Whatever tokenizer a checkpoint has."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: StrPath, **options: Any) -> Any:
        """The tokenizer, a `BertTokenizer` or a `GPT2Tokenizer`. `use_fast` may be given: there is one kind, the fast one."""
        from npbert.text.auto import load_tokenizer

        return load_tokenizer(pretrained_model_name_or_path, **options)


class _AutoModel:
    """A model for one purpose, of the class that the checkpoint's architecture has for it."""

    classes: ClassVar[dict[str, str]]  # by model_type

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: StrPath, **options: Any) -> Any:
        """The model with a checkpoint's weights; options are those of the class's own `from_pretrained`."""
        config = options.get("config")
        if config is None:
            location = {name: options[name] for name in checkpoints.LOCATION_OPTIONS if name in options}
            config = read_config(checkpoints.find(pretrained_model_name_or_path, **location))
        return cls._class_for(config).from_pretrained(pretrained_model_name_or_path, **options)

    @classmethod
    def from_config(cls, config: Any, *, rng: Rng = None) -> Any:
        """The model with random weights."""
        return cls._class_for(config)(config, rng=np.random.default_rng() if rng is None else rng)

    @classmethod
    def _class_for(cls, config: Any) -> Any:
        model_type = "bert" if config.model_type == "distilbert" else config.model_type
        if model_type not in cls.classes:
            raise InputError(f"{cls.__name__}: takes a checkpoint of {' or '.join(cls.classes)}, got {config.model_type}")
        return MODELS[cls.classes[model_type]]


def _auto(name: str, **classes: str) -> type[_AutoModel]:
    doc = f"`from_pretrained` of whichever class a checkpoint needs: {', '.join(classes.values())}."
    return type(
        name, (_AutoModel,), {"classes": {key.replace("_", "-"): value for key, value in classes.items()}, "__doc__": doc}
    )


AutoModel = _auto("AutoModel", bert="BertModel", gpt2="GPT2Model", encoder_decoder="EncoderDecoderModel")
AutoModelForPreTraining = _auto("AutoModelForPreTraining", bert="BertForPreTraining", gpt2="GPT2LMHeadModel")
AutoModelForMaskedLM = _auto("AutoModelForMaskedLM", bert="BertForMaskedLM")
AutoModelForCausalLM = _auto("AutoModelForCausalLM", bert="BertLMHeadModel", gpt2="GPT2LMHeadModel")
AutoModelForSeq2SeqLM = _auto("AutoModelForSeq2SeqLM", encoder_decoder="EncoderDecoderModel")
AutoModelForSequenceClassification = _auto(
    "AutoModelForSequenceClassification", bert="BertForSequenceClassification", gpt2="GPT2ForSequenceClassification"
)
AutoModelForTokenClassification = _auto("AutoModelForTokenClassification", bert="BertForTokenClassification")
AutoModelForQuestionAnswering = _auto("AutoModelForQuestionAnswering", bert="BertForQuestionAnswering")
AutoModelForMultipleChoice = _auto("AutoModelForMultipleChoice", bert="BertForMultipleChoice")
AutoModelForNextSentencePrediction = _auto("AutoModelForNextSentencePrediction", bert="BertForNextSentencePrediction")
