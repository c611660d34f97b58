"""The base model of BERT, and how every model of it is called.

A call checks its arguments (`npbert.models.inputs`), runs the architecture (`npbert.bert`) and names the results
(`npbert.models.outputs`). The task models are in `npbert.models.heads`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np

from npbert import checks, tracing
from npbert.backward import Gradients, Record
from npbert.bert.config import BertConfig
from npbert.bert.layer import EncoderResult
from npbert.bert.model import FUNCTIONS, bert, bert_backward
from npbert.bert.parameters import base_parameters
from npbert.errors import InputError
from npbert.models import inputs, outputs, surgery
from npbert.models.base import PreTrainedModel
from npbert.module import Module
from npbert.types import Array, Rng
from npbert.weights import Parameters, join

ENCODER_INPUTS = ("encoder_hidden_states", "encoder_attention_mask")
CACHE_INPUTS = ("past_key_values", "use_cache")
BASE_OUTPUTS = ("last_hidden_state", "pooler_output")
ARRAYS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds")


Logits: TypeAlias = tuple[Array, ...]
"""What a head puts out: one array, or two where it answers two questions."""


class Call(NamedTuple):
    """The arguments of a call, sorted."""

    arrays: dict[str, Any]
    labels: dict[str, Any]
    options: dict[str, Any]  # output_attentions, output_hidden_states
    return_dict: bool
    rng: Rng


class Pass(NamedTuple):
    """One forward pass: what went into it and what came out."""

    checked: dict[str, Any]  # the arguments of `npbert.bert.model.bert`
    result: EncoderResult
    pooled: Any  # [B, D], or None
    logits: Logits
    labels: Any  # checked; None where none were given
    output: outputs.ModelOutput


class BertPreTrainedModel(PreTrainedModel):
    """What the models of BERT have in common. A task model adds a head: logits, and a loss where there are labels."""

    config_class = BertConfig
    functions = FUNCTIONS
    base_model_prefix = "bert"
    has_pooler = True
    label_names: ClassVar[tuple[str, ...]] = ("labels",)
    logit_names: ClassVar[tuple[str, ...]] = ("logits",)
    decoder_inputs: ClassVar[tuple[str, ...]] = ()  # what the class takes when it is a decoder

    # -------------------------------------------------------------------------------------------------------- parameters

    def expected_parameters(self) -> Parameters:
        """The name, shape and first values of every parameter, each once: a tied one under its first name only."""
        base = base_parameters(self.config, pooler=self.has_pooler)
        every = {join(self.base_model_prefix, name): parameter for name, parameter in base.items()} | self.head_parameters()
        tied = self.tied()
        return {name: parameter for name, parameter in every.items() if name not in tied}

    def head_parameters(self) -> Parameters:
        """The parameters that the class has beside the base model's."""
        return {}

    def tied(self) -> dict[str, str]:
        """The names that share another parameter's array: `{name: name of the parameter}`."""
        if surgery.DECODER not in self.head_parameters():
            return {}
        tied = {"cls.predictions.decoder.bias": surgery.DECODER_BIAS}
        if self.config.tie_word_embeddings:
            tied[surgery.DECODER] = surgery.word_table(self)
        return tied

    # ----------------------------------------------------------------------------------------------------------- calling

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        rng: Rng = None,
        **others: Any,
    ) -> Any:
        """Run the model. See the class for what else it takes; dropout happens exactly when `rng` is given."""
        call = self.read_call(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            head_mask=head_mask,
            inputs_embeds=inputs_embeds,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=return_dict,
            rng=rng,
            **others,
        )
        _, done = self.begin_pass(call)
        return done.output if call.return_dict else done.output.as_plain_tuple()

    def read_call(
        self,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        rng: Rng = None,
        **given: Any,
    ) -> Call:
        """Sort the arguments of a call, and refuse those that the class does not take."""
        options = {
            "output_attentions": checks.flag("output_attentions", output_attentions, self.config.output_attentions),
            "output_hidden_states": checks.flag("output_hidden_states", output_hidden_states, self.config.output_hidden_states),
        }
        return_dict = checks.flag("return_dict", return_dict, self.config.return_dict)
        checks.generator("rng", rng)
        taken = (*ARRAYS, *self.decoder_inputs, *self.label_names, *options, "return_dict", "rng")
        checks.known(type(self).__name__, given, taken)
        labels = {name: given.pop(name, None) for name in self.label_names}
        return Call(given, labels, options, return_dict, rng)

    def forward_pass(self, m: Module, call: Call) -> Pass:
        """Check the arguments, run the base model and the head."""
        arrays = self.as_sequences(call.arrays)
        has_cache = self.config.is_decoder and "use_cache" in self.decoder_inputs
        use_cache = checks.flag("use_cache", arrays.pop("use_cache", None), has_cache and self.config.use_cache)
        if use_cache and not self.config.is_decoder:
            raise InputError("use_cache: only decoders have a cache; set is_decoder=True in the config")
        checked = inputs.check_inputs(self.config, self.dtype, **arrays)
        result, pooled = bert(m.at(self.base_model_prefix), use_cache=use_cache, **checked, **call.options)
        if self.base_model_prefix:
            result = result._replace(hidden=m.keep(self.base_model_prefix, result.hidden))
        logits = self.arrange(self.head(m, result.hidden, pooled), call)
        labels = self.check_labels(call.labels, logits) if _are_given(call.labels) else None
        loss = None if labels is None else self.loss(logits, labels)
        return Pass(checked, result, pooled, logits, labels, self.named_output(loss, logits, result, pooled))

    def as_sequences(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """The arguments as the base model takes them: one row a sequence."""
        return dict(arrays)

    # ------------------------------------------------------------------------------------- what a task model is made of

    def head(self, m: Module, hidden: Array, pooled: Any) -> Logits:
        """The logits."""
        return ()

    def head_backward(self, m: Module, dlogits: Logits, hidden: Array, pooled: Any) -> tuple[Array | None, Array | None]:
        """The gradients by the hidden states and by the pooled vector; None where the head does not read them."""
        return None, None

    def arrange(self, logits: Logits, call: Call) -> Logits:
        """The logits in the shape that the caller gets."""
        return logits

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
        embeds = join(self.base_model_prefix, "embeddings.inputs_embeds")
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
        record = Record(call.rng, checkpointing=self.config.gradient_checkpointing)
        m = self.module(call.rng, record=record, gradients=gradients)
        with tracing.observe(record.observe, last=True):
            return m, self.forward_pass(m, call)

    def output_gradients(self, done: Pass, given: Mapping[str, Any] | None) -> tuple[Logits, Array | None, Array | None]:
        """The gradients by the logits, the hidden states and the pooled vector: of the loss, or as they are given."""
        if given is None:
            if done.labels is None:
                raise InputError(f"gradients: takes {' and '.join(self.label_names) or 'output_gradients'}, got none")
            return self.loss_backward(done.logits, done.labels), None, None
        if done.labels is not None:
            raise InputError("gradients: takes labels or output_gradients, got both")
        arrays = inputs.check_output_gradients(given, dict(done.output.items()), self.logit_names or BASE_OUTPUTS)
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
            dhidden, dpooled = self.head_backward(m, dlogits, done.result.hidden, done.pooled)
        base = m.at(self.base_model_prefix)
        if not (wants_encoder_hidden or base.wants_any):
            return None
        dhidden = np.zeros_like(done.result.hidden) if dhidden is None else dhidden
        return bert_backward(base, dhidden, dpooled, **done.checked, wants_encoder_hidden=wants_encoder_hidden)


class BertModel(BertPreTrainedModel):
    """The base model: hidden states, and a pooled vector for the whole sequence.

    Decoders (`is_decoder`) also take `past_key_values` and `use_cache`, and with `add_cross_attention`
    `encoder_hidden_states` and `encoder_attention_mask`.
    """

    base_model_prefix = ""
    label_names = ()
    logit_names = ()
    decoder_inputs = ENCODER_INPUTS + CACHE_INPUTS
    construction_options = ("add_pooling_layer",)

    def __init__(
        self,
        config: BertConfig,
        weights: Mapping[str, Any] | None = None,
        *,
        rng: Rng = None,
        add_pooling_layer: bool = True,
    ) -> None:
        self.has_pooler = checks.flag("add_pooling_layer", add_pooling_layer, True)
        super().__init__(config, weights, rng=rng)

    def _begin(self, config: BertConfig, *, add_pooling_layer: bool | None = None) -> None:
        if add_pooling_layer is not None:
            self.has_pooler = checks.flag("add_pooling_layer", add_pooling_layer, True)
        super()._begin(config)
        if config.model_type == "distilbert":
            self.has_pooler = False

    def named_output(self, loss: Any, logits: Logits, result: EncoderResult, pooled: Any) -> outputs.ModelOutput:
        return outputs.BaseModelOutputWithPoolingAndCrossAttentions(
            result.hidden, pooled, result.hidden_states, result.cache, result.attentions, result.cross_attentions
        )


def _are_given(labels: Mapping[str, Any]) -> bool:
    """Whether there are labels. Labels that make one loss together are refused one without the other."""
    missing = [name for name, x in labels.items() if x is None]
    if missing and len(missing) < len(labels):
        raise InputError(f"{missing[0]}: belongs to {' and '.join(name for name in labels if name not in missing)}, got none")
    return bool(labels) and not missing
