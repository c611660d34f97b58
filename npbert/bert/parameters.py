"""The parameters of every model: names, shapes and how they begin.

The names are the checkpoint's. A model is the sum of its parts, so each part's parameters are listed by one function and
the models add them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from npbert.bert.config import BertConfig
from npbert.types import Array


@dataclass(frozen=True)
class Parameter:
    """A parameter's shape and its first values: "normal", "zeros" or "ones"."""

    shape: tuple[int, ...]
    starts_as: str
    zero_row: int | None = None  # the padding token's row in the word table


Parameters: TypeAlias = dict[str, Parameter]


def linear(name: str, size_out: int, size_in: int) -> Parameters:
    """`weight [out, in]`, applied as `x @ weight.T + bias`."""
    return {f"{name}.weight": Parameter((size_out, size_in), "normal"), f"{name}.bias": Parameter((size_out,), "zeros")}


def layer_norm(name: str, size: int) -> Parameters:
    """Scale and shift; they begin as no change at all."""
    return {f"{name}.weight": Parameter((size,), "ones"), f"{name}.bias": Parameter((size,), "zeros")}


def embeddings(config: BertConfig) -> Parameters:
    """The three tables and their LayerNorm."""
    size = config.hidden_size
    tables = {
        "embeddings.word_embeddings.weight": Parameter((config.vocab_size, size), "normal", zero_row=config.pad_token_id),
        "embeddings.position_embeddings.weight": Parameter((config.max_position_embeddings, size), "normal"),
    }
    if config.type_vocab_size:
        tables["embeddings.token_type_embeddings.weight"] = Parameter((config.type_vocab_size, size), "normal")
    return tables | layer_norm("embeddings.LayerNorm", size)


def attention(name: str, config: BertConfig, *, num_heads: int, relative: bool) -> Parameters:
    """Query, key and value, the distance table of relative positions, and the output block."""
    inner = num_heads * config.head_size
    parameters: Parameters = {}
    for part in ("query", "key", "value"):
        parameters |= linear(f"{name}.self.{part}", inner, config.hidden_size)
    if relative:
        distances = 2 * config.max_position_embeddings - 1
        parameters[f"{name}.self.distance_embedding.weight"] = Parameter((distances, config.head_size), "normal")
    parameters |= linear(f"{name}.output.dense", config.hidden_size, inner)
    return parameters | layer_norm(f"{name}.output.LayerNorm", config.hidden_size)


def encoder(config: BertConfig) -> Parameters:
    """All layers."""
    parameters: Parameters = {}
    relative = config.position_embedding_type != "absolute"
    for index in range(config.num_hidden_layers):
        layer = f"encoder.layer.{index}"
        parameters |= attention(f"{layer}.attention", config, num_heads=config.num_heads(index), relative=relative)
        if config.add_cross_attention:
            parameters |= attention(f"{layer}.crossattention", config, num_heads=config.num_attention_heads, relative=False)
        parameters |= linear(f"{layer}.intermediate.dense", config.intermediate_size, config.hidden_size)
        parameters |= linear(f"{layer}.output.dense", config.hidden_size, config.intermediate_size)
        parameters |= layer_norm(f"{layer}.output.LayerNorm", config.hidden_size)
    return parameters


def base(config: BertConfig, *, pooler: bool) -> Parameters:
    """`BertModel`."""
    parameters = embeddings(config) | encoder(config)
    if pooler:
        parameters |= linear("pooler.dense", config.hidden_size, config.hidden_size)
    return parameters


def language_model_head(config: BertConfig) -> Parameters:
    """`cls.predictions`. The decoder's bias stands in checkpoints under two names; `cls.predictions.bias` is the first."""
    return (
        {"cls.predictions.bias": Parameter((config.vocab_size,), "zeros")}
        | linear("cls.predictions.transform.dense", config.hidden_size, config.hidden_size)
        | layer_norm("cls.predictions.transform.LayerNorm", config.hidden_size)
        | {"cls.predictions.decoder.weight": Parameter((config.vocab_size, config.hidden_size), "normal")}
    )


def initialize(
    parameters: Mapping[str, Parameter], rng: np.random.Generator, dtype: DTypeLike, *, std: float
) -> dict[str, Array]:
    """First values for a model that is trained from the start, as the paper has them: normal weights, zero biases.

    `std` is the configuration's `initializer_range`.
    """

    def first_values(parameter: Parameter) -> Array:
        if parameter.starts_as == "zeros":
            return np.zeros(parameter.shape, dtype)
        if parameter.starts_as == "ones":
            return np.ones(parameter.shape, dtype)
        values = rng.normal(0.0, std, parameter.shape).astype(dtype)
        if parameter.zero_row is not None:
            values[parameter.zero_row] = 0
        return values

    return {name: first_values(parameter) for name, parameter in parameters.items()}
