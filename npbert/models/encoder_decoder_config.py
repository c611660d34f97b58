"""The configuration of two BERTs as one transformer."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from npbert.bert.config import BertConfig, fields_of_the_reference
from npbert.configuration import Configuration
from npbert.errors import InputError, InputTypeError, shown
from npbert.types import StrPath

PROJECTION = "enc_to_dec_proj"
"""The linear map from the encoder's hidden size to the decoder's, where they differ."""


class EncoderDecoderConfig(Configuration):
    """The configuration of an `EncoderDecoderModel`: that of its encoder, that of its decoder, and what holds for both."""

    _model_types = ("encoder-decoder",)
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
        self.encoder = _part_config("encoder", encoder)
        self.decoder = _part_config("decoder", decoder)
        super().__init__(**copy.deepcopy(fields))

    @classmethod
    def from_encoder_decoder_configs(
        cls, encoder_config: BertConfig, decoder_config: BertConfig, **fields: Any
    ) -> EncoderDecoderConfig:
        """From two configurations; the decoder's is made that of a decoder that reads an encoder."""
        decoder = {**_part_config("decoder", decoder_config).to_dict(), "is_decoder": True, "add_cross_attention": True}
        return cls(encoder=encoder_config, decoder=decoder, **fields)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], **overrides: Any) -> EncoderDecoderConfig:
        """A configuration from the contents of a `config.json`; overrides win."""
        every = {**fields, **overrides}
        missing = [name for name in ("encoder", "decoder") if name not in every]
        if missing:
            raise InputError(f"config: an encoder-decoder's has the fields encoder and decoder; no {' and no '.join(missing)}")
        return cls(**every)

    @classmethod
    def from_file_fields(cls, fields: Mapping[str, Any], path: StrPath) -> EncoderDecoderConfig:
        """The configuration that a file holds; what is wrong with it is the fault of the file at `path`."""
        parts = {name: fields.get(name) for name in ("encoder", "decoder")}
        parts = {name: fields_of_the_reference(part, path) for name, part in parts.items() if isinstance(part, Mapping)}
        return super().from_file_fields({**fields, **parts}, path)

    def to_dict(self) -> dict[str, Any]:
        """Every field, known or not, as plain values."""
        return {**super().to_dict(), "encoder": self.encoder.to_dict(), "decoder": self.decoder.to_dict()}

    def validate(self) -> None:
        """Refuse what no model can be built from."""
        super().validate()
        for name in ("encoder", "decoder"):
            with errors_of_part(name):
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

    def __repr__(self) -> str:
        changed = {name: value for name, value in vars(self).items() if name not in ("encoder", "decoder", "_kept")}
        fields = [f"encoder={self.encoder!r}", f"decoder={self.decoder!r}", *(f"{n}={v!r}" for n, v in changed.items())]
        return f"EncoderDecoderConfig({', '.join(fields)})"


def _part_config(name: str, given: object) -> BertConfig:
    """A copy of the part's configuration, from one or from a mapping of its fields."""
    if isinstance(given, BertConfig):
        return copy.deepcopy(given)
    if not isinstance(given, Mapping):
        raise InputTypeError(f"{name}: takes a BertConfig or its fields, got {type(given).__name__}")
    model_type = given.get("model_type", BertConfig.model_type)
    if model_type != BertConfig.model_type:
        raise InputError(f"{name}: takes model_type {BertConfig.model_type!r}, got {shown(model_type)}")
    with errors_of_part(name):
        return BertConfig.from_dict(given)


@contextmanager
def errors_of_part(part: str) -> Iterator[None]:
    """An error says which part it is about."""
    try:
        yield
    except (InputError, InputTypeError) as error:
        raise type(error)(f"{part}: {error}") from None
