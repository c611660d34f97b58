"""Kinds of task models, whatever the architecture below: what their labels may be, and which loss compares them with logits."""

from __future__ import annotations

from typing import Any, ClassVar

from npbert import checks, ops
from npbert.bert import heads
from npbert.bert.layer import EncoderResult
from npbert.models import outputs
from npbert.models.calling import CallableModel, Logits
from npbert.types import Array


class OneLogits(CallableModel):
    """A head with one array of logits and the usual loss: cross-entropy with one label for each row."""

    output_class: ClassVar[Any] = outputs.LogitsOutput

    def named_output(self, loss: Any, logits: Logits, result: EncoderResult, pooled: Any) -> outputs.ModelOutput:
        """The results under their names."""
        return self.output_class(loss, logits[0], result.hidden_states, result.attentions)

    def check_labels(self, labels: dict[str, Any], logits: Logits) -> Any:
        """The labels as the loss takes them."""
        return checks.labels("labels", labels["labels"], logits[0].shape[-1], logits[0].shape[:-1])

    def loss(self, logits: Logits, labels: Any) -> Array:
        """How wrong the logits are."""
        return ops.cross_entropy(logits[0], labels)

    def loss_backward(self, logits: Logits, labels: Any) -> Logits:
        """The gradients of the loss by the logits."""
        return (ops.cross_entropy_backward(logits[0], labels),)


class CausalLanguageModel(OneLogits):
    """Each position predicts the next token: labels are shifted by one inside, and the model can write."""

    def generate(self, input_ids: Any = None, generation_config: Any = None, **options: Any) -> Any:
        """Write on from `input_ids`, token by token: see `npbert.generate`."""
        from npbert.models.generating import generate  # here, so that importing npbert stays cheap

        return generate(self, input_ids, generation_config, **options)

    def loss(self, logits: Logits, labels: Any) -> Array:
        return heads.causal_language_model_loss(logits[0], labels)

    def loss_backward(self, logits: Logits, labels: Any) -> Logits:
        return (heads.causal_language_model_loss_backward(logits[0], labels),)

    def named_output(self, loss: Any, logits: Logits, result: EncoderResult, pooled: Any) -> outputs.ModelOutput:
        return outputs.CausalLMOutputWithCrossAttentions(
            loss, logits[0], result.cache, result.hidden_states, result.attentions, result.cross_attentions
        )


class SequenceClassifier(OneLogits):
    """A label, several labels or a number for the whole sequence.

    `labels` are `[B]` whole numbers, `[B, num_labels]` zeros and ones, or `[B]` (`[B, num_labels]`) numbers to regress;
    `config.problem_type` says which of them, or else `num_labels` and the type of the labels.
    """

    def check_labels(self, labels: dict[str, Any], logits: Logits) -> Any:
        batch, num_labels = logits[0].shape
        x = checks.numbers("labels", labels["labels"])
        problem_type = self.config.problem_type or heads.infer_problem_type(num_labels, x)
        if problem_type == "single_label_classification":
            x = checks.labels("labels", x, num_labels, (batch,) if x.ndim == 1 else (batch, 1))
        elif problem_type == "multi_label_classification":
            x = checks.mask("labels", x, logits[0].shape)
        elif not (num_labels == 1 and x.shape == (batch,)):
            x = checks.with_shape("labels", x, logits[0].shape)
        return x, problem_type

    def loss(self, logits: Logits, labels: Any) -> Array:
        return heads.sequence_classification_loss(logits[0], *labels)

    def loss_backward(self, logits: Logits, labels: Any) -> Logits:
        return (heads.sequence_classification_loss_backward(logits[0], *labels),)
