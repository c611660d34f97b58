"""The parameters of GPT-2: names, shapes and how they begin. The names are the checkpoint's."""

from __future__ import annotations

import math

from npbert.bert.parameters import layer_norm_parameters
from npbert.gpt2.config import GPT2Config
from npbert.weights import Parameter, Parameters


def conv1d_parameters(name: str, size_out: int, size_in: int, *, scale: float = 1.0) -> Parameters:
    """`weight [in, out]`, applied as `x @ weight + bias`."""
    weight = Parameter((size_in, size_out), "normal", scale=scale)
    return {f"{name}.weight": weight, f"{name}.bias": Parameter((size_out,), "zeros")}


def attention_parameters(name: str, config: GPT2Config, *, num_heads: int, cross: bool) -> Parameters:
    """One map for query, key and value at once; in cross-attention one for the query, and one for key and value."""
    size, inner = config.n_embd, num_heads * config.head_size
    parameters = conv1d_parameters(f"{name}.c_attn", (2 if cross else 3) * inner, size)
    if cross:
        parameters |= conv1d_parameters(f"{name}.q_attn", inner, size)
    return parameters | conv1d_parameters(f"{name}.c_proj", size, inner, scale=residual_scale(config))


def layer_parameters(name: str, config: GPT2Config, index: int) -> Parameters:
    """A layer: each block with the LayerNorm before it."""
    size, inner = config.n_embd, config.intermediate_size
    parameters = layer_norm_parameters(f"{name}.ln_1", size)
    parameters |= attention_parameters(f"{name}.attn", config, num_heads=config.num_heads(index), cross=False)
    parameters |= layer_norm_parameters(f"{name}.ln_2", size)
    if config.add_cross_attention:
        parameters |= attention_parameters(f"{name}.crossattention", config, num_heads=config.n_head, cross=True)
        parameters |= layer_norm_parameters(f"{name}.ln_cross_attn", size)
    parameters |= conv1d_parameters(f"{name}.mlp.c_fc", inner, size)
    return parameters | conv1d_parameters(f"{name}.mlp.c_proj", size, inner, scale=residual_scale(config))


def base_parameters(config: GPT2Config) -> Parameters:
    """`GPT2Model`: two tables, the layers, and one LayerNorm at the end."""
    parameters = {
        "wte.weight": Parameter((config.vocab_size, config.n_embd), "normal"),
        "wpe.weight": Parameter((config.n_positions, config.n_embd), "normal"),
    }
    for index in range(config.n_layer):
        parameters |= layer_parameters(f"h.{index}", config, index)
    return parameters | layer_norm_parameters("ln_f", config.n_embd)


def residual_scale(config: GPT2Config) -> float:
    """What makes the first weights of a block's last map smaller: 2 blocks a layer add to one sum, which shall not grow."""
    return 1 / math.sqrt(2 * config.n_layer)
