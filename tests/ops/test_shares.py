"""Sequences shared among the cores: the same numbers, watched or not, and nothing left changed behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import npbert
from npbert.ops import blocks, shares
from npbert.ops.shares import by_share, in_shares, one_thread_a_product, product

needs_openblas = pytest.mark.skipif(shares.blas_threads() is None, reason="nothing tells this NumPy's BLAS how many threads")


@pytest.fixture(autouse=True)
def three_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(blocks, "available", lambda: 3)
    monkeypatch.setattr(shares, "LEAST_ROWS", 4)
    yield
    assert not blocks.is_shared()
    assert shares._state.open == 0


def threads() -> int:
    control = shares.blas_threads()
    assert control is not None
    return control[0]()


@needs_openblas
@pytest.mark.parametrize(
    ("batch", "length", "expected"),
    [(3, 4, [1, 1, 1]), (6, 2, [2, 2, 2]), (8, 5, [2, 3, 3]), (100, 9, [33, 33, 34]), (7, 99, []), (4, 99, []), (2, 99, []),
     (3, 3, []), (1, 512, []), (0, 4, []), (9, 0, [])],
)  # fmt: skip
def test_shares_are_even_or_none(batch: int, length: int, expected: list[int]) -> None:
    parts = shares.shares(batch, length)
    assert [len(range(batch)[part]) for part in parts] == expected
    assert not parts or [row for part in parts for row in range(batch)[part]] == list(range(batch))


def test_without_a_say_over_blas_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "blas_threads", lambda: None)
    assert shares.shares(6, 100) == []


def test_one_core_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "available", lambda: 1)
    assert shares.shares(6, 100) == []


@needs_openblas
def test_what_comes_back_is_put_together() -> None:
    ids = np.arange(24).reshape(6, 4)
    seen: list[int] = []

    def function(input_ids: Any, position_ids: Any) -> Any:
        seen.append(len(input_ids))
        assert position_ids.shape == (1, 4)
        assert shares.shares(6, 4) == []  # a share is not shared again
        assert threads() == 1
        return input_ids * 2, None, ((input_ids[:, 0],), input_ids + position_ids)

    twice, nothing, ((first,), sums) = in_shares(function, {"input_ids": ids, "position_ids": np.arange(4)[None]}, apart=True)
    assert seen == [2, 2, 2]
    assert nothing is None
    np.testing.assert_array_equal(twice, ids * 2)
    np.testing.assert_array_equal(first, ids[:, 0])
    np.testing.assert_array_equal(sums, ids + np.arange(4))


@needs_openblas
def test_products_have_the_sums_of_their_shares() -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((6, 50, 40), np.float32), rng.standard_normal((40, 30), np.float32)
    heads, values = rng.standard_normal((6, 2, 50, 20), np.float32), rng.standard_normal((6, 2, 20, 70), np.float32)

    def function(x: Any, heads: Any, values: Any) -> Any:
        distances = by_share(lambda heads, table: np.einsum("bnsh,sth->bnst", heads, table), heads, np.ones((50, 3, 20)))
        return product(x, weight), product(heads, values), product(x[:, 0], weight), distances

    inputs = {"x": x, "heads": heads, "values": values}
    apart, together = in_shares(function, inputs, apart=True), in_shares(function, inputs, apart=False)
    for one, other in zip(apart, together, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(apart[0], x @ weight, atol=1e-4)
    np.testing.assert_allclose(apart[1], heads @ values, atol=1e-4)


MODELS: dict[str, Any] = {
    "bert": lambda rng, **more: npbert.BertForMaskedLM(npbert.BertConfig(**SIZES, **more), rng=rng),
    "distances": lambda rng, **more: npbert.BertModel(
        npbert.BertConfig(**SIZES, position_embedding_type="relative_key_query", **more), rng=rng
    ),
    "chunks": lambda rng, **more: npbert.BertModel(npbert.BertConfig(**SIZES, chunk_size_feed_forward=7, **more), rng=rng),
    "decoder": lambda rng, **more: npbert.BertLMHeadModel(npbert.BertConfig(**SIZES, is_decoder=True, **more), rng=rng),
    "gpt2": lambda rng, **more: npbert.GPT2LMHeadModel(
        npbert.GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=2, n_positions=64, **more), rng=rng
    ),
    "distilbert": lambda rng, **more: npbert.DistilBertModel(
        npbert.DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=2, hidden_dim=64, **more), rng=rng
    ),
}
SIZES = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@needs_openblas
@pytest.mark.parametrize("kind", MODELS)
def test_a_pass_has_the_same_bits_watched_or_not_on_any_number_of_threads(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    model = MODELS[kind](rng)
    inputs = {"input_ids": rng.integers(1, 50, (7, 33)), "attention_mask": np.ones((7, 33), np.int64)}
    inputs["attention_mask"][1, 20:] = 0
    inputs = {name: np.concatenate([x, x[:2]]) for name, x in inputs.items()}  # [9, 33]
    begun: list[int] = []
    monkeypatch.setattr(shares, "one_thread_a_product", lambda: begun.append(1) or one_thread_a_product())
    before = threads()
    asked = {"output_hidden_states": True, "output_attentions": True}
    plain = model(**inputs, **asked)
    assert begun, "the batch was not shared"
    with npbert.trace() as values:
        watched = model(**inputs, **asked)
    npbert.set_num_threads(1)
    try:
        alone = model(**inputs, **asked)
    finally:
        npbert.set_num_threads(None)
    assert threads() == before
    expected = _arrays(plain)
    assert len(expected) > 4
    for other in (watched, alone):
        for one, two in zip(expected, _arrays(other), strict=True):
            np.testing.assert_array_equal(one, two)
    assert any(np.array_equal(values[name], plain.hidden_states[-1]) for name in values)
    single = model(input_ids=inputs["input_ids"][:1], attention_mask=inputs["attention_mask"][:1])
    np.testing.assert_allclose(single[0][0], plain[0][0], atol=2e-6)


def _arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, np.ndarray):
        return [value]
    items = value.to_tuple() if hasattr(value, "to_tuple") else value
    return [array for item in items if item is not None for array in _arrays(item)]


@needs_openblas
def test_a_mistake_in_a_share_is_raised_and_the_threads_come_back() -> None:
    before = threads()

    def fails(input_ids: Any) -> Any:
        if input_ids[0, 0] == 8:
            raise npbert.InputError("here")
        return input_ids

    with pytest.raises(npbert.InputError, match="here"):
        in_shares(fails, {"input_ids": np.arange(24).reshape(6, 4)}, apart=True)
    with pytest.raises(npbert.InputError, match="here"):
        in_shares(lambda input_ids: fails(input_ids[2:]), {"input_ids": np.arange(24).reshape(6, 4)}, apart=False)
    assert threads() == before
    assert shares._parts() == []


@needs_openblas
def test_an_observer_may_run_another_model_meanwhile() -> None:
    rng = np.random.default_rng(0)
    model, ids, others = MODELS["bert"](rng), rng.integers(1, 50, (6, 20)), rng.integers(1, 50, (14, 9))
    expected, other = model(input_ids=ids).logits, model(input_ids=others).logits
    found: list[np.ndarray] = []

    def look(name: str, x: np.ndarray) -> np.ndarray:
        if name.endswith("layer.0") and x.shape[1] == 20:
            found.append(model(input_ids=others).logits)
        return x

    with npbert.tracing.observe(look):
        np.testing.assert_array_equal(model(input_ids=ids).logits, expected)
    np.testing.assert_array_equal(found, [other])


@needs_openblas
def test_errstate_holds_in_the_shares() -> None:
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        in_shares(lambda x: 1 / x, {"x": np.zeros((3, 4))}, apart=True)


@needs_openblas
def test_passes_in_several_threads_at_once() -> None:
    control = shares.blas_threads()
    assert control is not None
    before = threads()
    control[1](2)
    try:
        x = np.random.default_rng(0).standard_normal((6, 40, 32), np.float32)
        expected = in_shares(lambda x: product(x, x[0].T), {"x": x}, apart=False)
        found: list[Any] = []

        def work() -> None:
            found.extend(in_shares(lambda x: product(x, x[0].T), {"x": x}, apart=False) for _ in range(50))

        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(found) == 150
        assert all(np.array_equal(expected, one) for one in found)
        assert threads() == 2
    finally:
        control[1](before)


@needs_openblas
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_that_is_forked_within_a_pass_has_its_threads_back() -> None:
    control = shares.blas_threads()
    assert control is not None
    before = threads()
    control[1](2)
    try:
        with one_thread_a_product():
            child = os.fork()
            forked = threads()
        after = threads()
        with one_thread_a_product():
            again = threads()
        if not child:  # it leaves the block as its parent does
            os._exit(0 if (forked, after, again, threads()) == (2, 2, 1, 2) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert (forked, after, again, threads()) == (1, 2, 1, 2)
    finally:
        control[1](before)
