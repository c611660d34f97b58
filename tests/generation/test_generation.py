"""Writing token by token: held against what the reference wrote, against enumeration, and against the cache-free model."""

from __future__ import annotations

import functools
import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import BertConfig, BertLMHeadModel, ops
from npbert.generation import search as generation
from npbert.generation.search import GenerationConfig, generate, stream

from ..builders import POSITION_TYPES, SMALLEST, build, tiny

DATA = Path(__file__).parents[1] / "data" / "expected" / "generation"
CASES = json.loads((DATA / "cases.json").read_text())


@functools.cache
def stored(name: str) -> Any:
    return npbert.load(DATA / name)


def decoder(**fields: Any) -> Any:
    """A small decoder whose best token is clearly the best and depends on all that stands before it."""
    seed = fields.pop("seed", 0)
    config = tiny(**{"is_decoder": True, "max_position_embeddings": 40, "mask_value": SMALLEST, **fields})
    blank = BertLMHeadModel(config, rng=np.random.default_rng(0))
    return BertLMHeadModel(config, lively(dict(blank.named_parameters()), np.random.default_rng(seed)))


def lively(parameters: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Rows of the word table are equally long: otherwise the longest one would win everywhere."""
    weights = {}
    for name, parameter in parameters.items():
        noise = rng.normal(size=parameter.shape)
        if name.endswith("LayerNorm.weight"):
            weights[name] = 1 + 0.2 * noise
        elif "word_embeddings" in name or "decoder.weight" in name:
            weights[name] = 3 * noise / np.linalg.norm(noise, axis=-1, keepdims=True)
        else:
            weights[name] = noise * (0.1 if "bias" in name else 0.8)
    return weights


def last_logits(model: Any, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Without a cache: the whole row, every time."""
    positions = np.where(mask == 0, 1, mask.cumsum(axis=1) - 1)
    return model(tokens, mask, position_ids=positions, use_cache=False).logits[:, -1]


# --------------------------------------------------------------------------------------------------- what the reference wrote


@pytest.mark.parametrize("case", CASES, ids=[f"{case['model']}-{index}" for index, case in enumerate(CASES)])
def test_writes_what_the_reference_writes(case: dict[str, Any]) -> None:
    out = generate(stored(case["model"]), return_dict_in_generate=True, **case["arguments"])
    assert out.sequences.tolist() == case["sequences"]
    assert out.sequences.dtype == np.int64
    if case["scores"] is None:
        assert out.sequences_scores is None
    else:
        np.testing.assert_allclose(out.sequences_scores, case["scores"], rtol=1e-4)


def test_the_stored_cases_are_telling() -> None:
    """Rows differ, ends come at different steps, fillers are seen."""
    written = [tuple(row) for case in CASES for row in case["sequences"]]
    assert len(set(written)) > 100
    assert len({len(case["sequences"][0]) for case in CASES}) > 8


def test_a_float64_model_writes_the_same() -> None:
    for case in CASES[:14]:
        assert generate(stored(case["model"]).astype(np.float64), **case["arguments"]).tolist() == case["sequences"]


# ------------------------------------------------------------------------------------------------------- cache and padding


@pytest.mark.parametrize("position_type", POSITION_TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_the_cache_changes_nothing(position_type: str, seed: int) -> None:
    model = decoder(seed=seed, position_embedding_type=position_type)
    prompts = np.random.default_rng(seed).integers(1, 31, (3, 5))
    mask = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 1]])
    row, row_mask = prompts, mask
    for _ in range(12):
        row = np.column_stack([row, last_logits(model, row, row_mask).argmax(axis=-1)])
        row_mask = np.column_stack([row_mask, np.ones(3, np.int64)])
    assert generate(model, prompts, attention_mask=mask, max_new_tokens=12).tolist() == row.tolist()


@pytest.mark.parametrize("position_type", POSITION_TYPES)
@pytest.mark.parametrize("beams", [1, 3])
def test_padding_on_the_left_changes_nothing(position_type: str, beams: int) -> None:
    model = decoder(position_embedding_type=position_type, seed=2)
    options = {"max_new_tokens": 9, "num_beams": beams}
    alone = [generate(model, [prompt], **options)[0, len(prompt) :].tolist() for prompt in ([3, 7, 2, 9], [5, 4])]
    together = generate(model, [[3, 7, 2, 9], [0, 0, 5, 4]], **options)[:, 4:].tolist()
    assert together == alone
    assert alone[0] != alone[1]


def test_padding_is_told_from_the_end_token() -> None:
    model = decoder()
    prompts = [[0, 5, 4], [3, 7, 2]]
    read_off = generate(model, prompts, max_new_tokens=6)
    given = generate(model, prompts, attention_mask=[[0, 1, 1], [1, 1, 1]], max_new_tokens=6)
    all_seen = generate(model, prompts, attention_mask=np.ones((2, 3)), max_new_tokens=6)
    assert (read_off == given).all()
    assert (read_off != all_seen).any()
    # A padding token that also ends sequences says nothing about the prompts.
    options = {"max_new_tokens": 6, "eos_token_id": [0, 4], "min_new_tokens": 6}
    assert (generate(model, prompts, **options) == generate(model, prompts, attention_mask=np.ones((2, 3)), **options)).all()
    assert (
        generate(model, prompts, **options) != generate(model, prompts, attention_mask=[[0, 1, 1], [1, 1, 1]], **options)
    ).any()


def test_a_model_that_reads_an_encoder() -> None:
    model = decoder(add_cross_attention=True)
    states = np.random.default_rng(0).normal(size=(2, 4, 12))
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    prompts = np.array([[3, 7], [5, 4]])
    row = prompts
    for _ in range(6):
        logits = model(row, encoder_hidden_states=states, encoder_attention_mask=mask, use_cache=False).logits[:, -1]
        row = np.column_stack([row, logits.argmax(axis=-1)])
    encoder = {"encoder_hidden_states": states, "encoder_attention_mask": mask}
    assert generate(model, prompts, max_new_tokens=6, **encoder).tolist() == row.tolist()
    assert generate(model, prompts, max_new_tokens=6, num_beams=2, **encoder).shape == (2, 8)


# ------------------------------------------------------------------------------------------------------------ beam search


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.5, -1.0])
@pytest.mark.parametrize("ends", [[], [3], [2, 4]])
def test_beams_enough_for_everything_find_the_best(length_penalty: float, ends: list[int]) -> None:
    """With as many beams as there are sequences, beam search is enumeration."""
    model = decoder(vocab_size=6, seed=4)
    prompt = [5, 2]
    likelihood: dict[tuple[int, ...], float] = {}

    def grow(written: tuple[int, ...], total: float) -> None:
        if len(written) == 3 or (written and written[-1] in ends):
            likelihood[written] = total / len(written) ** length_penalty
            return
        tokens = np.array([[*prompt, *written]])
        log_probs = np.log(ops.softmax(last_logits(model, tokens, np.ones_like(tokens)))[0])
        for token in range(6):
            grow((*written, token), total + log_probs[token])

    grow((), 0.0)
    best = sorted(likelihood, key=lambda written: -likelihood[written])[:5]
    out = generate(
        model,
        [prompt],
        max_new_tokens=3,
        num_beams=230,
        num_return_sequences=5,
        length_penalty=length_penalty,
        early_stopping="never",
        eos_token_id=ends or None,
        pad_token_id=1,
        return_dict_in_generate=True,
    )
    for row, score, written in zip(out.sequences.tolist(), out.sequences_scores, best, strict=True):
        assert row[2:] == [*written, *[1] * (len(row) - 2 - len(written))]
        assert score == pytest.approx(likelihood[written], rel=1e-9)


def beams_by_table(after: Any, *, first: tuple[int, ...] = (0,), **settings: Any) -> tuple[list[list[int]], np.ndarray, int]:
    """Beam search where the next token depends on the last one alone, by a table [last, next] of probabilities.

    `first` are the prompts, one token each. Returns the sequences, their scores and the number of steps.
    """
    logits = np.log(np.array(after))
    nothing = np.zeros((1, 1, 0, 1))
    steps = []

    def step(new: np.ndarray, cache: Any) -> Any:
        steps.append(new)
        return logits[new[:, -1]], ((nothing.repeat(len(new), axis=0),) * 2,)

    start = generation.Start(np.array(first)[:, None], step, GenerationConfig(**settings))
    found, scores = generation._beam_search(start, np.random.default_rng(0))
    return found.tolist(), scores, len(steps)


def test_end_tokens_do_not_crowd_out_the_open_beams() -> None:
    """Three likely end tokens and two beams: both beams stay open, and the less likely one turns out to be right."""
    after = np.tile([0.02, 0.3, 0.3, 0.3, 0.05, 0.03], (6, 1))
    after[5] = [0.02, 0.9, 0.02, 0.02, 0.02, 0.02]
    beams = {"num_beams": 2, "num_return_sequences": 2, "early_stopping": "never"}
    found, scores, _ = beams_by_table(after, max_length=3, eos_token_id=[1, 2, 3], length_penalty=8.0, **beams)
    assert found == [[0, 5, 1], [0, 4, 1]]
    np.testing.assert_allclose(scores, np.log([0.03 * 0.9, 0.05 * 0.3]) / 2**8)


@pytest.mark.parametrize(("early_stopping", "expected"), [(False, [[0, 1]]), ("never", [[0, 2, 1]])])
def test_never_hopes_for_the_longest(early_stopping: Any, expected: list[list[int]]) -> None:
    """The end is likelier than going on, but a long sequence would gain much: `never` waits for it."""
    after = [[0.0001, 0.6, 0.3999], [0.1, 0.5, 0.4], [0.05, 0.9, 0.05]]
    options = {"early_stopping": early_stopping, "length_penalty": 8.0, "eos_token_id": 1, "max_length": 3}
    assert beams_by_table(after, num_beams=1, **options)[0] == expected


def test_a_prompt_that_is_done_stays_as_it_is() -> None:
    """The first prompt has its result after one step; what would outdo it while the second one goes on comes too late."""
    after = [[0.0001, 0.6, 0.3998, 0.0001], [0.25] * 4, [0.05, 0.85, 0.05, 0.05], [0.0001, 0.0001, 0.9997, 0.0001]]
    options = {"num_beams": 1, "length_penalty": 8.0, "eos_token_id": 1, "pad_token_id": 3, "max_length": 3}
    assert beams_by_table(after, first=(0, 3), **options)[0] == [[0, 1, 3], [3, 2, 1]]


def test_early_stopping_stops_when_there_are_enough() -> None:
    after = np.tile([0.1, 0.5, 0.4], (3, 1))
    options = {"num_beams": 2, "num_return_sequences": 2, "eos_token_id": 1, "max_length": 30, "length_penalty": 8.0}
    found, _, steps = beams_by_table(after, early_stopping=True, **options)
    assert (len(found[0]), steps) == (3, 2)
    found, _, steps = beams_by_table(after, early_stopping="never", **options)
    assert (len(found[0]), steps) == (30, 29)


def test_beams_come_best_first_and_prompt_by_prompt() -> None:
    model = decoder()
    out = generate(model, [[3, 7], [5, 4]], num_beams=4, num_return_sequences=3, max_new_tokens=5, return_dict_in_generate=True)
    assert out.sequences[:, :2].tolist() == [[3, 7]] * 3 + [[5, 4]] * 3
    scores = out.sequences_scores.reshape(2, 3)
    assert (np.diff(scores) <= 0).all()
    rows = out.sequences
    for row, score in zip(rows, out.sequences_scores, strict=True):
        log_probs = np.log(ops.softmax(model(row[None], use_cache=False).logits[0]))
        assert score == pytest.approx(log_probs[range(1, 6), row[2:]].sum() / 5, rel=1e-9)
    assert len({tuple(row) for row in rows}) == 6


def test_one_prompt_is_not_touched_by_another() -> None:
    model = decoder()
    options = {"num_beams": 3, "max_new_tokens": 8, "eos_token_id": [4, 9, 11, 20], "pad_token_id": 30}
    alone = [generate(model, [prompt], return_dict_in_generate=True, **options) for prompt in ([3, 7], [5, 4], [8, 8])]
    together = generate(model, [[3, 7], [5, 4], [8, 8]], return_dict_in_generate=True, **options)
    for index, one in enumerate(alone):
        length = one.sequences.shape[1]
        assert together.sequences[index, :length].tolist() == one.sequences[0].tolist()
        assert (together.sequences[index, length:] == 30).all()
        assert together.sequences_scores[index] == pytest.approx(one.sequences_scores[0], rel=1e-9)


# --------------------------------------------------------------------------------------------------------------- sampling


def test_draws_have_the_model_s_probabilities() -> None:
    model = decoder(vocab_size=7, seed=3)
    draws = generate(
        model, [[5, 2]], do_sample=True, top_k=0, temperature=2.5, max_new_tokens=1, num_return_sequences=20000,
        rng=np.random.default_rng(0),
    )[:, 2]  # fmt: skip
    logits = last_logits(model, np.array([[5, 2]]), np.ones((1, 2), np.int64))[0]
    expected = ops.softmax(logits / 2.5)
    frequencies = np.bincount(draws, minlength=7) / 20000
    deviation = np.sqrt(expected * (1 - expected) / 20000)
    assert (np.abs(frequencies - expected) < 4 * deviation + 1e-12).all()
    assert (frequencies > 0.02).sum() > 2


def test_draws_without_putting_back_have_the_right_probabilities() -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    scores = np.log(np.tile(p, (40000, 1)))
    pairs = npbert.ops.top_k(generation._with_noise(scores, np.random.default_rng(1)), 2)
    for a, b in itertools.permutations(range(4), 2):
        expected = p[a] * p[b] / (1 - p[a])
        found = ((pairs == [a, b]).all(axis=1)).mean()
        assert abs(found - expected) < 4 * np.sqrt(expected / 40000)


def test_a_generator_repeats_itself_and_another_differs() -> None:
    model = decoder()
    for beams in (1, 3):
        draw = functools.partial(generate, model, [[3, 7], [5, 4]], do_sample=True, max_new_tokens=10, num_beams=beams)
        first = draw(rng=np.random.default_rng(5))
        assert (first == draw(rng=np.random.default_rng(5))).all()
        assert (first != draw(rng=np.random.default_rng(6))).any()
        assert draw().shape == (2, 12)


def test_only_one_choice_is_no_choice() -> None:
    model = decoder()
    greedy = generate(model, [[3, 7], [5, 4]], max_new_tokens=8)
    for options in ({"top_k": 1}, {"top_p": 0.0}, {"temperature": 1e-4}):
        drawn = generate(model, [[3, 7], [5, 4]], max_new_tokens=8, do_sample=True, rng=np.random.default_rng(0), **options)
        assert (drawn == greedy).all()


def test_several_draws_for_each_prompt_stand_together() -> None:
    out = generate(decoder(), [[3, 7], [5, 4]], do_sample=True, num_return_sequences=3, max_new_tokens=4, temperature=3.0)
    assert out[:, :2].tolist() == [[3, 7]] * 3 + [[5, 4]] * 3
    assert len({tuple(row) for row in out}) > 2


# ---------------------------------------------------------------------------------------------- the scores of a token


def test_repetition_counts_once_and_by_sign() -> None:
    scores = np.array([[2.0, -3.0, 1.0, 4.0]])
    assert generation.penalize_repetition(scores, np.array([[0, 1, 0, 0]]), 2.0).tolist() == [[1.0, -6.0, 1.0, 4.0]]
    assert scores.tolist() == [[2.0, -3.0, 1.0, 4.0]]


def test_no_run_of_tokens_comes_twice() -> None:
    rng = np.random.default_rng(0)
    for size, length in itertools.product((1, 2, 3), range(1, 9)):
        tokens = rng.integers(0, 3, (4, length))
        found = generation.forbid_repeated_ngrams(np.zeros((4, 3)), tokens, size)
        for row in range(4):
            written = tokens[row].tolist()
            runs = [tuple(written[i : i + size]) for i in range(length - size + 1)]
            expected = [-np.inf if tuple([*written, token][-size:]) in runs else 0.0 for token in range(3)]
            assert found[row].tolist() == expected


def test_top_k_keeps_ties() -> None:
    scores = np.array([[1.0, 3.0, 2.0, 2.0, 0.0]])
    inf = np.inf
    assert generation.keep_top_k(scores, 2).tolist() == [[-inf, 3.0, 2.0, 2.0, -inf]]
    assert generation.keep_top_k(scores, 1).tolist() == [[-inf, 3.0, -inf, -inf, -inf]]
    assert generation.keep_top_k(scores, 9).tolist() == scores.tolist()


def test_top_p_keeps_the_fewest_that_reach_it() -> None:
    scores = np.log(np.array([[0.15, 0.5, 0.05, 0.3]]))

    def kept(p: float, at_least: int = 1) -> list[int]:
        return np.flatnonzero(np.isfinite(generation.keep_top_p(scores, p, at_least=at_least)[0])).tolist()

    assert kept(0.4) == [1]
    assert kept(0.6) == [1, 3]
    assert kept(0.9) == [0, 1, 3]
    assert kept(0.99) == [0, 1, 2, 3]
    assert kept(0.0) == [1]
    assert kept(0.0, at_least=3) == [0, 1, 3]


def test_a_beam_keeps_a_way_on_beside_the_ends() -> None:
    scores, tokens = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), np.array([[0]])
    for beams, ends, kept in ((1, [1, 2], 1), (2, None, 2), (2, [1], 2), (2, [1, 2], 3)):
        for name, value in (("top_k", 1), ("top_p", 0.0)):
            settings = GenerationConfig(**{"do_sample": True, "num_beams": beams, "eos_token_id": ends, name: value})
            assert np.isfinite(generation.processed(scores, tokens, settings)).sum() == kept


def test_an_end_before_its_time_is_impossible() -> None:
    model = decoder()
    every = list(range(1, 31))  # whatever but 0 ends a sequence
    assert generate(model, [[3, 7]], max_new_tokens=6, min_new_tokens=4, eos_token_id=every)[0, 2:6].tolist() == [0] * 4
    assert generate(model, [[3, 7]], max_new_tokens=6, min_length=5, eos_token_id=every)[0, 2:5].tolist() == [0] * 3
    # min_new_tokens wins over min_length.
    assert generate(model, [[3, 7]], max_new_tokens=6, min_new_tokens=1, min_length=6, eos_token_id=every).shape[1] == 4


# -------------------------------------------------------------------------------------------------------------- streaming


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "num_return_sequences": 3}, {"eos_token_id": [0, 4, 9, 11]}])
def test_a_stream_is_generate_column_by_column(options: dict[str, Any]) -> None:
    model = decoder()
    whole = generate(model, [[3, 7], [5, 4]], rng=np.random.default_rng(0), **options)
    columns = list(stream(model, [[3, 7], [5, 4]], rng=np.random.default_rng(0), **options))
    assert np.column_stack(columns).tolist() == whole[:, 2:].tolist()


def test_a_stream_computes_no_further_than_it_is_read() -> None:
    model = decoder()
    columns = stream(model, [[3, 7]], max_new_tokens=10)
    with npbert.trace(only="cls") as t:
        next(columns)
        next(columns)
        assert t["cls"].shape == (1, 1, 31)
    with npbert.trace(only="cls") as t:
        columns.close()
        assert not len(t)


def test_a_stream_complains_before_it_begins() -> None:
    with pytest.raises(npbert.InputError, match="num_beams"):
        stream(decoder(), [[3, 7]], num_beams=2)
    with pytest.raises(npbert.InputError, match="input_ids: 99"):
        stream(decoder(), [[99]])


# -------------------------------------------------------------------------------------------------------- settings, lengths


def test_lengths() -> None:
    model = decoder()
    assert generate(model, [[3, 7]]).shape == (1, 22)  # 20 new ones
    assert generate(model, [[3, 7]], max_length=5).shape == (1, 5)
    assert generate(model, [[3, 7]], max_length=5, max_new_tokens=5).shape == (1, 7)
    assert generate(model, np.full((1, 33), 5)).shape == (1, 40)  # as far as the model has positions
    # The last token written takes no position, and padding takes none.
    assert generate(model, [[3, 7]], max_new_tokens=39).shape == (1, 41)
    assert generate(model, [[0, 0, 3, 7]], max_new_tokens=39).shape == (1, 43)
    with pytest.raises(npbert.InputError, match=r"max_new_tokens: 40 new tokens after 2 .* 40 positions; at most 39 do"):
        generate(model, [[3, 7]], max_new_tokens=40)
    with pytest.raises(npbert.InputError, match="max_length: 2 counts the prompt"):
        generate(model, [[3, 7]], max_length=2)
    relative = decoder(position_embedding_type="relative_key")
    with pytest.raises(npbert.InputError, match="at most 37"):
        generate(relative, [[0, 0, 3, 7]], max_new_tokens=38)


def test_settings_come_from_the_call_then_the_file_then_the_config() -> None:
    model = decoder(num_beams=2, max_length=20, eos_token_id=7, repetition_penalty=1.5)
    settings = generation.settings_of(model, {"repetition_penalty": 2.0})
    assert (settings.num_beams, settings.max_length, settings.eos_token_id, settings.pad_token_id) == (2, None, 7, 0)
    assert settings.repetition_penalty == 2.0
    model.generation_config = {"num_beams": 3, "max_length": 12, "transformers_version": "4.57.6", "top_k": None}
    settings = generation.settings_of(model, {})
    assert (settings.num_beams, settings.max_length, settings.eos_token_id, settings.top_k) == (3, 12, None, 50)
    # None turns a setting off.
    settings = generation.settings_of(model, {"max_length": None, "top_k": None, "temperature": None})
    assert (settings.max_length, settings.top_k, settings.temperature) == (None, None, None)


def test_a_decoder_s_settings_count_where_the_whole_has_none() -> None:
    model = stored("encoder_decoder")
    kept = model.generation_config
    try:
        model.generation_config = {}
        model.config.decoder.eos_token_id, model.config.decoder.num_beams = 5, 3
        model.config.num_beams = 2
        settings = generation.settings_of(model, {})
        assert (settings.eos_token_id, settings.num_beams, settings.decoder_start_token_id) == (5, 2, 1)
    finally:
        model.config.decoder.eos_token_id, model.config.decoder.num_beams = None, 1
        model.config.num_beams = 1
        model.generation_config = kept


def test_what_has_no_effect_is_said() -> None:
    model = decoder()
    with pytest.warns(UserWarning, match="temperature, top_p has no effect without do_sample"):
        generate(model, [[3]], max_new_tokens=1, temperature=0.5, top_p=0.5, top_k=50)
    with pytest.warns(UserWarning, match="length_penalty has no effect without num_beams"):
        generate(model, [[3]], max_new_tokens=1, length_penalty=2.0)
    with pytest.warns(UserWarning, match="end with padding"):
        generate(model, [[3, 0], [5, 4]], max_new_tokens=1)
    with pytest.warns(UserWarning, match="at least 6 tokens are asked for and at most 3"):
        generate(model, [[3]], max_new_tokens=2, min_new_tokens=5, eos_token_id=4)
    with pytest.warns(UserWarning, match="bad_words_ids are not applied"):
        generate(decoder(bad_words_ids=[[3]]), [[3]], max_new_tokens=1)


def test_end_tokens_may_come_as_an_array() -> None:
    assert GenerationConfig(eos_token_id=np.array([3, 4])).eos_token_ids == [3, 4]  # type: ignore[arg-type]
    assert GenerationConfig(eos_token_id=[3, 4]).filler == 3
    assert GenerationConfig(eos_token_id=3, pad_token_id=0).filler == 0


ERRORS = [
    ({"input_ids": None}, "input_ids: there is no prompt"),
    ({"input_ids": [[31]]}, "input_ids: 31 is out of range"),
    ({"input_ids": [3, 4]}, "input_ids: takes 2 dimensions"),
    ({"input_ids": np.zeros((2, 0), np.int64)}, "at least one token"),
    ({"input_ids": np.full((1, 41), 3)}, "41 tokens, the model takes 40"),
    ({"attention_mask": [[1, 1, 1]]}, "attention_mask: takes shape [1, 2]"),
    ({"token_type_ids": [[0, 3]]}, "token_type_ids: 3 is out of range"),
    ({"position_ids": [[0, 1]]}, "unknown argument 'position_ids'"),
    ({"max_new_token": 3}, "unknown argument 'max_new_token'; it takes"),
    ({"max_new_tokens": 0}, "max_new_tokens: takes a number from 1, got 0"),
    ({"max_new_tokens": 2.0}, "max_new_tokens: takes a whole number, got 2.0"),
    ({"max_new_tokens": True}, "max_new_tokens: takes a whole number, got True"),
    ({"num_beams": 0}, "num_beams: takes a number from 1"),
    ({"num_beams": None}, "num_beams: takes a whole number, got None"),
    ({"temperature": 0.0, "do_sample": True}, "temperature: takes a number above 0, got 0.0"),
    ({"temperature": float("nan"), "do_sample": True}, "temperature: takes a number above 0, got nan"),
    ({"top_p": 1.5, "do_sample": True}, "top_p: takes a number from 0 to 1, got 1.5"),
    ({"top_k": -1, "do_sample": True}, "top_k: takes a number from 0, got -1"),
    ({"repetition_penalty": -1.0}, "repetition_penalty: takes a number above 0, got -1.0"),
    ({"length_penalty": "1"}, "length_penalty: takes a number, got '1'"),
    ({"length_penalty": float("inf"), "num_beams": 2}, "length_penalty: takes a number, got inf"),
    ({"early_stopping": "always"}, "early_stopping: takes True, False or \"never\", got 'always'"),
    ({"do_sample": 1}, "do_sample: takes True or False, got 1"),
    ({"num_return_sequences": 2}, "num_return_sequences: greedy search finds one sequence"),
    ({"num_return_sequences": 3, "num_beams": 2}, "num_return_sequences: takes at most num_beams, 2; got 3"),
    ({"eos_token_id": 31}, "eos_token_id: 31 is out of range"),
    ({"eos_token_id": "[SEP]"}, "eos_token_id: takes whole numbers, got strings"),
    ({"pad_token_id": -1}, "pad_token_id: -1 is out of range"),
    ({"rng": 7, "do_sample": True}, "rng: takes a numpy.random.Generator, got int"),
    ({"encoder_hidden_states": np.zeros((1, 2, 12))}, "encoder_hidden_states: this model has no cross-attention"),
]


@pytest.mark.parametrize(("options", "message"), ERRORS, ids=[message[:40] for _, message in ERRORS])
def test_bad_input_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises((npbert.InputError, npbert.InputTypeError), match=re.escape(message)):
        generate(decoder(), **{"input_ids": [[3, 7]], **options})


def test_only_models_that_write() -> None:
    with pytest.raises(npbert.InputTypeError, match="takes a BertLMHeadModel or an EncoderDecoderModel, got BertModel"):
        generate(build("BertModel", tiny()), [[3]])  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="sees the tokens"):
        model = BertLMHeadModel(tiny(), rng=np.random.default_rng(0))
    with pytest.raises(npbert.InputError, match="set is_decoder=True"):
        generate(model, [[3]])
    with pytest.raises(npbert.InputError, match="a model without layers"):
        generate(decoder(num_hidden_layers=0), [[3]])


# --------------------------------------------------------------------------------------------------- the live reference


def random_options(rng: np.random.Generator, vocabulary: int) -> dict[str, Any]:
    """Any settings of greedy or beam search."""
    options: dict[str, Any] = {"max_new_tokens": int(rng.integers(1, 14))}

    def sometimes(probability: float, name: str, value: Any) -> None:
        if rng.random() < probability:
            options[name] = value

    ends = (rng.choice(vocabulary - 1, int(rng.integers(1, 4)), replace=False) + 1).tolist()
    sometimes(0.7, "eos_token_id", ends if len(ends) > 1 else ends[0])
    sometimes(0.5, "pad_token_id", int(rng.integers(0, vocabulary)))
    sometimes(0.4, "repetition_penalty", float(rng.choice([0.7, 1.3, 2.5])))
    sometimes(0.3, "min_new_tokens", int(rng.integers(0, 8)))
    sometimes(0.2, "min_length", int(rng.integers(0, 12)))
    sometimes(0.3, "no_repeat_ngram_size", int(rng.integers(2, 4)))
    if rng.random() < 0.65:
        options["num_beams"] = int(rng.integers(2, 5))
        options["num_return_sequences"] = int(rng.integers(1, options["num_beams"] + 1))
        options["length_penalty"] = float(rng.choice([-1, 0, 0.5, 1, 2]))
        options["early_stopping"] = [True, False, "never"][rng.integers(3)]
    return options


def assert_generates_alike(model: Any, reference_model: Any, arrays: dict[str, Any], options: dict[str, Any]) -> None:
    import torch

    decoder_config = getattr(model.config, "decoder", model.config)
    with torch.no_grad():
        theirs = reference_model.generate(
            **{name: torch.from_numpy(array) for name, array in arrays.items()},
            **options,
            do_sample=False,
            # Where attention knows distances, the reference measures them wrongly from its cache.
            use_cache=decoder_config.position_embedding_type == "absolute",
            return_dict_in_generate=True,
            output_scores=True,
        )
    ours = generate(model, return_dict_in_generate=True, **arrays, **options)
    assert ours.sequences.tolist() == theirs.sequences.tolist(), options
    if "num_beams" in options:
        np.testing.assert_allclose(ours.sequences_scores, theirs.sequences_scores.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(40))
def test_parity_of_greedy_and_beam_search(seed: int) -> None:
    from .. import reference

    rng = np.random.default_rng(seed)
    position_type = str(rng.choice(POSITION_TYPES, p=[0.5, 0.25, 0.25]))
    model = decoder(seed=seed, vocab_size=int(rng.integers(5, 31)), position_embedding_type=position_type).astype(np.float32)
    theirs = reference.build("BertLMHeadModel", model.config.to_dict(), model.state_dict())
    prompts = rng.integers(1, model.config.vocab_size, (int(rng.integers(1, 4)), int(rng.integers(1, 7))))
    mask = np.arange(prompts.shape[1]) >= rng.integers(0, prompts.shape[1], (len(prompts), 1)) * (rng.random() < 0.6)
    arrays = {"input_ids": prompts * mask}
    if rng.random() < 0.5:
        arrays["attention_mask"] = mask.astype(np.int64)
    if rng.random() < 0.3:
        arrays["token_type_ids"] = rng.integers(0, 3, prompts.shape)
    assert_generates_alike(model, theirs, arrays, random_options(rng, model.config.vocab_size))


@pytest.mark.parity
@pytest.mark.parametrize("seed", range(25))
def test_parity_of_processed_scores(seed: int) -> None:
    """The distribution that is drawn from, from rounded scores, so that there are ties."""
    import torch
    import transformers

    rng = np.random.default_rng(seed)
    vocabulary = int(rng.integers(3, 40))
    decimals = int(rng.integers(0, 4))
    scores = (rng.normal(size=(5, vocabulary)) * rng.choice([0.5, 3])).round(decimals).astype(np.float32)
    tokens = rng.integers(0, vocabulary, (5, int(rng.integers(1, 9))))
    options: dict[str, Any] = {"do_sample": True, "top_k": int(rng.integers(0, vocabulary + 3))}
    options |= {"top_p": float(rng.choice([0.0, 0.3, 0.5, 0.9, 1.0])), "temperature": float(rng.choice([0.3, 1.0, 2.0]))}
    options |= {"repetition_penalty": float(rng.choice([0.5, 1.0, 1.7])), "no_repeat_ngram_size": int(rng.integers(0, 4))}
    options |= {"num_beams": int(rng.integers(1, 3)), "eos_token_id": [1, 2][: int(rng.integers(1, 3))]}
    options |= {"min_length": int(rng.integers(0, 9))}
    config = transformers.GenerationConfig(**options)
    config._eos_token_tensor = torch.tensor(options["eos_token_id"])
    model = transformers.BertLMHeadModel(transformers.BertConfig(num_hidden_layers=0, vocab_size=3, hidden_size=12))
    processors = model._get_logits_processor(config, input_ids_seq_length=tokens.shape[1], device="cpu")
    expected = processors(torch.from_numpy(tokens), torch.from_numpy(scores)).numpy()
    if np.isneginf(expected).all(axis=-1).any():
        with pytest.raises(npbert.InputError, match="no token is possible"):
            generation.processed(scores, tokens, GenerationConfig(**options))
        return
    found = generation.processed(scores, tokens, GenerationConfig(**options))
    if options["top_p"] < 1:  # which of several equal ones it cuts is left open there: torch.sort is not stable
        found, expected = np.sort(found), np.sort(expected)
    assert np.array_equal(np.isfinite(found), np.isfinite(expected)), options
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parity
def test_parity_of_defaults() -> None:
    import transformers

    theirs = transformers.GenerationConfig()
    for name in generation.OPTIONS:
        if name != "max_length":  # 20 there, and taken for 20 new tokens when nobody set it
            assert getattr(GenerationConfig(), name) == getattr(theirs, name), name
    for name, unset in generation._FOREIGN.items():
        assert getattr(theirs, name) == unset, name


def test_drawing_from_nothing_is_refused() -> None:
    model = decoder(vocab_size=5)
    with pytest.raises(npbert.InputError, match="no token is possible"):
        generate(model, [[3]], do_sample=True, no_repeat_ngram_size=1, max_new_tokens=9)


def test_the_config_is_not_touched() -> None:
    model = decoder()
    before = model.config.to_dict()
    generate(model, [[3, 7]], max_new_tokens=3, eos_token_id=4)
    assert model.config.to_dict() == before
    assert isinstance(model.config, BertConfig)
