"""What this room asks of npbert's models: their kind, their parts, their weights, and a copy that runs on other weights.

Every model is a mapping of parts. A plain model is one part named ""; an encoder-decoder has the parts "encoder" and "decoder".
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike

from npbert.backward import Gradients
from npbert.bert.config import BertConfig
from npbert.configuration import ModelConfiguration
from npbert.errors import InputError, InputTypeError
from npbert.golden.kinds import bare
from npbert.gpt2.config import GPT2Config
from npbert.models import encoder_decoder_pass
from npbert.models.auto import MODELS
from npbert.models.base import PreTrainedModel
from npbert.models.bert import BertModel
from npbert.models.encoder_decoder import EncoderDecoderModel
from npbert.models.encoder_decoder_config import EncoderDecoderConfig
from npbert.models.fitting import float_type
from npbert.types import Array, Rng

Config: TypeAlias = "ModelConfiguration | EncoderDecoderConfig"


class PartCall(NamedTuple):
    """The call of one part of a model."""

    config: Any
    inputs: dict[str, Any]  # under the argument names of a plain model


# --------------------------------------------------------------------------------------------------- kinds and configurations


def check_model(model: object) -> None:
    """Refuse what is not a model."""
    if not isinstance(model, PreTrainedModel):
        raise InputTypeError(f"model: takes a model of npbert, got {type(model).__name__}")


def check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """float32 or float64."""
    return float_type(dtype)


def read_config(fields: Mapping[str, Any]) -> Config:
    """The configuration that these fields are of."""
    if fields.get("model_type") == EncoderDecoderConfig.model_type:
        return EncoderDecoderConfig.from_dict(fields)
    kind: Any = GPT2Config if fields.get("model_type") == GPT2Config.model_type else BertConfig
    config: Config = kind.from_dict(fields)
    return config


def build_model(config: Config, weights: Mapping[str, Array]) -> Any:
    """The model that a configuration names, with these weights."""
    if isinstance(config, EncoderDecoderConfig):
        return EncoderDecoderModel(config, weights)
    architecture = _architecture(config)
    if architecture not in MODELS:
        raise InputError(f"config: npbert has no {architecture}")
    if MODELS[architecture] is BertModel:
        return BertModel(cast(BertConfig, config), weights, add_pooling_layer="pooler.dense.weight" in weights)
    return MODELS[architecture](config, weights)


def reads_first_token(config: Any) -> bool:
    """Whether the model has a pooler, which reads the first token even where it is padding."""
    architecture = _architecture(config)
    return architecture in MODELS and MODELS[architecture].has_pooler and config.model_type != "distilbert"


def _architecture(config: Any) -> str:
    base = "GPT2Model" if isinstance(config, GPT2Config) else "BertModel"
    return str((config.architectures or [base])[0])


# ------------------------------------------------------------------------------------------------------------------- parts


def parts_of_config(config: Config) -> dict[str, Any]:
    """The configuration of each part."""
    if isinstance(config, EncoderDecoderConfig):
        return {"encoder": config.encoder, "decoder": config.decoder}
    return {"": config}


def parts_of_call(config: Config, inputs: Mapping[str, Any]) -> dict[str, PartCall]:
    """The call of each part that runs when the model is called with `inputs`."""
    if not isinstance(config, EncoderDecoderConfig):
        return {"": PartCall(config, _one_row_a_sequence(config, inputs))}
    calls: dict[str, PartCall] = {}
    taken = ("input_ids", "inputs_embeds", "attention_mask", "position_ids")
    source = {name: x for name, x in inputs.items() if name in taken}
    if "input_ids" in source or "inputs_embeds" in source:
        calls["encoder"] = PartCall(config.encoder, source)

    target = {name.removeprefix("decoder_"): x for name, x in inputs.items() if name.startswith("decoder_")}
    if "input_ids" not in target and "inputs_embeds" not in target:
        if "labels" not in inputs:
            raise InputError("decoder_input_ids: there are none, and no labels that they could be made from")
        pad, start = config.pad_token_id, config.decoder_start_token_id
        ids = encoder_decoder_pass.shift_tokens_right(inputs["labels"], pad, start)  # type: ignore[arg-type]  # the call needs both
        target = {"attention_mask": ids != pad} | target | {"input_ids": ids}
    if "past_key_values" in inputs:
        target["past_key_values"] = inputs["past_key_values"]
    if "attention_mask" in inputs:
        target["encoder_attention_mask"] = inputs["attention_mask"]
    if "encoder_outputs" in inputs:
        target["encoder_hidden_states"] = inputs["encoder_outputs"][0]
    elif "encoder" in calls:
        target["encoder_hidden_states"] = tokens_of(source)[:, :, None]  # its values are not known here, its length is
    return calls | {"decoder": PartCall(config.decoder, target)}


def part_of(parts: Mapping[str, Any], name: str) -> str:
    """The part that the value or module `name` belongs to."""
    if "" in parts:
        return ""
    name = bare(name)
    is_in_encoder = name.startswith(("encoder", "enc_to_dec_proj", "output:encoder"))
    return "encoder" if is_in_encoder and "encoder" in parts else "decoder"


def tokens_of(inputs: Mapping[str, Any]) -> Array:
    """One number for each token that a part reads, `[B, S]`."""
    tokens: Array = inputs["input_ids"] if "input_ids" in inputs else inputs["inputs_embeds"][..., 0]
    return tokens


def _one_row_a_sequence(config: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a multiple choice, `[B, C, S]`, as the model itself reads them: `[B*C, S]`."""
    if _architecture(config) != "BertForMultipleChoice":
        return dict(inputs)
    ranks = {"input_ids": 2, "inputs_embeds": 3, "attention_mask": 2}
    flat = {name: inputs[name].reshape(-1, *inputs[name].shape[-rank + 1 :]) for name, rank in ranks.items() if name in inputs}
    return {**inputs, **flat}


# ----------------------------------------------------------------------------------------------------------------- weights


def is_table(name: str) -> bool:
    """Whether a weight is a table whose rows are looked up. The word table's second name, as a head, is none."""
    return name.endswith(("_embeddings.weight", "wte.weight", "wpe.weight"))


def weights_of(model: Any) -> dict[str, Array]:
    """Every weight once, under its name in the checkpoint."""
    return dict(model.named_parameters())


def all_names(model: Any) -> dict[str, str]:
    """Every name that the model reads a weight under, with the weight's own: a tied weight has several."""
    return {name: name for name, _ in model.named_parameters()} | dict(model.tied())


def under_all_names(model: Any, weights: Mapping[str, Array]) -> dict[str, Array]:
    """The weights under every name that the model reads: a tied weight has several."""
    return dict(weights) | {alias: weights[name] for alias, name in model.tied().items()}


def used_twice(model: Any) -> set[str]:
    """The weights that the model computes with under two names. The decoder's bias has two names as well, but one use."""
    return {name for alias, name in model.tied().items() if not alias.endswith("cls.predictions.decoder.bias")}


class KeptPass(NamedTuple):
    """A forward pass that any number of backward passes may follow, whatever kind of model it went through."""

    model: Any
    done: Any  # its logits, labels and output
    module: Any  # None in an encoder-decoder, whose parts have one each

    def output_gradients(self, given: Mapping[str, Array] | None) -> tuple[Any, ...]:
        """The gradients that a backward pass begins with, those by the logits first: of the loss, or as they are given."""
        found = self.model.output_gradients(self.done, given)
        return (found,) if self.module is None else tuple(found)

    def run_backward(self, gradients: Gradients, beginning: tuple[Any, ...]) -> None:
        """One backward pass."""
        if self.module is None:
            encoder_decoder_pass.backward_pass(
                self.model, encoder_decoder_pass.again(self.model, self.done, gradients), *beginning
            )
        else:
            self.model.backward_pass(self.model.again(self.module, self.done, gradients), self.done, *beginning)


def kept_pass(model: Any, inputs: Mapping[str, Any], rng: Rng, gradients: Gradients) -> KeptPass:
    """Run the model forward, and keep what backward passes read."""
    if isinstance(model, EncoderDecoderModel):
        given = {name: x for name, x in inputs.items() if name != "return_dict"}
        return KeptPass(model, encoder_decoder_pass.begin_pass(model, {**given, "rng": rng}, gradients), None)
    module, done = model.begin_pass(model.read_call(**inputs, rng=rng), gradients)
    return KeptPass(model, done, module)


def computing_with(model: Any, weights: Mapping[str, Array], config: Config | None = None) -> Any:
    """The same model with other weights, which are read from the mapping each time they are needed, and perhaps another
    configuration.

    The feed-forward runs in one piece and nothing is computed twice, whatever the configuration says, so that each value is
    seen whole and once.
    """
    config = copy.deepcopy(model.config if config is None else config)
    for part in parts_of_config(config).values():
        part.chunk_size_feed_forward = 0
        part.gradient_checkpointing = False
    return model.with_weights(weights, config)
