"""The heads of BERT as classes, under the reference's names, as the modules in `modules.py`."""

from __future__ import annotations

from typing import Any

from npbert.bert import heads
from npbert.familiar.modules import Part
from npbert.types import Array
from npbert.weights import Parameters


class BertPredictionHeadTransform(Part):
    """A hidden state, made ready to be compared with words."""

    path = "cls.predictions.transform"

    def __call__(self, hidden_states: Any) -> Array:
        """`LayerNorm(activation(dense(hidden_states)))`."""
        return heads.transform(self.module(), self.states("hidden_states", hidden_states))


class BertLMPredictionHead(Part):
    """Logits over the vocabulary. On its own it has a decoder of its own: there is no word table to share."""

    path = "cls.predictions"

    def tied(self) -> dict[str, str]:
        return {"decoder.bias": "bias"}

    def __call__(self, hidden_states: Any) -> Array:
        """`[B, S, D]` -> `[B, S, V]`."""
        return heads.predictions(self.module(), self.states("hidden_states", hidden_states))


class BertOnlyMLMHead(Part):
    """The head of a masked language model."""

    path = "cls"

    def tied(self) -> dict[str, str]:
        return {"predictions.decoder.bias": "predictions.bias"}

    def expected_parameters(self) -> Parameters:
        return {name: one for name, one in super().expected_parameters().items() if name.startswith("predictions")}

    def __call__(self, sequence_output: Any) -> Array:
        """`[B, S, D]` -> `[B, S, V]`."""
        return heads.language_model_head(self.module(), self.states("sequence_output", sequence_output))


class BertOnlyNSPHead(Part):
    """The head for next sentences."""

    path = "cls"

    def expected_parameters(self) -> Parameters:
        return {name: one for name, one in super().expected_parameters().items() if name.startswith("seq_relationship")}

    def __call__(self, pooled_output: Any) -> Array:
        """`[B, D]` -> `[B, 2]`."""
        return heads.next_sentence_head(self.module(), self.states("pooled_output", pooled_output))


class BertPreTrainingHeads(BertOnlyMLMHead):
    """Both heads of the paper."""

    def expected_parameters(self) -> Parameters:
        return Part.expected_parameters(self)

    def __call__(self, sequence_output: Any, pooled_output: Any = None) -> Any:
        """The words' logits `[B, S, V]` and the next sentence's `[B, 2]`."""
        sequence_output = self.states("sequence_output", sequence_output)
        return heads.pretraining_heads(self.module(), sequence_output, self.states("pooled_output", pooled_output))
