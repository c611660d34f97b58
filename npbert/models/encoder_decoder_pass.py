"""One pass through two BERTs as one transformer: forward through the encoder and the decoder, and backward again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from npbert import checks, ops, tracing
from npbert.backward import Gradients
from npbert.errors import InputError, InputTypeError
from npbert.models.calling import Logits, Pass
from npbert.models.encoder_decoder_config import PROJECTION, errors_of_part
from npbert.models.outputs import ModelOutput, Seq2SeqLMOutput
from npbert.module import Module
from npbert.types import Array, Rng

_TOKENS = ("input_ids", "inputs_embeds")
_ARGUMENTS = (
    "input_ids",
    "attention_mask",
    "decoder_input_ids",
    "decoder_attention_mask",
    "encoder_outputs",
    "past_key_values",
    "inputs_embeds",
    "decoder_inputs_embeds",
    "labels",
    "use_cache",
)
OPTIONS = ("output_attentions", "output_hidden_states", "rng")
_MORE = ("token_type_ids", "position_ids", "head_mask")


class EncoderDecoderPass(NamedTuple):
    """One forward pass of both parts."""

    m: Module
    rng: Rng
    encoder: tuple[Module, Pass] | None  # None where the encoder did not run
    hidden: Array | None  # [B, E, D of the encoder]: what the encoder gives
    read: Any  # the encoder's result, or the tuple that was given for it
    decoder: tuple[Module, Pass]
    logits: Logits  # [B, S, V]
    labels: Array | None  # [B, S]
    loss: Array | None

    @property
    def output(self) -> Seq2SeqLMOutput:
        """The results under their names."""
        read = self.read if isinstance(self.read, ModelOutput) else _named_tuple(self.read)
        result = self.decoder[1].result
        return Seq2SeqLMOutput(
            self.loss,
            self.logits[0],
            result.cache,
            result.hidden_states,
            result.attentions,
            result.cross_attentions,
            getattr(read, "last_hidden_state", None),
            getattr(read, "hidden_states", None),
            getattr(read, "attentions", None),
        )

    def plain_tuple(self) -> tuple[Any, ...]:
        """What a call with `return_dict=False` gives."""
        first = () if self.loss is None else (self.loss,)
        last = self.read.as_plain_tuple() if isinstance(self.read, ModelOutput) else tuple(self.read or ())
        written: Any = self.decoder[1].output
        written.logits = self.logits[0]
        return (*first, *written.as_plain_tuple(), *last)


def begin_pass(model: Any, given: Mapping[str, Any], gradients: Gradients | None = None) -> EncoderDecoderPass:
    """A forward pass; if gradients are to follow, one that keeps what they are made of."""
    options = {name: given.get(name) for name in OPTIONS}
    given = {name: x for name, x in given.items() if name not in OPTIONS}
    taken = (*_ARGUMENTS, *_MORE, *(f"decoder_{name}" for name in _MORE))
    checks.known(type(model).__name__, given, taken)
    given = dict.fromkeys(_ARGUMENTS) | given
    m = model.module(options["rng"], gradients=gradients)

    encoder, hidden, read = None, None, given["encoder_outputs"]
    if read is not None:
        hidden, read = _hidden_of(read)
    elif any(given[name] is not None for name in _TOKENS) or given["past_key_values"] is None:
        arguments = {name: given.get(name) for name in ("attention_mask", *_TOKENS, *_MORE)}
        with _within("encoder"):
            call = model.encoder.read_call(**arguments, **options)
            encoder = model.encoder.begin_pass(call, gradients and gradients.scope("encoder"))
        read = encoder[1].output
        hidden = m.keep("encoder", read["last_hidden_state"])  # [B, E, D of the encoder]
    states = hidden
    if states is not None and PROJECTION in m:
        states = m.linear(PROJECTION, checks.numbers("encoder_outputs", states, model.decoder.dtype))  # [B, E, D]

    labels = None if given["labels"] is None else checks.integers("labels", given["labels"], 2)  # [B, S]
    if given["decoder_input_ids"] is None and given["decoder_inputs_embeds"] is None:
        if labels is None:
            raise InputError("decoder_input_ids: the decoder has nothing to begin with, nor labels to learn from")
        given["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels)
        if given["decoder_attention_mask"] is None:
            given["decoder_attention_mask"] = given["decoder_input_ids"] != model.config.pad_token_id
    arguments = {name.removeprefix("decoder_"): x for name, x in given.items() if name.startswith("decoder_")}
    with _within("decoder"):
        call = model.decoder.read_call(
            **arguments,
            encoder_hidden_states=states,
            encoder_attention_mask=given["attention_mask"],
            past_key_values=given["past_key_values"],
            use_cache=given["use_cache"],
            **options,
        )
        decoder = model.decoder.begin_pass(call, gradients and gradients.scope("decoder"))
    logits = m.keep("decoder", decoder[1].logits[0])  # [B, S, V]
    loss = None
    if labels is not None:
        labels = checks.labels("labels", labels, model.config.decoder.vocab_size, logits.shape[:2])
        loss = ops.cross_entropy(logits, labels)
    return EncoderDecoderPass(m, options["rng"], encoder, hidden, read, decoder, (logits,), labels, loss)


def again(model: Any, done: EncoderDecoderPass, gradients: Gradients) -> EncoderDecoderPass:
    """The same forward pass, for one more backward pass."""
    encoder = done.encoder and (model.encoder.again(*done.encoder, gradients.scope("encoder")), done.encoder[1])
    decoder = (model.decoder.again(*done.decoder, gradients.scope("decoder")), done.decoder[1])
    return done._replace(m=model.module(done.rng, gradients=gradients), encoder=encoder, decoder=decoder)


def backward_pass(model: Any, done: EncoderDecoderPass, dlogits: Logits) -> None:
    """Through the decoder, the projection and the encoder."""
    m = done.m
    dlogits = (m.keep_gradient("decoder", dlogits[0]),)
    reads = done.encoder is not None and m.at("encoder").wants_any
    wants_hidden = reads or m.wants(f"{PROJECTION}.weight") or m.wants(f"{PROJECTION}.bias")
    with tracing.under("decoder"):
        dstates = model.decoder.backward_pass(*done.decoder, dlogits, wants_encoder_hidden=wants_hidden)
    if dstates is None or done.hidden is None:
        return
    if PROJECTION in m:
        dstates = m.linear_backward(PROJECTION, dstates, done.hidden)  # [B, E, D of the encoder]
    dstates = m.keep_gradient("encoder", dstates)
    if done.encoder is not None:
        with tracing.under("encoder"):
            model.encoder.backward_pass(*done.encoder, (), dstates)


def shift_tokens_right(labels: Any, pad_token_id: int, decoder_start_token_id: int) -> Array:
    """Each row one place to the right, behind the start token; the last label goes, and where none counted stands padding."""
    x = checks.integers("labels", labels, 2)  # [B, S]
    shifted = np.concatenate([np.full_like(x[:, :1], decoder_start_token_id), x[:, :-1]], axis=1)
    return np.where(shifted == checks.IGNORED, pad_token_id, shifted)


def _hidden_of(encoder_outputs: Any) -> tuple[Array, Any]:
    """The hidden states in what was given for the encoder's result."""
    if isinstance(encoder_outputs, ModelOutput):
        return encoder_outputs["last_hidden_state"], encoder_outputs
    if isinstance(encoder_outputs, tuple | list) and encoder_outputs:
        return checks.as_array("encoder_outputs[0]", encoder_outputs[0]), tuple(encoder_outputs)
    raise InputTypeError(
        f"encoder_outputs: takes a result of the encoder, or a tuple that begins with its hidden states; got "
        f"{type(encoder_outputs).__name__}"
    )


def _named_tuple(encoder_outputs: tuple[Any, ...] | None) -> Any:
    """A tuple's members under the names that their places mean."""
    names = ("last_hidden_state", "hidden_states", "attentions")
    return SimpleNamespace(**dict(zip(names, encoder_outputs or (), strict=False)))


@contextmanager
def _within(part: str) -> Iterator[None]:
    """A part's names and errors begin with the part's own name."""
    with tracing.under(part), errors_of_part(part):
        yield
