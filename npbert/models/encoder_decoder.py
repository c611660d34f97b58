"""Two BERTs as one transformer: an encoder reads, a decoder with cross-attention writes.

Rothe et al. 2020, "Leveraging pre-trained checkpoints for sequence generation tasks".

The whole's parameters are the encoder's under `encoder.` (a `BertModel`'s names), the decoder's under `decoder.` (a
`BertLMHeadModel`'s names: `decoder.bert...`, `decoder.cls...`) and, where the hidden sizes differ, `enc_to_dec_proj`. The
intermediates of a call have the same prefixes.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbert import checks, ops
from npbert.bert import parameters
from npbert.bert.bert import linear
from npbert.bert.config import BertConfig
from npbert.bert.parameters import Parameters
from npbert.errors import FileError, InputError, InputTypeError, listed
from npbert.models.bert import BertLMHeadModel, BertModel, BertPreTrainedModel, float_type
from npbert.models.outputs import ModelOutput, Seq2SeqLMOutput
from npbert.tracing import keep, under
from npbert.types import Array, Rng
from npbert.weights import Weights

PROJECTION = "enc_to_dec_proj"


# --------------------------------------------------------------------------------------------------------- configuration


class EncoderDecoderConfig:
    """The configuration of an `EncoderDecoderModel`: that of its encoder, that of its decoder, and what holds for both.

    Any other field is kept as well, as an attribute, and saved again.
    """

    model_type: str = "encoder-decoder"
    is_encoder_decoder: bool = True
    encoder: BertConfig
    decoder: BertConfig
    tie_encoder_decoder: bool = False  # the encoder's weights are the decoder's
    return_dict: bool = True

    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int | None = None
    architectures: list[str] | None = None

    def __init__(
        self, *, encoder: BertConfig | Mapping[str, Any], decoder: BertConfig | Mapping[str, Any], **fields: Any
    ) -> None:
        self.encoder = _sub_config("encoder", encoder)
        self.decoder = _sub_config("decoder", decoder)
        for name, value in copy.deepcopy(fields).items():
            setattr(self, name, value)
        self.validate()

    @classmethod
    def from_encoder_decoder_configs(
        cls, encoder_config: BertConfig, decoder_config: BertConfig, **fields: Any
    ) -> EncoderDecoderConfig:
        """From two configurations; the decoder's is made that of a decoder that reads an encoder."""
        decoder = {**_sub_config("decoder", decoder_config).to_dict(), "is_decoder": True, "add_cross_attention": True}
        return cls(encoder=encoder_config, decoder=decoder, **fields)

    def validate(self) -> None:
        """Refuse what no model can be built from."""
        for name in ("encoder", "decoder"):
            with _named_errors(name):
                getattr(self, name).validate()
        if not self.decoder.is_decoder or not self.decoder.add_cross_attention:
            raise InputError(
                "config: the decoder takes is_decoder=True and add_cross_attention=True, got "
                f"is_decoder={self.decoder.is_decoder} and add_cross_attention={self.decoder.add_cross_attention}"
            )
        width = getattr(self.decoder, "cross_attention_hidden_size", None)
        if width is not None and (width != self.encoder.hidden_size or width != self.decoder.hidden_size):
            raise InputError(
                f"config: cross_attention_hidden_size is {width}; the cross-attention of a BERT takes its own hidden_size, "
                f"{self.decoder.hidden_size}, and the encoder gives {self.encoder.hidden_size}. Without the field, "
                f"{PROJECTION} goes between"
            )
        if not isinstance(self.tie_encoder_decoder, bool):
            raise InputTypeError(f"config: tie_encoder_decoder takes bool, got {self.tie_encoder_decoder!r}")

    def to_dict(self) -> dict[str, Any]:
        """Every field, known or not, as plain values."""
        names = [name for name in EncoderDecoderConfig.__annotations__ if hasattr(self, name)]
        fields = {name: getattr(self, name) for name in [*names, *(n for n in vars(self) if n not in names)]}
        return copy.deepcopy({**fields, "encoder": self.encoder.to_dict(), "decoder": self.decoder.to_dict()})

    def to_json_string(self) -> str:
        """The text of `config.json`."""
        return self.as_json(self.to_dict())

    @staticmethod
    def as_json(fields: Mapping[str, Any]) -> str:
        """Fields as the text of a `config.json`."""
        for name in ("encoder", "decoder"):
            with _named_errors(name):
                BertConfig.as_json(fields[name])  # refuses what cannot be written
        return BertConfig.as_json(fields)

    def save_pretrained(self, directory: str | os.PathLike[str]) -> None:
        """Write `config.json` into a directory, which is made if need be."""
        BertConfig.save_pretrained(self, directory)  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], **overrides: Any) -> EncoderDecoderConfig:
        """A configuration from the contents of a `config.json`; overrides win."""
        every = {**fields, **overrides}
        missing = [name for name in ("encoder", "decoder") if name not in every]
        if missing:
            raise InputError(f"config: an encoder-decoder's has the fields encoder and decoder; no {' and no '.join(missing)}")
        return cls(**every)

    @classmethod
    def from_pretrained(cls, path_or_id: str | os.PathLike[str], **options: Any) -> EncoderDecoderConfig:
        """The configuration of a checkpoint; `revision`, `cache_dir`, `local_files_only` and `token` as for models,
        everything else overrides a field."""
        from npbert.checkpoints import hub  # here, so that a program which reads no file imports no reader

        where = {name: options.pop(name) for name in hub.WHERE if name in options}
        config = cls.from_json_file(hub.find_config(path_or_id, **where))
        return cls.from_dict(config.to_dict(), **options)

    @classmethod
    def from_json_file(cls, path: str | os.PathLike[str]) -> EncoderDecoderConfig:
        """The configuration in a file."""
        from npbert.checkpoints import hub
        from npbert.models.loading import check_fields

        fields = hub.read_json(path)
        for part in (fields, fields.get("encoder"), fields.get("decoder")):
            if isinstance(part, Mapping):
                check_fields(part, path)
        if fields.get("model_type", cls.model_type) != cls.model_type:
            raise FileError(
                f"{path}: has the model_type {fields['model_type']!r}, an EncoderDecoderModel's is {cls.model_type!r}"
            )
        try:
            return cls.from_dict(fields)
        except (InputError, InputTypeError) as error:
            raise FileError(f"{path}: {error}") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EncoderDecoderConfig) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # fields may be set at any time

    def __repr__(self) -> str:
        changed = {name: value for name, value in vars(self).items() if name not in ("encoder", "decoder")}
        fields = [f"encoder={self.encoder!r}", f"decoder={self.decoder!r}", *(f"{n}={v!r}" for n, v in changed.items())]
        return f"EncoderDecoderConfig({', '.join(fields)})"


def _sub_config(name: str, given: object) -> BertConfig:
    """A copy of the part's configuration, from one or from a mapping of its fields."""
    if isinstance(given, BertConfig):
        return copy.deepcopy(given)
    if not isinstance(given, Mapping):
        raise InputTypeError(f"{name}: takes a BertConfig or its fields, got {type(given).__name__}")
    model_type = given.get("model_type", BertConfig.model_type)
    if model_type != BertConfig.model_type:
        raise InputError(f"{name}: takes model_type {BertConfig.model_type!r}, got {model_type!r}")
    with _named_errors(name):
        return BertConfig.from_dict(given)


# ----------------------------------------------------------------------------------------------------------------- model


class EncoderDecoderModel(BertPreTrainedModel):
    """A BERT that reads and a BERT that writes, looking at what the first one made of its input.

        EncoderDecoderModel(encoder=BertModel(...), decoder=BertLMHeadModel(...))    # of two models, which it shares
        EncoderDecoderModel(config, weights)                                         # as every other model
        EncoderDecoderModel.from_encoder_decoder_pretrained("bert-base-uncased", "bert-base-uncased")

    `encoder` and `decoder` are models in their own right: change one, and the whole has changed.
    """

    config: EncoderDecoderConfig  # type: ignore[assignment]
    encoder: BertModel
    decoder: BertLMHeadModel

    def __init__(
        self,
        config: EncoderDecoderConfig | None = None,
        weights: Mapping[str, Any] | None = None,
        *,
        encoder: BertModel | None = None,
        decoder: BertLMHeadModel | None = None,
        rng: Rng = None,
    ) -> None:
        for name, model, kind in (("encoder", encoder, BertModel), ("decoder", decoder, BertLMHeadModel)):
            if model is not None and not isinstance(model, kind):
                raise InputTypeError(f"{name}: takes a {kind.__name__}, got {type(model).__name__}")
        if config is None:
            if encoder is None or decoder is None:
                raise InputError("config: takes a configuration, or else an encoder and a decoder")
            config = EncoderDecoderConfig(encoder=encoder.config, decoder=decoder.config)
        self._set_config(config)
        if weights is not None:
            if encoder is not None or decoder is not None:
                raise InputError("weights: an encoder and a decoder bring their own")
            self.load_state_dict(weights)
            return
        rng = np.random.default_rng() if rng is None else rng
        self._take("encoder", BertModel(self.config.encoder, rng=rng) if encoder is None else encoder)
        self._take("decoder", BertLMHeadModel(self.config.decoder, rng=rng) if decoder is None else decoder)
        first_values = parameters.initialize(
            self._projection_parameters(), rng, self.decoder.dtype, std=self.config.decoder.initializer_range
        )
        self._projection.update(first_values)
        self._tie()

    def _set_config(self, config: EncoderDecoderConfig) -> None:  # type: ignore[override]
        if not isinstance(config, EncoderDecoderConfig):
            raise InputTypeError(f"config: takes an EncoderDecoderConfig, got {type(config).__name__}")
        config.validate()
        self.config = copy.deepcopy(config)
        self.config.architectures = [type(self).__name__]
        self.name_or_path = ""
        self.generation_config: dict[str, Any] = {}  # what the checkpoint's generation_config.json says
        self._projection: dict[str, Array] = {}
        self._take("encoder", BertModel.without_weights(config.encoder))
        self._take("decoder", BertLMHeadModel.without_weights(config.decoder))

    def _take(self, name: str, part: BertModel | BertLMHeadModel) -> None:
        """Make the model a part of this one. They share the configuration, so that a change is seen by both."""
        before, part.config = part.config, getattr(self.config, name)
        wanted = part.parameters()
        wrong = [n for n, array in part._arrays.items() if n not in wanted or array.shape != wanted[n].shape]
        if part._arrays and (wrong or len(part._arrays) != len(wanted)):
            part.config = before
            raise InputError(
                f"{name}: does not fit the config's {name}, in {listed(wrong) if wrong else 'the number of weights'}"
            )
        setattr(self, name, part)

    # ------------------------------------------------------------------------------------------------------- checkpoints

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: Any,
        *,
        dtype: Any = np.float32,
        config: EncoderDecoderConfig | None = None,
        output_loading_info: bool = False,
        ignore_mismatched_sizes: bool = False,
        **options: Any,
    ) -> Any:
        """The model with the weights of a checkpoint whose `model_type` is encoder-decoder; options as in the other models."""
        from npbert.checkpoints import hub
        from npbert.models import loading as pretrained

        where = {name: options.pop(name) for name in hub.WHERE if name in options}
        if config is None:
            path = hub.find_config(path_or_id, **where)
            config = EncoderDecoderConfig.from_json_file(path)
        elif not isinstance(config, EncoderDecoderConfig):
            raise InputTypeError(f"config: takes an EncoderDecoderConfig, got {type(config).__name__}")
        fields = config.to_dict()
        checks.known(f"{cls.__name__}.from_pretrained", options, (*fields, *hub.WHERE))
        model = cls.__new__(cls)
        model._set_config(EncoderDecoderConfig.from_dict(fields, **options))
        model.name_or_path = os.fspath(path_or_id)

        found, path = pretrained.read_weights(path_or_id, **where)
        model.generation_config = pretrained.read_generation_config(path_or_id, **where)
        info = pretrained.fill(model, found, path, dtype=dtype, ignore_mismatched_sizes=ignore_mismatched_sizes)
        return (model, info) if output_loading_info else model

    @classmethod
    def from_encoder_decoder_pretrained(
        cls,
        encoder_pretrained_model_name_or_path: Any = None,
        decoder_pretrained_model_name_or_path: Any = None,
        **options: Any,
    ) -> EncoderDecoderModel:
        """An encoder and a decoder from a checkpoint each. The decoder's cross-attention, which a plain BERT does not have,
        starts at random, with a warning that lists it.

        Options that begin with `encoder_` or `decoder_` go to that part's `from_pretrained` (`encoder_model` and
        `decoder_model` are models to take instead); `dtype`, `cache_dir`, `local_files_only` and `token` go to both, all others
        to the configuration of the whole.
        """
        both = {name: options.pop(name) for name in ("dtype", "cache_dir", "local_files_only", "token") if name in options}
        parts: dict[str, Any] = {}
        for part, kind, path, fields in (
            ("encoder", BertModel, encoder_pretrained_model_name_or_path, _ENCODER),
            ("decoder", BertLMHeadModel, decoder_pretrained_model_name_or_path, _DECODER),
        ):
            given: dict[str, Any] = {
                n.removeprefix(f"{part}_"): options.pop(n) for n in list(options) if n.startswith(f"{part}_")
            }
            parts[part] = given.pop("model", None)
            if parts[part] is None:
                if path is None:
                    raise InputError(f"{part}_pretrained_model_name_or_path: takes a checkpoint, or else {part}_model a model")
                overrides = both if "config" in given else both | fields
                parts[part] = kind.from_pretrained(path, **(overrides | given))
            elif given:
                raise InputError(f"{part}_model: is loaded already, so {part}_{next(iter(given))} would have no effect")
        config = EncoderDecoderConfig(encoder=parts["encoder"].config, decoder=parts["decoder"].config, **options)
        return cls(config, encoder=parts["encoder"], decoder=parts["decoder"])

    # -------------------------------------------------------------------------------------------------------- parameters

    def _projection_parameters(self) -> Parameters:
        ours, theirs = self.config.decoder.hidden_size, self.config.encoder.hidden_size
        return {} if ours == theirs else parameters.linear(PROJECTION, ours, theirs)

    def tied(self) -> dict[str, str]:
        """The decoder's own ties; with `tie_encoder_decoder` also all of the encoder's names that the decoder has too."""
        tied = {f"decoder.{alias}": f"decoder.{name}" for alias, name in self.decoder.tied().items()}
        if self.config.tie_encoder_decoder:
            theirs = self.decoder.parameters()
            for name, parameter in self.encoder.parameters().items():
                if f"bert.{name}" in theirs and theirs[f"bert.{name}"].shape == parameter.shape:
                    tied[f"encoder.{name}"] = f"decoder.bert.{name}"
        return tied

    def parameters(self) -> Parameters:
        """The name, shape and first values of every parameter, each once."""
        encoder = {f"encoder.{name}": parameter for name, parameter in self.encoder.parameters().items()}
        decoder = {f"decoder.{name}": parameter for name, parameter in self.decoder.parameters().items()}
        every = encoder | decoder | self._projection_parameters()
        tied = self.tied()
        return {name: parameter for name, parameter in every.items() if name not in tied}

    @property
    def _arrays(self) -> dict[str, Array]:
        """The parts own the arrays; this is their sum, each array once."""
        encoder = {f"encoder.{name}": array for name, array in self.encoder._arrays.items()}
        decoder = {f"decoder.{name}": array for name, array in self.decoder._arrays.items()}
        every = encoder | decoder | self._projection
        tied = self.tied()
        return {name: array for name, array in every.items() if name not in tied}

    @_arrays.setter
    def _arrays(self, arrays: dict[str, Array]) -> None:
        every = arrays | {alias: arrays[name] for alias, name in self.tied().items()}
        self.encoder._arrays = {name: every[f"encoder.{name}"] for name in self.encoder.parameters()}
        self.decoder._arrays = {name: every[f"decoder.{name}"] for name in self.decoder.parameters()}
        self._projection = {name: every[name] for name in self._projection_parameters()}

    def _tie(self) -> None:
        """Let the encoder have the decoder's weights, where the configuration wants it: either may have been given new ones."""
        if self.config.tie_encoder_decoder:
            self._arrays = self._arrays

    def state_dict(self) -> dict[str, Array]:
        """The arrays under all their names, tied ones under both. They are the model's own, not copies."""
        self._tie()
        return super().state_dict()

    def astype(self, dtype: DTypeLike) -> EncoderDecoderModel:
        """The same model computing in float32 or float64; weights that have that type already are shared."""
        model = copy.copy(self)
        model.config = copy.deepcopy(self.config)
        model.encoder, model.decoder = self.encoder.astype(dtype), self.decoder.astype(dtype)
        model.config.encoder, model.config.decoder = model.encoder.config, model.decoder.config
        model._projection = {name: array.astype(float_type(dtype), copy=False) for name, array in self._projection.items()}
        model._tie()
        return model

    def get_encoder(self) -> BertModel:
        """The part that reads."""
        return self.encoder

    def get_decoder(self) -> BertLMHeadModel:
        """The part that writes."""
        return self.decoder

    def get_input_embeddings(self) -> Array:
        """The encoder's word table `[V, D]`."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, table: Any) -> None:
        """Replace the encoder's word table by another of the same shape."""
        self.encoder.set_input_embeddings(table)

    def resize_token_embeddings(self, new_num_tokens: int | None = None) -> Array:
        """Of which part? Call `model.encoder.resize_token_embeddings(...)` or the decoder's."""
        raise InputError(
            "resize_token_embeddings: the encoder and the decoder have a vocabulary each; call model.encoder's or .decoder's"
        )

    def prune_heads(self, heads_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Of which part? Call `model.encoder.prune_heads(...)` or the decoder's."""
        raise InputError("prune_heads: the encoder and the decoder have heads of their own; call model.encoder's or .decoder's")

    # ----------------------------------------------------------------------------------------------------------- calling

    def __call__(  # type: ignore[override]
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        decoder_input_ids: Any = None,
        decoder_attention_mask: Any = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Any = None,
        decoder_inputs_embeds: Any = None,
        labels: Any = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        *,
        rng: Rng = None,
        **others: Any,
    ) -> Any:
        """Read with the encoder, write with the decoder. Dropout happens exactly when `rng` is given.

        Instead of the encoder's input, `encoder_outputs` (a result of the encoder, or a tuple that begins with its hidden
        states) may be given, or nothing at all where `past_key_values` already hold what the decoder read of it.

        `labels` `[B, S]`, -100 where none counts, are what the decoder is to write. Without `decoder_input_ids` they are also
        what it has written so far: shifted to the right, behind `decoder_start_token_id`. The encoder further takes
        `token_type_ids`, `position_ids` and `head_mask`, the decoder the same with `decoder_` in front.
        """
        checks.known(type(self).__name__, others, (*_ARGUMENTS, *_MORE, *(f"decoder_{name}" for name in _MORE), "rng"))
        self._tie()
        options: dict[str, Any] = {
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
            "rng": rng,
        }
        whole = Weights(self._projection)

        hidden, of_encoder = None, None
        if encoder_outputs is not None:
            hidden, of_encoder = _hidden_of(encoder_outputs)
        elif input_ids is not None or inputs_embeds is not None or past_key_values is None:
            arguments = {name: value for name, value in others.items() if name in _MORE}
            with _within("encoder"):
                of_encoder = self.encoder(
                    input_ids, attention_mask, inputs_embeds=inputs_embeds, return_dict=True, **arguments, **options
                )
            hidden = keep(whole.scope("encoder"), "", of_encoder.last_hidden_state)  # [B, E, D of the encoder]
        if hidden is not None and self._projection:
            hidden = linear(whole, PROJECTION, checks.numbers("encoder_outputs", hidden, self.decoder.dtype))  # [B, E, D]

        wanted = None if labels is None else checks.integers("labels", labels, 2)  # [B, S]
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            if wanted is None:
                raise InputError("decoder_input_ids: the decoder has nothing to begin with, nor labels to learn from")
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(wanted)
            if decoder_attention_mask is None:
                decoder_attention_mask = decoder_input_ids != self.config.pad_token_id
        arguments = {name.removeprefix("decoder_"): value for name, value in others.items() if name.startswith("decoder_")}
        with _within("decoder"):
            of_decoder = self.decoder(
                decoder_input_ids,
                decoder_attention_mask,
                inputs_embeds=decoder_inputs_embeds,
                encoder_hidden_states=hidden,
                encoder_attention_mask=attention_mask,
                past_key_values=past_key_values,
                use_cache=use_cache,
                return_dict=True,
                **arguments,
                **options,
            )
        of_decoder.logits = keep(whole.scope("decoder"), "", of_decoder.logits)  # [B, S, V]
        loss = None
        if wanted is not None:
            wanted = checks.labels("labels", wanted, self.config.decoder.vocab_size, of_decoder.logits.shape[:2])
            loss = ops.cross_entropy(of_decoder.logits, wanted)

        if not checks.flag("return_dict", return_dict, self.config.return_dict):
            first = () if loss is None else (loss,)
            last = of_encoder.as_plain_tuple() if isinstance(of_encoder, ModelOutput) else tuple(of_encoder or ())
            return (*first, *of_decoder.as_plain_tuple(), *last)
        read = of_encoder if isinstance(of_encoder, ModelOutput) else _named_tuple(of_encoder)
        return Seq2SeqLMOutput(
            loss,
            of_decoder.logits,
            of_decoder.past_key_values,
            of_decoder.hidden_states,
            of_decoder.attentions,
            of_decoder.cross_attentions,
            getattr(read, "last_hidden_state", None),
            getattr(read, "hidden_states", None),
            getattr(read, "attentions", None),
        )

    def prepare_decoder_input_ids_from_labels(self, labels: Any) -> Array:
        """What the decoder has written when it is to write `labels` next."""
        for name in ("decoder_start_token_id", "pad_token_id"):
            if getattr(self.config, name) is None:
                raise InputError(f"config: labels are shifted right, which takes {name}; it is None")
        return shift_tokens_right(labels, self.config.pad_token_id, self.config.decoder_start_token_id)  # type: ignore[arg-type]

    def generate(self, input_ids: Any = None, **options: Any) -> Any:
        """Write token by token: see `npbert.generation.generate`."""
        from npbert.models.generating import generate

        return generate(self, input_ids, **options)


def shift_tokens_right(labels: Any, pad_token_id: int, decoder_start_token_id: int) -> Array:
    """Each row one place to the right, behind the start token; the last label goes, and where none counted stands padding."""
    x = checks.integers("labels", labels, 2)  # [B, S]
    shifted = np.concatenate([np.full_like(x[:, :1], decoder_start_token_id), x[:, :-1]], axis=1)
    return np.where(shifted == checks.IGNORED, pad_token_id, shifted)


_ARGUMENTS = (
    "input_ids",
    "attention_mask",
    "decoder_input_ids",
    "decoder_attention_mask",
    "encoder_outputs",
    "past_key_values",
    "inputs_embeds",
    "decoder_inputs_embeds",
    "labels",
    "use_cache",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
)
_MORE = ("token_type_ids", "position_ids", "head_mask")
_ENCODER: dict[str, Any] = {"is_decoder": False, "add_cross_attention": False}
_DECODER: dict[str, Any] = {"is_decoder": True, "add_cross_attention": True}


def _hidden_of(encoder_outputs: Any) -> tuple[Array, Any]:
    """The hidden states in what was given for the encoder's result."""
    if isinstance(encoder_outputs, ModelOutput):
        return encoder_outputs["last_hidden_state"], encoder_outputs
    if isinstance(encoder_outputs, tuple | list) and encoder_outputs:
        return checks.as_array("encoder_outputs[0]", encoder_outputs[0]), tuple(encoder_outputs)
    raise InputTypeError(
        f"encoder_outputs: takes a result of the encoder, or a tuple that begins with its hidden states; got "
        f"{type(encoder_outputs).__name__}"
    )


def _named_tuple(encoder_outputs: tuple[Any, ...] | None) -> Any:
    """A tuple's members under the names that their places mean."""
    names = ("last_hidden_state", "hidden_states", "attentions")
    return SimpleNamespace(**dict(zip(names, encoder_outputs or (), strict=False)))


@contextmanager
def _named_errors(part: str) -> Iterator[None]:
    """An error says which part it is about."""
    try:
        yield
    except (InputError, InputTypeError) as error:
        raise type(error)(f"{part}: {error}") from None


@contextmanager
def _within(part: str) -> Iterator[None]:
    """A part's names and errors begin with the part's own name."""
    with under(part), _named_errors(part):
        yield
