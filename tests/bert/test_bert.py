"""The architecture, module by module, against formulas written out with loops and einsum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import BertConfig
from npbert.bert.attention import self_attention
from npbert.bert.layer import feed_forward
from npbert.bert.pooler import pooler

from ..builders import POSITION_TYPES, assert_close, build, ids, tiny

erf = np.vectorize(math.erf)


def normed(x: np.ndarray, weights: dict[str, np.ndarray], name: str, eps: float = 1e-12) -> np.ndarray:
    deviation = x - x.mean(-1, keepdims=True)
    return deviation / np.sqrt(x.var(-1, keepdims=True) + eps) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def mapped(x: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    return np.einsum("...i,oi->...o", x, weights[f"{name}.weight"]) + weights[f"{name}.bias"]


def attended(
    x: np.ndarray,
    source: np.ndarray,
    weights: dict[str, np.ndarray],
    name: str,
    allowed: np.ndarray,
    *,
    config: BertConfig,
    relative: bool,
) -> np.ndarray:
    """Attention with Python loops over everything: sequences, heads, queries, keys."""
    q, k, v = (
        mapped(x, weights, f"{name}.query"),
        mapped(source, weights, f"{name}.key"),
        mapped(source, weights, f"{name}.value"),
    )
    size, longest = config.head_size, config.max_position_embeddings
    context = np.zeros(q.shape)
    for b in range(len(q)):
        for head in range(q.shape[-1] // size):
            cut = slice(head * size, head * size + size)
            for i in range(q.shape[1]):
                scores = []
                for j in range(k.shape[1]):
                    score = math.fsum(q[b, i, cut] * k[b, j, cut])
                    if relative:
                        distance = weights[f"{name}.distance_embedding.weight"][i - j + longest - 1]
                        score += math.fsum(q[b, i, cut] * distance)
                        if config.position_embedding_type == "relative_key_query":
                            score += math.fsum(k[b, j, cut] * distance)
                    scores.append(score / math.sqrt(size) if allowed[b, i, j] else -math.inf)
                top = max(scores)
                each = [math.exp(score - top) for score in scores]
                context[b, i, cut] = sum(e / math.fsum(each) * v[b, j, cut] for j, e in enumerate(each))
    return context


def whole_model(model: Any, tokens: np.ndarray, allowed: np.ndarray, states: np.ndarray | None = None) -> np.ndarray:
    """A second, slow BERT: what this project refuses to be. Post-LayerNorm, GELU by math.erf."""
    w, config = model.state_dict(), model.config
    x = w["embeddings.word_embeddings.weight"][tokens] + w["embeddings.token_type_embeddings.weight"][0]
    if config.position_embedding_type == "absolute":
        x = x + w["embeddings.position_embeddings.weight"][: tokens.shape[1]]
    x = normed(x, w, "embeddings.LayerNorm")
    for index in range(config.num_hidden_layers):
        at = f"encoder.layer.{index}"
        relative = config.position_embedding_type != "absolute"
        context = attended(x, x, w, f"{at}.attention.self", allowed, config=config, relative=relative)
        x = normed(x + mapped(context, w, f"{at}.attention.output.dense"), w, f"{at}.attention.output.LayerNorm")
        if states is not None:
            every = np.ones((len(x), x.shape[1], states.shape[1]))
            context = attended(x, states, w, f"{at}.crossattention.self", every, config=config, relative=False)
            x = normed(x + mapped(context, w, f"{at}.crossattention.output.dense"), w, f"{at}.crossattention.output.LayerNorm")
        wide = mapped(x, w, f"{at}.intermediate.dense")
        wide = wide * (1 + erf(wide / math.sqrt(2))) / 2
        x = normed(x + mapped(wide, w, f"{at}.output.dense"), w, f"{at}.output.LayerNorm")
    return x


@pytest.mark.parametrize("kind", POSITION_TYPES)
@pytest.mark.parametrize("role", ["encoder", "decoder", "cross"])
def test_the_whole_model_by_loops(kind: str, role: str) -> None:
    config = tiny(position_embedding_type=kind, is_decoder=role != "encoder", add_cross_attention=role == "cross")
    model = build("BertModel", config)
    tokens = ids(config, 2, 4)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    allowed = mask[:, None] * np.ones((4, 1))
    if role != "encoder":
        allowed = allowed * np.tril(np.ones((4, 4)))
    states = np.random.default_rng(3).normal(size=(2, 3, 12)) if role == "cross" else None
    more = {} if states is None else {"encoder_hidden_states": states}
    expected = whole_model(model, tokens, allowed, states)
    out = model(tokens, attention_mask=mask, **more)
    assert_close(out.last_hidden_state, expected, 1e-12)
    w = model.state_dict()
    assert_close(out.pooler_output, np.tanh(mapped(expected[:, 0], w, "pooler.dense")), 1e-12)


def test_embeddings() -> None:
    model = build("BertModel", tiny(layer_norm_eps=0.1))
    w = model.state_dict()
    tokens, types, positions = np.array([[3, 5]]), np.array([[2, 1]]), np.array([[16, 0]])
    with npbert.trace() as kept:
        model(tokens, token_type_ids=types, position_ids=positions)
    total = (
        w["embeddings.word_embeddings.weight"][tokens]
        + w["embeddings.token_type_embeddings.weight"][types]
        + w["embeddings.position_embeddings.weight"][positions]
    )
    assert_close(kept["embeddings:sum"], total, 1e-15)
    assert_close(kept["embeddings"], normed(total, w, "embeddings.LayerNorm", eps=0.1), 1e-13)


def test_layer_norm_eps_is_everywhere_the_configurations() -> None:
    tokens = ids(tiny(), 1, 3)
    large = build("BertModel", tiny(layer_norm_eps=100.0))
    with npbert.trace(only="*LayerNorm") as kept:
        large(tokens)
    w = large.state_dict()
    assert len(kept) == 5
    for name, x in kept.items():
        assert np.abs((x - w[f"{name}.bias"]) / w[f"{name}.weight"]).max() < 0.7, name


def test_a_cache_holds_the_projected_keys_and_values_of_all_positions() -> None:
    model = build("BertModel", tiny(is_decoder=True, add_cross_attention=True))
    tokens, states = ids(tiny(), 2, 5), np.random.default_rng(0).normal(size=(2, 3, 12))
    with npbert.trace() as kept:
        out = model(tokens, encoder_hidden_states=states)
    for index, layer in enumerate(out.past_key_values):
        at = f"encoder.layer.{index}"
        names = [f"{at}.{kind}.self:{part}" for kind in ("attention", "crossattention") for part in ("key", "value")]
        for part, name in zip(layer, names, strict=True):
            np.testing.assert_array_equal(part, kept[name])
    with npbert.trace() as kept:
        more = model(tokens[:, :2], past_key_values=out.past_key_values)
    for before, after in zip(out.past_key_values, more.past_key_values, strict=True):
        for part in (0, 1):
            np.testing.assert_array_equal(after[part][:, :, :5], before[part])
            assert after[part].shape == (2, 3, 7, 4)
        assert after[2] is before[2]
        assert after[3] is before[3]
    assert "encoder.layer.0.crossattention.self.key" not in kept, "nothing is projected again"
    assert "encoder.layer.0.crossattention.self.query" in kept
    assert kept["encoder.layer.0.attention.self.key"].shape == (2, 2, 12), "only what is new is projected"


def test_stored_cross_keys_win_over_the_encoders_output() -> None:
    model = build("BertModel", tiny(is_decoder=True, add_cross_attention=True))
    tokens, states = ids(tiny(), 1, 3), np.random.default_rng(0).normal(size=(1, 3, 12))
    past = model(tokens, encoder_hidden_states=states).past_key_values
    one, other = (model(tokens[:, :1], past_key_values=past, encoder_hidden_states=s) for s in (states, states * 7))
    np.testing.assert_array_equal(one[0], other[0])


def test_cross_attention_without_an_encoder_is_left_out() -> None:
    model = build("BertModel", tiny(is_decoder=True, add_cross_attention=True))
    tokens = ids(tiny(), 1, 3)
    out = model(tokens, output_attentions=True)
    assert out.cross_attentions is None
    assert [len(layer) for layer in out.past_key_values] == [2, 2]
    weights = {name: x for name, x in model.state_dict().items() if "crossattention" not in name}
    plain = npbert.BertModel(tiny(is_decoder=True), weights)
    np.testing.assert_array_equal(plain(tokens)[0], out[0])
    with npbert.trace() as kept:
        model(tokens)
    assert not any("crossattention" in name for name in kept)


def test_a_self_cache_meets_an_encoder() -> None:
    model = build("BertModel", tiny(is_decoder=True, add_cross_attention=True))
    tokens, states = ids(tiny(), 1, 4), np.random.default_rng(0).normal(size=(1, 3, 12))
    whole = model(tokens, encoder_hidden_states=states)
    past = model(tokens[:, :2], encoder_hidden_states=states).past_key_values
    without = tuple(layer[:2] for layer in past)
    out = model(tokens[:, 2:], past_key_values=without, encoder_hidden_states=states)
    assert_close(out[0], whole[0][:, 2:], 1e-12)
    assert [len(layer) for layer in out.past_key_values] == [4, 4]


def test_head_masks_reach_both_attentions() -> None:
    model = build("BertModel", tiny(is_decoder=True, add_cross_attention=True))
    states = np.random.default_rng(0).normal(size=(1, 3, 12))
    mask = np.array([[1, 0, 0.5], [0.25, 1, 0]])
    plain = model(ids(tiny(), 1, 4), encoder_hidden_states=states, output_attentions=True)
    out = model(ids(tiny(), 1, 4), encoder_hidden_states=states, output_attentions=True, head_mask=mask)
    np.testing.assert_allclose(out.attentions[0], plain.attentions[0] * mask[0][:, None, None])
    sums = [[x[0, n].sum(-1).mean() for n in range(3)] for x in (*out.attentions, *out.cross_attentions)]
    np.testing.assert_allclose(sums, [mask[0], mask[1], mask[0], mask[1]])


def test_a_row_with_nothing_to_attend_to_is_finite() -> None:
    for value in (npbert.masks.MASKED, float(np.finfo(np.float32).min)):
        for dtype in (np.float32, np.float64):
            model = build("BertModel", tiny(mask_value=value, is_decoder=True, add_cross_attention=True), dtype=dtype)
            out = model(
                ids(tiny(), 2, 4),
                attention_mask=np.zeros((2, 4)),
                encoder_hidden_states=np.ones((2, 3, 12)),
                encoder_attention_mask=np.zeros((2, 3)),
                output_attentions=True,
            )
            assert np.isfinite(out[0]).all()
            np.testing.assert_allclose(out.attentions[0].sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(out.attentions[0], 0.25)  # the smallest float swallows every score


def test_the_original_mask_value_is_added_to_the_scores() -> None:
    model = build("BertModel", tiny())
    with npbert.trace(only="encoder.layer.0.attention.self:*scores") as kept:
        model(ids(tiny(), 1, 3), attention_mask=[[1, 0, 1]])
    at = "encoder.layer.0.attention.self"
    np.testing.assert_allclose(
        kept[f"{at}:masked_scores"], kept[f"{at}:scores"] / 2 + np.array([0, -10000.0, 0]), rtol=1e-14, atol=1e-12
    )


def test_3d_masks_are_used_as_they_are() -> None:
    """Even in a decoder: what lies after may be looked at."""
    tokens = ids(tiny(), 1, 4)
    every = np.ones((1, 4, 4))
    decoder = build("BertModel", tiny(is_decoder=True))
    encoder = npbert.BertModel(tiny(), decoder.state_dict())
    np.testing.assert_array_equal(decoder(tokens, attention_mask=every)[0], encoder(tokens)[0])
    np.testing.assert_allclose(decoder(tokens, attention_mask=np.tril(every))[0], decoder(tokens)[0], rtol=1e-12)


def test_feed_forward_takes_chunks_of_the_configured_size() -> None:
    seen: list[tuple[int, ...]] = []

    def act(x: np.ndarray) -> np.ndarray:
        seen.append(x.shape)
        return np.maximum(x, 0)

    model = build("BertModel", tiny(hidden_act=act, chunk_size_feed_forward=3, num_hidden_layers=1))
    model(ids(tiny(), 2, 7))
    assert seen == [(2, 3, 21), (2, 3, 21), (2, 1, 21)]


def test_functions_can_be_called_alone() -> None:
    model = build("BertModel", tiny())
    m, x = model.module(), np.random.default_rng(0).normal(size=(1, 3, 12))
    context, probs, (key, value) = self_attention(m.encoder.layer[0].attention.self, x, mask=np.zeros((1, 1, 1, 3)))
    assert (context.shape, probs.shape, key.shape, value.shape) == ((1, 3, 12), (1, 3, 3, 3), (1, 3, 3, 4), (1, 3, 3, 4))
    allowed = np.ones((1, 3, 3))
    name = "encoder.layer.0.attention.self"
    assert_close(context, attended(x, x, model.state_dict(), name, allowed, config=model.config, relative=False), 1e-13)
    assert pooler(m.pooler, x).shape == (1, 12)
    assert feed_forward(m.encoder.layer[0], x).shape == (1, 3, 12)
