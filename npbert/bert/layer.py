"""A layer, and the stack of them."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

from npbert.bert.attention import KeyValue, add_and_norm, add_and_norm_backward, attention, attention_backward
from npbert.module import Module
from npbert.types import Array

LayerCache: TypeAlias = tuple[Array, ...]
"""(key, value) of a layer's self-attention; behind them, in decoders that read an encoder, (cross_key, cross_value)."""


class LayerResult(NamedTuple):
    """What a layer puts out."""

    hidden: Array  # [B, S, D]
    probs: Array  # [B, N, S, T]
    cross_probs: Array | None  # [B, N, S, E]
    cache: LayerCache


def layer(
    m: Module,
    hidden: Array,
    *,
    mask: Array | None = None,
    head_mask: Array | None = None,
    encoder_hidden: Array | None = None,
    encoder_mask: Array | None = None,
    past: LayerCache = (),
) -> LayerResult:
    """Attention, then (in a decoder that reads an encoder) cross-attention, then the feed-forward."""
    past_self, past_cross = past[:2], past[2:]
    hidden, probs, cache = attention(m.attention, hidden, mask=mask, head_mask=head_mask, past=past_self)
    cross_probs: Array | None = None
    cross_cache: KeyValue = ()
    if encoder_hidden is not None or past_cross:
        hidden, cross_probs, cross_cache = attention(
            m.crossattention, hidden, source=encoder_hidden, stored=past_cross, mask=encoder_mask, head_mask=head_mask
        )
    return LayerResult(m.keep("", feed_forward(m, hidden)), probs, cross_probs, (*cache, *cross_cache))


def layer_backward(
    m: Module,
    dy: Array,
    hidden: Array,
    *,
    mask: Array | None = None,
    head_mask: Array | None = None,
    encoder_hidden: Array | None = None,
    encoder_mask: Array | None = None,
    past: LayerCache = (),
) -> tuple[Array, Array | None]:
    """The gradients by `hidden` and by `encoder_hidden`: the blocks of the layer, the last one first."""
    past_self, past_cross = past[:2], past[2:]
    reads_encoder = encoder_hidden is not None or bool(past_cross)
    attended = m.attention.kept("")  # [B, S, D]
    dx = feed_forward_backward(m, m.keep_gradient("", dy), m.crossattention.kept("") if reads_encoder else attended)
    dencoder: Array | None = None
    if reads_encoder:
        dx, dencoder = attention_backward(
            m.crossattention, dx, attended, source=encoder_hidden, stored=past_cross, head_mask=head_mask
        )
    dx, _ = attention_backward(m.attention, dx, hidden, head_mask=head_mask, past=past_self)
    return dx, dencoder


def feed_forward(m: Module, hidden: Array) -> Array:
    """Each position for itself: D -> F, activation, F -> D, residual, LayerNorm.

    `chunk_size_feed_forward` positions at a time, so that the wide array need not exist for the whole sequence.
    """

    def one_chunk(x: Array) -> Array:
        return add_and_norm(m.output, intermediate(m.intermediate, x), x)

    return m.in_chunks(one_chunk, hidden, m.config.chunk_size_feed_forward)  # [B, S, D]


def feed_forward_backward(m: Module, dy: Array, hidden: Array) -> Array:
    """The gradient by `hidden`, which goes two ways: through the wide array and past it."""
    dwide, dresidual = add_and_norm_backward(m.output, dy, m.intermediate.kept(""))
    return dresidual + intermediate_backward(m.intermediate, dwide, hidden)


def intermediate(m: Module, hidden: Array) -> Array:
    """The wide half of the feed-forward: `activation(dense(x))`."""
    return m.keep("", m.keep("intermediate_act_fn", m.config.activation(m.linear("dense", hidden))))  # [B, S, F]


def intermediate_backward(m: Module, dy: Array, hidden: Array) -> Array:
    """The gradient by `hidden`."""
    dy = m.keep_gradient("intermediate_act_fn", m.keep_gradient("", dy))
    return m.linear_backward("dense", m.activation_backward(m.config.activation, dy, m.kept("dense")), hidden)


class EncoderResult(NamedTuple):
    """What the layers put out; None is what was not asked for."""

    hidden: Array  # [B, S, D]
    cache: tuple[LayerCache, ...] | None = None  # L
    hidden_states: tuple[Array, ...] | None = None  # L + 1 of [B, S, D]
    attentions: tuple[Array, ...] | None = None  # L of [B, N, S, T]
    cross_attentions: tuple[Array, ...] | None = None  # L of [B, N, S, E]


def encoder(
    m: Module,
    hidden: Array,
    *,
    head_mask: Array | None = None,
    past: tuple[LayerCache, ...] = (),
    use_cache: bool = False,
    output_attentions: bool = False,
    output_hidden_states: bool = False,
    **options: Any,
) -> EncoderResult:
    """The layers, one after the other; `options` are those of `layer`. Only what is asked for outlives its layer."""
    states: list[Array] = [hidden] if output_hidden_states else []
    attentions: list[Array] = []
    cross_attentions: list[Array] = []
    caches: list[LayerCache] = []
    for index in range(m.config.num_hidden_layers):
        result = layer(
            m.layer[index],
            hidden,
            head_mask=None if head_mask is None else head_mask[index],
            past=past[index] if past else (),
            **options,
        )
        hidden = result.hidden
        if output_hidden_states:
            states.append(hidden)
        if output_attentions:
            attentions.append(result.probs)
            if result.cross_probs is not None:
                cross_attentions.append(result.cross_probs)
        if use_cache:
            caches.append(result.cache)
        del result  # else its probabilities would live through the next layer
    return EncoderResult(
        m.keep("", hidden),
        cache=tuple(caches) if use_cache else None,
        hidden_states=tuple(states) if output_hidden_states else None,
        attentions=tuple(attentions) if output_attentions else None,
        cross_attentions=tuple(cross_attentions) or None,
    )


def encoder_backward(
    m: Module,
    dhidden: Array,
    hidden: Array,
    *,
    head_mask: Array | None = None,
    past: tuple[LayerCache, ...] = (),
    wants_hidden: bool,
    **options: Any,
) -> tuple[Array, Array | None]:
    """The gradients by `hidden` and by the encoder's output that the layers read, the last layer first.

    The pass ends at the lowest layer that something is wanted of; with `wants_hidden` it goes through to the end. A layer whose
    values were forgotten (gradient checkpointing) is computed again before its turn.
    """
    dhidden = m.keep_gradient("", dhidden)
    dencoder: Array | None = None
    for index in reversed(range(m.config.num_hidden_layers)):
        if not (wants_hidden or any(m.layer[below].wants_any for below in range(index + 1))):
            break
        x = m.layer[index - 1].kept("") if index else hidden  # [B, S, D]
        own = {**options, "head_mask": None if head_mask is None else head_mask[index], "past": past[index] if past else ()}
        if not m.layer[index].has_kept("attention"):
            m.layer[index].compute_again(layer, x, **own)
        dhidden, by_encoder = layer_backward(m.layer[index], dhidden, x, **own)
        if by_encoder is not None:
            dencoder = by_encoder if dencoder is None else dencoder + by_encoder
        m.layer[index].forget()
    return dhidden, dencoder
