"""Gradients of whole models without any framework: central differences, what adds up, what is left out, and what is refused."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import EncoderDecoderConfig, EncoderDecoderModel
from npbert.tracing import current_observer

from . import gradient_cases
from .builders import CLASSES, POSITION_TYPES, assert_close, build, ids, inputs_for, tiny

pytestmark = pytest.mark.filterwarnings("ignore:BertLMHeadModel without is_decoder")
PADDED = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])


def labels_of(model_class: str, config: npbert.BertConfig) -> dict[str, Any]:
    words = ids(config, 2, 5, seed=9)
    words[0, 1] = -100
    return {
        "BertLMHeadModel": {"labels": words},
        "BertForMaskedLM": {"labels": words},
        "BertForPreTraining": {"labels": words, "next_sentence_label": np.array([1, 0])},
        "BertForNextSentencePrediction": {"labels": np.array([1, 0])},
        "BertForSequenceClassification": {"labels": np.array([1, 0])},
        "BertForMultipleChoice": {"labels": np.array([2, 0])},
        "BertForTokenClassification": {"labels": np.array([[1, 0, -100, 1, 1], [0, 0, 1, -100, -100]])},
        "BertForQuestionAnswering": {"start_positions": np.array([1, 0]), "end_positions": np.array([3, 9])},
    }[model_class]


def case(model_class: str, **fields: Any) -> tuple[Any, dict[str, Any]]:
    """A model and arguments with labels, or for the base model with gradients by its outputs."""
    config = tiny(**fields)
    model, arguments = build(model_class, config), inputs_for(model_class, config)
    if model_class != "BertForMultipleChoice":
        arguments["attention_mask"] = PADDED
    if model_class == "BertModel":
        rng = np.random.default_rng(4)
        given = {"last_hidden_state": rng.normal(size=(2, 5, 12)), "pooler_output": rng.normal(size=(2, 12))}
        return model, {**arguments, "output_gradients": given}
    return model, arguments | labels_of(model_class, config)


def loss_of(model: Any, arguments: dict[str, Any], seed: int | None = None) -> float:
    rng = None if seed is None else np.random.default_rng(seed)
    given = {name: x for name, x in arguments.items() if name != "output_gradients"}
    out = model(**given, rng=rng)
    if "output_gradients" in arguments:
        return float(sum((out[name] * dy).sum() for name, dy in arguments["output_gradients"].items()))
    return float(out.loss)


def assert_by_differences(model: Any, arguments: dict[str, Any], gradients: dict[str, Any], seed: int | None = None) -> None:
    """Each weight is moved a little in a random direction: the loss changes by the gradient times the direction."""
    rng = np.random.default_rng(7)
    parameters = dict(model.named_parameters())
    largest = max(float(np.abs(gradient).max()) for gradient in gradients.values())
    for name, gradient in gradients.items():
        direction = rng.normal(size=gradient.shape)
        if name.endswith("word_embeddings.weight"):
            direction[model.head_config.pad_token_id] = 0  # the padding token's row gets no gradient, by convention
        weight, step = parameters[name], 1e-6
        weight += step * direction
        ahead = loss_of(model, arguments, seed)
        weight -= 2 * step * direction
        behind = loss_of(model, arguments, seed)
        weight += step * direction
        assert np.sum(gradient * direction) == pytest.approx((ahead - behind) / (2 * step), rel=2e-5, abs=1e-6 * largest), name


@pytest.mark.parametrize("kind", POSITION_TYPES)
@pytest.mark.parametrize("model_class", CLASSES)
def test_every_weight_by_differences(model_class: str, kind: str) -> None:
    model, arguments = case(model_class, position_embedding_type=kind)
    _, gradients = model.gradients(**arguments)
    assert list(gradients) == [name for name, _ in model.named_parameters()]
    assert_by_differences(model, arguments, gradients)


@pytest.mark.parametrize("act", ["gelu_new", "quick_gelu", "silu", "mish", "tanh", "laplace"])
def test_other_activations(act: str) -> None:
    model, arguments = case("BertForMaskedLM", hidden_act=act)
    assert_by_differences(model, arguments, model.gradients(**arguments)[1])


@pytest.mark.parametrize("model_class", ["BertForSequenceClassification", "BertLMHeadModel", "BertForTokenClassification"])
def test_dropout_repeats(model_class: str) -> None:
    model, arguments = case(
        model_class, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.3, classifier_dropout=0.25, is_decoder=True
    )
    out, gradients = model.gradients(**arguments, rng=np.random.default_rng(3))
    assert float(out.loss) == loss_of(model, arguments, 3) != loss_of(model, arguments)
    assert_by_differences(model, arguments, gradients, seed=3)


def test_head_masks_pruned_heads_and_untied_tables() -> None:
    model, arguments = case("BertForMaskedLM", tie_word_embeddings=False)
    arguments["head_mask"] = np.array([[1, 0.5, 0], [0.25, 1, 1]])
    assert_by_differences(model, arguments, model.gradients(**arguments)[1])
    model, arguments = case("BertForSequenceClassification", pruned_heads={0: [1], 1: [0, 2]})
    assert_by_differences(model, arguments, model.gradients(**arguments)[1])


def test_a_tied_table_gets_the_gradient_of_both_uses() -> None:
    tied, arguments = case("BertForMaskedLM")
    untied = npbert.BertForMaskedLM(tiny(tie_word_embeddings=False), tied.state_dict())
    _, one = tied.gradients(**arguments)
    _, two = untied.gradients(**arguments)
    table, decoder = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
    assert decoder not in one
    assert_close(one[table], two[table] + two[decoder], 1e-13)
    assert np.abs(two[table]).max() > 1e-4
    assert np.abs(two[decoder]).max() > 1e-4


@pytest.mark.parametrize("cached", [False, True])
def test_decoders_that_read_an_encoder(cached: bool) -> None:
    model, arguments = case("BertLMHeadModel", is_decoder=True, add_cross_attention=True)
    states = np.random.default_rng(1).normal(size=(2, 4, 12))
    arguments |= {"encoder_hidden_states": states, "encoder_attention_mask": np.array([[1, 1, 1, 1], [1, 1, 0, 0]])}
    if cached:
        before = {name: x for name, x in arguments.items() if name != "labels"}
        arguments["past_key_values"] = model(**before, use_cache=True).past_key_values
        arguments["attention_mask"] = np.concatenate([PADDED, PADDED], axis=1)
        # What is in the cache stands for weights as well; it is held fixed on both sides.
    _, gradients = model.gradients(**arguments)
    assert_by_differences(model, arguments, gradients)
    cross_keys = [name for name in gradients if ".crossattention.self.key" in name]
    assert all(gradients[name].any() != cached for name in cross_keys if name.endswith("weight"))


def encoder_decoder(*, tied: bool) -> tuple[Any, dict[str, Any]]:
    size = 12 if tied else 18
    config = EncoderDecoderConfig(
        encoder=tiny(hidden_size=size),
        decoder=tiny(is_decoder=True, add_cross_attention=True),
        decoder_start_token_id=1,
        pad_token_id=0,
        tie_encoder_decoder=tied,
    )
    blank = EncoderDecoderModel(config, rng=np.random.default_rng(0))
    rng = np.random.default_rng(1)
    model = EncoderDecoderModel(config, {name: rng.normal(0, 0.4, x.shape) for name, x in blank.named_parameters()})
    labels = np.array([[3, 9, 4], [8, 6, -100]])
    return model, {"input_ids": ids(config.encoder, 2, 5), "attention_mask": PADDED, "labels": labels}


def test_a_part_of_an_encoder_decoder_may_be_frozen() -> None:
    model, arguments = encoder_decoder(tied=False)
    _, whole = model.gradients(**arguments)
    model.encoder.requires_grad_(False)
    with npbert.trace() as kept:
        _, some = model.gradients(**arguments)
    assert list(some) == [name for name in whole if not name.startswith("encoder.")]
    for name, gradient in some.items():
        np.testing.assert_array_equal(gradient, whole[name])
    assert not any(name.startswith("grad:encoder.encoder") for name in kept), "backward ends before the encoder"


@pytest.mark.parametrize("tied", [False, True])
def test_encoder_decoders(tied: bool) -> None:
    model, arguments = encoder_decoder(tied=tied)
    _, gradients = model.gradients(**arguments)
    assert list(gradients) == [name for name, _ in model.named_parameters()]
    assert_by_differences(model, arguments, gradients)
    with npbert.trace() as kept:
        model.gradients(**arguments, rng=np.random.default_rng(0), inputs_gradients=True)
    names = {name for name in kept if not name.startswith("grad:")}
    assert {f"grad:{name}" for name in names if not name.endswith(":dropout_mask")} <= set(kept)


def test_gradients_by_inputs() -> None:
    model, arguments = case("BertForSequenceClassification")
    _, gradients = model.gradients(**arguments, inputs_gradients=True)
    by_embeds = gradients["inputs_embeds"]
    table = model.bert.embeddings.word_embeddings.weight
    embeds = table[arguments.pop("input_ids")]
    _, again = model.gradients(inputs_embeds=embeds, **arguments, inputs_gradients=True)
    assert_close(again["inputs_embeds"], by_embeds, 1e-14)
    assert not again["bert.embeddings.word_embeddings.weight"].any(), "no row was looked up"
    direction, step = np.random.default_rng(0).normal(size=embeds.shape), 1e-6
    ahead, behind = (loss_of(model, {**arguments, "inputs_embeds": embeds + sign * step * direction}) for sign in (1, -1))
    assert np.sum(by_embeds * direction) == pytest.approx((ahead - behind) / (2 * step), rel=1e-6)
    assert not by_embeds[1, 3:].any(), "masked padding has no influence on [CLS]"


@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize("kind", POSITION_TYPES)
def test_every_kept_value_has_a_gradient_of_its_shape(model_class: str, kind: str) -> None:
    model, arguments = case(model_class, position_embedding_type=kind)
    with npbert.trace() as kept:
        _, gradients = model.gradients(**arguments)
    names = [name for name in kept if not name.startswith("grad:")]
    # A gradient that is 0 may belong to a weight that the loss does not reach, or, as that of the choices' common bias, be 0 or
    # what rounding leaves of it.
    reached = {name: gradient for name, gradient in gradients.items() if gradient.any()}
    seen = {name for name in kept if name.startswith("grad:")}
    assert {f"grad:{name}" for name in names} | {f"grad:weight:{name}" for name in reached} <= seen
    assert {f"grad:{name}" for name in names} | {f"grad:weight:{name}" for name in gradients} >= seen
    for name in names:
        assert kept[f"grad:{name}"].shape == kept[name].shape, name
    for name, gradient in reached.items():
        assert np.array_equal(kept[f"grad:weight:{name}"], gradient), name
    assert current_observer() is None


def test_a_values_gradient_by_moving_the_value() -> None:
    """Moving any named value by a little moves the loss by its gradient."""
    model, arguments = case("BertForPreTraining", position_embedding_type="relative_key_query")
    with npbert.trace() as kept:
        model.gradients(**arguments)
    rng, step = np.random.default_rng(0), 1e-6
    for name in [name for name in kept if not name.startswith("grad:") and name != "bert"]:  # "bert" is the encoder's output
        direction = rng.normal(size=kept[name].shape)
        losses = []
        for sign in (1, -1):
            with npbert.tracing.observe(lambda at, x, n=name, d=direction, s=sign: x + s * step * d if at == n else x):
                losses.append(loss_of(model, arguments))
        expected = (losses[0] - losses[1]) / (2 * step)
        # A name whose value goes on under another name as well is moved before that one takes it over.
        assert np.sum(kept[f"grad:{name}"] * direction) == pytest.approx(expected, rel=2e-5, abs=2e-8), name


def test_the_pass_goes_on_with_what_an_observer_returns() -> None:
    """The values that backward functions read are those that the forward pass went on with, and each gradient goes on too."""
    model, arguments = case("BertForMaskedLM", tie_word_embeddings=False)
    layer = "bert.encoder.layer.0"
    for name, zero in {
        f"{layer}.intermediate": f"{layer}.output.dense.weight",
        f"grad:{layer}.output.dense": f"{layer}.output.dense.bias",
        f"grad:{layer}.output.LayerNorm": f"{layer}.output.LayerNorm.bias",
        "grad:bert": f"{layer}.output.dense.bias",
        f"grad:weight:{layer}.output.dense.bias": f"{layer}.output.dense.bias",
    }.items():
        with npbert.tracing.observe(lambda at, x, n=name: x * 0 if at == n else x):
            gradients = model.gradients(**arguments)[1]
        assert not gradients[zero].any(), name


def test_a_trace_keeps_the_gradients_of_what_it_is_asked_for() -> None:
    model, arguments = case("BertForMaskedLM")
    with npbert.trace(only="*.layer.0.attention.self:probs") as kept:
        model.gradients(**arguments)
    assert set(kept) == {f"{g}bert.encoder.layer.0.attention.self:probs" for g in ("", "grad:")}


@pytest.mark.parametrize("size", [1, 2, 5])
def test_chunks_change_nothing(size: int) -> None:
    plain, arguments = case("BertForTokenClassification")
    chunked = npbert.BertForTokenClassification(tiny(chunk_size_feed_forward=size), plain.state_dict())
    one, two = plain.gradients(**arguments)[1], chunked.gradients(**arguments)[1]
    for name in one:
        assert_close(two[name], one[name], 1e-13, name)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("model_class", CLASSES)
def test_checkpointing_gives_the_same_bits(model_class: str, seed: int | None) -> None:
    model, arguments = case(model_class, num_hidden_layers=3, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2)
    rng = [None if seed is None else np.random.default_rng(seed) for _ in range(2)]
    out, plain = model.gradients(**arguments, rng=rng[0])
    model.gradient_checkpointing_enable()
    assert model.config.gradient_checkpointing
    again, checkpointed = model.gradients(**arguments, rng=rng[1])
    np.testing.assert_array_equal(out[0], again[0])
    for name in plain:
        np.testing.assert_array_equal(plain[name], checkpointed[name])
    if seed is not None:
        assert rng[0].random() == rng[1].random(), "the caller's generator goes on from the same place"
    model.gradient_checkpointing_disable()
    assert not model.config.gradient_checkpointing


def test_a_batch_is_the_weighted_sum_of_its_parts() -> None:
    model, arguments = case("BertForTokenClassification")
    _, whole = model.gradients(**arguments)
    parts = [{name: x[i : i + 1] for name, x in arguments.items()} for i in range(2)]
    counts = [(part["labels"] != -100).sum() for part in parts]
    sums = [model.gradients(**part)[1] for part in parts]
    for name in whole:
        assert_close(whole[name], sum(n * one[name] for n, one in zip(counts, sums, strict=True)) / sum(counts), 1e-13, name)


def test_masked_padding_gets_no_gradient() -> None:
    model, arguments = case("BertForSequenceClassification")
    with npbert.trace() as kept:
        model.gradients(**arguments)
    for name in ("embeddings", "encoder.layer.0", "encoder.layer.1.attention.self.key"):
        assert not kept[f"grad:bert.{name}"][1, 3:].any(), name
        assert kept[f"grad:bert.{name}"][1, 0].any(), name


def test_ignored_labels_alone_give_no_gradient() -> None:
    model, arguments = case("BertForMaskedLM")
    out, gradients = model.gradients(**{**arguments, "labels": np.full((2, 5), -100)})
    assert np.isnan(out.loss)
    assert not any(gradient.any() for gradient in gradients.values())


# -------------------------------------------------------------------------------------------------------------- freezing


def test_frozen_weights_have_no_gradient_and_change_no_other() -> None:
    model, arguments = case("BertForSequenceClassification")
    _, whole = model.gradients(**arguments)
    for only in (
        "bert.*",
        "bert.embeddings.*",
        "*.layer.1.*",
        ["*.bias", "*LayerNorm*"],
        "classifier.*",
        "bert.encoder.*.query.*",
    ):
        assert model.requires_grad_(False, only=only) is model
        _, some = model.gradients(**arguments)
        assert list(some) == model.trainable_names() == [name for name in whole if name not in model.frozen]
        assert 0 < len(some) < len(whole)
        for name, gradient in some.items():
            np.testing.assert_array_equal(gradient, whole[name])
        model.requires_grad_(True)
    assert model.frozen == frozenset()
    with pytest.raises(npbert.InputError, match="only: no weight of this model is called 'embeddings'"):
        model.requires_grad_(False, only="embeddings")


def test_backward_ends_at_the_lowest_layer_that_needs_it() -> None:
    model, arguments = case("BertForSequenceClassification", num_hidden_layers=4)

    def layers_reached() -> list[int]:
        with npbert.trace() as kept:
            model.gradients(**arguments)
        return [index for index in range(4) if f"grad:bert.encoder.layer.{index}" in kept]

    assert layers_reached() == [0, 1, 2, 3]
    model.requires_grad_(False, only=["bert.embeddings.*", "*.layer.0.*", "*.layer.1.*"])
    assert layers_reached() == [2, 3]
    model.requires_grad_(False, only="bert.*")
    assert layers_reached() == []
    with npbert.trace() as kept:
        model.gradients(**arguments, inputs_gradients=True)
    assert "grad:bert.embeddings.word_embeddings" in kept, "a gradient by the inputs goes all the way"


# ------------------------------------------------------------------------------------------------------- memory and bits


def peak(function: Any) -> int:
    function()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_checkpointing_keeps_one_layer() -> None:
    def memory(layers: int, *, checkpointing: bool) -> int:
        sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 32, "max_position_embeddings": 128}
        config = npbert.BertConfig(vocab_size=20, num_hidden_layers=layers, gradient_checkpointing=checkpointing, **sizes)
        model = npbert.BertForTokenClassification(config, rng=np.random.default_rng(0))
        arguments = {"input_ids": ids(config, 4, 128), "labels": np.ones((4, 128), int)}
        return peak(lambda: model.gradients(**arguments))

    state = 4 * 128 * 32 * 4  # bytes of the hidden states between two layers
    plain = (memory(8, checkpointing=False) - memory(4, checkpointing=False)) / 4
    checkpointed = (memory(8, checkpointing=True) - memory(4, checkpointing=True)) / 4
    assert checkpointed < 2.5 * state, "a layer's input, and its weights' gradients"
    assert plain > 15 * checkpointed


def test_the_values_are_kept_without_copies() -> None:
    config = npbert.BertConfig(
        vocab_size=20,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=128,
    )
    model = npbert.BertForTokenClassification(config, rng=np.random.default_rng(0))
    scores, state = 4 * 4 * 128 * 128 * 4, 4 * 128 * 32 * 4
    needed = 4 * (scores + 10 * state)  # of each layer the probabilities, and what its linear maps and norms read
    used = peak(lambda: model.gradients(ids(config, 4, 128), labels=np.ones((4, 128), int)))
    assert used < needed + 6 * scores, "and what the layer that is computed now takes in between"


def test_float32_stays_float32() -> None:
    for model_class in CLASSES:
        model, arguments = case(model_class)
        single = model.astype(np.float32)
        _, gradients = single.gradients(**arguments, rng=np.random.default_rng(0))
        assert {gradient.dtype for gradient in gradients.values()} == {np.dtype(np.float32)}
        _, exact = model.gradients(**arguments, rng=np.random.default_rng(0))
        largest = max(np.abs(gradient).max() for gradient in exact.values())
        for name, gradient in exact.items():
            assert np.abs(gradients[name] - gradient).max() < 2e-5 * largest, name


def test_a_gradient_pass_returns_what_a_call_returns() -> None:
    for model_class in CLASSES:
        model, arguments = case(model_class)
        given = {name: x for name, x in arguments.items() if name != "output_gradients"}
        out, _ = model.gradients(**arguments, output_hidden_states=True)
        plain = model(**given, output_hidden_states=True)
        assert out.keys() == plain.keys()
        np.testing.assert_array_equal(out[0], plain[0])
        assert isinstance(model.gradients(**arguments, return_dict=False)[0], tuple)


def test_an_activation_of_ones_own_brings_its_gradient() -> None:
    def act(x: np.ndarray) -> np.ndarray:
        return x * x

    model, arguments = case("BertForTokenClassification", hidden_act=act)
    with pytest.raises(npbert.InputError, match=r"no known gradient; give the function an attribute backward"):
        model.gradients(**arguments)
    act.backward = lambda dy, x: 2 * x * dy  # type: ignore[attr-defined]
    assert_by_differences(model, arguments, model.gradients(**arguments)[1])


def test_errors() -> None:
    model, arguments = case("BertForTokenClassification")
    without = {name: x for name, x in arguments.items() if name != "labels"}
    with pytest.raises(npbert.InputError, match="gradients: takes labels, got none"):
        model.gradients(**without)
    with pytest.raises(npbert.InputError, match="takes labels or output_gradients, got both"):
        model.gradients(**arguments, output_gradients={"logits": np.zeros((2, 5, 2))})
    with pytest.raises(npbert.InputError, match="takes gradients by logits, got 'hidden'"):
        model.gradients(**without, output_gradients={"hidden": np.zeros(1)})
    with pytest.raises(npbert.InputError, match=r"output_gradients\['logits'\]: takes shape \[2, 5, 2\], got \[2\]"):
        model.gradients(**without, output_gradients={"logits": np.zeros(2)})
    with pytest.raises(npbert.InputTypeError, match="takes a mapping from names of outputs"):
        model.gradients(**without, output_gradients=np.zeros(2))
    with pytest.raises(npbert.InputTypeError, match="unknown argument 'labls'"):
        model.gradients(**without, labls=np.zeros((2, 5)))
    with pytest.raises(npbert.InputError, match="gradients: takes output_gradients, got none"):
        build("BertModel", tiny()).gradients(ids(tiny(), 1, 3))


@pytest.mark.parametrize("name", gradient_cases.CASES)
def test_committed_gradients_of_the_reference(name: str) -> None:
    model, arguments = gradient_cases.build_case(name)
    with np.load(gradient_cases.FILE) as file:
        expected = {key.partition("/")[2]: file[key] for key in file.files if key.startswith(f"{name}/")}
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 3e-5)):
        out, gradients = model.astype(dtype).gradients(**arguments)
        assert_close(out.loss, expected["loss"], tolerance)
        largest = max(float(np.abs(x).max()) for weight, x in expected.items() if weight != "loss")
        for weight, gradient in gradients.items():
            if weight in expected:
                assert np.abs(gradient - expected[weight]).max() <= tolerance * largest, weight
            else:
                assert not gradient.any(), weight
