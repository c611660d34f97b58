"""What must hold for every BERT, whatever its weights: tried on random configurations."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import npbert
from npbert import BertConfig
from npbert.ops import blocks

from .builders import (
    CLASSES,
    POSITION_TYPES,
    arrays_of,
    assert_close,
    assert_same_results,
    build,
    examples,
    ids,
    inputs_for,
    tiny,
)

ALMOST = 1e-12  # float64, different order of summation


@st.composite
def configs(draw: Any, **fixed: Any) -> BertConfig:
    heads, head_size = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    fields = {
        "hidden_size": heads * max(head_size, -(-6 // heads)),
        "num_attention_heads": heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "intermediate_size": draw(st.integers(1, 20)),
        "position_embedding_type": draw(st.sampled_from(POSITION_TYPES)),
        "hidden_act": draw(st.sampled_from(["gelu", "gelu_new", "relu", "silu", "tanh"])),
        "layer_norm_eps": 1e-5,
    }
    return tiny(**{**fields, **fixed})


seeds = st.integers(0, 10**6)
lengths = st.integers(1, 7)


@given(configs(), lengths, st.integers(0, 9), seeds)
@examples(25)
def test_chunked_equals_unchunked(config: BertConfig, length: int, size: int, seed: int) -> None:
    model = build("BertModel", config, seed=seed)
    tokens = ids(config, 2, length)
    plain = model(tokens, output_hidden_states=True)
    model.config.chunk_size_feed_forward = size
    assert_same_results(model(tokens, output_hidden_states=True), plain, ALMOST)


@given(st.data(), st.booleans(), lengths, seeds)
@examples(40)
def test_a_cached_pass_split_anywhere_equals_the_uncached_one(data: Any, cross: bool, length: int, seed: int) -> None:
    """On all real tokens. A padding token on the left has nothing to attend to, and then every key counts alike, those after
    it as well: what comes out there depends on how many keys there are."""
    config = data.draw(configs(is_decoder=True, add_cross_attention=cross))
    model = build("BertModel", config, seed=seed)
    tokens = ids(config, 2, length)
    rng = np.random.default_rng(seed)
    mask = np.ones((2, length), np.int64)
    mask[1, : rng.integers(0, length)] = 0
    real = mask == 1
    cuts = sorted(data.draw(st.sets(st.integers(1, length), max_size=4)) | {0, length})
    more = {"encoder_hidden_states": rng.normal(size=(2, 4, config.hidden_size))} if cross else {}
    if cross:
        more["encoder_attention_mask"] = np.array([[1, 1, 1, 1], [1, 0, 1, 0]])
    more["head_mask"] = rng.uniform(0, 1, config.num_attention_heads)
    whole = model(tokens, attention_mask=mask, use_cache=True, output_attentions=True, **more)
    past, pieces = None, []
    for start, stop in pairwise(cuts):
        now = tokens[:, start:stop]
        out = model(now, attention_mask=mask[:, :stop], past_key_values=past, output_attentions=True, **more)
        pieces.append(out.last_hidden_state)
        past = out.past_key_values
        for piece, complete in zip(out.attentions, whole.attentions, strict=True):
            piece, complete = (x.swapaxes(1, 2)[real[:, start:stop]] for x in (piece, complete[:, :, start:stop, :stop]))
            assert_close(piece, complete, ALMOST)
    assert_close(np.concatenate(pieces, axis=1)[real], whole.last_hidden_state[real], ALMOST)
    for layer, expected in zip(past, whole.past_key_values, strict=True):
        assert len(layer) == len(expected) == (4 if cross else 2)
        for part, (x, y) in enumerate(zip(layer, expected, strict=True)):
            there = real if part < 2 else np.ones((2, 4), bool)
            assert_close(x.swapaxes(1, 2)[there], y.swapaxes(1, 2)[there], ALMOST)
    uncached = model(tokens, attention_mask=mask, use_cache=False, **more)
    np.testing.assert_array_equal(uncached.last_hidden_state, whole.last_hidden_state)


@given(st.data(), lengths, st.integers(1, 5), seeds)
@examples(25)
def test_masked_padding_changes_nothing_on_the_real_tokens(data: Any, length: int, extra: int, seed: int) -> None:
    decoder = data.draw(st.booleans())
    config = data.draw(configs(is_decoder=decoder))
    model = build("BertModel", config, seed=seed)
    tokens = ids(config, 2, length)
    padding = np.random.default_rng(seed).integers(0, config.vocab_size, (2, extra))
    mask = np.concatenate([np.ones((2, length)), np.zeros((2, extra))], axis=1)
    padded = model(np.concatenate([tokens, padding], axis=1), attention_mask=mask, use_cache=None)
    plain = model(tokens)
    assert_close(padded.last_hidden_state[:, :length], plain.last_hidden_state, ALMOST)
    assert_close(padded.pooler_output, plain.pooler_output, ALMOST)


@given(configs(is_decoder=True, add_cross_attention=True), st.integers(1, 4), seeds)
@examples(15)
def test_masked_padding_of_the_encoder_changes_nothing(config: BertConfig, extra: int, seed: int) -> None:
    model = build("BertModel", config, seed=seed)
    rng = np.random.default_rng(seed)
    states, junk = rng.normal(size=(2, 3, config.hidden_size)), 10 * rng.normal(size=(2, extra, config.hidden_size))
    mask = np.concatenate([np.ones((2, 3)), np.zeros((2, extra))], axis=1)
    tokens = ids(config, 2, 4)
    padded = model(tokens, encoder_hidden_states=np.concatenate([states, junk], axis=1), encoder_attention_mask=mask)
    assert_close(padded.last_hidden_state, model(tokens, encoder_hidden_states=states).last_hidden_state, ALMOST)


@given(st.sampled_from(CLASSES), st.data(), st.integers(1, 4), seeds)
@examples(30)
def test_each_sequence_is_independent_of_its_batch(model_class: str, data: Any, batch: int, seed: int) -> None:
    config = data.draw(configs(is_decoder=model_class == "BertLMHeadModel"))
    model = build(model_class, config, seed=seed)
    given_ = inputs_for(model_class, config, batch=batch)
    together = arrays_of(model(**given_, output_attentions=True, output_hidden_states=True))
    order = np.random.default_rng(seed).permutation(batch)
    shuffled = arrays_of(model(**{name: x[order] for name, x in given_.items()}))
    for name, x in shuffled.items():
        assert_close(x, together[name][order], ALMOST, name)
    for row in range(batch):
        alone = arrays_of(model(**{name: x[row : row + 1] for name, x in given_.items()}))
        for name, x in alone.items():
            assert_close(x[0], together[name][row], ALMOST, name)


@given(st.data(), st.sampled_from(["BertModel", "BertLMHeadModel"]), st.integers(2, 7), seeds)
@examples(25)
def test_a_decoder_does_not_see_what_comes_after(data: Any, model_class: str, length: int, seed: int) -> None:
    config = data.draw(configs(is_decoder=True))
    model = build(model_class, config, seed=seed)
    at = data.draw(st.integers(0, length - 2))
    tokens = ids(config, 2, length, seed=seed)
    changed = tokens.copy()
    changed[:, at + 1 :] = ids(config, 2, length - at - 1, seed=seed + 1)
    one, other = model(tokens)[0], model(changed)[0]
    assert_close(one[:, : at + 1], other[:, : at + 1], ALMOST)
    earlier = tokens.copy()
    earlier[:, 0] = earlier[:, 0] % (config.vocab_size - 1) + 1  # another token, and not the padding one
    assert not np.allclose(model(earlier)[0][:, at:], one[:, at:])


@given(st.data(), seeds, st.booleans())
@examples(25)
def test_a_zeroed_head_equals_a_pruned_head(data: Any, seed: int, decoder: bool) -> None:
    config = data.draw(configs(is_decoder=decoder))
    model = build("BertModel", config, seed=seed)
    n, layers = config.num_attention_heads, config.num_hidden_layers
    gone = {layer: data.draw(st.lists(st.integers(0, n - 1), unique=True)) for layer in range(layers)}
    mask = np.ones((layers, n))
    for layer, heads in gone.items():
        mask[layer, heads] = 0
    tokens = ids(config, 2, 5)
    zeroed = model(tokens, head_mask=mask, use_cache=None)
    model.prune_heads(gone)
    pruned = model(tokens)
    assert_close(pruned.last_hidden_state, zeroed.last_hidden_state, ALMOST)
    assert_close(pruned.pooler_output, zeroed.pooler_output, ALMOST)


@given(st.sampled_from(["relative_key", "relative_key_query"]), st.data(), lengths, seeds)
@examples(20)
def test_a_zero_distance_table_equals_none(kind: str, data: Any, length: int, seed: int) -> None:
    config = data.draw(configs(position_embedding_type=kind))
    model = build("BertModel", config, seed=seed)
    weights = {name: x * 0 if name.endswith("distance_embedding.weight") else x for name, x in model.state_dict().items()}
    zeroed = npbert.BertModel(config, weights)
    config.position_embedding_type = "absolute"
    none = {name: x for name, x in weights.items() if not name.endswith("distance_embedding.weight")}
    none["embeddings.position_embeddings.weight"] = none["embeddings.position_embeddings.weight"] * 0
    tokens = ids(config, 2, length)
    assert_same_results(zeroed(tokens), npbert.BertModel(config, none)(tokens), ALMOST)
    if length > 1 and model.config.num_hidden_layers:
        assert not np.allclose(model(tokens)[0], zeroed(tokens)[0])


@given(st.data(), seeds, st.booleans())
@examples(25)
def test_permuting_heads_with_their_weights_changes_nothing(data: Any, seed: int, decoder: bool) -> None:
    config = data.draw(configs(is_decoder=decoder, add_cross_attention=decoder))
    model = build("BertModel", config, seed=seed)
    size, n = config.head_size, config.num_attention_heads
    order = np.random.default_rng(seed).permutation(n)
    rows = (order[:, None] * size + np.arange(size)).reshape(-1)
    weights = {}
    for name, x in model.state_dict().items():
        if any(f".self.{part}." in name for part in ("query", "key", "value")):
            x = x[rows]
        elif name.endswith("ttention.output.dense.weight"):
            x = x[:, rows]
        weights[name] = x
    permuted = npbert.BertModel(config, weights)
    more = {"encoder_hidden_states": np.random.default_rng(seed).normal(size=(2, 3, config.hidden_size))} if decoder else {}
    head_mask = np.random.default_rng(seed).uniform(0, 1, n)
    tokens = ids(config, 2, 4)
    one = model(tokens, head_mask=head_mask, output_attentions=True, **more)
    other = permuted(tokens, head_mask=head_mask[order], output_attentions=True, **more)
    assert_close(other.last_hidden_state, one.last_hidden_state, ALMOST)
    assert_close(other.attentions[0], one.attentions[0][:, order], ALMOST)


@given(configs(), st.integers(2, 7), seeds)
@examples(15)
def test_without_positions_tokens_are_a_set(config: BertConfig, length: int, seed: int) -> None:
    """Permuting tokens together with their positions permutes the results."""
    config.position_embedding_type = "absolute"
    model = build("BertModel", config, seed=seed)
    tokens, order = ids(config, 1, length), np.random.default_rng(seed).permutation(length)
    positions = np.arange(length)[None]
    one = model(tokens, position_ids=positions).last_hidden_state
    other = model(tokens[:, order], position_ids=positions[:, order]).last_hidden_state
    assert_close(other, one[:, order], ALMOST)


@given(configs(), st.floats(-50, 50), seeds)
@examples(15)
def test_a_shift_of_all_keys_changes_nothing(config: BertConfig, shift: float, seed: int) -> None:
    """softmax does not see what is the same for every key, so an encoder's key bias does nothing."""
    if config.position_embedding_type == "relative_key_query":
        config.position_embedding_type = "relative_key"  # there a key also says something about its distance
    model = build("BertModel", config, seed=seed)
    weights = {name: x + shift / 10 if name.endswith("self.key.bias") else x for name, x in model.state_dict().items()}
    tokens = ids(config, 2, 4)
    assert_close(npbert.BertModel(config, weights)(tokens)[0], model(tokens)[0], 1e-9)


FLOAT32_BOUND = 5e-6
"""How far float32 may stray from float64, as a part of the largest value. Weights of the size that training leaves (0.1 here)
are told apart from those of the other tests, which are large so that mistakes show: those magnify rounding errors as well."""


@given(st.data(), st.sampled_from(CLASSES), seeds)
@examples(30)
def test_float32_stays_close_to_float64(data: Any, model_class: str, seed: int) -> None:
    config = data.draw(configs(is_decoder=model_class == "BertLMHeadModel"))
    model = build(model_class, config, seed=seed, dtype=np.float32, scale=0.1)
    given_ = inputs_for(model_class, config)
    single = arrays_of(model(**given_, output_attentions=True, output_hidden_states=True))
    double = arrays_of(model.astype(np.float64)(**given_, output_attentions=True, output_hidden_states=True))
    for name, x in double.items():
        assert single[name].dtype == np.float32
        assert_close(single[name], x, FLOAT32_BOUND, name)


@given(configs(), seeds)
@examples(10)
def test_blocks_and_threads_change_no_number(config: BertConfig, seed: int) -> None:
    model = build("BertForMaskedLM", config, seed=seed, dtype=np.float32)
    tokens = ids(config, 2, 6)
    at_once = arrays_of(model(tokens, output_hidden_states=True))
    block, cores = blocks.BLOCK, blocks.cores
    try:
        for blocks.BLOCK, blocks.cores in ((7, lambda: 1), (16, lambda: 3)):  # type: ignore[misc, assignment]
            in_pieces = arrays_of(model(tokens, output_hidden_states=True))
            for name, x in at_once.items():
                assert_close(in_pieces[name], x, 1e-6, name)
    finally:
        blocks.BLOCK, blocks.cores = block, cores


@given(configs(), lengths, seeds)
@examples(15)
def test_the_same_call_gives_the_same_bits(config: BertConfig, length: int, seed: int) -> None:
    model = build("BertModel", config, seed=seed, dtype=np.float32)
    tokens = ids(config, 2, length)
    assert_same_results(model(tokens, output_attentions=True), model(tokens, output_attentions=True), 0)
