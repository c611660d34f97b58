"""Naming and keeping: names, shapes, order, patterns, and that looking changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import npbert
import npbert.tracing
from npbert import InputTypeError, MissingNameError
from npbert.tracing import current_observer, observe, under

from .builders import arrays_of, assert_close, build, ids, tiny

CONFIG = tiny(position_embedding_type="relative_key_query")
B, S, D, N, H, F, V = 2, 5, 12, 3, 4, 21, 31


def test_names_and_shapes() -> None:
    with npbert.trace() as kept:
        build("BertModel", CONFIG)(ids(CONFIG, B, S))
    layer = "encoder.layer.1"
    shapes = {
        "embeddings.word_embeddings": (B, S, D),
        "embeddings.token_type_embeddings": (B, S, D),
        "embeddings:sum": (B, S, D),
        "embeddings.LayerNorm": (B, S, D),
        "embeddings.dropout": (B, S, D),
        "embeddings": (B, S, D),
        f"{layer}.attention.self.query": (B, S, D),
        f"{layer}.attention.self.key": (B, S, D),
        f"{layer}.attention.self.value": (B, S, D),
        f"{layer}.attention.self:query": (B, N, S, H),
        f"{layer}.attention.self:key": (B, N, S, H),
        f"{layer}.attention.self:value": (B, N, S, H),
        f"{layer}.attention.self:scores": (B, N, S, S),
        f"{layer}.attention.self.distance_embedding": (S, S, H),
        f"{layer}.attention.self:relative_scores": (B, N, S, S),
        f"{layer}.attention.self:masked_scores": (B, N, S, S),
        f"{layer}.attention.self.dropout": (B, N, S, S),
        f"{layer}.attention.self:probs": (B, N, S, S),
        f"{layer}.attention.self": (B, S, D),
        f"{layer}.attention.output.dense": (B, S, D),
        f"{layer}.attention.output.dropout": (B, S, D),
        f"{layer}.attention.output:residual": (B, S, D),
        f"{layer}.attention.output.LayerNorm": (B, S, D),
        f"{layer}.attention.output": (B, S, D),
        f"{layer}.attention": (B, S, D),
        f"{layer}.intermediate.dense": (B, S, F),
        f"{layer}.intermediate.intermediate_act_fn": (B, S, F),
        f"{layer}.intermediate": (B, S, F),
        f"{layer}.output.dense": (B, S, D),
        f"{layer}.output.dropout": (B, S, D),
        f"{layer}.output:residual": (B, S, D),
        f"{layer}.output.LayerNorm": (B, S, D),
        f"{layer}.output": (B, S, D),
        layer: (B, S, D),
        "encoder": (B, S, D),
        "pooler.dense": (B, D),
        "pooler.activation": (B, D),
        "pooler": (B, D),
    }
    order = [name for name in kept if name in shapes]
    assert order == list(shapes), "in the order in which they are computed"
    assert {name: kept[name].shape for name in shapes} == shapes
    assert {name for name in kept if not name.startswith("encoder.layer.0")} == set(shapes)


def test_the_distances_are_the_output_of_their_table() -> None:
    model = build("BertModel", CONFIG)
    with npbert.trace() as kept:
        model(ids(CONFIG, B, S))
    distances = kept["encoder.layer.0.attention.self.distance_embedding"]
    table = model.state_dict()["encoder.layer.0.attention.self.distance_embedding.weight"]
    assert distances.shape == (S, S, H)
    np.testing.assert_array_equal(distances[3, 1], table[2 + 17 - 1])


def test_values_behind_a_colon() -> None:
    model = build("BertModel", CONFIG)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    head_mask = np.array([1, 0.5, 0])
    with npbert.trace() as kept:
        out = model(ids(CONFIG, B, S), attention_mask=mask, head_mask=head_mask, output_attentions=True)
    at = "encoder.layer.0.attention.self"
    assert_close(kept[f"{at}:query"].transpose(0, 2, 1, 3).reshape(B, S, D), kept[f"{at}.query"], 0)
    assert_close(kept[f"{at}:scores"], np.einsum("bnqh,bnkh->bnqk", kept[f"{at}:query"], kept[f"{at}:key"]), 1e-14)
    added = np.where(mask, 0, -10000.0)[:, None, None]
    assert_close(kept[f"{at}:masked_scores"], (kept[f"{at}:scores"] + kept[f"{at}:relative_scores"]) / 2 + added, 1e-14)
    assert_close(kept[f"{at}:probs"], kept[f"{at}.dropout"] * head_mask[:, None, None], 0)
    assert_close(kept[f"{at}:probs"], out.attentions[0], 0)
    assert_close(
        kept["encoder.layer.0.attention.output:residual"],
        kept["encoder.layer.0.attention.output.dense"] + kept["embeddings"],
        0,
    )
    assert_close(
        kept["encoder.layer.0.output:residual"], kept["encoder.layer.0.output.dense"] + kept["encoder.layer.0.attention"], 0
    )
    words = kept["embeddings.word_embeddings"] + kept["embeddings.token_type_embeddings"]
    assert_close(kept["embeddings:sum"], words, 0)


def test_relative_scores_stay_out_of_absolute_models_and_of_cross_attention() -> None:
    config = tiny(position_embedding_type="relative_key", is_decoder=True, add_cross_attention=True)
    with npbert.trace() as kept:
        build("BertModel", config)(ids(config, 1, 3), encoder_hidden_states=np.ones((1, 2, D)))
    assert "encoder.layer.0.attention.self:relative_scores" in kept
    assert "encoder.layer.0.crossattention.self:relative_scores" not in kept
    assert kept["encoder.layer.0.crossattention.self:probs"].shape == (1, N, 3, 2)
    assert "embeddings.position_embeddings" not in kept
    with npbert.trace() as kept:
        build("BertModel", tiny())(ids(config, 1, 3))
    assert not any(name.endswith(":relative_scores") for name in kept)
    assert kept["embeddings.position_embeddings"].shape == (1, 3, D)


def test_the_base_models_names_carry_its_prefix() -> None:
    with npbert.trace() as kept:
        out = build("BertForMaskedLM", tiny())(ids(tiny(), B, S))
    for name in ("cls", "cls.predictions", "cls.predictions:logits", "cls.predictions.decoder"):
        np.testing.assert_array_equal(kept[name], out.logits)
    assert kept["cls.predictions.transform"].shape == (B, S, D)
    assert kept["bert.embeddings"].shape == (B, S, D)
    assert not any(name.startswith(("embeddings", "encoder", "pooler")) for name in kept)


def test_looking_changes_nothing() -> None:
    for config in (CONFIG, tiny(chunk_size_feed_forward=2)):
        model = build("BertModel", config, dtype=np.float32)
        plain = arrays_of(model(ids(config, B, S), output_hidden_states=True))
        with npbert.trace() as kept:
            traced = arrays_of(model(ids(config, B, S), output_hidden_states=True))
        for name, x in plain.items():
            assert_close(traced[name], x, 1e-6, name)
        assert kept["encoder.layer.0.intermediate"].shape == (B, S, F), "whole, however the feed-forward is cut"


def test_what_is_kept_is_a_copy() -> None:
    model = build("BertModel", tiny())
    with npbert.trace() as kept:
        out = model(ids(tiny(), 1, 3))
    before = kept["encoder"].copy()
    out.last_hidden_state[:] = 7
    np.testing.assert_array_equal(kept["encoder"], before)
    model.state_dict()["embeddings.word_embeddings.weight"][:] = 0
    assert (kept["embeddings.word_embeddings"] != 0).any()


def test_only() -> None:
    model = build("BertModel", tiny())
    for only, expected in (
        ("pooler", {"pooler"}),
        ("*:probs", {f"encoder.layer.{i}.attention.self:probs" for i in range(2)}),
        (["encoder", "embeddings:*"], {"encoder", "embeddings:sum"}),
        ([], set()),
    ):
        with npbert.trace(only=only) as kept:
            model(ids(tiny(), 1, 3))
        assert set(kept) == expected


def test_the_last_pass_counts_and_traces_nest() -> None:
    model = build("BertModel", tiny())
    with npbert.trace() as outer:
        model(ids(tiny(), 1, 4))
        with npbert.trace(only="pooler") as inner:
            out = model(ids(tiny(), 1, 3, seed=5))
    np.testing.assert_array_equal(inner["pooler"], out.pooler_output)
    np.testing.assert_array_equal(outer["pooler"], out.pooler_output)
    assert outer["embeddings"].shape == (1, 3, D)
    assert current_observer() is None
    model(ids(tiny(), 1, 2))
    assert outer["embeddings"].shape == (1, 3, D)


def test_an_error_ends_the_trace() -> None:
    model = build("BertModel", tiny())
    with pytest.raises(npbert.NpbertError), npbert.trace():
        model([[-1]])
    assert current_observer() is None


def test_an_observer_may_replace_values() -> None:
    model = build("BertModel", tiny())
    plain = model(ids(tiny(), 1, 3))
    with npbert.trace() as outer, observe(lambda name, x: x * 0 if name == "encoder.layer.0.attention.self" else x):
        out = model(ids(tiny(), 1, 3))
    assert (outer["encoder.layer.0.attention.self"] == 0).all(), "an outer observer sees what an inner one returns"
    bias = model.state_dict()["encoder.layer.0.attention.output.dense.bias"]
    np.testing.assert_allclose(outer["encoder.layer.0.attention.output.dense"], np.broadcast_to(bias, (1, 3, D)))
    assert not np.allclose(out.last_hidden_state, plain.last_hidden_state)


def test_every_named_value_is_one_that_the_pass_goes_on_with() -> None:
    """Replacing any named value but the last ones changes the result: none is a copy beside the computation."""
    model = build("BertForMaskedLM", tiny(position_embedding_type="relative_key"))
    arguments = {"input_ids": ids(tiny(), 1, 4), "attention_mask": np.array([[1, 1, 1, 0]])}
    with npbert.trace() as kept:
        plain = model(**arguments).logits
    rng = np.random.default_rng(0)
    unheard = set()
    for name in kept:
        noise = rng.normal(size=kept[name].shape)
        with observe(lambda at, x, name=name, noise=noise: x + noise if at == name else x):
            if np.allclose(model(**arguments).logits, plain):
                unheard.add(name)
    assert unheard <= {"bert"}  # a name for what its encoder puts out


def test_threads_do_not_see_each_others_traces() -> None:
    model = build("BertModel", tiny())
    with npbert.trace() as kept:
        thread = threading.Thread(target=lambda: model(ids(tiny(), 1, 3)))
        thread.start()
        thread.join()
    assert len(kept) == 0


def traced(kept: list[npbert.tracing.Trace]) -> Iterator[None]:
    """A generator that holds a trace between its steps."""
    with npbert.trace() as trace:
        kept.append(trace)
        yield


def test_generators_may_end_in_the_order_in_which_they_began() -> None:
    model, kept = build("BertModel", tiny()), list[npbert.tracing.Trace]()
    first, second = traced(kept), traced(kept)
    next(first)
    next(second)
    first.close()
    model(ids(tiny(), 1, 3))
    assert [len(trace) > 0 for trace in kept] == [False, True], "the one that is still open sees the pass"
    second.close()
    assert current_observer() is None
    model(ids(tiny(), 1, 4))
    assert kept[1]["embeddings"].shape == (1, 3, D)


def test_a_trace_that_ends_in_another_thread_has_ended() -> None:
    kept: list[npbert.tracing.Trace] = []
    holding = traced(kept)
    next(holding)
    thread = threading.Thread(target=holding.close)
    thread.start()
    thread.join()
    assert current_observer() is None
    with npbert.trace() as own:
        build("BertModel", tiny())(ids(tiny(), 1, 3))
    assert len(own) > len(kept[0]) == 0


def test_the_name_of_a_part_goes_when_its_block_ends_first() -> None:
    seen: list[str] = []

    def part() -> Iterator[None]:
        with under("part"):
            yield

    with observe(lambda name, x: (seen.append(name), x)[1]):
        named = part()
        next(named)
        with observe(lambda name, x: x):
            for close in (lambda: None, named.close):
                close()
                observer = current_observer()
                assert observer is not None
                observer("grad:x", np.zeros(1))
    assert seen == ["grad:part.x", "grad:x"]


@pytest.mark.parametrize("only", [5, ["pooler", 5], {"pooler": 1}])
def test_only_takes_patterns(only: Any) -> None:
    with pytest.raises(InputTypeError, match="only"), npbert.trace(only=only):
        pass


def test_a_missing_name_says_what_there_is() -> None:
    with npbert.trace() as kept:
        build("BertModel", tiny())(ids(tiny(), 1, 3))
    with pytest.raises(MissingNameError, match=r"no ':probs'.*encoder\.layer\.0\.attention\.self:probs"):
        kept[":probs"]
    assert "encoder  [1, 3, 12]" in repr(kept)
