"""How a model is called, whatever its architecture: arguments sorted and checked, a forward pass, a head, a loss, and back.

An architecture brings its base model (`run_base`, `base_backward`); a task model adds a head, which makes logits, and a loss
where there are labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from npbert import checks, tracing
from npbert.backward import Gradients, Record
from npbert.bert.layer import EncoderResult
from npbert.errors import InputError, InputTypeError
from npbert.models import inputs, outputs
from npbert.models.base import PreTrainedModel
from npbert.module import Module
from npbert.ops.blocks import keep_freed_memory
from npbert.types import Array, Rng
from npbert.weights import Parameters, join

ENCODER_INPUTS = ("encoder_hidden_states", "encoder_attention_mask")
CACHE_INPUTS = ("past_key_values", "use_cache")
ARRAYS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds")
OPTIONS = ("output_attentions", "output_hidden_states", "return_dict")


Logits: TypeAlias = tuple[Array, ...]
"""What a head puts out: one array, or two where it answers two questions."""


class Call(NamedTuple):
    """The arguments of a call, sorted."""

    arrays: dict[str, Any]
    labels: dict[str, Any]
    options: dict[str, Any]  # output_attentions, output_hidden_states
    return_dict: bool
    rng: Rng
    sparse_prediction: bool
    logits_to_keep: int


class Pass(NamedTuple):
    """One forward pass: what went into it and what came out."""

    call: Call
    checked: dict[str, Any]  # the arguments of the base model's function
    result: EncoderResult
    pooled: Any  # [B, D], or None
    read: Any  # the hidden states that the head reads, [B, S, D], or some positions of them
    positions: Any  # which ones these are, an index of the hidden states; None for all
    logits: Logits
    labels: Any  # checked; None where none were given
    output: outputs.ModelOutput


class CallableModel(PreTrainedModel):
    """A model that is called with tokens. A task model adds a head: logits, and a loss where there are labels."""

    label_names: ClassVar[tuple[str, ...]] = ("labels",)
    logit_names: ClassVar[tuple[str, ...]] = ("logits",)
    base_outputs: ClassVar[tuple[str, ...]] = ("last_hidden_state",)  # what gradients may begin at in a model without a head
    decoder_inputs: ClassVar[tuple[str, ...]] = ()  # what the class takes when a token sees only those before it
    switches: ClassVar[tuple[str, ...]] = ()  # sparse_prediction or logits_to_keep, where the class has it
    embeds_name: ClassVar[str] = "inputs_embeds"  # what the base model calls the gradient by the looked up words

    # -------------------------------------------------------------------------------------------------------- parameters

    def expected_parameters(self) -> Parameters:
        """The name, shape and first values of every parameter, each once: a tied one under its first name only."""
        base = self.base_parameters()
        every = {join(self.base_model_prefix, name): parameter for name, parameter in base.items()} | self.head_parameters()
        tied = self.tied()
        return {name: parameter for name, parameter in every.items() if name not in tied}

    def base_parameters(self) -> Parameters:
        """The parameters of the base model, without its prefix."""
        raise NotImplementedError

    def head_parameters(self) -> Parameters:
        """The parameters that the class has beside the base model's."""
        return {}

    # --------------------------------------------------------------------------------------------------- the base model

    def run_base(self, m: Module, **arguments: Any) -> tuple[EncoderResult, Any]:
        """What the layers put out, and the pooled vector or None; `m` is the base model."""
        raise NotImplementedError

    def base_backward(self, m: Module, dhidden: Array, dpooled: Array | None, **arguments: Any) -> Array | None:
        """Through the base model; returns the gradient by the encoder's hidden states, if it reads an encoder."""
        raise NotImplementedError

    # ----------------------------------------------------------------------------------------------------------- calling

    def answer(self, more: Sequence[Any], **given: Any) -> Any:
        """The work behind a call; `more` are the arguments given by position after those that the call names."""
        names = self.further_positions()
        if len(more) > len(names):
            raise InputTypeError(f"{type(self).__name__}: takes {', '.join(names)} as its last positions, got {len(more)}")
        for name, value in zip(names, more, strict=False):
            if given.get(name) is not None:
                raise InputTypeError(f"{type(self).__name__}: {name} is given twice, by its position and by its name")
            given[name] = value
        call = self.read_call(**given)
        _, done = self.begin_pass(call)
        return done.output if call.return_dict else done.output.as_plain_tuple()

    def further_positions(self) -> tuple[str, ...]:
        """What a call takes by position after the arguments that it names, in the reference's order."""
        encoder = [name for name in ENCODER_INPUTS if name in self.decoder_inputs]
        cache = [name for name in CACHE_INPUTS if name in self.decoder_inputs]
        return (*encoder, *self.label_names, *cache, *OPTIONS)

    def read_call(
        self,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        rng: Rng = None,
        cache_position: None = None,
        **given: Any,
    ) -> Call:
        """Sort the arguments of a call, and refuse those that the class does not take."""
        self.check_config()
        if cache_position is not None:
            raise InputError("cache_position: past_key_values say which positions come next; leave it None")
        options = {
            "output_attentions": checks.flag("output_attentions", output_attentions, self.config.output_attentions),
            "output_hidden_states": checks.flag("output_hidden_states", output_hidden_states, self.config.output_hidden_states),
        }
        return_dict = checks.flag("return_dict", return_dict, self.config.return_dict)
        checks.generator("rng", rng)
        taken = (*ARRAYS, *self.decoder_inputs, *self.label_names, *self.switches, *options, "return_dict", "rng")
        checks.known(type(self).__name__, given, taken)
        labels = {name: given.pop(name, None) for name in self.label_names}
        sparse_prediction = checks.flag("sparse_prediction", given.pop("sparse_prediction", None), False)
        logits_to_keep = checks.whole_number("logits_to_keep", given.pop("logits_to_keep", 0))
        return Call(given, labels, options, return_dict, rng, sparse_prediction, logits_to_keep)

    def forward_pass(self, m: Module, call: Call) -> Pass:
        """Check the arguments, run the base model and the head."""
        arrays = self.as_sequences(call.arrays)
        has_cache = self.config.is_causal and "use_cache" in self.decoder_inputs
        use_cache = checks.flag("use_cache", arrays.pop("use_cache", None), has_cache and self.config.use_cache)
        if use_cache and not self.config.is_causal:
            raise InputError("use_cache: only decoders have a cache; set is_decoder=True in the config")
        checked = inputs.check_inputs(self.config, self.dtype, **arrays)
        result, pooled = self.run_base(m.part(self.base_model_prefix), use_cache=use_cache, **checked, **call.options)
        positions = self.predicted_positions(result.hidden, call)
        read = result.hidden if positions is None else result.hidden[positions]  # [n, D] or [B, n, D]
        logits = self.arrange(self.head(m, read, pooled), call)
        labels = self.check_labels(call.labels, logits) if _are_given(call.labels) else None
        loss = None if labels is None else self.loss(logits, labels)
        output = self.named_output(loss, logits, result, pooled)
        return Pass(call, checked, result, pooled, read, positions, logits, labels, output)

    def as_sequences(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """The arguments as the base model takes them: one row a sequence."""
        return dict(arrays)

    def predicted_positions(self, hidden: Array, call: Call) -> Any:
        """Which positions of the hidden states the head is to read, as an index of them; None for all."""
        return None

    # ------------------------------------------------------------------------------------- what a task model is made of

    def head(self, m: Module, hidden: Array, pooled: Any) -> Logits:
        """The logits."""
        return ()

    def head_backward(self, m: Module, dlogits: Logits, hidden: Array, pooled: Any) -> tuple[Array | None, Array | None]:
        """The gradients by the hidden states and by the pooled vector; None where the head does not read them."""
        return None, None

    def arrange(self, logits: Logits, call: Call) -> Logits:
        """The logits as the caller gets them."""
        return logits

    def arrange_backward(self, dlogits: Logits, done: Pass) -> Logits:
        """The gradients by the logits as the head made them."""
        return dlogits

    def check_labels(self, labels: dict[str, Any], logits: Logits) -> Any:
        """The labels as the loss takes them."""
        raise NotImplementedError

    def loss(self, logits: Logits, labels: Any) -> Array:
        """How wrong the logits are."""
        raise NotImplementedError

    def loss_backward(self, logits: Logits, labels: Any) -> Logits:
        """The gradients of the loss by the logits."""
        raise NotImplementedError

    def named_output(self, loss: Any, logits: Logits, result: EncoderResult, pooled: Any) -> outputs.ModelOutput:
        """The results under their names."""
        raise NotImplementedError

    # --------------------------------------------------------------------------------------------------------- gradients

    def gradients(
        self,
        input_ids: Any = None,
        *,
        output_gradients: Mapping[str, Any] | None = None,
        inputs_gradients: bool = False,
        **arguments: Any,
    ) -> tuple[Any, dict[str, Array]]:
        """What a call returns, and the gradient of its loss by every weight that is not frozen, under the weight's name.

            out, grads = model.gradients(**inputs, labels=labels)

        `arguments` are those of a call. Instead of labels, `output_gradients` may give the gradients by outputs, such as
        `{"last_hidden_state": array}`: backward then starts there. `inputs_gradients=True` adds the gradient by the
        `inputs_embeds` (given or looked up), for saliency. Under `npbert.trace()` the gradient by every value NAME is kept as
        `grad:NAME`. Dropout happens exactly when `rng` is given.
        """
        gradients = Gradients(self.trainable_names(), self.tied())
        embeds = join(self.base_model_prefix, self.embeds_name)
        if checks.flag("inputs_gradients", inputs_gradients, False):
            gradients.want(embeds)
        call = self.read_call(input_ids=input_ids, **arguments)
        m, done = self.begin_pass(call, gradients)
        dlogits, dhidden, dpooled = self.output_gradients(done, output_gradients)
        self.backward_pass(m, done, dlogits, dhidden, dpooled)
        output = done.output if call.return_dict else done.output.as_plain_tuple()
        return output, self.collect(gradients, {"inputs_embeds": embeds})

    def begin_pass(self, call: Call, gradients: Gradients | None = None) -> tuple[Module, Pass]:
        """A forward pass; if gradients are to follow, one that keeps what they are made of."""
        if gradients is None:
            m = self.module(call.rng)
            return m, self.forward_pass(m, call)
        keep_freed_memory()
        record = Record(call.rng, checkpointing=self.config.gradient_checkpointing)
        m = self.module(call.rng, record=record, gradients=gradients)
        with tracing.observe(record.observe, last=True):
            return m, self.forward_pass(m, call)

    def again(self, m: Module, done: Pass, gradients: Gradients) -> Module:
        """The module of one more backward pass through the same forward pass."""
        assert m.record is not None
        return self.module(done.call.rng, record=m.record.copied(), gradients=gradients)

    def output_gradients(self, done: Pass, given: Mapping[str, Any] | None) -> tuple[Logits, Array | None, Array | None]:
        """The gradients by the logits, the hidden states and the pooled vector: of the loss, or as they are given."""
        if given is None:
            if done.labels is None:
                raise InputError(f"gradients: takes {' and '.join(self.label_names) or 'output_gradients'}, got none")
            return self.loss_backward(done.logits, done.labels), None, None
        if done.labels is not None:
            raise InputError("gradients: takes labels or output_gradients, got both")
        arrays = inputs.check_output_gradients(given, dict(done.output.items()), self.logit_names or self.base_outputs)
        shaped = zip(self.logit_names, done.logits, strict=True)
        dlogits = tuple(arrays[name] if name in arrays else np.zeros_like(x) for name, x in shaped)
        return dlogits, arrays.get("last_hidden_state"), arrays.get("pooler_output")

    def backward_pass(
        self,
        m: Module,
        done: Pass,
        dlogits: Logits,
        dhidden: Array | None = None,
        dpooled: Array | None = None,
        *,
        wants_encoder_hidden: bool = False,
    ) -> Array | None:
        """From the outputs' gradients down to the tables; those by the weights are added up in `m.gradients`.

        Returns the gradient by the hidden states of the encoder that a decoder reads, if it is wanted.
        """
        if dlogits:
            dlogits = self.arrange_backward(dlogits, done)
            dhidden, dpooled = self.head_backward(m, dlogits, done.read, done.pooled)
            if done.positions is not None:
                dhidden, dread = np.zeros_like(done.result.hidden), dhidden  # [B, S, D]
                dhidden[done.positions] = dread
        base = m.part(self.base_model_prefix)
        if not (wants_encoder_hidden or base.wants_any):
            return None
        dhidden = np.zeros_like(done.result.hidden) if dhidden is None else dhidden
        return self.base_backward(base, dhidden, dpooled, **done.checked, wants_encoder_hidden=wants_encoder_hidden)


def _are_given(labels: Mapping[str, Any]) -> bool:
    """Whether there are labels. Labels that make one loss together are refused one without the other."""
    missing = [name for name, x in labels.items() if x is None]
    if missing and len(missing) < len(labels):
        raise InputError(f"{missing[0]}: belongs to {' and '.join(name for name in labels if name not in missing)}, got none")
    return bool(labels) and not missing
