"""The modules of BERT as classes, under the reference's names: `BertSelfAttention(config)` and its like.

Each is a piece of the architecture (`npbert.bert`) standing on its own: made from a configuration with random weights, called
with the reference's arguments on arrays, with `state_dict` and `load_state_dict` under the names that the reference gives.
Whoever has a whole model finds the same modules in it, with the model's weights: `model.encoder.layer[0].attention`. The heads
are in `heads.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from npbert import checks
from npbert.bert import heads
from npbert.bert.attention import add_and_norm, attention, self_attention
from npbert.bert.config import BertConfig
from npbert.bert.embeddings import embeddings
from npbert.bert.layer import EncoderResult, encoder, intermediate, layer
from npbert.bert.model import FUNCTIONS
from npbert.bert.parameters import base_parameters, language_model_head_parameters, linear_parameters
from npbert.bert.pooler import pooler
from npbert.errors import InputError
from npbert.models import outputs
from npbert.models.base import PreTrainedModel
from npbert.types import Array, Rng
from npbert.weights import Parameters


class Part(PreTrainedModel):
    """A part of the architecture on its own. Dropout happens exactly when a call is handed a generator, `rng=`."""

    config_class = BertConfig
    functions = FUNCTIONS | heads.FUNCTIONS
    path: ClassVar[str]  # where the part stands in a model; its weights' names begin there

    def __init__(
        self,
        config: BertConfig,
        position_embedding_type: str | None = None,
        layer_idx: int | None = None,
        *,
        weights: Mapping[str, Any] | None = None,
        rng: Rng = None,
    ) -> None:
        if position_embedding_type is not None:
            config = BertConfig.from_dict(config.to_dict(), position_embedding_type=position_embedding_type)
        super().__init__(config, weights, rng=rng)

    def expected_parameters(self) -> Parameters:
        every = (
            base_parameters(self.config, pooler=True)
            | language_model_head_parameters(self.config)
            | linear_parameters("cls.seq_relationship", 2, self.config.hidden_size)
        )
        start = f"{self.path}."
        found = {name.removeprefix(start): parameter for name, parameter in every.items() if name.startswith(start)}
        return {name: parameter for name, parameter in found.items() if name not in self.tied()}

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the module computes in."""
        return next(iter(self.weights.values())).dtype

    def states(self, name: str, x: Any) -> Array:
        """Hidden states `[B, S, D]`, or whatever else of numbers, in the module's own type."""
        return checks.numbers(name, x, self.dtype)

    def numbers_or_none(self, **given: Any) -> dict[str, Any]:
        """The arrays among optional arguments, in the module's own type."""
        return {name: None if x is None else self.states(name, x) for name, x in given.items()}


class BertEmbeddings(Part):
    """Words, types and positions, summed and normalized."""

    path = "embeddings"

    def __call__(
        self,
        input_ids: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        inputs_embeds: Any = None,
        past_key_values_length: int = 0,
        *,
        rng: Rng = None,
    ) -> Array:
        """The first hidden states `[B, S, D]`."""
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError("BertEmbeddings: takes either input_ids or inputs_embeds")
        config = self.config
        words = None if input_ids is None else checks.ids("input_ids", input_ids, config.vocab_size)
        types = None if token_type_ids is None else checks.ids("token_type_ids", token_type_ids, config.type_vocab_size)
        places = None if position_ids is None else checks.ids("position_ids", position_ids, config.max_position_embeddings)
        given = None if inputs_embeds is None else self.states("inputs_embeds", inputs_embeds)
        return embeddings(self.module(rng), words, types, places, given, past_key_values_length)


class BertSelfAttention(Part):
    """Queries, keys and values: `attention_mask` is added to the scores, `[B, 1, S or 1, T]`."""

    path = "encoder.layer.0.attention.self"

    def __call__(
        self,
        hidden_states: Any,
        attention_mask: Any = None,
        head_mask: Any = None,
        encoder_hidden_states: Any = None,
        past_key_values: Any = None,
        output_attentions: bool = False,
        *,
        rng: Rng = None,
    ) -> tuple[Array, Array]:
        """The context `[B, S, D]` and the probabilities `[B, N, S, T]`."""
        context, probs, _ = self_attention(
            self.module(rng),
            self.states("hidden_states", hidden_states),
            past=tuple(past_key_values or ()),
            **self.numbers_or_none(mask=attention_mask, head_mask=head_mask, source=encoder_hidden_states),
        )
        return context, probs

    def transpose_for_scores(self, x: Any) -> Array:
        """`[B, S, N*H]` -> `[B, N, S, H]`."""
        from npbert.ops import split_heads

        return split_heads(self.states("x", x), self.config.head_size)


class BertSelfOutput(Part):
    """Attention's output block: a linear map, the residual, LayerNorm."""

    path = "encoder.layer.0.attention.output"

    def __call__(self, hidden_states: Any, input_tensor: Any, *, rng: Rng = None) -> Array:
        """`LayerNorm(dropout(dense(hidden_states)) + input_tensor)`."""
        return add_and_norm(
            self.module(rng), self.states("hidden_states", hidden_states), self.states("input_tensor", input_tensor)
        )


class BertOutput(BertSelfOutput):
    """The feed-forward's output block: the same, from F back to D."""

    path = "encoder.layer.0.output"


class BertAttention(Part):
    """Self-attention with its output block."""

    path = "encoder.layer.0.attention"

    def __call__(
        self,
        hidden_states: Any,
        attention_mask: Any = None,
        head_mask: Any = None,
        encoder_hidden_states: Any = None,
        past_key_values: Any = None,
        output_attentions: bool = False,
        *,
        rng: Rng = None,
    ) -> tuple[Array, Array]:
        """The hidden states `[B, S, D]` and the probabilities `[B, N, S, T]`."""
        hidden, probs, _ = attention(
            self.module(rng),
            self.states("hidden_states", hidden_states),
            past=tuple(past_key_values or ()),
            **self.numbers_or_none(mask=attention_mask, head_mask=head_mask, source=encoder_hidden_states),
        )
        return hidden, probs


class BertIntermediate(Part):
    """The wide half of the feed-forward."""

    path = "encoder.layer.0.intermediate"

    def __call__(self, hidden_states: Any) -> Array:
        """`activation(dense(hidden_states))`, `[B, S, F]`."""
        return intermediate(self.module(), self.states("hidden_states", hidden_states))


class BertLayer(Part):
    """Attention and feed-forward; between them, in a decoder that reads an encoder, cross-attention."""

    path = "encoder.layer.0"

    def __call__(
        self,
        hidden_states: Any,
        attention_mask: Any = None,
        head_mask: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        past_key_values: Any = None,
        output_attentions: bool = False,
        *,
        rng: Rng = None,
    ) -> tuple[Array, ...]:
        """The hidden states `[B, S, D]`, the probabilities, and where there is cross-attention its probabilities."""
        result = layer(
            self.module(rng),
            self.states("hidden_states", hidden_states),
            past=tuple(past_key_values or ()),
            **self.numbers_or_none(
                mask=attention_mask,
                head_mask=head_mask,
                encoder_hidden=encoder_hidden_states,
                encoder_mask=encoder_attention_mask,
            ),
        )
        return (result.hidden, result.probs, *(() if result.cross_probs is None else (result.cross_probs,)))


class BertEncoder(Part):
    """All layers."""

    path = "encoder"

    def __call__(
        self,
        hidden_states: Any,
        attention_mask: Any = None,
        head_mask: Any = None,
        encoder_hidden_states: Any = None,
        encoder_attention_mask: Any = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        output_attentions: bool = False,
        output_hidden_states: bool = False,
        return_dict: bool = True,
        *,
        rng: Rng = None,
    ) -> Any:
        """The last hidden states, and what else is asked for."""
        result: EncoderResult = encoder(
            self.module(rng),
            self.states("hidden_states", hidden_states),
            head_mask=_of_each_layer(self.config, None if head_mask is None else self.states("head_mask", head_mask)),
            past=tuple(past_key_values or ()),
            use_cache=bool(use_cache),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            **self.numbers_or_none(
                mask=attention_mask, encoder_hidden=encoder_hidden_states, encoder_mask=encoder_attention_mask
            ),
        )
        named = outputs.BaseModelOutputWithPastAndCrossAttentions(
            result.hidden, result.cache, result.hidden_states, result.attentions, result.cross_attentions
        )
        return named if return_dict else named.to_tuple()


class BertPooler(Part):
    """One vector for a whole sequence."""

    path = "pooler"

    def __call__(self, hidden_states: Any) -> Array:
        """`[B, S, D]` -> `[B, D]`."""
        return pooler(self.module(), self.states("hidden_states", hidden_states))


def _of_each_layer(config: BertConfig, head_mask: Array | None) -> Array | None:
    """A head mask as the layers take it, `[L, N, 1, 1]` or with more axes; None entries mean all heads."""
    if head_mask is not None and head_mask.ndim <= 2:
        raise InputError(f"head_mask: takes [{config.num_hidden_layers}, 1, N, 1, 1]; model.get_head_mask makes it")
    return head_mask
