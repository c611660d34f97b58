"""The models of GPT-2: the base model, the language model, and a classifier of texts."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from npbert.bert.layer import EncoderResult
from npbert.errors import InputError
from npbert.gpt2.config import GPT2Config
from npbert.gpt2.model import FUNCTIONS, gpt2, gpt2_backward
from npbert.gpt2.parameters import base_parameters
from npbert.models import outputs
from npbert.models.calling import CACHE_INPUTS, ENCODER_INPUTS, Call, CallableModel, Logits, Pass
from npbert.models.kinds import CausalLanguageModel, SequenceClassifier
from npbert.models.surgery import LM_HEAD, word_table
from npbert.module import Module
from npbert.types import Array, Rng
from npbert.weights import Parameter, Parameters, join


def call_base(m: Module, *arguments: Any, **named: Any) -> Any:
    """What `model.transformer(input_ids)` runs: the base model below a head, called as a `GPT2Model` is."""
    base = GPT2Model.without_weights(m.config)
    base.base_model_prefix = m.path
    base._use(m.weights)
    base._note_agreement()
    return base(*arguments, **named)


class GPT2PreTrainedModel(CallableModel):
    """What the models of GPT-2 have in common."""

    config_class = GPT2Config
    functions = FUNCTIONS | {"transformer": call_base}
    base_model_prefix = "transformer"
    word_table = "wte.weight"
    position_table = "wpe.weight"
    decoder_inputs: ClassVar[tuple[str, ...]] = CACHE_INPUTS

    def __call__(
        self,
        input_ids: Any = None,
        past_key_values: Any = None,
        *more: Any,
        attention_mask: Any = None,
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
            past_key_values=past_key_values,
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
        """What a call takes by position after `past_key_values`, in the reference's order."""
        head = () if self.decoder_inputs == CACHE_INPUTS else ("cache_position",)  # the classifier has none
        arrays = ("attention_mask", "token_type_ids", "position_ids", "head_mask", "inputs_embeds")
        return (*head, *arrays, *(name for name in super().further_positions() if name != "past_key_values"))

    def base_parameters(self) -> Parameters:
        """The parameters of the base model, without its prefix."""
        return base_parameters(self.config)

    @property
    def base_model(self) -> GPT2Model:
        """The model without its head, reading the same weights; a base model is its own."""
        if isinstance(self, GPT2Model):
            return self
        base = GPT2Model.without_weights(self.config)
        base._use(self.weights.scope(self.base_model_prefix))
        return base

    def run_base(self, m: Module, **arguments: Any) -> tuple[EncoderResult, Any]:
        """What the layers put out; GPT-2 pools nothing."""
        return gpt2(m, **arguments), None

    def base_backward(self, m: Module, dhidden: Array, dpooled: Array | None, **arguments: Any) -> Array | None:
        """Through the base model; returns the gradient by the encoder's hidden states, if it reads an encoder."""
        return gpt2_backward(m, dhidden, **arguments)

    def without_heads(self, layer: int, stays: Array) -> dict[str, Array]:
        """The weights of a layer's self-attention without some heads; `stays` says which of its N*H numbers stay."""
        path = join(self.base_model_prefix, f"h.{layer}.attn")
        columns = np.tile(stays, 3)  # query, key and value
        return {
            f"{path}.c_attn.weight": self.weights[f"{path}.c_attn.weight"][:, columns],
            f"{path}.c_attn.bias": self.weights[f"{path}.c_attn.bias"][columns],
            f"{path}.c_proj.weight": self.weights[f"{path}.c_proj.weight"][stays],
        }


class GPT2Model(GPT2PreTrainedModel):
    """The base model: hidden states. With `add_cross_attention` it also takes `encoder_hidden_states` and
    `encoder_attention_mask`."""

    base_model_prefix = ""
    label_names = ()
    logit_names = ()
    decoder_inputs = ENCODER_INPUTS + CACHE_INPUTS

    def named_output(self, loss: Any, logits: Logits, result: EncoderResult, pooled: Any) -> outputs.ModelOutput:
        return outputs.BaseModelOutputWithPastAndCrossAttentions(
            result.hidden, result.cache, result.hidden_states, result.attentions, result.cross_attentions
        )


class GPT2LMHeadModel(CausalLanguageModel, GPT2PreTrainedModel):
    """A causal language model: each position predicts the next token. `labels` `[B, S]` are shifted by one inside.

    Takes what `GPT2Model` takes. The head is the word table itself unless the configuration unties them, and has no bias. It
    is the largest map of the model: `logits_to_keep=n` computes it for the last n positions alone, `logits` `[B, n, V]`.
    """

    decoder_inputs = ENCODER_INPUTS + CACHE_INPUTS
    switches = ("logits_to_keep",)

    def head_parameters(self) -> Parameters:
        return {LM_HEAD: Parameter((self.config.vocab_size, self.config.n_embd), "normal")}

    def tied(self) -> dict[str, str]:
        """The names that share another parameter's array: `{name: name of the parameter}`."""
        return {LM_HEAD: word_table(self)} if self.config.tie_word_embeddings else {}

    def predicted_positions(self, hidden: Array, call: Call) -> Any:
        return (slice(None), slice(-call.logits_to_keep, None)) if call.logits_to_keep else None

    def head(self, m: Module, hidden: Array, pooled: Any) -> Logits:
        return (m.linear("lm_head", hidden),)  # [B, S, V]

    def head_backward(self, m: Module, dlogits: Logits, hidden: Array, pooled: Any) -> tuple[Array | None, Array | None]:
        return m.linear_backward("lm_head", dlogits[0], hidden), None


class GPT2ForSequenceClassification(SequenceClassifier, GPT2PreTrainedModel):
    """A label, several labels or a number for the whole sequence, read off its last token that is not padding.

    For several sequences the configuration needs a `pad_token_id`, which tells that token. `labels` are as for
    `BertForSequenceClassification`.
    """

    def head_parameters(self) -> Parameters:
        return {"score.weight": Parameter((self.config.num_labels, self.config.n_embd), "normal")}

    def head(self, m: Module, hidden: Array, pooled: Any) -> Logits:
        return (m.linear("score", hidden),)  # [B, S, num_labels]

    def head_backward(self, m: Module, dlogits: Logits, hidden: Array, pooled: Any) -> tuple[Array | None, Array | None]:
        return m.linear_backward("score", dlogits[0], hidden), None

    def arrange(self, logits: Logits, call: Call) -> Logits:
        batch, length, _ = logits[0].shape
        return (logits[0][np.arange(batch), self._last_tokens(call, batch, length)],)  # [B, num_labels]

    def arrange_backward(self, dlogits: Logits, done: Pass) -> Logits:
        batch, length, _ = done.result.hidden.shape
        dscores = np.zeros((batch, length, dlogits[0].shape[1]), dlogits[0].dtype)  # [B, S, num_labels]
        dscores[np.arange(batch), self._last_tokens(done.call, batch, length)] = dlogits[0]
        return (dscores,)

    def _last_tokens(self, call: Call, batch: int, length: int) -> Array:
        """Where each sequence ends, `[B]`; with `inputs_embeds` nobody can tell padding, so there it is the last place."""
        pad, input_ids = self.config.pad_token_id, call.arrays.get("input_ids")
        if pad is None and batch != 1:
            raise InputError("pad_token_id: takes the token that fills up short sequences, to find the end of each; it is None")
        if pad is None or input_ids is None:
            return np.full(batch, length - 1)
        return (np.arange(length) * (np.asarray(input_ids) != pad)).argmax(axis=1)

    def named_output(self, loss: Any, logits: Logits, result: EncoderResult, pooled: Any) -> outputs.ModelOutput:
        return outputs.SequenceClassifierOutputWithPast(loss, logits[0], result.cache, result.hidden_states, result.attentions)
