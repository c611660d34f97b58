"""A pass in a chosen arithmetic: what is seen, and what the pass goes on with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import npbert
from npbert import ops
from npbert.golden.passes import run
from npbert.golden.precision import round_to

from ..builders import build, ids, tiny


def seen(model: Any, inputs: dict[str, Any], precision: str) -> dict[str, np.ndarray]:
    kept: dict[str, np.ndarray] = {}
    run(model, inputs, precision, lambda name, x: kept.update({name: x.copy()}))
    return kept


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_every_value_is_rounded_and_the_pass_goes_on_with_it(precision: str) -> None:
    model = build("BertForMaskedLM", tiny(), dtype=np.float32)
    kept = seen(model, {"input_ids": ids(model.config, 2, 5)}, precision)
    for name, x in kept.items():
        assert x.dtype == np.float32
        assert np.array_equal(x, round_to(x, precision)), name
    w = {name: round_to(x, precision) for name, x in model.state_dict().items()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return round_to(ops.linear(x, w[f"{name}.weight"], w[f"{name}.bias"]), precision)

    layer = "bert.encoder.layer.1"
    for name, source in {
        f"{layer}.attention.self.query": "bert.encoder.layer.0",
        f"{layer}.attention.output.dense": f"{layer}.attention.self",
        f"{layer}.intermediate.dense": f"{layer}.attention",
        f"{layer}.output.dense": f"{layer}.intermediate",
        "cls.predictions.transform.dense": "bert.encoder.layer.1",
    }.items():
        assert np.array_equal(kept[name], linear(name, kept[source])), name
    probs = round_to(ops.softmax(kept[f"{layer}.attention.self:masked_scores"]), precision)
    assert np.array_equal(kept[f"{layer}.attention.self:probs"], probs)
    context = ops.merge_heads(probs @ kept[f"{layer}.attention.self:value"])
    assert np.array_equal(kept[f"{layer}.attention.self"], round_to(context, precision))


def test_tables_of_8_bits_hold_whole_numbers() -> None:
    model = build("BertModel", tiny(), dtype=np.float32)
    inputs = {"input_ids": ids(model.config, 2, 5)}
    kept, plain = seen(model, inputs, "int8-tables"), seen(model, inputs, "int8")
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        step = np.abs(model.state_dict()[f"embeddings.{name}.weight"]).max() / np.float32(127)
        rows = kept[f"embeddings.{name}"] / step
        assert np.allclose(rows, np.rint(rows), atol=1e-4)
        assert np.abs(rows - plain[f"embeddings.{name}"] / step).max() <= 0.5001
        assert not np.allclose(rows, plain[f"embeddings.{name}"] / step, atol=0.1)
    assert all(x.dtype == np.float32 for x in kept.values())


@pytest.mark.parametrize("model_class", ["BertModel", "BertForMaskedLM", "BertForPreTraining"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_full_precision_is_the_model_itself(model_class: str, dtype: Any) -> None:
    model = build(model_class, tiny(), dtype=dtype)
    inputs = {"input_ids": ids(model.config, 2, 5)}
    for precision in ("float32", "float64"):
        with npbert.trace() as kept:
            out = model.astype(precision)(**inputs)
        found = seen(model, inputs, precision)
        assert list(found) == [*kept, *(f"output:{name}" for name in out)]
        assert all(np.array_equal(found[name], kept[name]) and found[name].dtype == precision for name in kept)
        assert all(np.array_equal(found[f"output:{name}"], out[name]) for name in out)


def test_inputs_are_rounded_too() -> None:
    model = build("BertModel", tiny(is_decoder=True, add_cross_attention=True), dtype=np.float32)
    states = np.random.default_rng(0).normal(size=(2, 3, 12))
    inputs = {"input_ids": ids(model.config, 2, 4), "encoder_hidden_states": states}
    rounded = {**inputs, "encoder_hidden_states": round_to(states.astype(np.float32), "bfloat16")}
    name = "encoder.layer.0.crossattention.self.key"
    assert np.array_equal(seen(model, inputs, "bfloat16")[name], seen(model, rounded, "bfloat16")[name])
    assert not np.array_equal(seen(model, inputs, "float32")[name], seen(model, rounded, "float32")[name])


def test_the_feed_forward_is_seen_whole() -> None:
    """Whatever the configuration says of chunks, in every part of the model."""
    encoder = build("BertModel", tiny(), dtype=np.float32)
    decoder = build("BertLMHeadModel", tiny(is_decoder=True, add_cross_attention=True), dtype=np.float32)
    model = npbert.EncoderDecoderModel(encoder=encoder, decoder=decoder)
    inputs = {"input_ids": ids(encoder.config, 2, 5), "decoder_input_ids": ids(decoder.config, 2, 4)}
    whole = seen(model, inputs, "float32")
    for part in (model.config.encoder, model.config.decoder):
        part.chunk_size_feed_forward = 1
    chunked = seen(model, inputs, "float32")
    assert model.config.encoder.chunk_size_feed_forward == 1
    assert list(chunked) == list(whole)
    assert all(np.array_equal(chunked[name], whole[name]) for name in whole)
