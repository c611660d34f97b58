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


class Changeable:
    """The part of `PreTrainedModel` that is about changing a finished model."""

    config: Any
    weights: Any

    def get_input_embeddings(self) -> Array:
        """The word table `[V, D]`."""
        return self.weights[word_table(self)]

    def get_output_embeddings(self) -> Array | None:
        """The table `[V, D]` that a language model compares its hidden states with; None in other models."""
        name = output_table(self)
        return None if name is None else self.weights[name]

    def set_output_embeddings(self, table: Any) -> None:
        """Replace the table that hidden states are compared with by another of the same shape, and a word table tied to it."""
        name = output_table(self)
        if name is None:
            raise InputError(f"set_output_embeddings: a {type(self).__name__} has no such table")
        _replace_table(self, name, table)

    def set_input_embeddings(self, table: Any) -> None:
        """Replace the word table by another of the same shape, and with it a decoder that is tied to it."""
        _replace_table(self, word_table(self), table)

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
        *,
        rng: Rng = None,
    ) -> Array:
        """Cut the vocabulary or make it longer, everywhere it occurs: word table, decoder and the decoder's bias.

        New rows begin as the mean of the old ones, so that new tokens start out neither likely nor unlikely, or with
        `mean_resizing=False` as those of a new model, drawn from `rng`. Returns the new table. With `pad_to_multiple_of` its
        length is the next multiple of that.
        """
        if new_num_tokens is None and pad_to_multiple_of is None:
            return self.get_input_embeddings()
        checks.generator("rng", rng)
        if checks.boolean("mean_resizing", mean_resizing) and rng is not None:
            raise InputError("rng: draws new rows, which takes mean_resizing=False")
        number = self.config.vocab_size if new_num_tokens is None else new_num_tokens
        if not isinstance(number, int | np.integer) or isinstance(number, bool):
            raise InputTypeError(f"new_num_tokens: takes a whole number, got {number!r}")
        if pad_to_multiple_of is not None:
            multiple = checks.whole_number("pad_to_multiple_of", pad_to_multiple_of, least=1)
            number = -(-number // multiple) * multiple
        changed = copy.deepcopy(self.config)
        changed.vocab_size = int(number)
        changed.validate()
        if not mean_resizing and rng is None:
            rng = np.random.default_rng()
        self.weights.replace(_with_vocabulary(self, changed.vocab_size, rng))
        self.config.vocab_size = changed.vocab_size
        return self.get_input_embeddings()

    def get_position_embeddings(self) -> Array:
        """The table of positions, `[max_position_embeddings, D]`."""
        table: Array = self.weights[position_table(self)]
        return table

    def resize_position_embeddings(self, new_num_position_embeddings: int, *, rng: Rng = None) -> None:
        """Take positions away at the end, or add some, which start at random (drawn from `rng`) and have to be learned.

        Where a DistilBERT's positions are sines and cosines (`sinusoidal_pos_embds`), the new ones go on as these do.
        """
        number = checks.whole_number("new_num_position_embeddings", new_num_position_embeddings, least=1)
        checks.generator("rng", rng)
        if self.config.position_embedding_type != "absolute":
            raise InputError(
                "resize_position_embeddings: relative positions have a table of distances in every layer, of one length"
            )
        rows = self.get_position_embeddings()[:number]  # [max_position_embeddings, D]
        new = np.arange(len(rows), number)
        if getattr(self.config, "sinusoidal_pos_embds", False):
            added = _sines_and_cosines(new, rows.shape[1])
        else:
            rng = np.random.default_rng() if rng is None else rng
            added = rng.normal(0, self.config.initializer_range, (len(new), rows.shape[1]))
        table = np.concatenate([rows, added.astype(rows.dtype)])
        self.weights.replace({position_table(self): table})
        self.config.max_position_embeddings = number

    def prune_heads(self, heads_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Cut heads out of the self-attention of some layers: `{layer: [heads]}`, numbered as in the unpruned model.

        The model then computes with the smaller matrices. Heads that are gone already may be named again.
        """
        if not isinstance(heads_to_prune, Mapping):
            raise InputTypeError(f"heads_to_prune: takes {{layer: [heads]}}, got {heads_to_prune!r}")
        changed = copy.deepcopy(self.config)
        layers = [int(checks.integers("heads_to_prune", layer, 0)) for layer in heads_to_prune]
        for layer, pruned in zip(layers, heads_to_prune.values(), strict=True):
            heads = checks.integers(f"heads_to_prune[{layer!r}]", [*pruned] if isinstance(pruned, set) else pruned, 1)
            changed.pruned_heads[layer] = sorted({*changed.pruned_heads.get(layer, ()), *heads.tolist()})
        changed.validate()  # from here on no layer is counted from the end
        for layer in changed.pruned_heads:
            before = [h for h in range(changed.num_attention_heads) if h not in self.config.pruned_heads.get(layer, ())]
            stays = np.array([h not in changed.pruned_heads[layer] for h in before], bool).repeat(changed.head_size)  # [N*H]
            if not stays.all():
                self.weights.replace(self.without_heads(layer, stays))
        self.config.pruned_heads = changed.pruned_heads

    def without_heads(self, layer: int, stays: Array) -> dict[str, Array]:
        """The weights of a layer's self-attention without some heads; `stays` says which of its N*H numbers stay."""
        raise NotImplementedError


def word_table(model: Any) -> str:
    """The name of the word table."""
    return join(model.base_model_prefix, model.word_table)


def position_table(model: Any) -> str:
    """The name of the table of positions."""
    return join(model.base_model_prefix, model.position_table)


def output_table(model: Any) -> str | None:
    """The name of the table that a language model compares hidden states with; None in other models."""
    return next((name for name in (DECODER, LM_HEAD) if name in model.weights), None)


def _replace_table(model: Any, name: str, table: Any) -> None:
    old = model.weights[name]
    model.weights.replace({name: checks.with_shape("table", checks.numbers("table", table, old.dtype), old.shape)})


def _with_vocabulary(model: Any, number: int, rng: Rng) -> dict[str, Array]:
    """Whatever has a row for each word, with `number` rows. New ones are drawn from `rng`, or the mean of the old ones."""
    resized, expected = {}, model.expected_parameters()
    for name in (word_table(model), DECODER, DECODER_BIAS, LM_HEAD):
        if name in expected:
            rows = model.weights[name][:number]  # [V, D] or [V]
            shape = (number - len(rows), *rows.shape[1:])
            added = np.broadcast_to(rows.mean(axis=0), shape)
            if rng is not None:
                like = Parameter(shape, expected[name].starts_as, expected[name].scale)
                added = initialize({name: like}, rng, rows.dtype, std=model.config.initializer_range)[name]
            resized[name] = np.concatenate([rows, added])
    return resized


def _sines_and_cosines(positions: Array, size: int) -> Array:
    """Vaswani et al. 2017, section 3.5: `[positions, D]`, sines in the even columns and cosines in the odd ones."""
    column = np.arange(size)
    angles = positions[:, None] / 10000 ** (2 * (column // 2) / size)
    return np.where(column % 2 == 0, np.sin(angles), np.cos(angles))
