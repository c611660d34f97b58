"""The architecture of BERT: one function for each module of the reference.

Read it from the bottom (`bert`) or from the top (`embeddings`); the mathematics is in `npbert.ops`, whose legend of
dimensions holds here too; E is the length of an encoder's output that a decoder reads. Every function takes

    w        the weights of its module, under their names in the checkpoint, relative to the module
    config   the configuration
    rng      a generator: dropout happens when there is one

and hands every value that has a name to `keep`, which lets a trace see it.

Devlin et al. 2018, "BERT: Pre-training of deep bidirectional transformers for language understanding".
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from npbert import ops
from npbert.bert.config import BertConfig
from npbert.ops import Array, masks
from npbert.tracing import is_observed, keep
from npbert.types import Rng
from npbert.weights import Weights

KeyValue: TypeAlias = tuple[Array, Array]
"""The keys and values of one attention, [B, N, T, H] each."""
LayerCache: TypeAlias = tuple[Array, ...]
"""(key, value) of a layer's self-attention; behind them, in decoders that read an encoder, (cross_key, cross_value)."""


# ------------------------------------------------------------------------------------------ operations with named weights


def embedding(w: Weights, name: str, ids: Array) -> Array:
    """Look ids up in the table `name`."""
    return keep(w, name, ops.embedding(ids, w[f"{name}.weight"]))


def linear(w: Weights, name: str, x: Array) -> Array:
    """Apply the linear map `name`."""
    return keep(w, name, ops.linear(x, w[f"{name}.weight"], w[f"{name}.bias"]))


def layer_norm(w: Weights, config: BertConfig, x: Array) -> Array:
    """Apply the module's LayerNorm."""
    return keep(w, "LayerNorm", ops.layer_norm(x, w["LayerNorm.weight"], w["LayerNorm.bias"], eps=config.layer_norm_eps))


def dropout(w: Weights, x: Array, probability: float, rng: Rng) -> Array:
    """Apply the module's dropout."""
    return keep(w, "dropout", ops.dropout(x, probability, rng))


# ------------------------------------------------------------------------------------------------------------ the modules


def embeddings(
    w: Weights,
    config: BertConfig,
    *,
    input_ids: Array | None,
    inputs_embeds: Array | None,
    token_type_ids: Array,
    position_ids: Array,
    rng: Rng = None,
) -> Array:
    """What each token is, plus which sentence it belongs to, plus where it stands; then LayerNorm.

    Relative position types leave the position table out: there, attention knows about distances.
    """
    if inputs_embeds is None:
        assert input_ids is not None
        inputs_embeds = embedding(w, "word_embeddings", input_ids)
    x = inputs_embeds  # [B, S, D]
    if config.type_vocab_size:
        x = x + embedding(w, "token_type_embeddings", token_type_ids)
    if config.position_embedding_type == "absolute":
        x = x + embedding(w, "position_embeddings", position_ids)
    x = keep(w, ":sum", x)
    x = layer_norm(w, config, x)
    return keep(w, "", dropout(w, x, config.hidden_dropout_prob, rng))  # [B, S, D]


def self_attention(
    w: Weights,
    config: BertConfig,
    hidden: Array,
    source: Array | None,
    *,
    mask: Array,
    head_mask: Array | None = None,
    past: KeyValue | None = None,
    rng: Rng = None,
) -> tuple[Array, Array, KeyValue]:
    """Every position asks a question (query); each position of the source answers by how well it fits (key) with what it
    holds (value). Four cases:

        self                 source is `hidden` itself
        self with a cache    the same; its keys and values are appended to those of the positions before, in `past`
        cross                source is the encoder's output
        cross with a cache   source is None: the stored keys and values serve again, since the encoder's output does not change

    Returns the context `[B, S, N*H]`, the probabilities `[B, N, S, T]` and the keys and values for the cache.
    """
    query = ops.split_heads(linear(w, "query", hidden), config.head_size)  # [B, N, S, H]
    if source is None:
        assert past is not None
        key, value = past  # [B, N, E, H]
    else:
        key = ops.split_heads(linear(w, "key", source), config.head_size)  # [B, N, T - P, H]
        value = ops.split_heads(linear(w, "value", source), config.head_size)
        if past is not None:
            key = np.concatenate([past[0], key], axis=2)  # [B, N, T, H]
            value = np.concatenate([past[1], value], axis=2)
    query, key, value = keep(w, ":query", query), keep(w, ":key", key), keep(w, ":value", value)

    scores = keep(w, ":scores", ops.attention_scores(query, key))  # [B, N, S, T]
    if config.position_embedding_type != "absolute" and source is hidden:  # between two sequences there is no distance
        table = w["distance_embedding.weight"]  # [2M - 1, H]
        distances = keep(w, "distance_embedding", ops.relative_distances(table, query.shape[2], key.shape[2]))  # [S, T, H]
        relative = ops.relative_query_scores(query, distances)  # [B, N, S, T]
        if config.position_embedding_type == "relative_key_query":
            relative = relative + ops.relative_key_scores(key, distances)
        scores = scores + keep(w, ":relative_scores", relative)
    scores = keep(w, ":masked_scores", ops.scale_and_mask(scores, config.head_size, mask))
    probs = dropout(w, ops.softmax(scores), config.attention_probs_dropout_prob, rng)  # [B, N, S, T]
    if head_mask is not None:
        probs = probs * head_mask
    probs = keep(w, ":probs", probs)
    context = keep(w, "", ops.merge_heads(probs @ value))  # [B, S, N*H]
    return context, probs, (key, value)


def add_and_norm(w: Weights, config: BertConfig, x: Array, residual: Array, *, rng: Rng = None) -> Array:
    """`LayerNorm(dropout(dense(x)) + residual)`: how each block hands its result on. The reference's `...Output` modules."""
    x = dropout(w, linear(w, "dense", x), config.hidden_dropout_prob, rng)  # [B, S, D]
    x = keep(w, ":residual", x + residual)
    return keep(w, "", layer_norm(w, config, x))  # [B, S, D]


def attention(
    w: Weights,
    config: BertConfig,
    hidden: Array,
    source: Array | None,
    *,
    mask: Array,
    head_mask: Array | None = None,
    past: KeyValue | None = None,
    rng: Rng = None,
) -> tuple[Array, Array, KeyValue]:
    """Attention with its output block. Returns the new hidden states `[B, S, D]`, the probabilities and the cache."""
    context, probs, cache = self_attention(
        w.scope("self"), config, hidden, source, mask=mask, head_mask=head_mask, past=past, rng=rng
    )
    hidden = add_and_norm(w.scope("output"), config, context, hidden, rng=rng)
    return keep(w, "", hidden), probs, cache


def intermediate(w: Weights, config: BertConfig, hidden: Array) -> Array:
    """The wide half of the feed-forward: `activation(dense(x))`."""
    x = config.activation(linear(w, "dense", hidden))  # [B, S, F]
    return keep(w, "", keep(w, "intermediate_act_fn", x))


def feed_forward(w: Weights, config: BertConfig, hidden: Array, *, rng: Rng = None) -> Array:
    """Each position for itself: D -> F, activation, F -> D, residual, LayerNorm.

    `chunk_size_feed_forward` positions at a time, so that the wide array need not exist for the whole sequence. A trace
    keeps that array whole, so under a trace there is nothing to save.
    """

    def one_chunk(x: Array) -> Array:
        return add_and_norm(w.scope("output"), config, intermediate(w.scope("intermediate"), config, x), x, rng=rng)

    chunk_size = 0 if is_observed() else config.chunk_size_feed_forward
    return ops.apply_in_chunks(one_chunk, hidden, chunk_size, axis=1)  # [B, S, D]


def layer(
    w: Weights,
    config: BertConfig,
    hidden: Array,
    *,
    mask: Array,
    head_mask: Array | None = None,
    encoder_hidden: Array | None = None,
    encoder_mask: Array | None = None,
    past: LayerCache | None = None,
    rng: Rng = None,
) -> tuple[Array, Array, Array | None, LayerCache]:
    """Attention, then (in a decoder that reads an encoder) cross-attention, then the feed-forward.

    An encoder to read is there when its mask is. Returns the new hidden states, the probabilities of both attentions and
    the cache.
    """
    past_self = None if past is None else (past[0], past[1])
    past_cross = None if past is None or len(past) == 2 else (past[2], past[3])
    hidden, probs, cache = attention(
        w.scope("attention"), config, hidden, hidden, mask=mask, head_mask=head_mask, past=past_self, rng=rng
    )
    cross_probs = None
    cross_cache: LayerCache = ()
    if encoder_mask is not None:
        source = encoder_hidden if past_cross is None else None
        hidden, cross_probs, cross_cache = attention(
            w.scope("crossattention"), config, hidden, source, mask=encoder_mask, head_mask=head_mask, past=past_cross, rng=rng
        )
    hidden = keep(w, "", feed_forward(w, config, hidden, rng=rng))
    return hidden, probs, cross_probs, (*cache, *cross_cache)


class EncoderResult(NamedTuple):
    """What the layers put out; None is what was not asked for."""

    hidden: Array  # [B, S, D]
    cache: tuple[LayerCache, ...] | None  # L
    hidden_states: tuple[Array, ...] | None  # L + 1 of [B, S, D]
    attentions: tuple[Array, ...] | None  # L of [B, N, S, T]
    cross_attentions: tuple[Array, ...] | None  # L of [B, N, S, E]


def encoder(
    w: Weights,
    config: BertConfig,
    hidden: Array,
    *,
    mask: Array,
    head_mask: Array | None = None,
    encoder_hidden: Array | None = None,
    encoder_mask: Array | None = None,
    past: tuple[LayerCache, ...] | None = None,
    use_cache: bool = False,
    output_attentions: bool = False,
    output_hidden_states: bool = False,
    rng: Rng = None,
) -> EncoderResult:
    """The layers, one after the other. Only what is asked for outlives its layer."""
    states: list[Array] = [hidden] if output_hidden_states else []
    attentions: list[Array] = []
    cross_attentions: list[Array] = []
    caches: list[LayerCache] = []
    for index in range(config.num_hidden_layers):
        hidden, probs, cross_probs, cache = layer(
            w.scope(f"layer.{index}"),
            config,
            hidden,
            mask=mask,
            head_mask=None if head_mask is None else head_mask[index],
            encoder_hidden=encoder_hidden,
            encoder_mask=encoder_mask,
            past=None if past is None else past[index],
            rng=rng,
        )
        if output_hidden_states:
            states.append(hidden)
        if output_attentions:
            attentions.append(probs)
            if cross_probs is not None:
                cross_attentions.append(cross_probs)
        if use_cache:
            caches.append(cache)
        del probs, cross_probs, cache  # else they would live through the next layer
    hidden = keep(w, "", hidden)
    return EncoderResult(
        hidden,
        cache=tuple(caches) if use_cache else None,
        hidden_states=tuple(states) if output_hidden_states else None,
        attentions=tuple(attentions) if output_attentions else None,
        cross_attentions=tuple(cross_attentions) if cross_attentions else None,
    )


def pooler(w: Weights, config: BertConfig, hidden: Array) -> Array:
    """One vector for the whole sequence: the first token's ([CLS]), through a linear map and tanh."""
    x = linear(w, "dense", hidden[:, 0])  # [B, D]
    x = keep(w, "activation", ops.ACTIVATIONS[config.pooler_act](x))
    return keep(w, "", x)


def bert(
    w: Weights,
    config: BertConfig,
    *,
    input_ids: Array | None = None,
    inputs_embeds: Array | None = None,
    attention_mask: Array | None = None,
    token_type_ids: Array | None = None,
    position_ids: Array | None = None,
    head_mask: Array | None = None,
    encoder_hidden: Array | None = None,
    encoder_attention_mask: Array | None = None,
    past: tuple[LayerCache, ...] | None = None,
    use_cache: bool = False,
    output_attentions: bool = False,
    output_hidden_states: bool = False,
    rng: Rng = None,
) -> tuple[EncoderResult, Array | None]:
    """The whole model: masks, embeddings, layers and, where the checkpoint has one, the pooler.

    What is left out is filled in: positions count on from the cache, all tokens are of the first type, all may be seen.
    """
    tokens = input_ids if input_ids is not None else inputs_embeds
    assert tokens is not None
    batch, length = tokens.shape[:2]  # B, S
    past_length = 0 if not past else past[0][0].shape[2]  # P
    if position_ids is None:
        position_ids = np.arange(past_length, past_length + length)[None]  # [1, S]
    if token_type_ids is None:
        token_type_ids = np.zeros((batch, length), np.int64)
    if attention_mask is None:
        attention_mask = np.ones((batch, past_length + length), np.int64)  # [B, T]

    dtype = w["embeddings.LayerNorm.weight"].dtype
    mask = masks.additive(
        masks.self_attention(attention_mask, length, is_decoder=config.is_decoder), dtype, value=config.mask_value
    )  # [B, 1, S or 1, T]
    encoder_mask = None
    source = past[0][2] if past and len(past[0]) == 4 else encoder_hidden  # [B, N, E, H] stored, or [B, E, D]
    if source is not None:
        if encoder_attention_mask is None:
            encoder_attention_mask = np.ones((batch, source.shape[-2]), np.int64)  # [B, E]
        encoder_mask = masks.additive(masks.cross_attention(encoder_attention_mask), dtype, value=config.mask_value)

    hidden = embeddings(
        w.scope("embeddings"),
        config,
        input_ids=input_ids,
        inputs_embeds=inputs_embeds,
        token_type_ids=token_type_ids,
        position_ids=position_ids,
        rng=rng,
    )
    result = encoder(
        w.scope("encoder"),
        config,
        hidden,
        mask=mask,
        head_mask=None if head_mask is None else masks.heads(head_mask, config.num_hidden_layers, dtype),
        encoder_hidden=encoder_hidden,
        encoder_mask=encoder_mask,
        past=past,
        use_cache=use_cache,
        output_attentions=output_attentions,
        output_hidden_states=output_hidden_states,
        rng=rng,
    )
    pooled = pooler(w.scope("pooler"), config, result.hidden) if "pooler.dense.weight" in w else None
    return result, pooled
