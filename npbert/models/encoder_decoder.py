"""Two BERTs as one transformer: an encoder reads, a decoder with cross-attention writes.

Rothe et al. 2020, "Leveraging pre-trained checkpoints for sequence generation tasks".

The whole's parameters are the encoder's under `encoder.` (a `BertModel`'s names), the decoder's under `decoder.` (a
`BertLMHeadModel`'s names: `decoder.bert...`, `decoder.cls...`) and, where the hidden sizes differ, `enc_to_dec_proj`. The
intermediates of a call have the same prefixes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from npbert import checks, ops
from npbert.backward import Gradients
from npbert.bert.parameters import linear_parameters
from npbert.errors import InputError, InputTypeError, listed
from npbert.models import fitting
from npbert.models.base import PreTrainedModel
from npbert.models.bert import BertModel
from npbert.models.calling import Logits
from npbert.models.encoder_decoder_config import PROJECTION, EncoderDecoderConfig
from npbert.models.encoder_decoder_pass import EncoderDecoderPass, backward_pass, begin_pass, shift_tokens_right
from npbert.models.generating import generate
from npbert.models.heads import BertLMHeadModel
from npbert.models.inputs import check_output_gradients
from npbert.types import Array, Rng
from npbert.weights import Parameters, Weights, initialize

PARTS: dict[str, type[BertModel] | type[BertLMHeadModel]] = {"encoder": BertModel, "decoder": BertLMHeadModel}


class EncoderDecoderModel(PreTrainedModel):
    """A BERT that reads and a BERT that writes, looking at what the first one made of its input.

        EncoderDecoderModel(encoder=BertModel(...), decoder=BertLMHeadModel(...))    # of two models, which it shares
        EncoderDecoderModel(config, weights)                                         # as every other model
        EncoderDecoderModel.from_encoder_decoder_pretrained("bert-base-uncased", "bert-base-uncased")

    `encoder` and `decoder` are models in their own right: change one, and the whole has changed.
    """

    config_class = EncoderDecoderConfig
    label_names: ClassVar[tuple[str, ...]] = ("labels",)
    functions = BertLMHeadModel.functions
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
        given = {"encoder": encoder, "decoder": decoder}
        for name, kind in PARTS.items():
            if given[name] is not None and not isinstance(given[name], kind):
                raise InputTypeError(f"{name}: takes a {kind.__name__}, got {type(given[name]).__name__}")
        if config is None:
            if encoder is None or decoder is None:
                raise InputError("config: takes a configuration, or else an encoder and a decoder")
            config = EncoderDecoderConfig(encoder=encoder.config, decoder=decoder.config)
        if weights is not None:
            if encoder is not None or decoder is not None:
                raise InputError("weights: an encoder and a decoder bring their own")
            super().__init__(config, weights, rng=rng)
            return
        self._begin(config)
        rng = np.random.default_rng() if rng is None else rng
        arrays: dict[str, Array] = {}
        for name, kind in PARTS.items():
            part: Any = given[name]
            if part is None:
                part = kind(getattr(self.config, name), rng=rng)
            arrays |= self._take(name, part)
        dtype, std = fitting.common_type(arrays.values()), self.head_config.initializer_range
        arrays |= initialize(self._projection_parameters(), rng, dtype, std=std)
        self.weights.replace({name: arrays[name] for name in self.expected_parameters()})

    def _make_parts(self) -> None:
        self.encoder = BertModel.without_weights(self.config.encoder)
        self.decoder = BertLMHeadModel.without_weights(self.config.decoder)

    def _use(self, weights: Weights) -> None:
        """Whole and parts read the same weights, and have the same configuration."""
        super()._use(weights)
        for name in PARTS:
            part = copy.copy(getattr(self, name))
            part.config = getattr(self.config, name)
            part._use(weights.scope(name))
            setattr(self, name, part)

    def _note_agreement(self) -> None:
        super()._note_agreement()
        for name in PARTS:
            getattr(self, name)._note_agreement()

    def _take(self, name: str, part: Any) -> dict[str, Array]:
        """Make a model a part of this one; returns its weights under the whole's names."""
        expected, arrays = getattr(self, name).expected_parameters(), dict(part.named_parameters())
        wrong = [n for n, array in arrays.items() if n not in expected or array.shape != expected[n].shape]
        if wrong or len(arrays) != len(expected):
            raise InputError(
                f"{name}: does not fit the config's {name}, in {listed(wrong) if wrong else 'the number of weights'}"
            )
        part.config = getattr(self.config, name)
        part._use(self.weights.scope(name))
        setattr(self, name, part)
        return {f"{name}.{n}": array for n, array in arrays.items()}

    # ------------------------------------------------------------------------------------------------------- checkpoints

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
        `decoder_model` are models to take instead); `dtype`, `cache_dir`, `local_files_only`, `token` and `proxies` go to both,
        all others to the configuration of the whole.
        """
        shared = ("dtype", "torch_dtype", "cache_dir", "local_files_only", "token", "proxies")
        both = {name: options.pop(name) for name in shared if name in options}
        parts: dict[str, Any] = {}
        for part, path, reads_encoder in (
            ("encoder", encoder_pretrained_model_name_or_path, False),
            ("decoder", decoder_pretrained_model_name_or_path, True),
        ):
            given: dict[str, Any] = {
                n.removeprefix(f"{part}_"): options.pop(n) for n in list(options) if n.startswith(f"{part}_")
            }
            parts[part] = given.pop("model", None)
            if parts[part] is None:
                if path is None:
                    raise InputError(f"{part}_pretrained_model_name_or_path: takes a checkpoint, or else {part}_model a model")
                fields = {} if "config" in given else {"is_decoder": reads_encoder, "add_cross_attention": reads_encoder}
                parts[part] = PARTS[part].from_pretrained(path, **(both | fields | given))
            elif given:
                raise InputError(f"{part}_model: is loaded already, so {part}_{next(iter(given))} would have no effect")
        config = EncoderDecoderConfig(encoder=parts["encoder"].config, decoder=parts["decoder"].config, **options)
        return cls(config, encoder=parts["encoder"], decoder=parts["decoder"])

    # -------------------------------------------------------------------------------------------------------- parameters

    @property
    def head_config(self) -> Any:
        """The configuration of the part that has the head."""
        return self.config.decoder

    @property
    def configs_with_layers(self) -> list[Any]:
        """The configurations of both parts."""
        return [self.config.encoder, self.config.decoder]

    def _projection_parameters(self) -> Parameters:
        ours, theirs = self.config.decoder.hidden_size, self.config.encoder.hidden_size
        return {} if ours == theirs else linear_parameters(PROJECTION, ours, theirs)

    def tied(self) -> dict[str, str]:
        """The decoder's own ties; with `tie_encoder_decoder` also all of the encoder's names that the decoder has too."""
        tied = {f"decoder.{alias}": f"decoder.{name}" for alias, name in self.decoder.tied().items()}
        if self.config.tie_encoder_decoder:
            theirs = self.decoder.expected_parameters()
            for name, parameter in self.encoder.expected_parameters().items():
                if f"bert.{name}" in theirs and theirs[f"bert.{name}"].shape == parameter.shape:
                    tied[f"encoder.{name}"] = f"decoder.bert.{name}"
        return tied

    def expected_parameters(self) -> Parameters:
        """The name, shape and first values of every parameter, each once."""
        parts = {"encoder": self.encoder.expected_parameters(), "decoder": self.decoder.expected_parameters()}
        every = {f"{part}.{name}": parameter for part, expected in parts.items() for name, parameter in expected.items()}
        every |= self._projection_parameters()
        tied = self.tied()
        return {name: parameter for name, parameter in every.items() if name not in tied}

    def trainable_names(self) -> list[str]:
        """The names of the weights that are not frozen, in the whole or in the part that they belong to."""
        frozen = {f"{name}.{weight}" for name in PARTS for weight in getattr(self, name).frozen}
        return [name for name in super().trainable_names() if name not in frozen]

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

    def resize_token_embeddings(self, *arguments: Any, **options: Any) -> Array:
        """Of which part? Call `model.encoder.resize_token_embeddings(...)` or the decoder's."""
        raise InputError(
            "resize_token_embeddings: the encoder and the decoder have a vocabulary each; call model.encoder's or .decoder's"
        )

    def prune_heads(self, heads_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Of which part? Call `model.encoder.prune_heads(...)` or the decoder's."""
        raise InputError("prune_heads: the encoder and the decoder have heads of their own; call model.encoder's or .decoder's")

    # ----------------------------------------------------------------------------------------------------------- calling

    def __call__(
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
        given = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "decoder_input_ids": decoder_input_ids,
            "decoder_attention_mask": decoder_attention_mask,
            "encoder_outputs": encoder_outputs,
            "past_key_values": past_key_values,
            "inputs_embeds": inputs_embeds,
            "decoder_inputs_embeds": decoder_inputs_embeds,
            "labels": labels,
            "use_cache": use_cache,
            "output_attentions": output_attentions,
            "output_hidden_states": output_hidden_states,
            "rng": rng,
        }
        done = begin_pass(self, given | others)
        return done.output if checks.flag("return_dict", return_dict, self.config.return_dict) else done.plain_tuple()

    # --------------------------------------------------------------------------------------------------------- gradients

    def gradients(
        self,
        input_ids: Any = None,
        *,
        output_gradients: Mapping[str, Any] | None = None,
        inputs_gradients: bool = False,
        return_dict: bool | None = None,
        **arguments: Any,
    ) -> tuple[Any, dict[str, Array]]:
        """What a call returns, and the gradient of its loss by every weight that is not frozen, under the weight's name.

        As in the other models; `output_gradients` may give the gradient by `logits`. `inputs_gradients=True` adds those by
        `inputs_embeds` and `decoder_inputs_embeds`.
        """
        gradients = Gradients(self.trainable_names(), self.tied())
        embeds = {
            "inputs_embeds": "encoder.embeddings.inputs_embeds",
            "decoder_inputs_embeds": "decoder.bert.embeddings.inputs_embeds",
        }
        if checks.flag("inputs_gradients", inputs_gradients, False):
            for name in embeds.values():
                gradients.want(name)
        done = begin_pass(self, {"input_ids": input_ids, **arguments}, gradients)
        backward_pass(self, done, self.output_gradients(done, output_gradients))
        return (
            done.output if checks.flag("return_dict", return_dict, self.config.return_dict) else done.plain_tuple(),
            self.collect(gradients, embeds),
        )

    def output_gradients(self, done: EncoderDecoderPass, given: Mapping[str, Any] | None) -> Logits:
        """The gradients by the logits: of the loss, or as they are given."""
        if done.labels is not None and given is None:
            return self.loss_backward(done.logits, done.labels)
        if done.labels is None and given is not None:
            return (check_output_gradients(given, {"logits": done.logits[0]}, ("logits",))["logits"],)
        raise InputError(f"gradients: takes labels or output_gradients, got {'both' if given else 'neither'}")

    def loss_backward(self, logits: Logits, labels: Any) -> Logits:
        """The gradients of the loss by the logits."""
        return (ops.cross_entropy_backward(logits[0], labels),)

    def prepare_decoder_input_ids_from_labels(self, labels: Any) -> Array:
        """What the decoder has written when it is to write `labels` next."""
        for name in ("decoder_start_token_id", "pad_token_id"):
            if getattr(self.config, name) is None:
                raise InputError(f"config: labels are shifted right, which takes {name}; it is None")
        return shift_tokens_right(labels, self.config.pad_token_id, self.config.decoder_start_token_id)

    def generate(self, input_ids: Any = None, generation_config: Any = None, **options: Any) -> Any:
        """Write token by token: see `npbert.generate`."""
        return generate(self, input_ids, generation_config, **options)
