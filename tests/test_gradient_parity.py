"""Gradients held against the live reference's autograd: every weight and every module's output, over random configurations."""

from __future__ import annotations

import types
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npbert

from .builders import CLASSES, SMALLEST, assert_close, build, examples, ids, tiny
from .test_parity import arguments_for, configs, dtypes, labels_for

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:BertLMHeadModel without is_decoder")]

# The largest error that was seen, relative to the largest value of a gradient: 2e-13 in float64, 1e-5 in float32, but for
# models so ill-conditioned that the reference's own float32 is as far from its float64.
TOLERANCE = {np.float32: 3e-5, np.float64: 1e-10}


def reference_gradients(
    theirs: Any, arguments: dict[str, Any], output_gradients: dict[str, np.ndarray] | None
) -> tuple[Any, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The reference's output, its gradients by the weights, and those by every module's output."""
    import torch

    from . import reference

    values: dict[str, Any] = {}

    def hook(name: str) -> Any:
        def keep(module: Any, given: Any, output: Any) -> None:
            while not isinstance(output, torch.Tensor):
                output = output[0]
            if output.requires_grad:
                output.retain_grad()
                values[name] = output

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in theirs.named_modules() if name]
    theirs.zero_grad()
    out = theirs(**reference.converted(theirs, arguments))
    if output_gradients is None:
        total = out.loss
    else:
        total = sum((out[name] * reference.tensor(dy)).sum() for name, dy in output_gradients.items())
    total.backward()
    for handle in handles:
        handle.remove()
    weights = {name: x.grad.numpy() for name, x in theirs.named_parameters() if x.grad is not None}
    return out, weights, {name: x.grad.numpy() for name, x in values.items() if x.grad is not None}


def compare(
    model_class: str,
    config: npbert.BertConfig,
    arguments: dict[str, Any],
    dtype: Any,
    *,
    output_gradients: dict[str, np.ndarray] | None = None,
    rng_seed: int | None = None,
) -> None:
    from . import reference

    arguments = {name: x.astype(dtype) if np.asarray(x).dtype == np.float64 else x for name, x in arguments.items()}
    ours = build(model_class, config, dtype=dtype)
    theirs = reference.build(model_class, ours.config.to_dict(), ours.state_dict())
    more: dict[str, Any] = {} if rng_seed is None else {"rng": np.random.default_rng(rng_seed)}
    with npbert.trace() as kept:
        out, gradients = ours.gradients(**arguments, **more, output_gradients=output_gradients)
    if rng_seed is not None:
        plant_dropout(theirs, kept, ours.config)
    expected, weights, values = reference_gradients(theirs, arguments, output_gradients)
    tolerance = TOLERANCE[dtype]
    # Some gradients are 0 but for rounding, such as those by biases of keys, which shift all scores of a row alike, or by those
    # that shift the scores of every position of a span. So each is held to its own largest value, to a tenth of the largest of
    # all or, in float32, where it is a sum over positions, to its largest addend: to whichever is most.
    floor = max(float(np.abs(x).max(initial=0)) for x in weights.values()) / 10
    if dtype is np.float32:
        # What the reference computes in float64 is right, and the error of its own float32 tells what float32 can do.
        rounded = weights | values
        expected, weights, values = reference_gradients(theirs.double(), arguments, output_gradients)
        exact = weights | values
        own = max(gradient_error(x, exact[name], at_least=floor) for name, x in rounded.items())
        tolerance = max(tolerance, 10 * own)
    if output_gradients is None:
        assert_close(out.loss, expected.loss.detach().numpy(), tolerance, "loss")
    for name, gradient in gradients.items():
        if name in weights:
            addends = values.get(name.removesuffix(".bias"), np.zeros(0)) if dtype is np.float32 else np.zeros(0)
            assert_gradient(
                gradient, weights[name], tolerance, name, at_least=max(floor, float(np.abs(addends).max(initial=0)))
            )
        else:
            assert not gradient.any(), f"{name} is not reached"
    seen = 0
    for name, value in values.items():
        mine = kept.get(f"grad:{name}")
        if mine is not None and (not config.chunk_size_feed_forward or mine.shape == value.shape):  # a hook sees the last chunk
            assert_gradient(mine, value, tolerance, f"grad:{name}", at_least=floor)
            seen += 1
    assert seen > 10


def gradient_error(actual: Any, expected: Any, *, at_least: float = 0.0) -> float:
    """The largest error over the largest value; gradients may be far smaller than 1."""
    scale = max(float(np.abs(expected).max(initial=0)), 1e-3, at_least)
    return assert_close(np.asarray(actual) / scale, np.asarray(expected) / scale, np.inf)


def assert_gradient(actual: Any, expected: Any, tolerance: float, name: str, *, at_least: float = 0.0) -> None:
    error = gradient_error(actual, expected, at_least=at_least)
    assert error <= tolerance, f"{name}: off by {error:.2e} of the largest value, {tolerance:.0e} is allowed"


def plant_dropout(theirs: Any, kept: Any, config: Any) -> None:
    """Let the reference drop what npbert dropped."""
    import torch

    for name, module in theirs.named_modules():
        if not isinstance(module, torch.nn.Dropout):
            continue
        mask = f"{name.removesuffix('dropout').rstrip('.')}:dropout_mask"
        if mask in kept:
            factor = torch.from_numpy(kept[mask] / (1 - module.p))
            module.forward = types.MethodType(lambda self, x, factor=factor: x * factor.to(x.dtype), module)


@given(st.data(), st.sampled_from(CLASSES[1:]), dtypes)
@examples(60)
def test_heads(data: Any, model_class: str, dtype: Any) -> None:
    decoder = model_class == "BertLMHeadModel" or data.draw(st.integers(0, 3)) == 0
    config = data.draw(configs(decoder=decoder))
    config.use_cache = False
    config.hidden_act = data.draw(st.sampled_from(["gelu", "gelu_new", "silu", "tanh", "mish", "quick_gelu"]))  # no kinks
    if model_class not in ("BertLMHeadModel", "BertForMaskedLM"):
        config.add_cross_attention = False
    if model_class in ("BertForSequenceClassification", "BertForTokenClassification"):
        config.num_labels = data.draw(st.integers(2, 4))
    config.tie_word_embeddings = data.draw(st.booleans())
    config.chunk_size_feed_forward = data.draw(st.sampled_from([0, 0, 1]))
    config.classifier_dropout = data.draw(st.sampled_from([None, 0.25]))
    arguments = data.draw(arguments_for(config))
    tokens = arguments.get("input_ids", arguments.get("inputs_embeds"))
    batch, length = tokens.shape[:2]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    if model_class == "BertForMultipleChoice":
        embeds = rng.normal(size=(batch, 2, length, config.hidden_size))  # equal choices would have no gradient but rounding
        arguments = {"inputs_embeds": embeds, "labels": rng.integers(0, 2, batch)}
    else:
        arguments |= labels_for(model_class, config, batch, length, rng)
    seed = None if config.chunk_size_feed_forward else data.draw(st.sampled_from([None, 0, 7]))  # masks are planted whole
    wanted = None
    if model_class == "BertLMHeadModel" and dtype is np.float64:  # the reference computes this loss in float32
        del arguments["labels"]
        wanted = {"logits": rng.normal(size=(batch, length, config.vocab_size))}
    compare(model_class, config, arguments, dtype, output_gradients=wanted, rng_seed=seed)


@given(st.data(), dtypes)
@examples(40)
def test_base_model(data: Any, dtype: Any) -> None:
    config = data.draw(configs(decoder=data.draw(st.booleans())))
    config.use_cache = False
    config.hidden_act = data.draw(st.sampled_from(["gelu", "gelu_new", "silu"]))
    config.chunk_size_feed_forward = data.draw(st.sampled_from([0, 1]))
    arguments = data.draw(arguments_for(config))
    tokens = arguments.get("input_ids", arguments.get("inputs_embeds"))
    rng = np.random.default_rng(5)
    shape = (*tokens.shape[:2], config.hidden_size)
    wanted = {"last_hidden_state": rng.normal(size=shape), "pooler_output": rng.normal(size=(len(tokens), config.hidden_size))}
    if data.draw(st.booleans()):
        del wanted["pooler_output"]
    wanted = {name: x.astype(dtype) for name, x in wanted.items()}
    compare("BertModel", config, arguments, dtype, output_gradients=wanted)


@pytest.mark.parametrize("kind", ["absolute", "relative_key"])
def test_decoders_with_a_cache(kind: str) -> None:
    """What was cached is an input: the gradients are those of the tokens that are new."""
    import torch

    from . import reference

    config = tiny(is_decoder=True, position_embedding_type=kind, mask_value=SMALLEST, tie_word_embeddings=False)
    ours = build("BertLMHeadModel", config)
    theirs = reference.build("BertLMHeadModel", config.to_dict(), ours.state_dict())
    tokens = ids(config, 2, 1, seed=1)
    past = ours(ids(config, 2, 4)).past_key_values
    dlogits = np.random.default_rng(3).normal(size=(2, 1, config.vocab_size))
    _, gradients = ours.gradients(tokens, past_key_values=past, output_gradients={"logits": dlogits})
    out = theirs(torch.from_numpy(tokens), past_key_values=reference.cache(past), use_cache=False)
    (out.logits * torch.from_numpy(dlogits)).sum().backward()
    for name, x in theirs.named_parameters():
        if x.grad is not None:
            assert_gradient(gradients[name], x.grad.numpy(), TOLERANCE[np.float64], name)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("size", [12, 18])
def test_encoder_decoders(size: int, tied: bool) -> None:
    import torch

    from npbert import EncoderDecoderConfig, EncoderDecoderModel

    from .models.test_encoder_decoder import reference_of

    if tied and size != 12:
        pytest.skip("parts of different sizes cannot be tied")
    decoder = tiny(is_decoder=True, add_cross_attention=True, mask_value=SMALLEST)
    config = EncoderDecoderConfig(
        encoder=tiny(hidden_size=size, mask_value=SMALLEST), decoder=decoder, decoder_start_token_id=1, pad_token_id=0
    )
    blank = EncoderDecoderModel(config, rng=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    model = EncoderDecoderModel(config, {name: rng.normal(0, 0.4, x.shape) for name, x in blank.named_parameters()})
    if tied:
        fields = {**config.to_dict(), "tie_encoder_decoder": True}
        model = EncoderDecoderModel(EncoderDecoderConfig(**fields), model.state_dict())
    # The reference's two copies of a tied weight would share one gradient; untied, each has its own, and npbert adds them up.
    theirs = reference_of(EncoderDecoderModel(config, model.state_dict()))
    arguments = {
        "input_ids": ids(config.encoder, 2, 5),
        "attention_mask": np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
        "labels": np.array([[3, 9, 4, 6], [8, 6, -100, -100]]),
    }
    with npbert.trace() as kept:
        out, gradients = model.gradients(**arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the reference copies a tensor in a way that torch warns about
        expected = theirs(**{name: torch.from_numpy(x) for name, x in arguments.items()})
    expected.loss.backward()
    assert_close(out.loss, expected.loss.detach().numpy(), 1e-10)
    theirs_by_name = {name: x.grad.numpy() for name, x in theirs.named_parameters() if x.grad is not None}
    if tied:
        for alias, name in model.tied().items():
            if alias.startswith("encoder.") and alias in theirs_by_name:
                theirs_by_name[name] = theirs_by_name[name] + theirs_by_name.pop(alias)
    assert theirs_by_name.keys() <= gradients.keys()
    for name, gradient in gradients.items():
        if name in theirs_by_name:
            assert_gradient(gradient, theirs_by_name[name], TOLERANCE[np.float64], name)
        else:
            assert not gradient.any(), name
    assert kept["grad:encoder.encoder.layer.0"].shape == (2, 5, size)
    assert kept["grad:decoder.cls"].shape == (2, 4, 31)
