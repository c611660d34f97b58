"""Changing a finished model: other word tables, another vocabulary, fewer heads."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from npbert import checks
from npbert.errors import InputError, InputTypeError
from npbert.types import Array, Rng
from npbert.weights import Parameter, initialize, join

DECODER = "cls.predictions.decoder.weight"
DECODER_BIAS = "cls.predictions.bias"
LM_HEAD = "lm_head.weight"


def word_table(model: Any) -> str:
    """The name of the word table."""
    return join(model.base_model_prefix, model.word_table)


def output_table(model: Any) -> str | None:
    """The name of the table that a language model compares hidden states with; None in other models."""
    return next((name for name in (DECODER, LM_HEAD) if name in model.weights), None)


def set_input_embeddings(model: Any, table: Any) -> None:
    """The work behind `model.set_input_embeddings`; see there."""
    _replace_table(model, word_table(model), table)


def set_output_embeddings(model: Any, table: Any) -> None:
    """The work behind `model.set_output_embeddings`; see there."""
    name = output_table(model)
    if name is None:
        raise InputError(f"set_output_embeddings: a {type(model).__name__} has no such table")
    _replace_table(model, name, table)


def _replace_table(model: Any, name: str, table: Any) -> None:
    old = model.weights[name]
    model.weights.replace({name: checks.with_shape("table", checks.numbers("table", table, old.dtype), old.shape)})


def resize_token_embeddings(model: Any, new_num_tokens: Any, pad_to_multiple_of: Any, mean_resizing: Any, rng: Rng) -> None:
    """The work behind `model.resize_token_embeddings`; see there."""
    if new_num_tokens is None:
        new_num_tokens = model.config.vocab_size
    if not isinstance(new_num_tokens, int | np.integer) or isinstance(new_num_tokens, bool):
        raise InputTypeError(f"new_num_tokens: takes a whole number, got {new_num_tokens!r}")
    if pad_to_multiple_of is not None:
        multiple = checks.whole_number("pad_to_multiple_of", pad_to_multiple_of, least=1)
        new_num_tokens = -(-new_num_tokens // multiple) * multiple
    takes_mean = checks.boolean("mean_resizing", mean_resizing)
    checks.generator("rng", rng)
    if takes_mean and rng is not None:
        raise InputError("rng: draws new rows, which takes mean_resizing=False")
    rng = np.random.default_rng() if rng is None else rng
    changed = copy.deepcopy(model.config)
    changed.vocab_size = int(new_num_tokens)
    changed.validate()
    expected, parameters = model.expected_parameters(), dict(model.named_parameters())
    resized = {}
    for name in (word_table(model), DECODER, DECODER_BIAS, LM_HEAD):
        if name in parameters:
            rows = parameters[name][:new_num_tokens]  # [V, D] or [V]
            shape = (new_num_tokens - len(rows), *rows.shape[1:])
            if takes_mean:
                added = np.broadcast_to(rows.mean(axis=0), shape)
            else:
                like = Parameter(shape, expected[name].starts_as, expected[name].scale)
                added = initialize({name: like}, rng, rows.dtype, std=model.config.initializer_range)[name]
            resized[name] = np.concatenate([rows, added])
    model.weights.replace(resized)
    model.config.vocab_size = changed.vocab_size


def position_table(model: Any) -> Array:
    """The table of positions."""
    table: Array = model.weights[join(model.base_model_prefix, model.position_table)]
    return table


def resize_position_embeddings(model: Any, number: Any, rng: Rng) -> None:
    """The work behind `model.resize_position_embeddings`; see there."""
    number = checks.whole_number("new_num_position_embeddings", number, least=1)
    checks.generator("rng", rng)
    if model.config.position_embedding_type != "absolute":
        raise InputError(
            "resize_position_embeddings: relative positions have a table of distances in every layer, of one length"
        )
    rows = position_table(model)[:number]  # [max_position_embeddings, D]
    new = np.arange(len(rows), number)
    if getattr(model.config, "sinusoidal_pos_embds", False):
        added = _sines_and_cosines(new, rows.shape[1])
    else:
        rng = np.random.default_rng() if rng is None else rng
        added = rng.normal(0, model.config.initializer_range, (len(new), rows.shape[1]))
    table = np.concatenate([rows, added.astype(rows.dtype)])
    model.weights.replace({join(model.base_model_prefix, model.position_table): table})
    model.config.max_position_embeddings = number


def _sines_and_cosines(positions: Array, size: int) -> Array:
    """Vaswani et al. 2017, section 3.5: `[positions, D]`, sines in the even columns and cosines in the odd ones."""
    column = np.arange(size)
    angles = positions[:, None] / 10000 ** (2 * (column // 2) / size)
    return np.where(column % 2 == 0, np.sin(angles), np.cos(angles))


def prune_heads(model: Any, heads_to_prune: Mapping[int, Iterable[int]]) -> None:
    """The work behind `model.prune_heads`; see there."""
    if not isinstance(heads_to_prune, Mapping):
        raise InputTypeError(f"heads_to_prune: takes {{layer: [heads]}}, got {heads_to_prune!r}")
    changed = copy.deepcopy(model.config)
    layers = [int(checks.integers("heads_to_prune", layer, 0)) for layer in heads_to_prune]
    for layer, pruned in zip(layers, heads_to_prune.values(), strict=True):
        heads = checks.integers(f"heads_to_prune[{layer!r}]", [*pruned] if isinstance(pruned, set) else pruned, 1)
        changed.pruned_heads[layer] = sorted({*changed.pruned_heads.get(layer, ()), *heads.tolist()})
    changed.validate()  # from here on no layer is counted from the end
    for layer in changed.pruned_heads:
        before = [h for h in range(changed.num_attention_heads) if h not in model.config.pruned_heads.get(layer, ())]
        stays = np.array([h not in changed.pruned_heads[layer] for h in before], bool).repeat(changed.head_size)  # [N*H]
        if not stays.all():
            model.weights.replace(model.without_heads(layer, stays))
    model.config.pruned_heads = changed.pruned_heads
