"""The models: what users construct and call.

A model is a configuration and a flat mapping of weights. Calling it checks the arguments (`npbert.inputs`), runs the
architecture (`npbert.bert`, `npbert.heads`) and names the results (`npbert.outputs`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from npbert import checks, ops
from npbert.bert import heads, parameters
from npbert.bert.bert import EncoderResult, bert
from npbert.bert.config import BertConfig
from npbert.bert.parameters import Parameters
from npbert.errors import InputError, InputTypeError, MissingNameError, listed, warn
from npbert.models import inputs, outputs
from npbert.tracing import keep
from npbert.types import Array, Rng
from npbert.weights import Weights

Model = TypeVar("Model", bound="BertPreTrainedModel")

WORDS = "embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"
DECODER_BIAS = "cls.predictions.bias"


class IncompatibleKeys(NamedTuple):
    """What did not match when weights were loaded."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class BertPreTrainedModel:
    """What all models have in common: weights under their checkpoint names, and the operations on them.

    `weights` are your own arrays under the checkpoint's names; they are used as they are, not copied. Without them the
    model starts from random weights, drawn from `rng`.
    """

    base_model_prefix: ClassVar[str] = "bert"
    _arrays: dict[str, Array]
    _has_pooler: bool = True
    _labels: ClassVar[tuple[str, ...]] = ("labels",)
    _reads_encoder: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: BertConfig, weights: Mapping[str, Any] | None = None, *, rng: Rng = None) -> None:
        self._set_config(config)
        checks.generator("rng", rng)
        if weights is None:
            rng = np.random.default_rng() if rng is None else rng
            std = self.config.initializer_range
            self._arrays = parameters.initialize(self.parameters(), rng, np.float32, std=std)
        elif rng is not None:
            raise InputError("rng: draws the weights of a new model, but weights were given")
        else:
            self.load_state_dict(weights)

    def _set_config(self, config: BertConfig) -> None:
        if not isinstance(config, BertConfig):
            raise InputTypeError(f"config: takes a BertConfig, got {type(config).__name__}")
        config.validate()
        self.config = copy.deepcopy(config)
        self.config.architectures = [type(self).__name__]
        self.name_or_path = ""  # where the checkpoint came from
        self.generation_config: dict[str, Any] = {}  # what its generation_config.json says
        self._arrays = {}

    # ------------------------------------------------------------------------------------------------------- checkpoints

    @classmethod
    def from_pretrained(cls: type[Model], path_or_id: Any, **options: Any) -> Any:
        """The model with a checkpoint's weights.

        `path_or_id` is a directory, a file of weights with its configuration beside it, or an id on the Hugging Face hub.
        Options: `dtype` (float32 or float64), `config` (instead of the checkpoint's), `revision`, `cache_dir`,
        `local_files_only`, `token`, `ignore_mismatched_sizes`, `output_loading_info` (returns the model and a dictionary of
        missing, unexpected and mismatched names), and any field of the configuration, which then overrides the checkpoint's.
        Weights that the checkpoint lacks start at random, with one warning that lists them.
        """
        from npbert.models.loading import from_pretrained  # here: reading files is no part of constructing and calling

        return from_pretrained(cls, path_or_id, **options)

    def save_pretrained(
        self, directory: Any, *, max_shard_size: int | str = "5GB", progress: Callable[[int], object] | None = None
    ) -> None:
        """Write `config.json` and `model.safetensors`, as the reference reads them; in several files above `max_shard_size`.

        Each file is written aside and put in place at the end: a crash leaves the old one or the new one. `progress` is told
        the bytes of each tensor as it is written.
        """
        from npbert.models.loading import save_pretrained

        save_pretrained(self, directory, max_shard_size=max_shard_size, progress=progress)

    @classmethod
    def without_weights(cls: type[Model], config: BertConfig) -> Model:
        """A model that has its configuration and is still to be given its weights (`load_state_dict`)."""
        model = cls.__new__(cls)
        model._set_config(config)
        return model

    # -------------------------------------------------------------------------------------------------------- parameters

    @property
    def _prefix(self) -> str:
        """What stands before the base model's names."""
        return f"{self.base_model_prefix}." if self.base_model_prefix else ""

    def _head_parameters(self) -> Parameters:
        return {}

    def parameters(self) -> Parameters:
        """The name, shape and first values of every parameter, each once: a tied one under its first name only."""
        base = parameters.base(self.config, pooler=self._has_pooler)
        every = {self._prefix + name: parameter for name, parameter in base.items()} | self._head_parameters()
        tied = self.tied()
        return {name: parameter for name, parameter in every.items() if name not in tied}

    def tied(self) -> dict[str, str]:
        """Names that stand for another parameter, and for which."""
        if DECODER not in self._head_parameters():
            return {}
        tied = {"cls.predictions.decoder.bias": DECODER_BIAS}
        if self.config.tie_word_embeddings:
            tied[DECODER] = self._prefix + WORDS
        return tied

    @property
    def _weights(self) -> Weights:
        return Weights(self.state_dict())

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the model computes in: float32 or float64."""
        return next(iter(self._arrays.values())).dtype

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Every parameter once, with its name."""
        return iter(self._arrays.items())

    def num_parameters(self) -> int:
        """How many numbers the model has learned; a tied table counts once."""
        return sum(array.size for array in self._arrays.values())

    def state_dict(self) -> dict[str, Array]:
        """The arrays under all their names, tied ones under both. They are the model's own, not copies."""
        return self._arrays | {alias: self._arrays[name] for alias, name in self.tied().items()}

    def load_state_dict(self, mapping: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Take the model's weights from a mapping. Arrays of the model's own type are used as they are, not copied; the
        first weights decide that type: float64 if one of them is, else float32.

        With `strict` every parameter must be there and nothing else; without it the others keep their values and the
        result says what was missing and what was not expected. A wrong shape is always an error, and after an error the
        model is as it was.
        """
        if not isinstance(mapping, Mapping):
            raise InputTypeError(f"weights: takes a mapping from names to arrays, got {type(mapping).__name__}")
        wanted = self.parameters()
        tied = self.tied()
        given = dict(mapping)
        for alias, name in tied.items():
            if alias in given:
                given.setdefault(name, given[alias])
        found = {name: checks.floats(f"weights: {name}", given[name]) for name in wanted if name in given}
        missing = [name for name in wanted if name not in found]
        unexpected = [name for name in given if name not in wanted and name not in tied]
        if strict and (missing or unexpected):
            raise MissingNameError(
                f"weights: for {type(self).__name__}, missing: {listed(missing)}; unexpected: {listed(unexpected)}"
            )
        if missing and not self._arrays:
            raise MissingNameError(f"weights: missing: {listed(missing)}")
        for name, array in found.items():
            if array.shape != wanted[name].shape:
                raise InputError(f"weights: {name} takes shape {list(wanted[name].shape)}, got {list(array.shape)}")
        dtype = self.dtype if self._arrays else np.result_type(np.float32, *(array.dtype for array in found.values()))
        self._arrays = {
            name: found[name].astype(float_type(dtype), copy=False) if name in found else self._arrays[name] for name in wanted
        }
        return IncompatibleKeys(missing, unexpected)

    def astype(self: Model, dtype: DTypeLike) -> Model:
        """The same model computing in float32 or float64; weights that have that type already are shared."""
        model = copy.copy(self)
        model.config = copy.deepcopy(self.config)
        model._arrays = {name: array.astype(float_type(dtype), copy=False) for name, array in self._arrays.items()}
        return model

    # ------------------------------------------------------------------------------------------------ changing the model

    def get_input_embeddings(self) -> Array:
        """The word table `[V, D]`."""
        return self._arrays[self._prefix + WORDS]

    def set_input_embeddings(self, table: Any) -> None:
        """Replace the word table by another of the same shape, and with it a decoder that is tied to it."""
        shape = (self.config.vocab_size, self.config.hidden_size)
        self._arrays[self._prefix + WORDS] = checks.with_shape("table", checks.numbers("table", table, self.dtype), shape)

    def resize_token_embeddings(self, new_num_tokens: int | None = None) -> Array:
        """Cut the vocabulary or make it longer, everywhere it occurs: word table, decoder and the decoder's bias.

        New rows begin as the mean of the old ones, so that new tokens start out neither likely nor unlikely. Returns the
        new table.
        """
        if new_num_tokens is None:
            return self.get_input_embeddings()
        if not isinstance(new_num_tokens, int | np.integer) or isinstance(new_num_tokens, bool):
            raise InputTypeError(f"new_num_tokens: takes a whole number, got {new_num_tokens!r}")
        config = copy.deepcopy(self.config)
        config.vocab_size = int(new_num_tokens)
        config.validate()
        for name in (self._prefix + WORDS, DECODER, DECODER_BIAS):
            if name in self._arrays:
                rows = self._arrays[name][:new_num_tokens]  # [V, D] or [V]
                added = np.broadcast_to(rows.mean(axis=0), (new_num_tokens - len(rows), *rows.shape[1:]))
                self._arrays[name] = np.concatenate([rows, added])
        self.config = config
        return self.get_input_embeddings()

    def prune_heads(self, heads_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Cut heads out of the self-attention of some layers: `{layer: [heads]}`, numbered as in the unpruned model.

        The model then computes with the smaller matrices. Heads that are gone already may be named again.
        """
        config = copy.deepcopy(self.config)
        if not isinstance(heads_to_prune, Mapping):
            raise InputTypeError(f"heads_to_prune: takes {{layer: [heads]}}, got {heads_to_prune!r}")
        for layer, pruned in heads_to_prune.items():
            heads = checks.integers(f"heads_to_prune[{layer!r}]", [*pruned] if isinstance(pruned, set) else pruned, 1)
            layer = int(checks.integers("heads_to_prune", layer, 0))
            config.pruned_heads[layer] = sorted({*config.pruned_heads.get(layer, ()), *heads.tolist()})
        config.validate()
        size = config.head_size
        for layer in map(int, heads_to_prune):
            before = [h for h in range(config.num_attention_heads) if h not in self.config.pruned_heads.get(layer, ())]
            stay = np.array([h not in config.pruned_heads[layer] for h in before], dtype=bool).repeat(size)  # [N*H]
            attention = f"{self._prefix}encoder.layer.{layer}.attention"
            for part in ("query", "key", "value"):
                for kind in ("weight", "bias"):
                    name = f"{attention}.self.{part}.{kind}"
                    self._arrays[name] = self._arrays[name][stay]
            name = f"{attention}.output.dense.weight"
            self._arrays[name] = self._arrays[name][:, stay]
        self.config = config

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
            "rng": rng,
        }
        return_dict = checks.flag("return_dict", return_dict, self.config.return_dict)
        checks.generator("rng", rng)
        every = ("output_attentions", "output_hidden_states", "return_dict", "rng")
        checks.known(type(self).__name__, others, (*arrays, *self._reads_encoder, *self._labels, *every))
        labels = {name: others.pop(name, None) for name in self._labels}
        result = self._run(arrays | others, labels, options)
        return result if return_dict else result.as_plain_tuple()

    def _run(self, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        raise NotImplementedError

    def _bert(self, arrays: dict[str, Any], options: dict[str, Any]) -> tuple[EncoderResult, Array | None]:
        """Check the arguments of the base model and run it."""
        has_cache = self.config.is_decoder and "use_cache" in self._reads_encoder
        use_cache = checks.flag("use_cache", arrays.pop("use_cache", None), has_cache and self.config.use_cache)
        if use_cache and not self.config.is_decoder:
            raise InputError("use_cache: only decoders have a cache; set is_decoder=True in the config")
        checked = inputs.of_bert(self.config, self.dtype, **arrays)
        w = self._weights.scope(self.base_model_prefix)
        result, pooled = bert(w, self.config, use_cache=use_cache, **checked, **options)
        if self.base_model_prefix:
            result = result._replace(hidden=keep(w, "", result.hidden))
        return result, pooled

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_parameters():,} parameters, {self.dtype}, {self.config!r})"


ENCODER_INPUTS = ("encoder_hidden_states", "encoder_attention_mask")
CACHE_INPUTS = ("past_key_values", "use_cache")


class BertModel(BertPreTrainedModel):
    """The base model: hidden states, and a pooled vector for the whole sequence.

    Decoders (`is_decoder`) also take `past_key_values` and `use_cache`, and with `add_cross_attention`
    `encoder_hidden_states` and `encoder_attention_mask`.
    """

    base_model_prefix = ""
    _labels = ()
    _reads_encoder = ENCODER_INPUTS + CACHE_INPUTS

    def __init__(
        self,
        config: BertConfig,
        weights: Mapping[str, Any] | None = None,
        *,
        rng: Rng = None,
        add_pooling_layer: bool = True,
    ) -> None:
        self._has_pooler = add_pooling_layer
        super().__init__(config, weights, rng=rng)

    def _set_config(self, config: BertConfig) -> None:
        super()._set_config(config)
        if config.model_type == "distilbert":
            self._has_pooler = False

    def _run(self, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        result, pooled = self._bert(arrays, options)
        return outputs.BaseModelOutputWithPoolingAndCrossAttentions(
            result.hidden, pooled, result.hidden_states, result.cache, result.attentions, result.cross_attentions
        )


class _LanguageModel(BertPreTrainedModel):
    """A base model with `cls.predictions`."""

    _has_pooler = False

    def _head_parameters(self) -> Parameters:
        return parameters.language_model_head(self.config)

    def _predictions(self, hidden: Array) -> Array:
        return heads.predictions(self._weights.scope("cls.predictions"), self.config, hidden)


class BertLMHeadModel(_LanguageModel):
    """A causal language model: each position predicts the next token. `labels` `[B, S]` are shifted by one inside.

    Takes what `BertModel` takes; without `is_decoder` every position sees the token that it is to predict.
    """

    _reads_encoder = ENCODER_INPUTS + CACHE_INPUTS

    def _set_config(self, config: BertConfig) -> None:
        super()._set_config(config)
        if not config.is_decoder:
            warn("BertLMHeadModel without is_decoder=True in its config sees the tokens it predicts")

    def generate(self, input_ids: Any = None, **options: Any) -> Any:
        """Write on from `input_ids`, token by token: see `npbert.generate`."""
        from npbert.models.generating import generate

        return generate(self, input_ids, **options)

    def _run(self, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        if labels["labels"] is not None:
            arrays["use_cache"] = False
        result, _ = self._bert(arrays, options)
        logits = keep(self._weights.scope("cls"), "", self._predictions(result.hidden))  # [B, S, V]
        loss = _token_loss(labels["labels"], logits, heads.causal_language_model_loss)
        return outputs.CausalLMOutputWithCrossAttentions(
            loss, logits, result.cache, result.hidden_states, result.attentions, result.cross_attentions
        )


class BertForMaskedLM(_LanguageModel):
    """A masked language model: each position predicts its own token. `labels` `[B, S]`, -100 where nothing was masked."""

    _reads_encoder = ENCODER_INPUTS

    def _run(self, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        result, _ = self._bert(arrays, options)
        logits = keep(self._weights.scope("cls"), "", self._predictions(result.hidden))  # [B, S, V]
        loss = _token_loss(labels["labels"], logits, ops.cross_entropy)
        return outputs.MaskedLMOutput(loss, logits, result.hidden_states, result.attentions)


class BertForPreTraining(_LanguageModel):
    """Both tasks of the paper at once. The loss, given `labels` `[B, S]` and `next_sentence_label` `[B]`, is their sum."""

    _has_pooler = True
    _labels = ("labels", "next_sentence_label")

    def _head_parameters(self) -> Parameters:
        return super()._head_parameters() | parameters.linear("cls.seq_relationship", 2, self.config.hidden_size)

    def _run(self, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        result, pooled = self._bert(arrays, options)
        assert pooled is not None
        cls = self._weights.scope("cls")
        logits = self._predictions(result.hidden)  # [B, S, V]
        follows = heads.next_sentence(cls, pooled)  # [B, 2]
        logits = keep(cls, "", logits)
        loss = None
        if _both(labels):
            of_words = _token_loss(labels["labels"], logits, ops.cross_entropy)
            loss = of_words + _next_sentence_loss("next_sentence_label", labels["next_sentence_label"], follows)
        return outputs.BertForPreTrainingOutput(loss, logits, follows, result.hidden_states, result.attentions)


class BertForNextSentencePrediction(BertPreTrainedModel):
    """Does sentence B follow sentence A? `labels` `[B]`: 0 it does, 1 it does not."""

    def _head_parameters(self) -> Parameters:
        return parameters.linear("cls.seq_relationship", 2, self.config.hidden_size)

    def _run(self, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        result, pooled = self._bert(arrays, options)
        assert pooled is not None
        cls = self._weights.scope("cls")
        logits = keep(cls, "", heads.next_sentence(cls, pooled))  # [B, 2]
        loss = None if labels["labels"] is None else _next_sentence_loss("labels", labels["labels"], logits)
        return outputs.NextSentencePredictorOutput(loss, logits, result.hidden_states, result.attentions)


class BertForSequenceClassification(BertPreTrainedModel):
    """A label, several labels or a number for the whole sequence.

    `labels` are `[B]` whole numbers, `[B, num_labels]` zeros and ones, or `[B]` (`[B, num_labels]`) numbers to regress;
    which of them, `config.problem_type` says, or else `num_labels` and the type of the labels.
    """

    def _head_parameters(self) -> Parameters:
        return parameters.linear("classifier", self.config.num_labels, self.config.hidden_size)

    def _run(self, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        result, pooled = self._bert(arrays, options)
        assert pooled is not None
        logits = heads.classifier(self._weights, self.config, pooled, rng=options["rng"])  # [B, num_labels]
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

    def _head_parameters(self) -> Parameters:
        return parameters.linear("classifier", 1, self.config.hidden_size)

    def _run(self, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        tokens = inputs.which_tokens(arrays["input_ids"], arrays["inputs_embeds"])
        batch, choices = _leading_shape(tokens, arrays[tokens], 4 if tokens == "inputs_embeds" else 3)
        flat = {name: x if x is None or name == "head_mask" else _flatten_choices(name, x) for name, x in arrays.items()}
        result, pooled = self._bert(flat, options)
        assert pooled is not None
        scores = heads.classifier(self._weights, self.config, pooled, rng=options["rng"])  # [B*C, 1]
        logits = scores.reshape(batch, choices)  # [B, C]
        loss = None
        if labels["labels"] is not None:
            loss = ops.cross_entropy(logits, checks.labels("labels", labels["labels"], choices, (batch,)))
        return outputs.MultipleChoiceModelOutput(loss, logits, result.hidden_states, result.attentions)


class BertForTokenClassification(BertPreTrainedModel):
    """A label for every token. `labels` `[B, S]`, -100 where none counts."""

    _has_pooler = False

    def _head_parameters(self) -> Parameters:
        return parameters.linear("classifier", self.config.num_labels, self.config.hidden_size)

    def _run(self, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        result, _ = self._bert(arrays, options)
        logits = heads.classifier(self._weights, self.config, result.hidden, rng=options["rng"])  # [B, S, num_labels]
        loss = _token_loss(labels["labels"], logits, ops.cross_entropy)
        return outputs.TokenClassifierOutput(loss, logits, result.hidden_states, result.attentions)


class BertForQuestionAnswering(BertPreTrainedModel):
    """Where in the text is the answer? `start_positions` and `end_positions` are `[B]`; past the text means: not in it."""

    _has_pooler = False
    _labels = ("start_positions", "end_positions")

    def _head_parameters(self) -> Parameters:
        if self.config.num_labels != 2:
            raise InputError(f"config: question answering has num_labels 2 (start, end), got {self.config.num_labels}")
        return parameters.linear("qa_outputs", 2, self.config.hidden_size)

    def _run(self, arrays: dict[str, Any], labels: dict[str, Any], options: dict[str, Any]) -> outputs.ModelOutput:
        result, _ = self._bert(arrays, options)
        start, end = heads.span(self._weights, result.hidden)  # [B, S] each
        loss = None
        if _both(labels):
            positions = [checks.integers(name, labels[name], (1, 2)) for name in self._labels]
            for name, x in zip(self._labels, positions, strict=True):
                checks.with_shape(name, x, (len(start),) if x.ndim == 1 else (len(start), 1))
            loss = heads.span_loss(start, end, positions[0].reshape(-1), positions[1].reshape(-1))
        return outputs.QuestionAnsweringModelOutput(loss, start, end, result.hidden_states, result.attentions)


MODELS: dict[str, type[BertPreTrainedModel]] = {
    model.__name__: model
    for model in (
        BertModel,
        BertLMHeadModel,
        BertForMaskedLM,
        BertForPreTraining,
        BertForNextSentencePrediction,
        BertForSequenceClassification,
        BertForMultipleChoice,
        BertForTokenClassification,
        BertForQuestionAnswering,
    )
}
"""The models by the name that a configuration's `architectures` gives."""


def _both(labels: Mapping[str, Any]) -> bool:
    """Whether there are labels; of labels that make one loss together, one alone would be of no use."""
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


def _leading_shape(name: str, value: Any, rank: int) -> Sequence[int]:
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


def float_type(dtype: DTypeLike) -> np.dtype[Any]:
    """The type that a model computes in."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise InputTypeError(f"dtype: takes float32 or float64, got {dtype!r}") from None
    if found not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise InputTypeError(f"dtype: takes float32 or float64, got {found}")
    return found
