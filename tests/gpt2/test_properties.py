"""What must hold of any GPT-2, whatever its weights: nothing later is seen, padding and caches change nothing, gradients are
slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npbert
from npbert import GPT2Config, InputError, InputTypeError

from ..builders import assert_close, examples
from .builders import CLASSES, build, ids, tiny


@given(st.integers(0, 6), st.integers(0, 99))
@examples(20)
def test_nothing_later_is_seen(place: int, seed: int) -> None:
    model, tokens = build("GPT2LMHeadModel", tiny(), seed=seed), ids(tiny(), 2, 8, seed=seed)
    changed = tokens.copy()
    changed[:, place + 1 :] = np.random.default_rng(seed + 1).integers(1, 31, changed[:, place + 1 :].shape)
    before, after = model(tokens).logits, model(changed).logits
    assert_close(after[:, : place + 1], before[:, : place + 1], 1e-12)
    assert not np.allclose(after[:, place + 1], before[:, place + 1]) or (tokens == changed).all()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 99), st.booleans())
@examples(20)
def test_pieces_through_the_cache_are_the_whole(pieces: list[int], seed: int, scaled: bool) -> None:
    model = build("GPT2LMHeadModel", tiny(scale_attn_by_inverse_layer_idx=scaled), seed=seed)
    tokens = ids(tiny(), 2, sum(pieces), seed=seed)
    mask = np.ones_like(tokens)
    mask[1, : sum(pieces) // 2] = 0
    whole = model(tokens, attention_mask=mask).logits
    cache, begin = None, 0
    for length in pieces:
        end = begin + length
        out = model(tokens[:, begin:end], cache, attention_mask=mask[:, :end])
        assert_close(out.logits, whole[:, begin:end], 1e-12)
        cache, begin = out.past_key_values, end


@given(st.integers(1, 5), st.integers(0, 99))
@examples(20)
def test_padding_on_the_left_changes_nothing_but_places(padding: int, seed: int) -> None:
    model, tokens = build("GPT2LMHeadModel", tiny(), seed=seed), ids(tiny(), 1, 4, seed=seed)
    padded = np.pad(tokens, ((0, 0), (padding, 0)))
    mask = (padded != 0).astype(np.int64)
    positions = np.where(mask == 0, 1, mask.cumsum(axis=1) - 1)
    out = model(padded, attention_mask=mask, position_ids=positions)
    assert_close(out.logits[:, padding:], model(tokens).logits, 1e-12)
    classifier = build("GPT2ForSequenceClassification", tiny(), seed=seed)
    on_the_right = np.pad(tokens, ((0, 0), (0, padding)))
    right = classifier(on_the_right, attention_mask=(on_the_right != 0).astype(np.int64)).logits
    assert_close(right, classifier(tokens).logits, 1e-12)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_the_feed_forward_in_chunks_is_the_whole(chunk: int) -> None:
    tokens = ids(tiny(), 2, 6)
    whole, pieces = build("GPT2LMHeadModel", tiny()), build("GPT2LMHeadModel", tiny(chunk_size_feed_forward=chunk))
    out, gradients = pieces.gradients(tokens, labels=tokens)
    expected, theirs = whole.gradients(tokens, labels=tokens)
    assert_close(out.logits, expected.logits, 1e-12)
    for name, x in theirs.items():
        assert_close(gradients[name], x, 1e-10, name)


CASES: list[tuple[str, dict[str, Any]]] = [
    ("GPT2LMHeadModel", {}),
    ("GPT2LMHeadModel", {"tie_word_embeddings": False, "scale_attn_by_inverse_layer_idx": True}),
    ("GPT2LMHeadModel", {"add_cross_attention": True, "scale_attn_weights": False}),
    ("GPT2ForSequenceClassification", {"num_labels": 3}),
]


@pytest.mark.parametrize(("model_class", "fields"), CASES)
def test_gradients_are_central_differences(model_class: str, fields: dict[str, Any]) -> None:
    config = tiny(**fields)
    model, rng = build(model_class, config), np.random.default_rng(2)
    arguments: dict[str, Any] = {"input_ids": ids(config, 2, 4), "attention_mask": np.array([[1, 1, 1, 1], [0, 1, 1, 1]])}
    arguments["labels"] = arguments["input_ids"] if model_class == "GPT2LMHeadModel" else np.array([2, 0])
    arguments["token_type_ids"] = rng.integers(0, 31, (2, 4))
    arguments["head_mask"] = np.array([[1, 0.5, 1], [1, 1, 0.0]])
    if config.add_cross_attention:
        arguments["encoder_hidden_states"] = rng.normal(size=(2, 3, 12))

    def loss() -> float:
        return float(model(**arguments, rng=np.random.default_rng(9)).loss)

    _, gradients = model.gradients(**arguments, rng=np.random.default_rng(9))
    for name, weight in model.named_parameters():
        place = tuple(int(rng.integers(size)) for size in weight.shape)
        if name.endswith("wte.weight"):
            place = (int(arguments["input_ids"][0, 0]), 3)
        old, step = weight[place], 1e-5
        weight[place] = old + step
        above = loss()
        weight[place] = old - step
        below = loss()
        weight[place] = old
        assert gradients[name][place] == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8), name


def test_freezing_checkpointing_and_gradients_by_the_inputs() -> None:
    model, tokens = build("GPT2LMHeadModel", tiny(tie_word_embeddings=False)), ids(tiny(), 2, 5)
    _, everything = model.gradients(tokens, labels=tokens, inputs_gradients=True, rng=np.random.default_rng(0))
    assert everything["inputs_embeds"].shape == (2, 5, 12)
    model.gradient_checkpointing_enable()
    _, again = model.gradients(tokens, labels=tokens, inputs_gradients=True, rng=np.random.default_rng(0))
    assert all(np.array_equal(again[name], x) for name, x in everything.items())
    model.gradient_checkpointing_disable()
    model.requires_grad_(False, only=["transformer.w?e.*", "transformer.h.0.*"])
    with npbert.trace() as kept:
        _, some = model.gradients(tokens, labels=tokens, rng=np.random.default_rng(0))
    assert set(some) == {name for name in everything if not name.startswith(("transformer.w", "transformer.h.0", "inputs"))}
    assert all(np.array_equal(x, everything[name]) for name, x in some.items())
    assert "grad:transformer.h.1.attn:scores" in kept
    assert "grad:transformer.h.0.attn:scores" not in kept


@pytest.mark.parametrize("kept", [1, 3, 5, 9])
def test_the_head_reads_the_last_positions_alone(kept: int) -> None:
    model, tokens = build("GPT2LMHeadModel", tiny()), ids(tiny(), 2, 5)
    out, few = model.gradients(tokens, logits_to_keep=kept, output_gradients={"logits": np.ones((2, min(kept, 5), 31))})
    assert_close(out.logits, model(tokens).logits[:, -kept:], 1e-15)
    dlogits = np.zeros((2, 5, 31))
    dlogits[:, -kept:] = 1
    _, everything = model.gradients(tokens, output_gradients={"logits": dlogits})
    for name, x in few.items():
        assert_close(x, everything[name], 1e-13)
    assert model(tokens, logits_to_keep=0).logits.shape == (2, 5, 31)
    with pytest.raises(InputError, match="logits_to_keep: takes 0 or more, got -1"):
        model(tokens, logits_to_keep=-1)


def test_writing_computes_the_head_for_the_next_token_alone() -> None:
    model = build("GPT2LMHeadModel", tiny())
    with npbert.trace() as kept:
        model.generate(ids(tiny(), 2, 5), max_new_tokens=1)
    assert kept["lm_head"].shape == (2, 1, 31)


def test_modules_can_be_called_alone() -> None:
    model, tokens = build("GPT2LMHeadModel", tiny()), ids(tiny(), 1, 4)
    with npbert.trace() as kept:
        out = model(tokens)
    base = model.transformer
    hidden = base.wte(tokens) + base.wpe(np.arange(4)[None])
    assert_close(hidden, kept["transformer.drop"], 1e-15)
    first = base.h[0]
    mask = np.where(np.tril(np.ones((4, 4))), 0, -np.inf)
    assert_close(first(hidden, mask=mask).hidden, kept["transformer.h.0"], 1e-15)
    normed = first.ln_1(hidden)
    assert_close(first.attn(normed, mask=mask)[0], kept["transformer.h.0.attn"], 1e-15)
    assert_close(first.attn.c_attn(normed), kept["transformer.h.0.attn.c_attn"], 1e-15)
    assert_close(first.mlp(kept["transformer.h.0.ln_2"]), kept["transformer.h.0.mlp"], 1e-15)
    assert_close(base.ln_f(kept["transformer.h.1"]), kept["transformer"], 1e-15)
    assert_close(model.lm_head(kept["transformer"]), out.logits, 1e-15)
    assert_close(base(input_ids=tokens).last_hidden_state, kept["transformer"], 1e-15)


def test_the_trace_has_the_same_words_as_berts() -> None:
    model = build("GPT2Model", tiny())
    with npbert.trace(only="h.0.attn*") as kept:
        model(ids(tiny(), 2, 5))
    shapes = {name.removeprefix("h.0.attn"): x.shape for name, x in kept.items()}
    assert shapes == {
        ".c_attn": (2, 5, 36),
        ":query": (2, 3, 5, 4),
        ":key": (2, 3, 5, 4),
        ":value": (2, 3, 5, 4),
        ":scores": (2, 3, 5, 5),
        ":masked_scores": (2, 3, 5, 5),
        ".attn_dropout": (2, 3, 5, 5),
        ":probs": (2, 3, 5, 5),
        ":context": (2, 5, 12),
        ".c_proj": (2, 5, 12),
        ".resid_dropout": (2, 5, 12),
        "": (2, 5, 12),
        ":residual": (2, 5, 12),
    }


def test_the_last_hidden_state_is_normalized() -> None:
    model = build("GPT2Model", tiny())
    with npbert.trace() as kept:
        out = model(ids(tiny(), 2, 5), output_hidden_states=True)
    assert len(out.hidden_states) == 3
    for x, name in zip(out.hidden_states, ("drop", "h.0", "ln_f"), strict=True):
        np.testing.assert_array_equal(x, kept[name])
    np.testing.assert_array_equal(out.hidden_states[-1], out.last_hidden_state)


def test_a_new_model_begins_as_the_paper_has_it() -> None:
    config = GPT2Config(n_layer=8, n_embd=64, n_head=4, vocab_size=99, n_positions=32)
    model = npbert.GPT2LMHeadModel(config, rng=np.random.default_rng(0))
    block = model.transformer.h[3]
    assert block.mlp.c_fc.weight.std() == pytest.approx(0.02, rel=0.05)
    assert block.mlp.c_proj.weight.std() == pytest.approx(0.02 / 4, rel=0.05)  # two blocks in each of 8 layers
    assert block.attn.c_proj.weight.std() == pytest.approx(0.02 / 4, rel=0.05)
    assert not block.attn.c_attn.bias.any()
    assert (block.ln_1.weight == 1).all()


def test_what_is_refused() -> None:
    model = build("GPT2LMHeadModel", tiny())
    for arguments, message in (
        ({}, "takes either input_ids or inputs_embeds, got neither"),
        ({"input_ids": [[31]]}, "input_ids: 31 is out of range"),
        ({"input_ids": np.ones((1, 18), np.int64)}, "18 tokens, the model takes 17"),
        ({"input_ids": [[1]], "token_type_ids": [[31]]}, "token_type_ids: 31 is out of range"),
        ({"input_ids": [[1]], "encoder_hidden_states": np.zeros((1, 1, 12))}, "no cross-attention"),
        ({"input_ids": [[1]], "past_key_values": ((),)}, "past_key_values: takes a tuple with one entry for each"),
        ({"input_ids": [[1]], "head_mask": np.ones(4)}, "head_mask"),
    ):
        with pytest.raises(InputError, match=message):
            model(**arguments)
    with pytest.raises(InputTypeError, match="unknown argument 'token_types'"):
        model([[1]], token_types=[[1]])
    with pytest.raises(InputTypeError, match="unknown argument 'encoder_hidden_states'"):
        build("GPT2ForSequenceClassification", tiny())([[1]], encoder_hidden_states=np.zeros((1, 1, 12)))
    with pytest.raises(InputError, match="pad_token_id: takes the token that fills up"):
        build("GPT2ForSequenceClassification", tiny(pad_token_id=None))([[1], [2]])
    for fields, message in (
        ({"activation_function": "gelo"}, "unknown activation_function 'gelo'"),
        ({"n_head": 0}, "n_head takes 1 or more, got 0"),
        ({"attn_pdrop": 2.0}, "attn_pdrop takes a probability"),
        ({"pad_token_id": 31}, "pad_token_id takes 0 to 30"),
        ({"pruned_heads": {5: [0]}}, "pruned_heads names layer 5"),
    ):
        with pytest.raises(InputError, match=message):
            tiny(**fields)
    with pytest.raises(InputTypeError, match="config: takes a GPT2Config, got BertConfig"):
        npbert.GPT2Model(npbert.BertConfig())


@pytest.mark.parametrize("model_class", CLASSES)
def test_surgery(model_class: str) -> None:
    model = build(model_class, tiny())
    before = model(ids(tiny(), 2, 5))[0]
    model.resize_token_embeddings(40)
    assert model.get_input_embeddings().shape == (40, 12)
    assert_close(model(ids(tiny(), 2, 5))[0][..., :31], before, 1e-12)
    mask = np.ones((2, 3))
    mask[1, 2] = 0
    masked = model(ids(tiny(), 2, 5), head_mask=mask)[0]
    model.prune_heads({1: [2]})
    assert_close(model(ids(tiny(), 2, 5))[0], masked, 1e-12)
    assert model.config.pruned_heads == {1: [2]}


@pytest.mark.parametrize("past_length", [1, 2, 5])
def test_gradients_after_a_cache_are_slopes(past_length: int) -> None:
    """Nothing flows into keys and values that were computed before."""
    model, tokens = build("GPT2LMHeadModel", tiny()), ids(tiny(), 2, 9)
    cache = model(tokens[:, :past_length], use_cache=True).past_key_values
    inputs = {"input_ids": tokens[:, past_length:], "past_key_values": cache, "labels": tokens[:, past_length:]}
    _, gradients = model.gradients(**inputs)
    name = "transformer.h.1.attn.c_attn.weight"
    weight = dict(model.named_parameters())[name]
    direction = np.random.default_rng(0).normal(size=weight.shape)
    losses = []
    for step in (1e-5, -1e-5):
        model.load_state_dict({**model.state_dict(), name: weight + step * direction})
        losses.append(model(**inputs).loss)
    assert (losses[0] - losses[1]) / 2e-5 == pytest.approx(np.vdot(gradients[name], direction), rel=1e-6)
