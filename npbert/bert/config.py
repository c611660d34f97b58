"""BertConfig: what has to be known about a checkpoint besides its weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from npbert.configuration import Configuration, is_list_of, is_whole_number, plain
from npbert.errors import InputError, InputTypeError, shown, warn
from npbert.ops import ACTIVATIONS
from npbert.ops.masks import MASKED
from npbert.types import Array, StrPath

POSITION_TYPES = ("absolute", "relative_key", "relative_key_query")
SMALLEST_FLOAT32 = float(np.finfo(np.float32).min)
OWN_FIELDS = ("pooler_act", "mask_value")
"""Fields that only npbert has and that change what is computed. In the reference, BERT's pooler is tanh and its mask fixed."""
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


class BertConfig(Configuration):
    """The configuration of a BERT, with the reference's fields and defaults.

    Any other field is kept as well, as an attribute, and saved again: `BertConfig(num_hidden_layers=2, note="mine").note`.
    """

    _model_types = ("bert", "distilbert")
    model_type: str = "bert"

    # The size of everything.
    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2  # 0: there is no table of token types (DistilBERT)

    # What is computed.
    hidden_act: str | Callable[[Array], Array] = "gelu"
    pooler_act: str = "tanh"  # "relu" in DistilBERT's classifier
    layer_norm_eps: float = 1e-12
    position_embedding_type: str = "absolute"
    mask_value: float = MASKED  # what is added to the score where attention is not allowed
    is_decoder: bool = False
    add_cross_attention: bool = False
    chunk_size_feed_forward: int = 0  # positions that go through the feed-forward at once; 0: all
    tie_word_embeddings: bool = True
    pruned_heads: dict[int, list[int]]
    gradient_checkpointing: bool = False  # keep only what lies between the layers, and compute the rest again for gradients

    # Dropout, where a call is handed a generator.
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None  # None: as hidden_dropout_prob
    initializer_range: float = 0.02

    # What a call puts out by default.
    use_cache: bool = True
    output_attentions: bool = False
    output_hidden_states: bool = False
    return_dict: bool = True

    # Tokens and labels.
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int | None = None
    problem_type: str | None = None
    id2label: dict[int, str]
    label2id: dict[str, int]
    architectures: list[str] | None = None

    def __init__(self, **fields: Any) -> None:
        fields = plain(fields)
        names = _integer_keys("id2label", fields.pop("id2label", None))
        number = fields.pop("num_labels", None)
        if number is not None:
            _check_number_of_labels(number)
        if names:  # they count, as in the reference
            if number is not None and number != len(names):
                warn(f"config: num_labels is {shown(number)}, but id2label names {len(names)} labels, which count")
            self.id2label = {index: _label(index, name) for index, name in names.items()}
            self.label2id = {label: index for index, label in self.id2label.items()}
        else:
            self.num_labels = 2 if number is None else number
        if fields.get("label2id", 0) is None:  # as the reference writes it where no label has a name
            del fields["label2id"]
        self.pruned_heads = {
            layer: sorted(set(heads)) if is_list_of(heads, int) or isinstance(heads, set) else heads
            for layer, heads in _integer_keys("pruned_heads", fields.pop("pruned_heads", None)).items()
        }
        super().__init__(**fields)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], **overrides: Any) -> BertConfig:
        """A configuration from the contents of a `config.json`; overrides win."""
        if overrides.get("num_labels") not in (None, len(fields.get("id2label") or ())):  # its names no longer fit
            fields = {name: value for name, value in fields.items() if name not in ("id2label", "label2id")}
        return super().from_dict(fields, **overrides)

    @classmethod
    def from_file_fields(cls, fields: Mapping[str, Any], path: StrPath) -> BertConfig:
        """The configuration that a file holds; what is wrong with it is the fault of the file at `path`."""
        return super().from_file_fields(fields_of_the_reference(fields, path), path)

    @property
    def num_labels(self) -> int:
        """How many labels a classifier tells apart; setting it names them LABEL_0, LABEL_1, ..."""
        return len(self.id2label)

    @num_labels.setter
    def num_labels(self, number: int) -> None:
        _check_number_of_labels(number)
        self.id2label = {index: f"LABEL_{index}" for index in range(number)}
        self.label2id = {label: index for index, label in self.id2label.items()}

    @property
    def head_size(self) -> int:
        """H: the hidden size that one head works in."""
        return self.hidden_size // self.num_attention_heads

    @property
    def activation(self) -> Callable[[Array], Array]:
        """The function behind `hidden_act`."""
        return ACTIVATIONS[self.hidden_act] if isinstance(self.hidden_act, str) else self.hidden_act

    @property
    def dropout_of_classifier(self) -> float:
        """What drops before a classifier: `classifier_dropout`, or `hidden_dropout_prob` where that is None."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    def num_heads(self, layer: int) -> int:
        """How many heads the self-attention of a layer has left after pruning."""
        return self.num_attention_heads - len(self.pruned_heads.get(layer, ()))

    def validate(self) -> None:
        """Refuse what no model can be built from. Models call this too, since fields may be set at any time."""
        super().validate()
        for name in ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings"):
            if getattr(self, name) < 1:
                raise InputError(f"config: {name} takes 1 or more, got {getattr(self, name)}")
        for name in ("num_hidden_layers", "type_vocab_size", "chunk_size_feed_forward", "layer_norm_eps", "initializer_range"):
            if getattr(self, name) < 0:
                raise InputError(f"config: {name} takes 0 or more, got {getattr(self, name)}")
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise InputError(f"config: {name} takes a probability from 0 to 1, got {getattr(self, name)}")
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"config: hidden_size {self.hidden_size} cannot be divided among num_attention_heads {self.num_attention_heads}"
            )
        for name in ("hidden_act", "pooler_act"):
            activation = getattr(self, name)
            if not callable(activation) and not (isinstance(activation, str) and activation in ACTIVATIONS):
                raise InputError(
                    f"config: unknown {name} {shown(activation)}; known are {', '.join(ACTIVATIONS)}, or a callable"
                )
        if not SMALLEST_FLOAT32 <= self.mask_value <= 0:
            raise InputError(f"config: mask_value takes {SMALLEST_FLOAT32} to 0, got {self.mask_value}")
        if self.position_embedding_type not in POSITION_TYPES:
            raise InputError(
                f"config: position_embedding_type takes {', '.join(POSITION_TYPES)}, got {shown(self.position_embedding_type)}"
            )
        if self.problem_type is not None and self.problem_type not in PROBLEM_TYPES:
            raise InputError(f"config: problem_type takes {', '.join(PROBLEM_TYPES)} or None, got {shown(self.problem_type)}")
        if self.add_cross_attention and not self.is_decoder:
            raise InputError("config: add_cross_attention belongs to decoders; set is_decoder=True as well")
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(f"config: pad_token_id takes 0 to {self.vocab_size - 1}, got {self.pad_token_id}")
        for layer, heads in self.pruned_heads.items():
            if not 0 <= layer < self.num_hidden_layers:
                raise InputError(f"config: pruned_heads names layer {layer}, the model has {self.num_hidden_layers}")
            if not is_list_of(heads, int) or not all(0 <= head < self.num_attention_heads for head in heads):
                raise InputError(
                    f"config: pruned_heads takes lists of heads, 0 to {self.num_attention_heads - 1}, got {shown(heads)}"
                )


def fields_of_the_reference(fields: Mapping[str, Any], path: StrPath) -> dict[str, Any]:
    """A file's fields without those of `OWN_FIELDS` that a BERT's file cannot set: they would change the results."""
    kept = dict(fields)
    for name in OWN_FIELDS if fields.get("model_type", "bert") == "bert" else ():
        default = getattr(BertConfig, name)
        if name in kept and (value := kept.pop(name)) != default:
            warn(
                f"{path}: {name} {shown(value)} is ignored, because every other program computes a BERT without it; "
                f"{name}=... when loading sets it"
            )
    return kept


def _check_number_of_labels(number: Any) -> None:
    if not is_whole_number(number) or number < 0:
        raise InputTypeError(f"num_labels: takes a number of labels, got {shown(number)}")


def _label(index: int, label: Any) -> str:
    """The name of a label as a text; files have numbers and null too."""
    if isinstance(label, Mapping | list):
        raise InputTypeError(f"config: id2label takes texts, got {shown(label)} for {index}")
    return f"LABEL_{index}" if label is None else str(label)


def _integer_keys(name: str, mapping: Mapping[Any, Any] | None) -> dict[int, Any]:
    """JSON has no integer keys; give them back."""
    result: dict[int, Any] = {}
    for key, value in _items(name, mapping):
        if not is_whole_number(key) and not (isinstance(key, str) and re.fullmatch(r"-?\d{1,18}", key, re.ASCII)):
            raise InputTypeError(f"config: {name} takes a mapping from numbers, got the key {shown(key)}")
        if int(key) in result:
            raise InputError(f"config: {name} has the key {int(key)} twice")
        result[int(key)] = value
    return result


def _items(name: str, mapping: Any) -> Iterable[tuple[Any, Any]]:
    if mapping is not None and not isinstance(mapping, Mapping):
        raise InputTypeError(f"config: {name} takes a mapping from numbers, got {shown(mapping)}")
    return (mapping or {}).items()
