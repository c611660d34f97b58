"""The parameters of every model: names, shapes and how they begin.

The names are the checkpoint's. A model is the sum of its parts, so each part's parameters are listed by one function and
the models add them up.
"""

from __future__ import annotations

from npbert.bert.config import BertConfig
from npbert.weights import Parameter, Parameters


def linear_parameters(name: str, size_out: int, size_in: int) -> Parameters:
    """`weight [out, in]`, applied as `x @ weight.T + bias`."""
    return {f"{name}.weight": Parameter((size_out, size_in), "normal"), f"{name}.bias": Parameter((size_out,), "zeros")}


def layer_norm_parameters(name: str, size: int) -> Parameters:
    """Scale and shift; they begin as no change at all."""
    return {f"{name}.weight": Parameter((size,), "ones"), f"{name}.bias": Parameter((size,), "zeros")}


def embeddings_parameters(config: BertConfig) -> Parameters:
    """The three tables and their LayerNorm."""
    size = config.hidden_size
    tables = {
        "embeddings.word_embeddings.weight": Parameter((config.vocab_size, size), "normal", zero_row=config.pad_token_id),
        "embeddings.position_embeddings.weight": Parameter((config.max_position_embeddings, size), "normal"),
    }
    if config.type_vocab_size:
        tables["embeddings.token_type_embeddings.weight"] = Parameter((config.type_vocab_size, size), "normal")
    return tables | layer_norm_parameters("embeddings.LayerNorm", size)


def attention_parameters(name: str, config: BertConfig, *, num_heads: int, relative: bool) -> Parameters:
    """Query, key and value, the distance table of relative positions, and the output block."""
    inner = num_heads * config.head_size
    parameters: Parameters = {}
    for part in ("query", "key", "value"):
        parameters |= linear_parameters(f"{name}.self.{part}", inner, config.hidden_size)
    if relative:
        distances = 2 * config.max_position_embeddings - 1
        parameters[f"{name}.self.distance_embedding.weight"] = Parameter((distances, config.head_size), "normal")
    parameters |= linear_parameters(f"{name}.output.dense", config.hidden_size, inner)
    return parameters | layer_norm_parameters(f"{name}.output.LayerNorm", config.hidden_size)


def encoder_parameters(config: BertConfig) -> Parameters:
    """All layers."""
    parameters: Parameters = {}
    relative = config.position_embedding_type != "absolute"
    for index in range(config.num_hidden_layers):
        layer = f"encoder.layer.{index}"
        parameters |= attention_parameters(f"{layer}.attention", config, num_heads=config.num_heads(index), relative=relative)
        if config.add_cross_attention:
            every_head = config.num_attention_heads
            parameters |= attention_parameters(f"{layer}.crossattention", config, num_heads=every_head, relative=False)
        parameters |= linear_parameters(f"{layer}.intermediate.dense", config.intermediate_size, config.hidden_size)
        parameters |= linear_parameters(f"{layer}.output.dense", config.hidden_size, config.intermediate_size)
        parameters |= layer_norm_parameters(f"{layer}.output.LayerNorm", config.hidden_size)
    return parameters


def base_parameters(config: BertConfig, *, pooler: bool) -> Parameters:
    """`BertModel`."""
    parameters = embeddings_parameters(config) | encoder_parameters(config)
    if pooler:
        parameters |= linear_parameters("pooler.dense", config.hidden_size, config.hidden_size)
    return parameters


def language_model_head_parameters(config: BertConfig) -> Parameters:
    """`cls.predictions`. The decoder's bias stands in checkpoints under two names; `cls.predictions.bias` is the first."""
    return (
        {"cls.predictions.bias": Parameter((config.vocab_size,), "zeros")}
        | linear_parameters("cls.predictions.transform.dense", config.hidden_size, config.hidden_size)
        | layer_norm_parameters("cls.predictions.transform.LayerNorm", config.hidden_size)
        | {"cls.predictions.decoder.weight": Parameter((config.vocab_size, config.hidden_size), "normal")}
    )
