"""A layer of GPT-2, and the stack of them.

BERT normalizes each sum (post-norm); GPT-2 normalizes what a block reads and leaves the sum alone (pre-norm). So one sum runs
from the embeddings to the end untouched, and a LayerNorm after the last layer has to tame it.
"""

from __future__ import annotations

from typing import Any

from npbert.bert.layer import EncoderResult, LayerCache, LayerResult
from npbert.gpt2.attention import (
    KeyValue,
    attention,
    attention_backward,
    cross_attention,
    cross_attention_backward,
)
from npbert.module import Module
from npbert.types import Array


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
    """`x + attn(ln_1(x))`, then (where the model reads an encoder) `x + crossattention(ln_cross_attn(x))`, then
    `x + mlp(ln_2(x))`."""
    index, past_self, past_cross = number_of(m), past[:2], past[2:]
    added, probs, cache = attention(
        m.attn, m.layer_norm(hidden, "ln_1"), layer=index, mask=mask, head_mask=head_mask, past=past_self
    )
    hidden = m.attn.keep(":residual", hidden + added)  # [B, S, D]
    cross_probs: Array | None = None
    cross_cache: KeyValue = ()
    if encoder_hidden is not None or past_cross:
        added, cross_probs, cross_cache = cross_attention(
            m.crossattention,
            m.layer_norm(hidden, "ln_cross_attn"),
            layer=index,
            source=encoder_hidden,
            mask=encoder_mask,
            head_mask=head_mask,
            stored=past_cross,
        )
        hidden = m.crossattention.keep(":residual", hidden + added)
    hidden = hidden + feed_forward(m.mlp, m.layer_norm(hidden, "ln_2"))
    return LayerResult(m.keep("", hidden), probs, cross_probs, (*cache, *cross_cache))


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
    """The gradients by `hidden` and by `encoder_hidden`. A sum hands its gradient on twice: past the block and through it."""
    index, past_self, past_cross = number_of(m), past[:2], past[2:]
    reads_encoder = encoder_hidden is not None or bool(past_cross)
    attended = m.attn.kept(":residual")  # [B, S, D]
    before = m.crossattention.kept(":residual") if reads_encoder else attended
    dx = m.keep_gradient("", dy)
    dx = dx + m.layer_norm_backward(feed_forward_backward(m.mlp, dx, m.kept("ln_2")), before, "ln_2")
    dencoder: Array | None = None
    if reads_encoder:
        dx = m.crossattention.keep_gradient(":residual", dx)
        dnormed, dencoder = cross_attention_backward(
            m.crossattention,
            dx,
            m.kept("ln_cross_attn"),
            layer=index,
            source=encoder_hidden,
            head_mask=head_mask,
            stored=past_cross,
        )
        dx = dx + m.layer_norm_backward(dnormed, attended, "ln_cross_attn")
    dx = m.attn.keep_gradient(":residual", dx)
    dnormed = attention_backward(m.attn, dx, m.kept("ln_1"), layer=index, head_mask=head_mask, past=past_self)
    return dx + m.layer_norm_backward(dnormed, hidden, "ln_1"), dencoder


def number_of(m: Module) -> int:
    """The number of a layer, which its path tells: `transformer.h.3`. The attention of some models depends on it."""
    return int(m.path.rpartition(".")[2])


def feed_forward(m: Module, hidden: Array) -> Array:
    """Each position for itself: D -> F, activation, F -> D. The module `mlp`.

    `chunk_size_feed_forward` positions at a time, so that the wide array need not exist for the whole sequence.
    """

    def one_chunk(x: Array) -> Array:
        wide = m.keep("act", m.config.activation(m.conv1d("c_fc", x)))  # [B, S, F]
        return m.keep("", m.dropout(m.conv1d("c_proj", wide), m.config.resid_pdrop))

    return m.in_chunks(one_chunk, hidden, m.config.chunk_size_feed_forward)  # [B, S, D]


def feed_forward_backward(m: Module, dy: Array, hidden: Array) -> Array:
    """The gradient by `hidden`."""
    dx = m.dropout_backward(m.keep_gradient("", dy), m.config.resid_pdrop)
    dx = m.keep_gradient("act", m.conv1d_backward("c_proj", dx, m.kept("act")))  # [B, S, F]
    return m.conv1d_backward("c_fc", m.activation_backward(m.config.activation, dx, m.kept("c_fc")), hidden)


def layers(
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
    """The layers, one after the other, and the LayerNorm at the end; `options` are those of `layer`. `m` is the base model."""
    states: list[Array] = []
    attentions: list[Array] = []
    cross_attentions: list[Array] = []
    caches: list[LayerCache] = []
    for index in range(m.config.n_layer):
        if output_hidden_states:
            states.append(hidden)
        result = layer(
            m.h[index],
            hidden,
            head_mask=None if head_mask is None else head_mask[index],
            past=past[index] if past else (),
            **options,
        )
        hidden = result.hidden
        if output_attentions:
            attentions.append(result.probs)
            if result.cross_probs is not None:
                cross_attentions.append(result.cross_probs)
        if use_cache:
            caches.append(result.cache)
        del result  # else its probabilities would live through the next layer
    hidden = m.layer_norm(hidden, "ln_f")
    return EncoderResult(
        hidden,
        cache=tuple(caches) if use_cache else None,
        hidden_states=(*states, hidden) if output_hidden_states else None,  # the last one is normalized
        attentions=tuple(attentions) if output_attentions else None,
        cross_attentions=tuple(cross_attentions) or None,
    )


def layers_backward(
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
    last = m.h[m.config.n_layer - 1].kept("") if m.config.n_layer else hidden
    dhidden = m.layer_norm_backward(dhidden, last, "ln_f")
    dencoder: Array | None = None
    for index in reversed(range(m.config.n_layer)):
        if not (wants_hidden or any(m.h[below].wants_any for below in range(index + 1))):
            break
        x = m.h[index - 1].kept("") if index else hidden  # [B, S, D]
        own = {**options, "head_mask": None if head_mask is None else head_mask[index], "past": past[index] if past else ()}
        if not m.h[index].has_kept("attn:residual"):
            m.h[index].compute_again(layer, x, **own)
        dhidden, by_encoder = layer_backward(m.h[index], dhidden, x, **own)
        if by_encoder is not None:
            dencoder = by_encoder if dencoder is None else dencoder + by_encoder
        m.h[index].forget()
    return dhidden, dencoder
