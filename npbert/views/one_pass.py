"""One pass of a model over one text, with every value that it computes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from npbert.checks import unicode_text
from npbert.errors import InputError
from npbert.golden.models import check_model
from npbert.models.encoder_decoder import EncoderDecoderModel
from npbert.models.heads import BertForMultipleChoice
from npbert.tracing import trace
from npbert.types import Array

WRITTEN = 20
"""An encoder-decoder that is not told what it has written writes so many tokens at most."""


class Names(NamedTuple):
    """What an architecture calls the values that the pictures show; `*` is the number of a layer."""

    terms: tuple[str, ...]  # of the embeddings, then their sum, then what the first layer reads
    layer: str  # what a layer hands on
    attention: str  # the module whose values are `:query`, `:probs` and so on
    cross: str
    context: str  # what an attention hands on before its last linear map
    blocks: tuple[tuple[str, str, str], ...]  # what is added to the stream: a word for it, its name, the state afterwards
    last_norm: str  # what a head reads the last layer's state through; "" for nothing

    @property
    def start(self) -> str:
        """What the first layer reads."""
        return self.terms[-1]


def _names(model: Any, path: str = "") -> Names:
    base = f"{path}{model.base_model_prefix}"
    dot = f"{base}." if model.base_model_prefix else path
    if model.config.model_type == "gpt2":
        layer = f"{dot}h.*"
        return Names(
            (f"{dot}wte", f"{dot}wpe", f"{base}:sum", f"{dot}drop"),
            layer,
            f"{layer}.attn",
            f"{layer}.crossattention",
            ":context",
            (
                ("attention", f"{layer}.attn.resid_dropout", f"{layer}.attn:residual"),
                ("cross", f"{layer}.crossattention.resid_dropout", f"{layer}.crossattention:residual"),
                ("feed-forward", f"{layer}.mlp.dropout", layer),
            ),
            "ln_f",
        )
    layer, embeddings = f"{dot}encoder.layer.*", f"{dot}embeddings"
    tables = ("word_embeddings", "token_type_embeddings", "position_embeddings")
    return Names(
        (*(f"{embeddings}.{table}" for table in tables), f"{embeddings}:sum", embeddings),
        layer,
        f"{layer}.attention.self",
        f"{layer}.crossattention.self",
        "",
        (
            ("attention", f"{layer}.attention.output.dropout", f"{layer}.attention.output"),
            ("cross", f"{layer}.crossattention.output.dropout", f"{layer}.crossattention.output"),
            ("feed-forward", f"{layer}.output.dropout", layer),
        ),
        "",
    )


class Side(NamedTuple):
    """The tokens that one model, or one part of a model of two, reads."""

    title: str
    names: Names
    config: Any
    ids: Array  # [S]
    types: Array  # [S]
    tokens: list[str]  # S
    is_special: list[bool]  # S

    def __len__(self) -> int:
        return len(self.tokens)


class OnePass(NamedTuple):
    """What went in, what came out, and everything between."""

    label: str  # the text, in short
    model: Any
    inputs: dict[str, Array]
    sides: list[Side]
    values: dict[str, Array]  # under their names in the trace
    output: Any

    @property
    def reader(self) -> Side:
        """Where the text goes in."""
        return self.sides[0]

    @property
    def speaker(self) -> Side:
        """The side whose states the head reads."""
        return self.sides[-1]


def run(model: Any, tokenizer: Any, text: str, pair: str | None = None) -> OnePass:
    """Run the model once. For an encoder-decoder the second text is what the decoder has written so far."""
    check_model(model)
    if isinstance(model, BertForMultipleChoice):
        raise InputError("model: a multiple choice reads several texts at once; look at one of them with BertModel")
    unicode_text("text", text)
    if pair is not None:
        unicode_text("pair", pair)
    if isinstance(model, EncoderDecoderModel):
        inputs, sides = _of_two_models(model, tokenizer, text, pair)
    else:
        inputs = _encoded(tokenizer, text, pair)
        sides = [_side("the text", _names(model), model.config, inputs["input_ids"], inputs.get("token_type_ids"), tokenizer)]
    if not len(sides[0]):
        raise InputError("text: holds no tokens")
    with trace() as kept:
        output = model(**inputs)
    return OnePass(text if pair is None else f"{text} | {pair}", model, inputs, sides, dict(kept), output)


def _encoded(tokenizer: Any, text: str, pair: str | None) -> dict[str, Array]:
    return dict(tokenizer([text], None if pair is None else [pair], return_tensors="np"))


def _of_two_models(model: Any, tokenizer: Any, text: str, written: str | None) -> tuple[dict[str, Array], list[Side]]:
    inputs = _encoded(tokenizer, text, None)
    inputs.pop("token_type_ids", None)
    if written is None:
        inputs["decoder_input_ids"] = model.generate(**inputs, max_new_tokens=WRITTEN)
    else:
        inputs["decoder_input_ids"] = _encoded(tokenizer, written, None)["input_ids"]
    reader, writer = model.encoder, model.decoder
    return inputs, [
        _side("what the encoder reads", _names(reader, "encoder."), reader.config, inputs["input_ids"], None, tokenizer),
        _side(
            "what the decoder has written",
            _names(writer, "decoder."),
            writer.config,
            inputs["decoder_input_ids"],
            None,
            tokenizer,
        ),
    ]


def _side(title: str, names: Names, config: Any, ids: Array, types: Array | None, tokenizer: Any) -> Side:
    special = set(tokenizer.all_special_ids)
    flat = ids[0]
    return Side(
        title,
        names,
        config,
        flat,
        np.zeros_like(flat) if types is None else types[0],
        tokenizer.convert_ids_to_tokens(flat),
        [int(number) in special for number in flat],
    )
