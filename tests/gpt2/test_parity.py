"""GPT-2 held against the live reference, over random configurations, models and arguments: every output, every module's output,
every gradient."""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npbert

from ..builders import arrays_of, assert_close, examples
from .builders import CLASSES, build, ids, tiny

pytestmark = pytest.mark.parity

TOLERANCE = {np.float32: 3e-5, np.float64: 1e-10}
dtypes = st.sampled_from([np.float32, np.float64])
ACTIVATIONS = ["gelu_new", "gelu", "silu", "tanh", "quick_gelu"]  # without kinks, for the gradients


@st.composite
def configs(draw: Any) -> npbert.GPT2Config:
    """Anything small that both sides can build."""
    heads, layers = draw(st.integers(1, 4)), draw(st.integers(0, 3))
    size = heads * max(draw(st.integers(1, 6)), -(-6 // heads))  # LayerNorm over two or three numbers magnifies errors
    pruned = {}
    if heads > 1 and layers and draw(st.integers(0, 3)) == 0:
        pruned = {draw(st.integers(0, layers - 1)): sorted(draw(st.sets(st.integers(0, heads - 1), max_size=heads - 1)))}
    return tiny(
        vocab_size=draw(st.integers(2, 40)),
        n_embd=size,
        n_head=heads,
        n_layer=layers,
        n_inner=draw(st.sampled_from([None, 1, 7, 30])),
        n_positions=draw(st.integers(12, 20)),
        activation_function=draw(st.sampled_from(ACTIVATIONS)),
        layer_norm_epsilon=draw(st.sampled_from([1e-5, 1e-12, 0.1])),
        scale_attn_weights=draw(st.booleans()),
        scale_attn_by_inverse_layer_idx=draw(st.booleans()),
        add_cross_attention=draw(st.integers(0, 2)) == 0,
        tie_word_embeddings=draw(st.booleans()),
        num_labels=draw(st.integers(1, 4)),
        pruned_heads=pruned,
    )


@st.composite
def arguments_for(draw: Any, config: npbert.GPT2Config, *, encoder: bool) -> dict[str, Any]:
    """Anything that the models take."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, length = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    arguments: dict[str, Any] = {"input_ids": rng.integers(0, config.vocab_size, (batch, length))}
    if draw(st.integers(0, 3)) == 0:
        arguments = {"inputs_embeds": rng.normal(size=(batch, length, config.n_embd))}
    # On the left, on the right, anywhere; a row may be padding alone. Without a mask the reference takes positions that begin
    # anew for several texts in one row.
    arguments["attention_mask"] = {
        "left": np.arange(length) >= rng.integers(0, length, (batch, 1)),
        "right": np.arange(length) < rng.integers(1, length + 1, (batch, 1)),
        "anywhere": rng.random((batch, length)) < 0.6,
        "nothing": np.zeros((batch, length)),
        "everything": np.ones((batch, length)),
    }[draw(st.sampled_from(["left", "right", "anywhere", "nothing", "everything"]))].astype(np.int64)
    if draw(st.booleans()):
        arguments["position_ids"] = rng.integers(0, config.n_positions, (draw(st.sampled_from([1, batch])), length))
    if draw(st.integers(0, 2)) == 0:
        arguments["token_type_ids"] = rng.integers(0, config.vocab_size, (batch, length))
    if not any(config.pruned_heads.values()) and draw(st.booleans()):
        shape = draw(st.sampled_from([(), (config.n_layer,)]))
        arguments["head_mask"] = rng.integers(0, 2, (*shape, config.n_head)).astype(np.float64)
    if encoder:
        other = draw(st.integers(1, 6))
        arguments["encoder_hidden_states"] = rng.normal(size=(batch, other, config.n_embd))
        if draw(st.booleans()):
            arguments["encoder_attention_mask"] = rng.integers(0, 2, (batch, other))
    return arguments


def labels_for(model_class: str, config: npbert.GPT2Config, batch: int, length: int) -> dict[str, Any]:
    rng = np.random.default_rng(batch * 100 + length)
    if model_class == "GPT2LMHeadModel":
        labels = rng.integers(0, config.vocab_size, (batch, length))
        labels[rng.random((batch, length)) < 0.3] = -100
        return {"labels": labels}
    if config.num_labels == 1:
        return {"labels": rng.normal(size=batch)}
    return {"labels": rng.integers(0, config.num_labels, batch)}


def pair(model_class: str, config: npbert.GPT2Config, dtype: Any = np.float64) -> tuple[Any, Any]:
    from . import reference

    ours = build(model_class, config, dtype=dtype)
    return ours, reference.build(model_class, ours.config.to_dict(), ours.state_dict())


@given(st.data(), st.sampled_from(CLASSES), dtypes)
@examples(60)
def test_every_value(data: Any, model_class: str, dtype: Any) -> None:
    from . import reference

    config = data.draw(configs())
    encoder = config.add_cross_attention and config.n_layer > 0 and model_class != "GPT2ForSequenceClassification"
    arguments = data.draw(arguments_for(config, encoder=encoder))
    if config.add_cross_attention and not encoder:
        config.add_cross_attention = False  # the reference looks for attentions that are not there
    ours, theirs = pair(model_class, config, dtype)
    if model_class != "GPT2Model" and data.draw(st.booleans()):
        arguments |= labels_for(model_class, config, *arguments["attention_mask"].shape)
    asked = {**arguments, "output_attentions": True, "output_hidden_states": True, "use_cache": data.draw(st.booleans())}
    with reference.hooked(theirs) as modules:
        expected = reference.run(theirs, asked)
    with npbert.trace() as kept:
        actual = arrays_of(ours(**asked))
    if not config.n_layer:  # the reference's cache is then there and empty
        expected = {name: x for name, x in expected.items() if not name.startswith("past")}
    assert list(actual) == list(expected)
    for name, x in expected.items():
        assert actual[name].dtype == dtype
        in_float32 = name == "loss" and model_class == "GPT2LMHeadModel"  # the reference's own choice
        assert_close(actual[name], x, 1e-6 if in_float32 and dtype == np.float64 else TOLERANCE[dtype], name)
    for name, x in modules.items():
        if name.endswith("wte") and "token_type_ids" in arguments:
            name = name.removesuffix(".wte").removesuffix("wte") + ":token_types"  # the last of the module's two calls
        assert_close(kept[name], x, TOLERANCE[dtype], name)
    assert {name for name in kept if ":" not in name} - {"transformer.wte", "wte"} == set(modules) - {"transformer.wte", "wte"}


@given(st.data(), st.sampled_from(CLASSES[1:]), dtypes)
@examples(60)
def test_every_gradient(data: Any, model_class: str, dtype: Any) -> None:
    import torch

    from . import reference

    config = data.draw(configs())
    encoder = config.add_cross_attention and config.n_layer > 0 and model_class == "GPT2LMHeadModel"
    arguments = data.draw(arguments_for(config, encoder=encoder))
    ours, theirs = pair(model_class, config, dtype)
    batch, length = arguments["attention_mask"].shape
    if dtype is np.float32 or model_class != "GPT2LMHeadModel":  # else the reference computes the loss in float32
        arguments |= labels_for(model_class, config, batch, length)
        if (arguments["labels"] == -100).all() or length == 1:
            arguments = {name: x for name, x in arguments.items() if name != "labels"}
    wanted = None
    if "labels" not in arguments:
        shape = (batch, length, config.vocab_size) if model_class == "GPT2LMHeadModel" else (batch, config.num_labels)
        wanted = {"logits": np.random.default_rng(3).normal(size=shape).astype(dtype)}
    if data.draw(st.booleans()):
        ours.gradient_checkpointing_enable()
    rng = data.draw(st.sampled_from([None, 0, 7]))
    with npbert.trace() as kept:
        out, gradients = ours.gradients(
            **arguments, use_cache=False, output_gradients=wanted, rng=None if rng is None else np.random.default_rng(rng)
        )
    plant_dropout(theirs, kept)
    values: dict[str, Any] = {}

    def hook(name: str) -> Any:
        def keep(module: Any, given: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, torch.Tensor) and output.requires_grad:
                output.retain_grad()
                values[name] = output

        return keep

    for name, module in theirs.named_modules():
        if name not in ("", "transformer"):
            module.register_forward_hook(hook(name))
    expected = theirs(**reference.converted(theirs, {**arguments, "use_cache": False}))
    total = expected.loss if wanted is None else (expected.logits * torch.from_numpy(wanted["logits"])).sum()
    total.backward()
    if wanted is None:
        assert_close(out.loss, expected.loss.detach().numpy(), TOLERANCE[dtype])
    weights = {name: x.grad.numpy() for name, x in theirs.named_parameters() if x.grad is not None}
    floor = max(float(np.abs(x).max(initial=0)) for x in weights.values()) / 10
    for name, gradient in gradients.items():
        if name in weights:
            assert_gradient(gradient, weights[name], dtype, name, floor)
        else:
            assert not gradient.any(), name
    assert set(weights) <= set(gradients)
    seen = 0
    for name, value in values.items():
        mine = kept.get(f"grad:{name}")
        if mine is not None and value.grad is not None and not (name.endswith("wte") and "token_type_ids" in arguments):
            assert_gradient(mine, value.grad.numpy(), dtype, f"grad:{name}", floor)
            seen += 1
    assert seen >= 3 + 8 * config.n_layer


def assert_gradient(actual: Any, expected: Any, dtype: Any, name: str, at_least: float) -> None:
    """Within the tolerance times the largest value of this gradient, or a tenth of the largest of all."""
    scale = max(float(np.abs(expected).max(initial=0)), 1e-3, at_least)
    assert_close(np.asarray(actual) / scale, np.asarray(expected) / scale, TOLERANCE[dtype], name)


def plant_dropout(theirs: Any, kept: Any) -> None:
    """Let the reference drop what npbert dropped."""
    import torch

    for name, module in theirs.named_modules():
        path, _, own = name.rpartition(".")
        if isinstance(module, torch.nn.Dropout) and (mask := f"{path}:{own}_mask") in kept:
            factor = torch.from_numpy(kept[mask] / (1 - module.p))
            module.forward = types.MethodType(lambda self, x, factor=factor: x * factor.to(x.dtype), module)


@given(st.data(), dtypes)
@examples(25)
def test_a_cache(data: Any, dtype: Any) -> None:
    """Random keys and values of random lengths in the cache, several new tokens, masks over both."""
    from . import reference

    config = data.draw(configs().filter(lambda config: config.n_layer))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    batch, past, length = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    arguments: dict[str, Any] = {
        "input_ids": rng.integers(0, config.vocab_size, (batch, length)),
        "attention_mask": (rng.random((batch, past + length)) < 0.7).astype(np.int64),
        "use_cache": True,
    }
    config.add_cross_attention = False
    shapes = [(batch, config.num_heads(layer), past, config.head_size) for layer in range(config.n_layer)]
    cache = tuple((rng.normal(size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)) for shape in shapes)
    ours, theirs = pair("GPT2LMHeadModel", config, dtype)
    actual = arrays_of(ours(**arguments, past_key_values=cache))
    import torch
    from transformers import DynamicCache

    legacy = tuple((torch.from_numpy(key), torch.from_numpy(value)) for key, value in cache)
    tensors = reference.converted(theirs, arguments)
    with torch.no_grad():
        out = theirs(**tensors, past_key_values=DynamicCache.from_legacy_cache(legacy))
    assert_close(actual["logits"], out.logits.numpy(), TOLERANCE[dtype])
    for index, layer in enumerate(out.past_key_values.to_legacy_cache()):
        for part in range(2):
            assert_close(actual[f"past_key_values.{index}.{part}"], layer[part].numpy(), TOLERANCE[dtype])


@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize(
    "fields", [{}, {"add_cross_attention": True}, {"tie_word_embeddings": False}, {"pruned_heads": {0: [1]}}]
)
def test_names_shapes_and_count_of_parameters(model_class: str, fields: dict[str, Any]) -> None:
    from . import reference

    theirs = reference.build(model_class, tiny(**fields).to_dict())
    ours = getattr(npbert, model_class)(tiny(**fields), rng=np.random.default_rng(0))
    assert {name: tuple(x.shape) for name, x in theirs.state_dict().items()} == {
        name: x.shape for name, x in ours.state_dict().items()
    }
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert ours.num_parameters() == theirs.num_parameters()


@pytest.mark.parametrize("model_class", CLASSES)
def test_plain_tuples_have_the_references_order(model_class: str) -> None:
    import torch

    from . import reference

    ours, theirs = pair(model_class, tiny())
    arguments = {"input_ids": ids(tiny(), 2, 5), "output_attentions": True, "output_hidden_states": True, "return_dict": False}
    with torch.no_grad():
        expected = theirs(**reference.converted(theirs, arguments))
    actual = ours(**arguments)
    assert len(actual) == len(expected)
    for mine, other in zip(actual, expected, strict=True):
        other = other.to_legacy_cache() if hasattr(other, "to_legacy_cache") else other
        first = (mine, other) if isinstance(other, torch.Tensor) else (mine[0], other[0])
        first = first if isinstance(first[1], torch.Tensor) else (first[0][0], first[1][0])
        assert_close(first[0], first[1].numpy(), 1e-10)


@pytest.mark.parametrize("model_class", CLASSES)
def test_pruning_and_resizing(model_class: str) -> None:
    from . import reference

    ours, theirs = pair(model_class, tiny(n_head=4), np.float32)
    arguments = {"input_ids": ids(tiny(), 2, 5), "output_attentions": True}
    for heads in ({0: [1, 3]}, {0: [3, 0], 1: [2]}):
        ours.prune_heads(heads)
        theirs.prune_heads(heads)
        for name, x in theirs.state_dict().items():
            np.testing.assert_array_equal(ours.state_dict()[name], x.numpy(), err_msg=name)
        expected, actual = reference.run(theirs, arguments), arrays_of(ours(**arguments))
        assert list(actual) == list(expected)
        for name in expected:
            assert_close(actual[name], expected[name], 3e-5, name)
    ours.resize_token_embeddings(20)
    theirs.resize_token_embeddings(20)
    for name, x in theirs.state_dict().items():
        np.testing.assert_array_equal(ours.state_dict()[name], x.numpy(), err_msg=name)


def test_reordered_attention_is_the_same() -> None:
    from . import reference

    config = tiny(reorder_and_upcast_attn=True, scale_attn_by_inverse_layer_idx=True)
    ours, theirs = pair("GPT2LMHeadModel", config, np.float32)
    arguments = {"input_ids": ids(config, 2, 5), "attention_mask": np.array([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])}
    assert_close(ours(**arguments).logits, reference.run(theirs, arguments)["logits"], 3e-5)


def test_the_configuration_has_the_references_fields_and_defaults() -> None:
    import transformers

    theirs = transformers.GPT2Config()
    known = set(npbert.GPT2Config.__annotations__)
    own = {"chunk_size_feed_forward", "gradient_checkpointing", "return_dict", "model_type", "architectures"}
    for name in known - own:
        assert getattr(npbert.GPT2Config(), name) == getattr(theirs, name), name
    arguments = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 9}
    ours, other = npbert.GPT2Config(**arguments), transformers.GPT2Config(**arguments)
    for name in (*arguments, "n_embd", "n_layer", "n_head", "n_positions"):
        assert getattr(ours, name) == getattr(other, name)
    ours.hidden_size = other.hidden_size = 16
    assert ours.n_embd == other.n_embd == 16
    assert "hidden_size" not in ours.to_dict()
