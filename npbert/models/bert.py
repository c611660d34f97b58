"""The base model of BERT, and how every model of it is called.

A call checks its arguments (`npbert.models.inputs`), runs the architecture (`npbert.bert`) and names the results
(`npbert.models.outputs`). How these go together is the same for every architecture: `npbert.models.calling`. The task models
are in `npbert.models.heads`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from npbert import checks
from npbert.bert.config import BertConfig
from npbert.bert.layer import EncoderResult
from npbert.bert.model import FUNCTIONS, bert, bert_backward
from npbert.bert.parameters import base_parameters
from npbert.models import outputs
from npbert.models.calling import CACHE_INPUTS, ENCODER_INPUTS, OPTIONS, CallableModel, Logits
from npbert.models.surgery import DECODER, DECODER_BIAS, word_table
from npbert.module import Module
from npbert.types import Array, Rng
from npbert.weights import Parameters, join


def call_base(m: Module, *arguments: Any, **named: Any) -> Any:
    """What `model.bert(input_ids)` runs: the base model below a head, called as a `BertModel` is."""
    base = BertModel.without_weights(m.config, add_pooling_layer="pooler" in m)
    base.base_model_prefix = m.path
    base._use(m.weights)
    base._note_agreement()
    return base(*arguments, **named)


class BertPreTrainedModel(CallableModel):
    """What the models of BERT have in common."""

    config_class = BertConfig
    functions = FUNCTIONS | {"bert": call_base}
    base_model_prefix = "bert"
    has_pooler = True
    base_outputs = ("last_hidden_state", "pooler_output")
    embeds_name = "embeddings.inputs_embeds"

    def base_parameters(self) -> Parameters:
        """The parameters of the base model, without its prefix."""
        return base_parameters(self.config, pooler=self.has_pooler)

    def tied(self) -> dict[str, str]:
        """The names that share another parameter's array: `{name: name of the parameter}`."""
        if DECODER not in self.head_parameters():
            return {}
        tied = {"cls.predictions.decoder.bias": DECODER_BIAS}
        if self.config.tie_word_embeddings:
            tied[DECODER] = word_table(self)
        return tied

    def without_heads(self, layer: int, stays: Array) -> dict[str, Array]:
        """The weights of a layer's self-attention without some heads; `stays` says which of its N*H numbers stay."""
        path = join(self.base_model_prefix, f"encoder.layer.{layer}.attention")
        rows = [f"{path}.self.{part}.{kind}" for part in ("query", "key", "value") for kind in ("weight", "bias")]
        columns = f"{path}.output.dense.weight"
        return {name: self.weights[name][stays] for name in rows} | {columns: self.weights[columns][:, stays]}

    @property
    def base_model(self) -> BertModel:
        """The model without its head, reading the same weights; a base model is its own."""
        if isinstance(self, BertModel):
            return self
        base = BertModel.without_weights(self.config, add_pooling_layer=self.has_pooler)
        base.has_pooler = self.has_pooler  # of DistilBERT too: its classifier's first map stands there
        base._use(self.weights.scope(self.base_model_prefix))
        return base

    def run_base(self, m: Module, **arguments: Any) -> tuple[EncoderResult, Any]:
        """What the layers put out, and the pooled vector or None."""
        result, pooled = bert(m, **arguments)
        return (result._replace(hidden=m.keep("", result.hidden)) if m.path else result), pooled

    def base_backward(self, m: Module, dhidden: Array, dpooled: Array | None, **arguments: Any) -> Array | None:
        """Through the base model; returns the gradient by the encoder's hidden states, if it reads an encoder."""
        return bert_backward(m, dhidden, dpooled, **arguments)

    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        *more: Any,
        token_type_ids: Any = None,
        position_ids: Any = None,
        head_mask: Any = None,
        inputs_embeds: Any = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        rng: Rng = None,
        **others: Any,
    ) -> Any:
        """Run the model. See the class for what else it takes; dropout happens exactly when `rng` is given.

        `more` are further arguments by position, in the reference's order: `further_positions` names them.
        """
        return self.answer(
            more,
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

    def further_positions(self) -> tuple[str, ...]:
        """What a call takes by position after `attention_mask`, in the reference's order; DistilBERT has its own."""
        if self.config.model_type == "distilbert":
            return ("head_mask", "inputs_embeds", *self.label_names, *OPTIONS)
        return ("token_type_ids", "position_ids", "head_mask", "inputs_embeds", *super().further_positions())


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
        weights: Mapping[str, Any] | bool | None = None,
        *,
        rng: Rng = None,
        add_pooling_layer: bool = True,
    ) -> None:
        if isinstance(weights, bool):  # the reference's second position: BertModel(config, False)
            add_pooling_layer, weights = weights, None
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
