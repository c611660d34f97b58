"""Held against the live reference, over random configurations, models and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import npbert

from .builders import CLASSES, POSITION_TYPES, SMALLEST, arrays_of, assert_close, build, examples, tiny

pytestmark = pytest.mark.parity

ACTIVATIONS = sorted(set(npbert.ops.ACTIVATIONS))
TOLERANCE = {np.float32: 3e-5, np.float64: 1e-12}


@st.composite
def configs(draw: Any, *, decoder: bool = False) -> npbert.BertConfig:
    """Anything small that both sides can build."""
    heads, head_size = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    head_size = max(head_size, -(-6 // heads))  # LayerNorm over two or three numbers magnifies rounding errors without bound
    cross = decoder and draw(st.booleans())
    layers = draw(st.integers(1, 3))
    pruned = {}
    if heads > 1 and draw(st.integers(0, 3)) == 0:
        pruned = {draw(st.integers(0, layers - 1)): sorted(draw(st.sets(st.integers(0, heads - 1), max_size=heads - 1)))}
    return tiny(
        vocab_size=draw(st.integers(2, 40)),
        hidden_size=heads * head_size,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        intermediate_size=draw(st.integers(1, 30)),
        max_position_embeddings=draw(st.integers(8, 20)),
        type_vocab_size=draw(st.integers(1, 4)),
        hidden_act=draw(st.sampled_from(ACTIVATIONS)),
        layer_norm_eps=draw(st.sampled_from([1e-12, 1e-5, 0.1])),
        position_embedding_type=draw(st.sampled_from(POSITION_TYPES)),
        mask_value=SMALLEST,
        is_decoder=decoder,
        add_cross_attention=cross,
        pruned_heads=pruned,
        pad_token_id=0,
    )


@st.composite
def arguments_for(draw: Any, config: npbert.BertConfig) -> dict[str, Any]:
    """Anything that the base model takes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, length = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    arguments: dict[str, Any] = {"input_ids": rng.integers(0, config.vocab_size, (batch, length))}
    if draw(st.booleans()):
        arguments = {"inputs_embeds": rng.normal(size=(batch, length, config.hidden_size))}
    mask = draw(st.sampled_from(["none", "2d", "3d", "nothing"]))
    if "input_ids" in arguments and mask == "none":
        mask = "ones"
    if mask == "ones":
        arguments["attention_mask"] = np.ones((batch, length), np.int64)
    if mask == "2d":
        arguments["attention_mask"] = (np.arange(length) < rng.integers(1, length + 1, (batch, 1))).astype(np.int64)
    if mask == "3d":
        arguments["attention_mask"] = rng.integers(0, 2, (batch, length, length))
    if mask == "nothing":
        arguments["attention_mask"] = np.zeros((batch, length), np.int64)
    if draw(st.booleans()):
        arguments["token_type_ids"] = rng.integers(0, config.type_vocab_size, (batch, length))
    if draw(st.booleans()):
        arguments["position_ids"] = rng.integers(0, config.max_position_embeddings, (draw(st.sampled_from([1, batch])), length))
    if not any(config.pruned_heads.values()) and draw(st.booleans()):
        shape = draw(st.sampled_from([(), (config.num_hidden_layers,)]))
        arguments["head_mask"] = rng.integers(0, 2, (*shape, config.num_attention_heads)).astype(np.float64)
    if config.add_cross_attention:
        other = draw(st.integers(1, 6))
        arguments["encoder_hidden_states"] = rng.normal(size=(batch, other, config.hidden_size))
        shape = draw(st.sampled_from([None, (batch, other), (batch, length, other)]))
        if shape:
            arguments["encoder_attention_mask"] = rng.integers(0, 2, shape)
    return arguments


def labels_for(
    model_class: str, config: npbert.BertConfig, batch: int, length: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Labels of the right kind, some to be ignored."""

    def classes(number: int, *shape: int) -> np.ndarray:
        labels = rng.integers(0, number, shape)
        labels[rng.random(shape) < 0.3] = -100
        return labels

    if model_class in ("BertForMaskedLM", "BertLMHeadModel"):
        return {"labels": classes(config.vocab_size, batch, length)}
    if model_class == "BertForPreTraining":
        return {"labels": classes(config.vocab_size, batch, length), "next_sentence_label": classes(2, batch)}
    if model_class == "BertForNextSentencePrediction":
        return {"labels": classes(2, batch)}
    if model_class == "BertForTokenClassification":
        return {"labels": classes(config.num_labels, batch, length)}
    if model_class == "BertForQuestionAnswering":
        return {name: rng.integers(-2, length + 3, batch) for name in ("start_positions", "end_positions")}
    if model_class == "BertForSequenceClassification":
        kind = rng.integers(3)
        if config.num_labels == 1 or config.problem_type == "regression":
            return {"labels": rng.normal(size=(batch,) if config.num_labels == 1 else (batch, config.num_labels))}
        if config.problem_type == "multi_label_classification" or (config.problem_type is None and kind == 0):
            return {"labels": rng.integers(0, 2, (batch, config.num_labels)).astype(np.float64)}
        return {"labels": classes(config.num_labels, batch)}
    return {}


def compare(model_class: str, config: npbert.BertConfig, arguments: dict[str, Any], dtype: Any, seed: int = 0) -> None:
    """One call of both, every array of the result and every module's output held against each other."""
    from . import reference

    ours = build(model_class, config, seed=seed, dtype=dtype)
    theirs = reference.build(model_class, ours.config.to_dict(), ours.state_dict())
    asked = {**arguments, "output_attentions": True, "output_hidden_states": True}
    with reference.hooked(theirs) as modules:
        expected = reference.run(theirs, asked)
    with npbert.trace() as kept:
        actual = arrays_of(ours(**asked))
    if "loss" in expected and model_class == "BertLMHeadModel" and dtype == np.float64:
        assert_close(actual.pop("loss"), expected.pop("loss"), 1e-6, "loss")  # the reference computes this loss in float32
        expected = {"loss": None, **expected}
        actual = {"loss": None, **actual}
    assert list(actual) == list(expected)
    for name in expected:
        if expected[name] is not None:
            assert actual[name].dtype == dtype
            assert_close(actual[name], expected[name], TOLERANCE[dtype], name)
    for name in modules:
        assert_close(kept[name], modules[name], TOLERANCE[dtype], name)
    plain = [x for x in kept if ":" not in x]
    assert set(plain) == set(modules), set(plain) ^ set(modules)


dtypes = st.sampled_from([np.float32, np.float64])


@given(st.data(), dtypes)
@examples(60)
def test_encoder(data: Any, dtype: Any) -> None:
    config = data.draw(configs())
    compare("BertModel", config, data.draw(arguments_for(config)), dtype)


@given(st.data(), dtypes)
@examples(50)
def test_decoder_without_a_cache(data: Any, dtype: Any) -> None:
    config = data.draw(configs(decoder=True))
    compare("BertModel", config, {**data.draw(arguments_for(config)), "use_cache": False}, dtype)


@given(st.data(), dtypes)
@examples(40)
def test_decoder_with_a_cache(data: Any, dtype: Any) -> None:
    """The reference places relative positions wrongly when several tokens meet a cache, so there one at a time."""
    config = data.draw(configs(decoder=True))
    assume(config.max_position_embeddings >= 12)
    past, length = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    if config.position_embedding_type != "absolute":
        length = 1
    batch = data.draw(st.integers(1, 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    shape = (batch, config.num_attention_heads, past, config.head_size)
    arguments: dict[str, Any] = {
        "input_ids": rng.integers(0, config.vocab_size, (batch, length)),
        "attention_mask": (rng.random((batch, past + length)) < 0.7).astype(np.int64),
        "use_cache": True,
    }
    caches = []
    for index in range(config.num_hidden_layers):
        own = (batch, config.num_heads(index), past, config.head_size)
        caches.append([rng.normal(size=own), rng.normal(size=own)])
    if config.add_cross_attention:
        other = data.draw(st.integers(1, 5))
        arguments["encoder_hidden_states"] = rng.normal(size=(batch, other, config.hidden_size))
        arguments["encoder_attention_mask"] = rng.integers(0, 2, (batch, other))
        if data.draw(st.booleans()):
            shape = (batch, config.num_attention_heads, other, config.head_size)
            for layer in caches:
                layer += [rng.normal(size=shape), rng.normal(size=shape)]
    arguments["past_key_values"] = tuple(tuple(x.astype(dtype) for x in layer) for layer in caches)

    stored = len(caches[0]) == 4
    from . import reference

    ours = build("BertModel", config, dtype=dtype)
    theirs = reference.build("BertModel", ours.config.to_dict(), ours.state_dict())
    expected = reference.run(theirs, {**arguments, "output_attentions": True})
    actual = arrays_of(ours(**arguments, output_attentions=True))
    assert list(actual) == list(expected)
    for name in expected:
        assert_close(actual[name], expected[name], TOLERANCE[dtype], name)
    if stored:  # the stored keys and values are all that is needed
        without = {name: value for name, value in arguments.items() if name != "encoder_hidden_states"}
        again = arrays_of(ours(**without, output_attentions=True))
        assert all(np.array_equal(again[name], actual[name]) for name in actual)


@given(st.data(), st.sampled_from(CLASSES[1:]), dtypes)
@examples(80)
def test_heads_and_losses(data: Any, model_class: str, dtype: Any) -> None:
    decoder = model_class == "BertLMHeadModel" or data.draw(st.integers(0, 3)) == 0
    config = data.draw(configs(decoder=decoder))
    config.use_cache = False  # with one, the reference misplaces relative positions
    if model_class not in ("BertLMHeadModel", "BertForMaskedLM"):
        config.add_cross_attention = False  # these hand no encoder on
    if model_class in ("BertForSequenceClassification", "BertForTokenClassification"):
        config.num_labels = data.draw(st.integers(1, 4))
        config.problem_type = data.draw(st.sampled_from([None, *npbert.bert.config.PROBLEM_TYPES]))
        if config.num_labels == 1 and config.problem_type != "regression":
            config.problem_type = None
    config.tie_word_embeddings = data.draw(st.booleans())
    arguments = data.draw(arguments_for(config))
    tokens = arguments.get("input_ids", arguments.get("inputs_embeds"))
    batch, length = tokens.shape[:2]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    if model_class == "BertForMultipleChoice":
        choices = data.draw(st.integers(1, 3))
        arguments = {
            name: np.repeat(x, choices, axis=0).reshape(-1, choices, *x.shape[1:])
            for name, x in arguments.items()
            if name in ("input_ids", "inputs_embeds", "token_type_ids")
            or (name == "position_ids" and len(x) == batch)
            or (name == "attention_mask" and x.ndim == 2)
        }
        if "input_ids" in arguments:
            arguments["input_ids"] = rng.integers(0, config.vocab_size, arguments["input_ids"].shape)
            arguments.setdefault("attention_mask", np.ones(arguments["input_ids"].shape, np.int64))
        arguments["labels"] = rng.integers(0, choices, batch)
    else:
        arguments |= labels_for(model_class, config, batch, length, rng)
    compare(model_class, config, arguments, dtype)


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_every_activation_is_the_references(act: str) -> None:
    import torch
    from transformers.activations import ACT2FN

    for dtype, tolerance in ((np.float32, 1e-6), (np.float64, 2e-15)):
        x = np.concatenate(
            [np.linspace(-12, 12, 2001), np.geomspace(1e-30, 1e30, 121), -np.geomspace(1e-30, 1e30, 121)]
        ).astype(dtype)
        expected = ACT2FN[act](torch.from_numpy(x)).numpy()
        with np.errstate(over="ignore"):
            actual = npbert.ops.ACTIVATIONS[act](x)
        assert actual.dtype == dtype
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
        np.testing.assert_array_equal(actual[np.isinf(expected)], expected[np.isinf(expected)])
        allowed = tolerance * np.maximum(1, np.abs(expected[finite]))
        assert (np.abs(actual[finite] - expected[finite]) <= allowed).all()


def test_there_is_every_activation_without_parameters() -> None:
    from transformers.activations import ACT2FN

    assert set(ACT2FN) - set(npbert.ops.ACTIVATIONS) == {"prelu", "xielu"}  # both learn parameters
    assert set(npbert.ops.ACTIVATIONS) <= set(ACT2FN)


@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"is_decoder": True, "add_cross_attention": True},
        {"position_embedding_type": "relative_key"},
        {"pruned_heads": {0: [1], 1: [0, 2]}},
        {"tie_word_embeddings": False},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:BertLMHeadModel without is_decoder")
def test_names_shapes_and_count_of_parameters(model_class: str, fields: dict[str, Any]) -> None:
    from . import reference

    theirs = reference.build(model_class, tiny(**fields).to_dict())
    ours = getattr(npbert, model_class)(tiny(**fields), rng=np.random.default_rng(0))
    assert {name: tuple(x.shape) for name, x in theirs.state_dict().items()} == {
        name: x.shape for name, x in ours.state_dict().items()
    }
    assert {name for name, _ in ours.named_parameters()} == {name for name, _ in theirs.named_parameters()}
    assert ours.num_parameters() == theirs.num_parameters()


@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.filterwarnings("ignore:BertLMHeadModel without is_decoder")
def test_plain_tuples_have_the_references_order(model_class: str) -> None:
    import torch

    from . import reference
    from .builders import inputs_for

    decoder = model_class in ("BertModel", "BertLMHeadModel")
    config = tiny(is_decoder=decoder, add_cross_attention=decoder)
    ours = build(model_class, config)
    theirs = reference.build(model_class, ours.config.to_dict(), ours.state_dict())
    arguments = {
        **inputs_for(model_class, config),
        "output_attentions": True,
        "output_hidden_states": True,
        "return_dict": False,
    }
    batch, length = 2, 5
    if decoder:
        arguments["encoder_hidden_states"] = np.random.default_rng(0).normal(size=(2, 4, 12))
    for labels in ({}, labels_for(model_class, config, batch, length, np.random.default_rng(5))):
        with torch.no_grad():
            expected = theirs(**reference.converted(theirs, {**arguments, **labels}))
        actual = ours(**arguments, **labels)
        assert type(actual) is tuple
        assert len(actual) == len(expected)
        for mine, other in zip(actual, expected, strict=True):
            if isinstance(other, torch.Tensor):
                assert_close(mine, other.numpy(), 1e-6)
            else:
                other = other.to_legacy_cache() if hasattr(other, "to_legacy_cache") else other
                assert isinstance(mine, tuple)
                assert len(mine) == len(other)
                first = (mine[0], other[0]) if isinstance(other[0], torch.Tensor) else (mine[0][0], other[0][0])
                assert_close(first[0], first[1].numpy(), 1e-12)


def test_a_callable_activation() -> None:
    import torch

    from . import reference

    ours = build("BertForMaskedLM", tiny(hidden_act=lambda x: np.sin(x) + x))
    theirs = reference.build(
        "BertForMaskedLM", {**ours.config.to_dict(), "hidden_act": lambda x: torch.sin(x) + x}, ours.state_dict()
    )
    arguments = {"input_ids": np.array([[1, 2, 3]])}
    assert_close(ours(**arguments).logits, reference.run(theirs, arguments)["logits"], 1e-12)


@pytest.mark.parametrize("model_class", ["BertModel", "BertForPreTraining"])
def test_pruning(model_class: str) -> None:
    """Twice, with a head named again. In float32, because what the reference has cut is float32."""
    from . import reference

    ours = build(model_class, tiny(num_attention_heads=4, position_embedding_type="relative_key"), dtype=np.float32)
    theirs = reference.build(model_class, ours.config.to_dict(), ours.state_dict())
    arguments = {"input_ids": np.random.default_rng(0).integers(1, 31, (2, 6)), "output_attentions": True}
    for heads in ({0: [1, 3]}, {0: [3, 0], 1: [2]}):
        ours.prune_heads(heads)
        theirs.prune_heads(heads)
        assert {layer: set(gone) for layer, gone in ours.config.pruned_heads.items()} == {
            layer: set(gone) for layer, gone in theirs.config.pruned_heads.items()
        }
        state = theirs.state_dict()
        assert set(state) == set(ours.state_dict())
        for name, x in ours.state_dict().items():
            np.testing.assert_array_equal(x, state[name].numpy(), err_msg=name)
        assert ours.num_parameters() == theirs.num_parameters()
        expected = reference.run(theirs, arguments)
        actual = arrays_of(ours(**arguments))
        assert list(actual) == list(expected)
        for name in expected:
            assert_close(actual[name], expected[name], 3e-5, name)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("size", [20, 40])
@pytest.mark.parametrize("model_class", ["BertModel", "BertForMaskedLM", "BertForPreTraining", "BertLMHeadModel"])
def test_resizing(model_class: str, size: int, tied: bool) -> None:
    """Old rows stay, and the same arrays change; with what new rows begin is each side's own choice."""
    from . import reference

    ours = build(model_class, tiny(tie_word_embeddings=tied, is_decoder=model_class == "BertLMHeadModel"))
    theirs = reference.build(model_class, ours.config.to_dict(), ours.state_dict())
    ours.resize_token_embeddings(size)
    theirs.resize_token_embeddings(size, mean_resizing=False)
    assert ours.config.vocab_size == theirs.config.vocab_size
    state = theirs.state_dict()
    assert set(state) == set(ours.state_dict())
    for name, x in ours.state_dict().items():
        y = state[name].numpy()
        assert x.shape == y.shape, name
        kept = slice(0, 31) if x.shape[0] == 40 else slice(None)
        np.testing.assert_array_equal(x[kept], y[kept], err_msg=name)


@pytest.mark.parametrize("chunk", [1, 2, 3, 6])
def test_chunked_feed_forward(chunk: int) -> None:
    from . import reference

    ours = build("BertModel", tiny(chunk_size_feed_forward=chunk))
    theirs = reference.build("BertModel", ours.config.to_dict(), ours.state_dict())
    arguments = {"input_ids": np.random.default_rng(0).integers(1, 31, (2, 6))}
    expected = reference.run(theirs, arguments)
    actual = arrays_of(ours(**arguments))
    for name in expected:
        assert_close(actual[name], expected[name], 1e-12, name)
