"""Sequences shared among the cores: the same numbers, watched or not, and nothing left changed behind."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
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
def test_sequences_are_shared_evenly_or_not(batch: int, length: int, expected: list[int]) -> None:
    found = shares.shares_of(batch, length)
    assert _sizes(found) == expected
    if found is not None:
        assert found.axis == shares.SEQUENCES
        assert [row for part in found.parts for row in range(batch)[part]] == list(range(batch))


@needs_openblas
@pytest.mark.parametrize(
    ("batch", "length", "expected"),
    [(1, 512, [170, 171, 171]), (2, 9, [3, 3, 3]), (4, 8, [2, 3, 3]), (1, 11, []), (2, 7, []), (7, 1, []), (0, 99, []),
     (1, 0, [])],
)  # fmt: skip
def test_positions_are_shared_where_sequences_are_too_few(batch: int, length: int, expected: list[int]) -> None:
    found = shares.shares_of(batch, length, positions=True)
    assert _sizes(found) == expected
    assert found is None or found.axis == shares.POSITIONS
    even = shares.shares_of(6, 50, positions=True)
    assert even is not None
    assert even.axis == shares.SEQUENCES


def _sizes(found: shares.Shares | None) -> list[int]:
    return [] if found is None else [part.stop - part.start for part in found.parts]


def test_without_a_say_over_blas_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "blas_threads", lambda: None)
    assert shares.shares_of(6, 100, positions=True) is None


def test_one_core_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "available", lambda: 1)
    assert shares.shares_of(6, 100, positions=True) is None


@needs_openblas
@pytest.mark.parametrize(("axis", "batch", "length"), [(shares.SEQUENCES, 6, 4), (shares.POSITIONS, 2, 12)])
@pytest.mark.parametrize("cut", [True, False])
def test_what_comes_back_is_put_together(axis: int, batch: int, length: int, cut: bool) -> None:
    hidden = np.arange(batch * length * 2.0).reshape(batch, length, 2)
    queries = length if cut else 1
    mask = np.arange(float(batch * queries * length)).reshape(batch, 1, queries, length)
    seen: list[int] = []

    def function(hidden: Any, mask: Any) -> Any:
        seen.append(hidden.shape[axis])
        assert shares.shares_of(6, 40) is None  # a share is not shared again
        assert threads() == 1
        return hidden * 2, None, ((hidden[:, None],), hidden[:, None, :, :1] + mask)

    twice, nothing, ((heads,), sums) = in_shares(function, hidden, mask, apart=True, positions=True)
    assert seen == [hidden.shape[axis] // 3] * 3
    assert nothing is None
    np.testing.assert_array_equal(twice, hidden * 2)
    np.testing.assert_array_equal(heads, hidden[:, None])
    np.testing.assert_array_equal(sums, hidden[:, None, :, :1] + mask)


@needs_openblas
@pytest.mark.parametrize("batch", [6, 2])
def test_products_have_the_sums_of_their_shares(batch: int) -> None:
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((batch, 50, 40), np.float32), rng.standard_normal((40, 30), np.float32)

    def function(x: Any, mask: Any) -> Any:
        heads = x.reshape(*x.shape[:2], 2, 20).swapaxes(1, 2)
        keys, values = shares.of_all_positions(heads, heads[..., :7])
        distances = by_share(lambda heads, table: np.einsum("bnsh,h->bns", heads, table)[..., None], heads, np.ones(20))
        scores = product(heads, keys.swapaxes(2, 3))
        return product(x, weight), scores, product(scores, values), distances

    apart = in_shares(function, x, None, apart=True, positions=True)
    together = in_shares(function, x, None, apart=False, positions=True)
    for one, other in zip(apart, together, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(apart[0], x @ weight, atol=1e-4)
    heads = x.reshape(batch, 50, 2, 20).swapaxes(1, 2)
    np.testing.assert_allclose(apart[1], heads @ heads.swapaxes(2, 3), atol=1e-4)
    np.testing.assert_allclose(apart[2], heads @ heads.swapaxes(2, 3) @ heads[..., :7], atol=1e-3)
    alone = in_shares(function, x[:1, :3], None, apart=True, positions=True)
    np.testing.assert_allclose(alone[0], x[:1, :3] @ weight, atol=1e-4)


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
@pytest.mark.parametrize("batch", [9, 2])
def test_a_pass_has_the_same_bits_watched_or_not_on_any_number_of_threads(
    kind: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    model = MODELS[kind](rng)
    inputs = {"input_ids": rng.integers(1, 50, (batch, 33)), "attention_mask": np.ones((batch, 33), np.int64)}
    inputs["attention_mask"][1, 20:] = 0
    begun: list[int] = []
    monkeypatch.setattr(shares, "one_thread_a_product", lambda: begun.append(1) or one_thread_a_product())
    before = threads()
    asked = {"output_hidden_states": True, "output_attentions": True}
    plain = model(**inputs, **asked)
    assert bool(begun) == (batch == 9 or kind not in ("distances", "chunks")), "what is shared is not what can be shared"
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
    for number in range(batch):
        length = inputs["attention_mask"][number].sum()
        with blocks_of_one_core(monkeypatch):
            single = model(**{name: x[number : number + 1, :length] for name, x in inputs.items()})
        np.testing.assert_allclose(single[0][0], plain[0][number, :length], atol=2e-6)


@contextlib.contextmanager
def blocks_of_one_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "available", lambda: 1)
        yield


@needs_openblas
def test_what_a_pass_of_shared_positions_caches_is_what_it_continues_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("gpt2", "decoder"):
        rng = np.random.default_rng(0)
        model, ids = MODELS[kind](rng), rng.integers(1, 50, (1, 40))
        begun = model(input_ids=ids[:, :36], use_cache=True)
        assert begun.past_key_values[0][0].shape[2] == 36
        rest = model(input_ids=ids[:, 36:], past_key_values=begun.past_key_values)
        with blocks_of_one_core(monkeypatch):
            np.testing.assert_allclose(rest.logits, model(input_ids=ids).logits[:, 36:], atol=2e-6)


def _arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, np.ndarray):
        return [value]
    items = value.to_tuple() if hasattr(value, "to_tuple") else value
    return [array for item in items if item is not None for array in _arrays(item)]


@needs_openblas
@pytest.mark.parametrize("batch", [6, 1])
@pytest.mark.parametrize("failing", [0, 2])
@pytest.mark.parametrize("late", [True, False])
def test_a_mistake_in_a_share_is_raised_and_the_threads_come_back(batch: int, failing: int, late: bool) -> None:
    before = threads()
    hidden = (
        np.repeat(np.arange(3.0), 8)[None, :, None]
        if batch == 1
        else np.repeat(np.arange(3.0), 2)[:, None, None] + np.zeros((1, 4, 1))
    )

    def fails(hidden: Any, mask: Any) -> Any:
        heads = hidden[:, None]
        if late:
            shares.of_all_positions(heads, heads)
        if (hidden == failing).all() or hidden.size == 24:
            raise npbert.InputError("here")
        shares.of_all_positions(heads, heads)
        return hidden

    for apart in (True, False):
        with pytest.raises(npbert.InputError, match="here"):
            in_shares(fails, hidden, None, apart=apart, positions=True)
    assert threads() == before
    assert shares._here.shares is None
    np.testing.assert_array_equal(in_shares(lambda x, mask: x + 1, hidden, None, apart=True, positions=True), hidden + 1)


@needs_openblas
def test_a_share_that_cannot_begin_leaves_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the system gives no further thread."""
    pool, meetings = blocks._threads(3), []
    begun = threading.Event()

    class Pool:
        def submit(self, *arguments: Any) -> Any:
            if begun.is_set():
                raise RuntimeError("can't start new thread")
            begun.set()
            return pool.submit(*arguments)

    def function(hidden: Any, mask: Any) -> Any:
        meetings.append(shares._here.meeting)
        return shares.of_all_positions(hidden, hidden)[0]

    hidden = np.zeros((1, 48, 2))
    monkeypatch.setattr(blocks, "_threads", lambda count: Pool())
    with pytest.raises(RuntimeError, match="new thread"):
        in_shares(function, hidden, None, apart=True, positions=True)
    for _ in range(1000):
        if meetings and not meetings[0].barrier.n_waiting:
            break
        time.sleep(0.01)
    assert meetings[0].barrier.broken
    assert not meetings[0].barrier.n_waiting


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
        in_shares(lambda x, mask: 1 / x, np.zeros((3, 4, 1)), None, apart=True)


@needs_openblas
def test_passes_in_several_threads_at_once() -> None:
    control = shares.blas_threads()
    assert control is not None
    before = threads()
    control[1](2)
    try:
        x = np.random.default_rng(0).standard_normal((6, 40, 32), np.float32)
        expected = in_shares(lambda x, mask: product(x, x[0].T), x, None, apart=False)
        found: list[Any] = []

        def work() -> None:
            found.extend(in_shares(lambda x, mask: product(x, x[0].T), x, None, apart=False) for _ in range(50))

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
def test_passes_of_shared_positions_in_several_threads_at_once() -> None:
    """A share waits for the others of its pass; if each pass had some of the threads, all would wait for ever."""
    hidden = np.arange(48.0)[None, :, None]
    found: list[np.ndarray] = []

    def function(hidden: Any, mask: Any) -> Any:
        return shares.of_all_positions(hidden, hidden)[0].sum() + hidden

    def work() -> None:
        found.extend(in_shares(function, hidden, None, apart=True, positions=True) for _ in range(200))

    workers = [threading.Thread(target=work, daemon=True) for _ in range(12)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert len(found) == 12 * 200
    assert all(np.array_equal(one, hidden + hidden.sum()) for one in found)


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
