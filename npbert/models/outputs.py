"""The named results of the models: the reference's names in the reference's order.

A result is read by attribute, by key or by position; what a call did not produce is None as an attribute and absent
otherwise. Legend as in `npbert.bert`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeAlias

from npbert.errors import MissingAttributeError, MissingNameError
from npbert.models.arrays import handed_out
from npbert.types import Array

Arrays: TypeAlias = tuple[Array, ...]
Cache: TypeAlias = tuple[Arrays, ...]
"""One entry a layer: (key, value), or (key, value, cross_key, cross_value), each [B, N, T, H]."""


class ModelOutput:
    """What all results have in common: `out.logits`, `out["logits"]`, `out[0]`, `out.to_tuple()`, `dict(out.items())`."""

    def __post_init__(self) -> None:
        vars(self).update(handed_out(vars(self)))

    def __getattr__(self, name: str) -> Any:
        if name in ("detach", "cpu", "numpy", "to", "cuda", "backward"):
            there = ", ".join(self.keys())
            raise MissingAttributeError(f"{type(self).__name__} has no {name!r}: it holds NumPy arrays, {there}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get(self, name: str, default: Any = None) -> Any:
        """What is there under a name, else the default."""
        return dict(self.items()).get(name, default)

    def keys(self) -> tuple[str, ...]:
        """The names of what is there, in order."""
        return tuple(f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None)  # type: ignore[arg-type]

    def to_tuple(self) -> tuple[Any, ...]:
        """What is there, in order."""
        return tuple(getattr(self, name) for name in self.keys())

    def as_plain_tuple(self) -> tuple[Any, ...]:
        """What a call with `return_dict=False` gives."""
        return self.to_tuple()

    def values(self) -> tuple[Any, ...]:
        """As `to_tuple`."""
        return self.to_tuple()

    def items(self) -> tuple[tuple[str, Any], ...]:
        """Pairs of name and value."""
        return tuple(zip(self.keys(), self.to_tuple(), strict=True))

    def __getitem__(self, key: str | int | slice) -> Any:
        if not isinstance(key, str):
            return self.to_tuple()[key]
        if key not in self.keys():
            raise MissingNameError(f"{type(self).__name__}: no {key!r}; there are {', '.join(self.keys())}")
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())


@dataclasses.dataclass(eq=False)
class BaseModelOutputWithPoolingAndCrossAttentions(ModelOutput):
    """Of `BertModel`."""

    last_hidden_state: Array  # [B, S, D]
    pooler_output: Array | None = None  # [B, D]
    hidden_states: Arrays | None = None  # L + 1 of [B, S, D]
    past_key_values: Cache | None = None
    attentions: Arrays | None = None  # L of [B, N, S, T]
    cross_attentions: Arrays | None = None  # L of [B, N, S, E]

    def as_plain_tuple(self) -> tuple[Any, ...]:
        """The one result of the reference whose plain tuple has another order: the cache stands before the hidden states."""
        order = ("last_hidden_state", "pooler_output", "past_key_values", "hidden_states", "attentions", "cross_attentions")
        return tuple(self[name] for name in order if name in self)


@dataclasses.dataclass(eq=False)
class BaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """Of `GPT2Model`."""

    last_hidden_state: Array  # [B, S, D]
    past_key_values: Cache | None = None
    hidden_states: Arrays | None = None  # L + 1 of [B, S, D]
    attentions: Arrays | None = None  # L of [B, N, S, T]
    cross_attentions: Arrays | None = None  # L of [B, N, S, E]


@dataclasses.dataclass(eq=False)
class CausalLMOutputWithCrossAttentions(ModelOutput):
    """Of `BertLMHeadModel` and `GPT2LMHeadModel`."""

    loss: Array | None = None  # []
    logits: Array | None = None  # [B, S, V]
    past_key_values: Cache | None = None
    hidden_states: Arrays | None = None
    attentions: Arrays | None = None
    cross_attentions: Arrays | None = None


@dataclasses.dataclass(eq=False)
class LogitsOutput(ModelOutput):
    """Of every head that puts out one array of logits."""

    loss: Array | None = None  # []
    logits: Array | None = None
    hidden_states: Arrays | None = None
    attentions: Arrays | None = None


class MaskedLMOutput(LogitsOutput):
    """Of `BertForMaskedLM`: logits `[B, S, V]`."""


class NextSentencePredictorOutput(LogitsOutput):
    """Of `BertForNextSentencePrediction`: logits `[B, 2]`, first that the second sentence follows, then that it does not."""


class SequenceClassifierOutput(LogitsOutput):
    """Of `BertForSequenceClassification`: logits `[B, num_labels]`."""


@dataclasses.dataclass(eq=False)
class SequenceClassifierOutputWithPast(ModelOutput):
    """Of `GPT2ForSequenceClassification`: logits `[B, num_labels]`."""

    loss: Array | None = None  # []
    logits: Array | None = None
    past_key_values: Cache | None = None
    hidden_states: Arrays | None = None
    attentions: Arrays | None = None


class MultipleChoiceModelOutput(LogitsOutput):
    """Of `BertForMultipleChoice`: logits `[B, C]`."""


class TokenClassifierOutput(LogitsOutput):
    """Of `BertForTokenClassification`: logits `[B, S, num_labels]`."""


@dataclasses.dataclass(eq=False)
class BertForPreTrainingOutput(ModelOutput):
    """Of `BertForPreTraining`."""

    loss: Array | None = None  # []
    prediction_logits: Array | None = None  # [B, S, V]
    seq_relationship_logits: Array | None = None  # [B, 2]
    hidden_states: Arrays | None = None
    attentions: Arrays | None = None


@dataclasses.dataclass(eq=False)
class QuestionAnsweringModelOutput(ModelOutput):
    """Of `BertForQuestionAnswering`."""

    loss: Array | None = None  # []
    start_logits: Array | None = None  # [B, S]
    end_logits: Array | None = None  # [B, S]
    hidden_states: Arrays | None = None
    attentions: Arrays | None = None


@dataclasses.dataclass(eq=False)
class GenerateOutput(ModelOutput):
    """Of `generate(..., return_dict_in_generate=True)`. What comes from the steps is a tuple with one entry for each."""

    sequences: Array  # [B * num_return_sequences, T]
    sequences_scores: Array | None = None  # [B * num_return_sequences]: of beam search, sum of log probabilities / T ** penalty
    scores: Arrays | None = None  # each [R, V]: what the token was chosen from; of beam search, log probabilities
    logits: Arrays | None = None  # each [R, V]: what the model put out
    beam_indices: Array | None = None  # [B * num_return_sequences, T - S]: which row each token was written in; -1 past the end
    encoder_attentions: Arrays | None = None  # L of [B, N, E, E]
    encoder_hidden_states: Arrays | None = None  # L + 1 of [B, E, D]
    attentions: tuple[Arrays, ...] | None = None  # each L of [R, N, new, T]
    decoder_attentions: tuple[Arrays, ...] | None = None
    cross_attentions: tuple[Arrays, ...] | None = None
    hidden_states: tuple[Arrays, ...] | None = None  # each L + 1 of [R, new, D]
    decoder_hidden_states: tuple[Arrays, ...] | None = None
    past_key_values: Cache | None = None


@dataclasses.dataclass(eq=False)
class Seq2SeqLMOutput(ModelOutput):
    """Of `EncoderDecoderModel`."""

    loss: Array | None = None  # []
    logits: Array | None = None  # [B, S, V]
    past_key_values: Cache | None = None
    decoder_hidden_states: Arrays | None = None
    decoder_attentions: Arrays | None = None
    cross_attentions: Arrays | None = None
    encoder_last_hidden_state: Array | None = None  # [B, E, D]
    encoder_hidden_states: Arrays | None = None
    encoder_attentions: Arrays | None = None
