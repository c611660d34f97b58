"""The models of BERT: what users construct and call.

A call checks its arguments (`npbert.models.inputs`), runs the architecture (`npbert.bert`) and names the results
(`npbert.models.outputs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from npbert import checks, ops
from npbert.bert import heads
from npbert.bert.config import BertConfig
from npbert.bert.layer import EncoderResult
from npbert.bert.model import FUNCTIONS, bert
from npbert.bert.parameters import base_parameters, language_model_head_parameters, linear_parameters
from npbert.errors import InputError, warn
from npbert.models import inputs, outputs, surgery
from npbert.models.base import PreTrainedModel
from npbert.models.generating import generate
from npbert.module import Module
from npbert.types import Array, Rng
from npbert.weights import Parameters, join

ENCODER_INPUTS = ("encoder_hidden_states", "encoder_attention_mask")
CACHE_INPUTS = ("past_key_values", "use_cache")


class BertPreTrainedModel(PreTrainedModel):
    """What the models of BERT have in common."""

    config_class = BertConfig
    functions = FUNCTIONS
    base_model_prefix = "bert"
    has_pooler = True
    label_names: ClassVar[tuple[str, ...]] = ("labels",)
    decoder_inputs: ClassVar[tuple[str, ...]] = ()  # what the class takes when it is a decoder

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
        arrays = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "token_type_ids": token_type_ids,
            "position_ids": position_ids,
            "head_mask": head_mask,
            "inputs_embeds": inputs_embeds,
        }
        options = {
            "output_attentions": checks.flag("output_attentions", output_attentions, self.config.output_attentions),
            "output_hidden_states": checks.flag("output_hidden_states", output_hidden_states, self.config.output_hidden_states),
        }
        return_dict = checks.flag("return_dict", return_dict, self.config.return_dict)
        checks.generator("rng", rng)
        taken = (*arrays, *self.decoder_inputs, *self.label_names, *options, "return_dict", "rng")
        checks.known(type(self).__name__, others, taken)
        labels = {name: others.pop(name, None) for name in self.label_names}
        result = self.run(self.module(rng), arrays | others, labels, options)
        return result if return_dict else result.as_plain_tuple()

    def run(self, m: Module, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        """The base model, then the head."""
        result, pooled = self.run_base(m, arrays, options)
        return self.head(m, result, pooled, labels)

    def head(self, m: Module, result: EncoderResult, pooled: Any, labels: dict[str, Any]) -> outputs.ModelOutput:
        """What the class makes of the base model's results: its outputs and, where there are labels, their loss."""
        raise NotImplementedError

    def run_base(self, m: Module, arrays: dict[str, Any], options: dict[str, Any]) -> tuple[EncoderResult, Any]:
        """Check the arguments of the base model and run it."""
        has_cache = self.config.is_decoder and "use_cache" in self.decoder_inputs
        use_cache = checks.flag("use_cache", arrays.pop("use_cache", None), has_cache and self.config.use_cache)
        if use_cache and not self.config.is_decoder:
            raise InputError("use_cache: only decoders have a cache; set is_decoder=True in the config")
        checked = inputs.check_inputs(self.config, self.dtype, **arrays)
        if not self.base_model_prefix:
            return bert(m, use_cache=use_cache, **checked, **options)
        result, pooled = bert(m.bert, use_cache=use_cache, **checked, **options)
        return result._replace(hidden=m.keep("bert", result.hidden)), pooled


class BertModel(BertPreTrainedModel):
    """The base model: hidden states, and a pooled vector for the whole sequence.

    Decoders (`is_decoder`) also take `past_key_values` and `use_cache`, and with `add_cross_attention`
    `encoder_hidden_states` and `encoder_attention_mask`.
    """

    base_model_prefix = ""
    label_names = ()
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

    def head(self, m: Module, result: EncoderResult, pooled: Any, labels: dict[str, Any]) -> outputs.ModelOutput:
        return outputs.BaseModelOutputWithPoolingAndCrossAttentions(
            result.hidden, pooled, result.hidden_states, result.cache, result.attentions, result.cross_attentions
        )


class _LanguageModel(BertPreTrainedModel):
    """A base model with `cls.predictions`."""

    has_pooler = False
    functions = FUNCTIONS | heads.FUNCTIONS | {"cls": heads.language_model_head}

    def head_parameters(self) -> Parameters:
        return language_model_head_parameters(self.config)


class BertLMHeadModel(_LanguageModel):
    """A causal language model: each position predicts the next token. `labels` `[B, S]` are shifted by one inside.

    Takes what `BertModel` takes; without `is_decoder` every position sees the token that it is to predict.
    """

    decoder_inputs = ENCODER_INPUTS + CACHE_INPUTS

    def _begin(self, config: BertConfig) -> None:
        super()._begin(config)
        if not config.is_decoder:
            warn("BertLMHeadModel without is_decoder=True in its config sees the tokens it predicts")

    def generate(self, input_ids: Any = None, **options: Any) -> Any:
        """Write on from `input_ids`, token by token: see `npbert.generate`."""
        return generate(self, input_ids, **options)

    def run(self, m: Module, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        if labels["labels"] is not None:
            arrays["use_cache"] = False
        return super().run(m, arrays, labels, options)

    def head(self, m: Module, result: EncoderResult, pooled: Any, labels: dict[str, Any]) -> outputs.ModelOutput:
        logits = heads.language_model_head(m.cls, result.hidden)  # [B, S, V]
        loss = _token_loss(labels["labels"], logits, heads.causal_language_model_loss)
        return outputs.CausalLMOutputWithCrossAttentions(
            loss, logits, result.cache, result.hidden_states, result.attentions, result.cross_attentions
        )


class BertForMaskedLM(_LanguageModel):
    """A masked language model: each position predicts its own token. `labels` `[B, S]`, -100 where nothing was masked."""

    decoder_inputs = ENCODER_INPUTS

    def head(self, m: Module, result: EncoderResult, pooled: Any, labels: dict[str, Any]) -> outputs.ModelOutput:
        logits = heads.language_model_head(m.cls, result.hidden)  # [B, S, V]
        loss = _token_loss(labels["labels"], logits, ops.cross_entropy)
        return outputs.MaskedLMOutput(loss, logits, result.hidden_states, result.attentions)


class BertForPreTraining(_LanguageModel):
    """Both tasks of the paper at once. The loss, given `labels` `[B, S]` and `next_sentence_label` `[B]`, is their sum."""

    has_pooler = True
    label_names = ("labels", "next_sentence_label")
    functions = FUNCTIONS | heads.FUNCTIONS | {"cls": heads.pretraining_heads}

    def head_parameters(self) -> Parameters:
        return super().head_parameters() | linear_parameters("cls.seq_relationship", 2, self.config.hidden_size)

    def head(self, m: Module, result: EncoderResult, pooled: Any, labels: dict[str, Any]) -> outputs.ModelOutput:
        logits, follows = heads.pretraining_heads(m.cls, result.hidden, pooled)  # [B, S, V], [B, 2]
        loss = None
        if _are_given(labels):
            of_words = _token_loss(labels["labels"], logits, ops.cross_entropy)
            loss = of_words + _next_sentence_loss("next_sentence_label", labels["next_sentence_label"], follows)
        return outputs.BertForPreTrainingOutput(loss, logits, follows, result.hidden_states, result.attentions)


class BertForNextSentencePrediction(BertPreTrainedModel):
    """Does sentence B follow sentence A? `labels` `[B]`: 0 it does, 1 it does not."""

    functions = FUNCTIONS | {"cls": heads.next_sentence_head}

    def head_parameters(self) -> Parameters:
        return linear_parameters("cls.seq_relationship", 2, self.config.hidden_size)

    def head(self, m: Module, result: EncoderResult, pooled: Any, labels: dict[str, Any]) -> outputs.ModelOutput:
        logits = heads.next_sentence_head(m.cls, pooled)  # [B, 2]
        loss = None if labels["labels"] is None else _next_sentence_loss("labels", labels["labels"], logits)
        return outputs.NextSentencePredictorOutput(loss, logits, result.hidden_states, result.attentions)


class BertForSequenceClassification(BertPreTrainedModel):
    """A label, several labels or a number for the whole sequence.

    `labels` are `[B]` whole numbers, `[B, num_labels]` zeros and ones, or `[B]` (`[B, num_labels]`) numbers to regress;
    which of them, `config.problem_type` says, or else `num_labels` and the type of the labels.
    """

    def head_parameters(self) -> Parameters:
        return linear_parameters("classifier", self.config.num_labels, self.config.hidden_size)

    def head(self, m: Module, result: EncoderResult, pooled: Any, labels: dict[str, Any]) -> outputs.ModelOutput:
        logits = heads.classify(m, pooled)  # [B, num_labels]
        loss = None if labels["labels"] is None else self._loss(logits, labels["labels"])
        return outputs.SequenceClassifierOutput(loss, logits, result.hidden_states, result.attentions)

    def _loss(self, logits: Array, labels: Any) -> Array:
        batch, num_labels = logits.shape
        x = checks.numbers("labels", labels)
        problem_type = self.config.problem_type or heads.infer_problem_type(num_labels, x)
        if problem_type == "single_label_classification":
            x = checks.labels("labels", x, num_labels, (batch,) if x.ndim == 1 else (batch, 1))
        elif problem_type == "multi_label_classification":
            x = checks.mask("labels", x, logits.shape)
        elif not (num_labels == 1 and x.shape == (batch,)):
            x = checks.with_shape("labels", x, logits.shape)
        return heads.sequence_classification_loss(logits, x, problem_type)


class BertForMultipleChoice(BertPreTrainedModel):
    """Which of C choices fits best? Inputs are `[B, C, S]`, `labels` `[B]`."""

    def head_parameters(self) -> Parameters:
        return linear_parameters("classifier", 1, self.config.hidden_size)

    def run(self, m: Module, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        tokens = inputs.which_tokens(arrays["input_ids"], arrays["inputs_embeds"])
        batch, choices = _leading_shape(tokens, arrays[tokens], 4 if tokens == "inputs_embeds" else 3)
        flat = {name: x if x is None or name == "head_mask" else _flatten_choices(name, x) for name, x in arrays.items()}
        result, pooled = self.run_base(m, flat, options)
        scores = heads.classify(m, pooled)  # [B*C, 1]
        logits = scores.reshape(batch, choices)  # [B, C]
        loss = None
        if labels["labels"] is not None:
            loss = ops.cross_entropy(logits, checks.labels("labels", labels["labels"], choices, (batch,)))
        return outputs.MultipleChoiceModelOutput(loss, logits, result.hidden_states, result.attentions)


class BertForTokenClassification(BertPreTrainedModel):
    """A label for every token. `labels` `[B, S]`, -100 where none counts."""

    has_pooler = False

    def head_parameters(self) -> Parameters:
        return linear_parameters("classifier", self.config.num_labels, self.config.hidden_size)

    def head(self, m: Module, result: EncoderResult, pooled: Any, labels: dict[str, Any]) -> outputs.ModelOutput:
        logits = heads.classify(m, result.hidden)  # [B, S, num_labels]
        loss = _token_loss(labels["labels"], logits, ops.cross_entropy)
        return outputs.TokenClassifierOutput(loss, logits, result.hidden_states, result.attentions)


class BertForQuestionAnswering(BertPreTrainedModel):
    """Where in the text is the answer? `start_positions` and `end_positions` are `[B]`; past the text means: not in it."""

    has_pooler = False
    label_names = ("start_positions", "end_positions")

    def head_parameters(self) -> Parameters:
        if self.config.num_labels != 2:
            raise InputError(f"config: question answering has num_labels 2 (start, end), got {self.config.num_labels}")
        return linear_parameters("qa_outputs", 2, self.config.hidden_size)

    def head(self, m: Module, result: EncoderResult, pooled: Any, labels: dict[str, Any]) -> outputs.ModelOutput:
        start, end = heads.find_span(m, result.hidden)  # [B, S] each
        loss = None
        if _are_given(labels):
            positions = [checks.integers(name, labels[name], (1, 2)) for name in self.label_names]
            for name, x in zip(self.label_names, positions, strict=True):
                checks.with_shape(name, x, (len(start),) if x.ndim == 1 else (len(start), 1))
            loss = heads.span_loss(start, end, positions[0].reshape(-1), positions[1].reshape(-1))
        return outputs.QuestionAnsweringModelOutput(loss, start, end, result.hidden_states, result.attentions)


def _are_given(labels: Mapping[str, Any]) -> bool:
    """Whether there are labels. Labels that make one loss together are refused one without the other."""
    missing = [name for name, x in labels.items() if x is None]
    if len(missing) == 1:
        raise InputError(f"{missing[0]}: belongs to {' and '.join(name for name in labels if name not in missing)}, got none")
    return not missing


def _token_loss(labels: Any, logits: Array, loss: Callable[[Array, Array], Array]) -> Any:
    """The loss of a label for each token, where there are labels. Logits `[B, S, C]`."""
    if labels is None:
        return None
    return loss(logits, checks.labels("labels", labels, logits.shape[-1], logits.shape[:2]))


def _next_sentence_loss(name: str, labels: Any, logits: Array) -> Array:
    x = checks.as_array(name, labels)
    wanted = checks.labels(name, x, 2, (len(logits),) if x.ndim == 1 else (len(logits), 1))
    return ops.cross_entropy(logits, wanted.reshape(-1))


def _leading_shape(name: str, value: Any, rank: int) -> tuple[int, ...]:
    x = checks.as_array(name, value)
    if x.ndim != rank:
        raise InputError(f"{name}: takes {rank} dimensions, batch and choices first, got shape {list(x.shape)}")
    return x.shape[:2]


def _flatten_choices(name: str, value: Any) -> Array:
    """`[B, C, ...]` -> `[B*C, ...]`: to the base model every choice is a sequence of its own."""
    x = checks.as_array(name, value)
    if x.ndim < 3:
        raise InputError(f"{name}: takes batch and choices as its first dimensions, got shape {list(x.shape)}")
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
