"""What a pass costs: the memory at its peak, and that Python never loops over tokens, positions or heads."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import BertConfig
from npbert.ops import blocks

from .builders import POSITION_TYPES, build, ids, tiny

FLOAT = 4
B, S = 2, 128


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each thread holds beside the result is the same however long the arrays are. Arrays that are small enough for a
    quick test have to be told apart from it: so one thread, and short blocks."""
    monkeypatch.setattr(blocks, "cores", lambda: 1)
    monkeypatch.setattr(blocks, "BLOCK", 2048)


def peak(function: Callable[[], Any]) -> int:
    """The largest number of bytes that the call holds at once, beyond what was there before; its result included."""
    function()  # whatever is made once is made here
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def model_of(model_class: str = "BertModel", **fields: Any) -> Any:
    sizes = {"vocab_size": 50, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    config = BertConfig(**{**sizes, "max_position_embeddings": S, **fields})
    return getattr(npbert, model_class)(config, rng=np.random.default_rng(0))


def peak_of(model: Any, **arguments: Any) -> int:
    tokens = ids(model.config, B, S)
    return peak(lambda: model(tokens, **arguments))


def test_attention_holds_its_scores_once() -> None:
    """Probabilities are computed in the place of the scores, where nobody looks at the scores."""
    scores = B * 8 * S * S * FLOAT
    assert scores < peak_of(model_of(num_attention_heads=8)) < 1.7 * scores


@pytest.mark.parametrize(("kind", "times"), [("relative_key", 4.2), ("relative_key_query", 5.2)])
def test_relative_positions_hold_a_few_times_the_scores(kind: str, times: float) -> None:
    scores = B * 8 * S * S * FLOAT  # the distances, [S, T, H], are half as large here
    assert peak_of(model_of(num_attention_heads=8, position_embedding_type=kind)) < times * scores


def test_feed_forward_holds_a_few_times_its_wide_array() -> None:
    wide = B * S * 1024 * FLOAT
    assert 2 * wide < peak_of(model_of(intermediate_size=1024, num_attention_heads=1)) < 2.7 * wide


def test_chunks_make_the_wide_array_small() -> None:
    wide = B * S * 1024 * FLOAT

    def with_chunks(size: int) -> int:
        return peak_of(model_of(intermediate_size=1024, num_attention_heads=1, chunk_size_feed_forward=size))

    peaks = {size: with_chunks(size) for size in (0, S, S // 2, S // 4, S // 16)}
    assert peaks[S] == pytest.approx(peaks[0], rel=0.02)
    assert peaks[S // 2] < peaks[0] - 0.9 * wide, "two wide arrays, half as large"
    assert peaks[S // 4] < peaks[0] - 1.4 * wide, "two wide arrays, a quarter as large"
    assert peaks[S // 16] < 0.3 * peaks[0]
    without = peak_of(model_of(intermediate_size=64, num_attention_heads=1))
    assert peaks[S // 16] < 1.15 * without, "what is left is attention's"


def test_layers_do_not_add_up() -> None:
    few, many = (peak_of(model_of(num_hidden_layers=layers)) for layers in (2, 5))
    assert many < few + 4 * 1024


def test_only_what_is_asked_for_is_held() -> None:
    model = model_of(num_hidden_layers=4)
    plain, scores, hidden = peak_of(model), B * 4 * S * S * FLOAT, B * S * 64 * FLOAT
    assert plain + 2.9 * scores < peak_of(model, output_attentions=True) < plain + 3.1 * scores, "the fourth is held anyway"
    assert plain + 1.9 * hidden < peak_of(model, output_hidden_states=True) < plain + 2.2 * hidden


def test_words_logits_exist_once_and_their_loss_takes_a_few_copies() -> None:
    model = model_of("BertForMaskedLM", vocab_size=8000, num_hidden_layers=1, num_attention_heads=1)
    logits = B * S * 8000 * FLOAT
    assert peak_of(model) < 1.05 * logits
    assert peak_of(model, labels=np.ones((B, S), int)) < 2.1 * logits


def test_a_step_with_a_cache_holds_little_more_than_the_new_cache() -> None:
    model = model_of(is_decoder=True, num_hidden_layers=2)
    tokens = ids(model.config, B, S - 1)
    past = model(tokens).past_key_values
    new_cache = 2 * 2 * B * S * 64 * FLOAT
    assert peak(lambda: model(tokens[:, :1], past_key_values=past)) < 1.4 * new_cache


def lines_run(function: Callable[[], Any]) -> int:
    """How many lines of npbert a call runs."""
    home = npbert.__file__.removesuffix("__init__.py")
    count = 0

    def on_line(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return on_line

    def on_call(frame: Any, event: str, argument: Any) -> Any:
        return on_line if frame.f_code.co_filename.startswith(home) else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", POSITION_TYPES)
@pytest.mark.parametrize("decoder", [False, True])
def test_python_does_not_loop_over_tokens_positions_or_heads(kind: str, decoder: bool) -> None:
    def lines(batch: int, length: int, heads: int) -> int:
        config = tiny(num_attention_heads=heads, position_embedding_type=kind, is_decoder=decoder, add_cross_attention=decoder)
        model = build("BertModel", config)
        more = {"encoder_hidden_states": np.ones((batch, length, 12))} if decoder else {}
        tokens, mask, each = ids(config, batch, length), np.ones((batch, length)), np.ones(heads)
        return lines_run(lambda: model(tokens, attention_mask=mask, head_mask=each, **more))

    once = lines(1, 2, 1)
    assert once > 100
    assert lines(5, 2, 1) == lines(1, 13, 1) == lines(1, 2, 12) == lines(4, 9, 6) == once
