"""DistilBERT in BERT's words: the same forward pass with other names (Sanh et al. 2019, "DistilBERT, a distilled version of
BERT").

What differs from BERT, and how the configuration says it:

    no token types                               type_vocab_size 0
    no pooler, but classifiers of whole texts    the pooler is `pre_classifier`, pooler_act "relu"
      have a linear map and ReLU in its place
    the smallest float32 masks attention         mask_value
    LayerNorm's epsilon is fixed                 layer_norm_eps 1e-12

The masked language model's activation is `hidden_act`, as in BERT. Two differences are left, and show only when dropout
happens: DistilBERT has none between an attention's output and the residual, and one, `qa_dropout`, before `qa_outputs`.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from npbert.errors import InputError, shown, warn
from npbert.types import Array

# BERT's module, DistilBERT's module.
_IN_A_LAYER = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}
_HEADS = {
    "bert.pooler.dense": "pre_classifier",
    "cls.predictions.transform.dense": "vocab_transform",
    "cls.predictions.transform.LayerNorm": "vocab_layer_norm",
    "cls.predictions.decoder": "vocab_projector",
}
_BERT_IN_A_LAYER = {theirs: ours for ours, theirs in _IN_A_LAYER.items()}
_BERT_HEADS = {theirs: ours for ours, theirs in _HEADS.items()}

# BERT's field, DistilBERT's field, DistilBERT's default.
_FIELDS = (
    ("hidden_size", "dim", 768),
    ("num_hidden_layers", "n_layers", 6),
    ("num_attention_heads", "n_heads", 12),
    ("intermediate_size", "hidden_dim", 4 * 768),
    ("hidden_act", "activation", "gelu"),
    ("hidden_dropout_prob", "dropout", 0.1),
    ("attention_probs_dropout_prob", "attention_dropout", 0.1),
)
_UNDER_BOTH_NAMES = ("hidden_size", "num_hidden_layers", "num_attention_heads")  # in the reference, where BERT's name counts
_ALWAYS = {
    "type_vocab_size": 0,
    "pooler_act": "relu",
    "layer_norm_eps": 1e-12,
    "mask_value": float(np.finfo(np.float32).min),
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}


def arrays_from_distilbert(weights: Mapping[str, Array]) -> dict[str, Array]:
    """A DistilBERT checkpoint's weights under BERT's names; what is not DistilBERT's keeps its name."""
    given: dict[str, str] = {}
    for name in weights:
        if (other := given.setdefault(name_from_distilbert(name), name)) != name:
            raise InputError(f"weights: {shown(other)} and {shown(name)} are one weight under BERT's and DistilBERT's name")
    return {ours: weights[name] for ours, name in given.items()}


def arrays_to_distilbert(weights: Mapping[str, Array]) -> dict[str, Array]:
    """The inverse of `arrays_from_distilbert`."""
    return {name_to_distilbert(name): array for name, array in weights.items()}


def name_from_distilbert(name: str) -> str:
    """`distilbert.transformer.layer.0.attention.q_lin.weight` -> `bert.encoder.layer.0.attention.self.query.weight`."""
    prefix, name = _take_prefix(name, "distilbert.", "bert.")
    module, _, last = name.rpartition(".")
    if name == "vocab_projector.bias":
        return "cls.predictions.bias"
    if module in _BERT_HEADS:
        return f"{_BERT_HEADS[module]}.{last}"
    match = re.fullmatch(r"transformer\.layer\.(\d+)\.(.+)", module, re.ASCII)
    if match and match[2] in _BERT_IN_A_LAYER:
        return f"{prefix}encoder.layer.{match[1]}.{_BERT_IN_A_LAYER[match[2]]}.{last}"
    return prefix + name


def name_to_distilbert(name: str) -> str:
    """The inverse of `name_from_distilbert`."""
    module, _, last = name.rpartition(".")
    if name == "cls.predictions.bias":
        return "vocab_projector.bias"
    if module in _HEADS:
        return f"{_HEADS[module]}.{last}"
    prefix, module = _take_prefix(module, "bert.", "distilbert.")
    if module == "pooler.dense":  # as a base model has it
        return f"pre_classifier.{last}"
    match = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", module, re.ASCII)
    if match and match[2] in _IN_A_LAYER:
        return f"{prefix}transformer.layer.{match[1]}.{_IN_A_LAYER[match[2]]}.{last}"
    return f"{prefix}{module}.{last}" if module else prefix + last


def fields_from_distilbert(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a DistilBERT `config.json` as BERT's; those that mean the same or nothing to BERT are kept.

    DistilBERT's defaults are filled in, for they are not BERT's (it has 6 layers).
    """
    result = dict(fields)
    for ours, theirs, default in _FIELDS:
        value = result.pop(theirs, default)
        if theirs in fields and fields.get(ours, value) != value:
            counts = ours if ours in _UNDER_BOTH_NAMES else theirs
            warn(f"config: {ours} is {shown(fields[ours])} and {theirs} is {shown(value)}; {counts} counts")
        if ours not in fields or (theirs in fields and ours not in _UNDER_BOTH_NAMES):
            result[ours] = value
    architectures = result.get("architectures")
    if isinstance(architectures, list):
        result["architectures"] = [
            name.removeprefix("Distil") if isinstance(name, str) and name.startswith("DistilBert") else name
            for name in architectures
        ]
    of_tokens = architectures == ["DistilBertForTokenClassification"]  # its classifier drops like everything else
    result["classifier_dropout"] = None if of_tokens else result.pop("seq_classif_dropout", 0.2)
    return result | _ALWAYS | {"model_type": "distilbert"}


def fields_to_distilbert(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `fields_from_distilbert`."""
    result = {name: value for name, value in fields.items() if name not in _ALWAYS}
    for ours, theirs, default in _FIELDS:
        result[theirs] = result.pop(ours, default)
    dropout = result.pop("classifier_dropout", None)
    if dropout is not None:
        result["seq_classif_dropout"] = dropout
    architectures = result.get("architectures")
    if isinstance(architectures, list):
        result["architectures"] = [
            f"Distil{name}" if isinstance(name, str) and name.startswith("Bert") else name for name in architectures
        ]
    return result | {"model_type": "distilbert"}


def _take_prefix(name: str, old: str, new: str) -> tuple[str, str]:
    return (new, name.removeprefix(old)) if name.startswith(old) else ("", name)
