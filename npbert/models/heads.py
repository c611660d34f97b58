"""The task models: a base model, a head, and a loss where there are labels.

Each class says four things: which weights its head has, what the head makes of the hidden states, what its labels may be, and
which loss compares both; and of the last two steps the gradients.
"""

from __future__ import annotations

from typing import Any

from npbert import checks, ops
from npbert.bert import heads
from npbert.bert.layer import EncoderResult
from npbert.bert.parameters import language_model_head_parameters, linear_parameters
from npbert.errors import InputError, warn
from npbert.models import inputs, outputs
from npbert.models.bert import BertPreTrainedModel
from npbert.models.calling import CACHE_INPUTS, ENCODER_INPUTS, Call, Logits, Pass
from npbert.models.kinds import CausalLanguageModel, OneLogits, SequenceClassifier
from npbert.module import Module
from npbert.types import Array
from npbert.weights import Parameters


class _LanguageModel(OneLogits, BertPreTrainedModel):
    """A base model with `cls.predictions`."""

    has_pooler = False
    functions = BertPreTrainedModel.functions | heads.FUNCTIONS | {"cls": heads.language_model_head}

    def head_parameters(self) -> Parameters:
        return language_model_head_parameters(self.config)

    def head(self, m: Module, hidden: Array, pooled: Any) -> Logits:
        return (heads.language_model_head(m.cls, hidden),)  # [B, S, V]

    def head_backward(self, m: Module, dlogits: Logits, hidden: Array, pooled: Any) -> tuple[Array | None, Array | None]:
        return heads.language_model_head_backward(m.cls, dlogits[0], hidden), None


class BertLMHeadModel(CausalLanguageModel, _LanguageModel):
    """A causal language model: each position predicts the next token. `labels` `[B, S]` are shifted by one inside.

    Takes what `BertModel` takes; without `is_decoder` every position sees the token that it is to predict.
    """

    decoder_inputs = ENCODER_INPUTS + CACHE_INPUTS

    def _begin(self, config: Any) -> None:
        super()._begin(config)
        if not config.is_decoder:
            warn("BertLMHeadModel without is_decoder=True in its config sees the tokens it predicts")

    def forward_pass(self, m: Module, call: Call) -> Pass:
        if call.labels["labels"] is not None:
            call.arrays["use_cache"] = False
        return super().forward_pass(m, call)


class _MaskedLanguageModel(_LanguageModel):
    """Each position predicts its own token. With `sparse_prediction=True` only those do that have a label: in training most
    have none, and the head costs as much as many layers. The logits then are `[n, V]`, for the n labels in their order."""

    switches = ("sparse_prediction",)

    def predicted_positions(self, hidden: Array, call: Call) -> Array | None:
        if not call.sparse_prediction:
            return None
        if call.labels["labels"] is None:
            raise InputError("sparse_prediction: predicts where there are labels, got none")
        labels = checks.labels("labels", call.labels["labels"], self.config.vocab_size, hidden.shape[:2])
        rows = labels != checks.IGNORED  # [B, S]
        call.labels["labels"] = labels[rows]
        return rows


class BertForMaskedLM(_MaskedLanguageModel):
    """A masked language model: each position predicts its own token. `labels` `[B, S]`, -100 where nothing was masked.

    With `sparse_prediction=True` only the labelled positions are predicted: `logits` `[n, V]`.
    """

    decoder_inputs = ENCODER_INPUTS
    output_class = outputs.MaskedLMOutput


class BertForPreTraining(_MaskedLanguageModel):
    """Both tasks of the paper at once. The loss, given `labels` `[B, S]` and `next_sentence_label` `[B]`, is their sum.

    With `sparse_prediction=True` only the labelled positions are predicted: `prediction_logits` `[n, V]`.
    """

    has_pooler = True
    label_names = ("labels", "next_sentence_label")
    logit_names = ("prediction_logits", "seq_relationship_logits")
    functions = BertPreTrainedModel.functions | heads.FUNCTIONS | {"cls": heads.pretraining_heads}

    def head_parameters(self) -> Parameters:
        return super().head_parameters() | linear_parameters("cls.seq_relationship", 2, self.config.hidden_size)

    def head(self, m: Module, hidden: Array, pooled: Any) -> Logits:
        return heads.pretraining_heads(m.cls, hidden, pooled)  # [B, S, V], [B, 2]

    def head_backward(self, m: Module, dlogits: Logits, hidden: Array, pooled: Any) -> tuple[Array | None, Array | None]:
        return heads.pretraining_heads_backward(m.cls, dlogits[0], dlogits[1], hidden, pooled)

    def check_labels(self, labels: dict[str, Any], logits: Logits) -> Any:
        words = checks.labels("labels", labels["labels"], logits[0].shape[-1], logits[0].shape[:-1])
        return words, _next_sentence_labels("next_sentence_label", labels["next_sentence_label"], logits[1])

    def loss(self, logits: Logits, labels: Any) -> Array:
        return ops.cross_entropy(logits[0], labels[0]) + ops.cross_entropy(logits[1], labels[1])

    def loss_backward(self, logits: Logits, labels: Any) -> Logits:
        return ops.cross_entropy_backward(logits[0], labels[0]), ops.cross_entropy_backward(logits[1], labels[1])

    def named_output(self, loss: Any, logits: Logits, result: EncoderResult, pooled: Any) -> outputs.ModelOutput:
        return outputs.BertForPreTrainingOutput(loss, logits[0], logits[1], result.hidden_states, result.attentions)


class BertForNextSentencePrediction(OneLogits, BertPreTrainedModel):
    """Does sentence B follow sentence A? `labels` `[B]`: 0 it does, 1 it does not."""

    functions = BertPreTrainedModel.functions | {"cls": heads.next_sentence_head}
    output_class = outputs.NextSentencePredictorOutput

    def head_parameters(self) -> Parameters:
        return linear_parameters("cls.seq_relationship", 2, self.config.hidden_size)

    def head(self, m: Module, hidden: Array, pooled: Any) -> Logits:
        return (heads.next_sentence_head(m.cls, pooled),)  # [B, 2]

    def head_backward(self, m: Module, dlogits: Logits, hidden: Array, pooled: Any) -> tuple[Array | None, Array | None]:
        return None, heads.next_sentence_head_backward(m.cls, dlogits[0], pooled)

    def check_labels(self, labels: dict[str, Any], logits: Logits) -> Any:
        return _next_sentence_labels("labels", labels["labels"], logits[0])


class BertForSequenceClassification(SequenceClassifier, BertPreTrainedModel):
    """A label, several labels or a number for the whole sequence.

    `labels` are `[B]` whole numbers, `[B, num_labels]` zeros and ones, or `[B]` (`[B, num_labels]`) numbers to regress;
    `config.problem_type` says which of them, or else `num_labels` and the type of the labels.
    """

    output_class = outputs.SequenceClassifierOutput

    def head_parameters(self) -> Parameters:
        return linear_parameters("classifier", self.config.num_labels, self.config.hidden_size)

    def head(self, m: Module, hidden: Array, pooled: Any) -> Logits:
        return (heads.classify(m, pooled),)  # [B, num_labels]

    def head_backward(self, m: Module, dlogits: Logits, hidden: Array, pooled: Any) -> tuple[Array | None, Array | None]:
        return None, heads.classify_backward(m, dlogits[0])


class BertForMultipleChoice(OneLogits, BertPreTrainedModel):
    """Which of C choices fits best? Inputs are `[B, C, S]`, `labels` `[B]`."""

    output_class = outputs.MultipleChoiceModelOutput

    def head_parameters(self) -> Parameters:
        return linear_parameters("classifier", 1, self.config.hidden_size)

    def as_sequences(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """To the base model every choice is a sequence of its own."""
        _batch_and_choices(arrays)
        return {name: x if x is None or name == "head_mask" else _flatten_choices(name, x) for name, x in arrays.items()}

    def head(self, m: Module, hidden: Array, pooled: Any) -> Logits:
        return (heads.classify(m, pooled),)  # [B*C, 1]

    def head_backward(self, m: Module, dlogits: Logits, hidden: Array, pooled: Any) -> tuple[Array | None, Array | None]:
        return None, heads.classify_backward(m, dlogits[0])

    def arrange(self, logits: Logits, call: Call) -> Logits:
        return (logits[0].reshape(_batch_and_choices(call.arrays)),)  # [B, C]

    def arrange_backward(self, dlogits: Logits, done: Pass) -> Logits:
        return (dlogits[0].reshape(-1, 1),)  # [B*C, 1]


class BertForTokenClassification(OneLogits, BertPreTrainedModel):
    """A label for every token. `labels` `[B, S]`, -100 where none counts."""

    has_pooler = False
    output_class = outputs.TokenClassifierOutput

    def head_parameters(self) -> Parameters:
        return linear_parameters("classifier", self.config.num_labels, self.config.hidden_size)

    def head(self, m: Module, hidden: Array, pooled: Any) -> Logits:
        return (heads.classify(m, hidden),)  # [B, S, num_labels]

    def head_backward(self, m: Module, dlogits: Logits, hidden: Array, pooled: Any) -> tuple[Array | None, Array | None]:
        return heads.classify_backward(m, dlogits[0]), None


class BertForQuestionAnswering(BertPreTrainedModel):
    """Where in the text is the answer? `start_positions` and `end_positions` are `[B]`; past the text means: not in it."""

    has_pooler = False
    label_names = ("start_positions", "end_positions")
    logit_names = ("start_logits", "end_logits")

    def head_parameters(self) -> Parameters:
        if self.config.num_labels != 2:
            raise InputError(f"config: question answering has num_labels 2 (start, end), got {self.config.num_labels}")
        return linear_parameters("qa_outputs", 2, self.config.hidden_size)

    def head(self, m: Module, hidden: Array, pooled: Any) -> Logits:
        return heads.find_span(m, hidden)  # [B, S] each

    def head_backward(self, m: Module, dlogits: Logits, hidden: Array, pooled: Any) -> tuple[Array | None, Array | None]:
        return heads.find_span_backward(m, dlogits[0], dlogits[1], hidden), None

    def check_labels(self, labels: dict[str, Any], logits: Logits) -> Any:
        positions = []
        for name in self.label_names:
            x = checks.integers(name, labels[name], (1, 2))
            positions.append(checks.with_shape(name, x, (len(logits[0]),) if x.ndim == 1 else (len(logits[0]), 1)).reshape(-1))
        return positions

    def loss(self, logits: Logits, labels: Any) -> Array:
        return heads.span_loss(*logits, *labels)

    def loss_backward(self, logits: Logits, labels: Any) -> Logits:
        return heads.span_loss_backward(*logits, *labels)

    def named_output(self, loss: Any, logits: Logits, result: EncoderResult, pooled: Any) -> outputs.ModelOutput:
        return outputs.QuestionAnsweringModelOutput(loss, logits[0], logits[1], result.hidden_states, result.attentions)


def _next_sentence_labels(name: str, labels: Any, logits: Array) -> Array:
    x = checks.as_array(name, labels)
    return checks.labels(name, x, 2, (len(logits),) if x.ndim == 1 else (len(logits), 1)).reshape(-1)


def _batch_and_choices(arrays: dict[str, Any]) -> tuple[int, ...]:
    name = inputs.which_tokens(arrays.get("input_ids"), arrays.get("inputs_embeds"))
    rank = 4 if name == "inputs_embeds" else 3
    x = checks.as_array(name, arrays[name])
    if x.ndim != rank:
        raise InputError(f"{name}: takes {rank} dimensions, batch and choices first, got shape {list(x.shape)}")
    return x.shape[:2]


def _flatten_choices(name: str, value: Any) -> Array:
    """`[B, C, ...]` -> `[B*C, ...]`."""
    x = checks.as_array(name, value)
    if x.ndim < 3:
        raise InputError(f"{name}: takes batch and choices as its first dimensions, got shape {list(x.shape)}")
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])
