"""BertConfig: what has to be known about a checkpoint besides its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from npbert.configuration import PROBLEM_TYPES as PROBLEM_TYPES
from npbert.configuration import ModelConfiguration, same_field
from npbert.errors import InputError, shown, warn
from npbert.ops import ACTIVATIONS
from npbert.ops.masks import MASKED
from npbert.types import Array, StrPath

POSITION_TYPES = ("absolute", "relative_key", "relative_key_query")
SMALLEST_FLOAT32 = float(np.finfo(np.float32).min)
OWN_FIELDS = ("pooler_act", "mask_value")
"""Fields that only npbert has and that change what is computed. In the reference, BERT's pooler is tanh and its mask fixed."""


class BertConfig(ModelConfiguration):
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

    @classmethod
    def from_file_fields(cls, fields: Mapping[str, Any], path: StrPath) -> BertConfig:
        """The configuration that a file holds; what is wrong with it is the fault of the file at `path`."""
        return super().from_file_fields(fields_of_the_reference(fields, path), path)

    # Some of its fields in DistilBERT's words.
    dim = same_field("hidden_size")
    n_layers = same_field("num_hidden_layers")
    n_heads = same_field("num_attention_heads")
    hidden_dim = same_field("intermediate_size")
    dropout = same_field("hidden_dropout_prob")
    attention_dropout = same_field("attention_probs_dropout_prob")
    seq_classif_dropout = same_field("classifier_dropout")

    @property
    def activation(self) -> Callable[[Array], Array]:
        """The function behind `hidden_act`."""
        return ACTIVATIONS[self.hidden_act] if isinstance(self.hidden_act, str) else self.hidden_act

    @property
    def dropout_of_classifier(self) -> float:
        """What drops before a classifier: `classifier_dropout`, or `hidden_dropout_prob` where that is None."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout

    @property
    def is_causal(self) -> bool:
        """Whether a token sees only those before it."""
        return self.is_decoder

    def validate(self) -> None:
        """Refuse what no model can be built from. Models call this too, since fields may be set at any time."""
        super().validate()
        self._check_least(1, "vocab_size", "hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings")
        self._check_least(
            0, "num_hidden_layers", "type_vocab_size", "chunk_size_feed_forward", "layer_norm_eps", "initializer_range"
        )
        self._check_probabilities("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
        self._check_heads("hidden_size", "num_attention_heads")
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
        if self.add_cross_attention and not self.is_decoder:
            raise InputError("config: add_cross_attention belongs to decoders; set is_decoder=True as well")
        self._check_pad_token()


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
