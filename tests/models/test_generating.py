"""Writing with a model: held against what the reference wrote, against enumeration, and against the model without a cache."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import BertConfig, BertLMHeadModel, ops
from npbert.models.generating import generate, settings_of, stream

from ..builders import POSITION_TYPES, build, tiny
from ..generation.helpers import CASES, WRONG_SETTINGS, assert_generates_alike, decoder, last_logits, random_options, stored


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


# ------------------------------------------------------------------------------------------------------------ cache and padding


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


# ------------------------------------------------------------------------------------------------------------------ beam search


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


# --------------------------------------------------------------------------------------------------------------------- sampling


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


def test_drawing_from_nothing_is_refused() -> None:
    model = decoder(vocab_size=5)
    with pytest.raises(npbert.InputError, match="no token is possible"):
        generate(model, [[3]], do_sample=True, no_repeat_ngram_size=1, max_new_tokens=9)


# -------------------------------------------------------------------------------------------------------------------- streaming


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


# ------------------------------------------------------------------------------------------------------------ settings, lengths


def test_lengths() -> None:
    model = decoder()
    assert generate(model, [[3, 7]]).shape == (1, 22)  # 20 new ones
    assert generate(model, [[3, 7]], max_length=5).shape == (1, 5)
    with pytest.warns(UserWarning, match="max_length has no effect beside max_new_tokens"):
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


def test_an_end_before_its_time_is_impossible() -> None:
    model = decoder()
    every = list(range(1, 31))  # whatever but 0 ends a sequence
    assert generate(model, [[3, 7]], max_new_tokens=6, min_new_tokens=4, eos_token_id=every)[0, 2:6].tolist() == [0] * 4
    assert generate(model, [[3, 7]], max_new_tokens=6, min_length=5, eos_token_id=every)[0, 2:5].tolist() == [0] * 3
    # min_new_tokens wins over min_length.
    with pytest.warns(UserWarning, match="min_length has no effect beside min_new_tokens"):
        assert generate(model, [[3, 7]], max_new_tokens=6, min_new_tokens=1, min_length=6, eos_token_id=every).shape[1] == 4


def test_settings_come_from_the_call_then_the_file_then_the_config() -> None:
    model = decoder(num_beams=2, max_length=20, eos_token_id=7, repetition_penalty=1.5)
    settings = settings_of(model, {"repetition_penalty": 2.0})
    assert (settings.num_beams, settings.max_length, settings.eos_token_id, settings.pad_token_id) == (2, None, 7, 0)
    assert settings.repetition_penalty == 2.0
    model.generation_config = {"num_beams": 3, "max_length": 12, "transformers_version": "4.57.6", "top_k": None}
    settings = settings_of(model, {})
    assert (settings.num_beams, settings.max_length, settings.eos_token_id, settings.top_k) == (3, 12, None, 50)
    # None turns a setting off.
    settings = settings_of(model, {"max_length": None, "top_k": None, "temperature": None})
    assert (settings.max_length, settings.top_k, settings.temperature) == (None, None, None)


def test_a_decoder_s_settings_count_where_the_whole_has_none() -> None:
    model = stored("encoder_decoder")
    kept = model.generation_config
    try:
        model.generation_config = {}
        model.config.decoder.eos_token_id, model.config.decoder.num_beams = 5, 3
        model.config.num_beams = 2
        settings = settings_of(model, {})
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
    with pytest.warns(UserWarning, match="min_p are not applied"):
        generate(decoder(min_p=0.1), [[3]], max_new_tokens=1)


def test_the_config_is_not_touched() -> None:
    model = decoder()
    before = model.config.to_dict()
    generate(model, [[3, 7]], max_new_tokens=3, eos_token_id=4)
    assert model.config.to_dict() == before
    assert isinstance(model.config, BertConfig)


# -------------------------------------------------------------------------------------------------------------- what is refused


WRONG_INPUTS = [
    ({"input_ids": None}, "input_ids: there is no prompt"),
    ({"input_ids": [[31]]}, "input_ids: 31 is out of range"),
    ({"input_ids": [3, 4]}, "input_ids: takes 2 dimensions"),
    ({"input_ids": np.zeros((2, 0), np.int64)}, "at least one token"),
    ({"input_ids": np.full((1, 41), 3)}, "41 tokens, the model takes 40"),
    ({"attention_mask": [[1, 1, 1]]}, "attention_mask: takes shape [1, 2]"),
    ({"token_type_ids": [[0, 3]]}, "token_type_ids: 3 is out of range"),
    ({"position_ids": [[0, 1]]}, "unknown argument 'position_ids'"),
    ({"max_new_token": 3}, "unknown argument 'max_new_token'; it takes"),
    ({"eos_token_id": 31}, "eos_token_id: 31 is out of range"),
    ({"eos_token_id": "[SEP]"}, "eos_token_id: takes whole numbers, got strings"),
    ({"pad_token_id": -1}, "pad_token_id: -1 is out of range"),
    ({"rng": 7, "do_sample": True}, "rng: takes a numpy.random.Generator, got int"),
    ({"encoder_hidden_states": np.zeros((1, 2, 12))}, "encoder_hidden_states: this model has no cross-attention"),
]


@pytest.mark.parametrize(
    ("options", "message"), [pytest.param(*case, id=case[1][:40]) for case in WRONG_INPUTS + WRONG_SETTINGS]
)
def test_bad_input_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises((npbert.InputError, npbert.InputTypeError), match=re.escape(message)):
        generate(decoder(), **{"input_ids": [[3, 7]], **options})


def test_only_models_that_write() -> None:
    with pytest.raises(
        npbert.InputTypeError, match="a BertLMHeadModel, a GPT2LMHeadModel or an EncoderDecoderModel, got BertModel"
    ):
        generate(build("BertModel", tiny()), [[3]])
    with pytest.raises(npbert.InputTypeError, match="got BertForMaskedLM"):
        generate(build("BertForMaskedLM", tiny(is_decoder=True)), [[3]])
    for other in (BertLMHeadModel, functools, "bert-base-uncased", None):
        with pytest.raises(npbert.InputTypeError, match=f"got {type(other).__name__}"):
            generate(other, [[3]])
    with pytest.warns(UserWarning, match="sees the tokens"):
        model = BertLMHeadModel(tiny(), rng=np.random.default_rng(0))
    with pytest.raises(npbert.InputError, match="set is_decoder=True"):
        generate(model, [[3]])
    with pytest.raises(npbert.InputError, match="a model without layers"):
        generate(decoder(num_hidden_layers=0), [[3]])


# ----------------------------------------------------------------------------------------------------------- the live reference


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
