"""What `generate` returns beside its tokens, and what it can begin with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import npbert
from npbert.models.generating import generate
from npbert.types import Array

from ..generation.helpers import decoder
from ..gpt2 import builders as gpt2
from .test_encoder_decoder import whole

EVERYTHING = {
    "return_dict_in_generate": True,
    "output_scores": True,
    "output_logits": True,
    "output_attentions": True,
    "output_hidden_states": True,
}
PROMPTS = np.array([[3, 7, 9], [4, 5, 6]])


def writer(kind: str = "gpt2") -> Any:
    model = gpt2.build("GPT2LMHeadModel", gpt2.tiny(n_positions=40)) if kind == "gpt2" else decoder()
    return model


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_everything_of_greedy_search(kind: str) -> None:
    model = writer(kind)
    out = generate(model, PROMPTS, max_new_tokens=4, **EVERYTHING)
    vocabulary, layers = model.config.vocab_size, model.config.num_hidden_layers
    np.testing.assert_array_equal(out.sequences, generate(model, PROMPTS, max_new_tokens=4))
    assert [x.shape for x in out.scores] == [x.shape for x in out.logits] == [(2, vocabulary)] * 4
    np.testing.assert_array_equal(np.stack(out.scores, axis=1).argmax(axis=-1), out.sequences[:, 3:])
    assert [x[0].shape[2:] for x in out.attentions] == [(3, 3), (1, 4), (1, 5), (1, 6)]
    assert [len(x) for x in out.attentions] == [layers] * 4
    assert [x[0].shape[1] for x in out.hidden_states] == [3, 1, 1, 1]
    assert [len(x) for x in out.hidden_states] == [layers + 1] * 4
    assert out.past_key_values[0][0].shape[2] == 6
    assert "past_key_values" not in generate(model, PROMPTS, max_new_tokens=1, return_dict_in_generate=True, use_cache=False)
    assert tuple(generate(model, PROMPTS, max_new_tokens=1, return_dict_in_generate=True)) == ("sequences", "past_key_values")
    # The whole text read at once puts out what the steps put out.
    whole = model(out.sequences[:, :-1])
    np.testing.assert_allclose(np.stack(out.logits, axis=1), whole.logits[:, 2:], rtol=1e-4, atol=1e-4)


def test_everything_of_beam_search() -> None:
    model = writer()
    options: dict[str, Any] = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 5}
    out = generate(model, PROMPTS, **options, **EVERYTHING)
    assert out.sequences.shape == (4, 8)
    assert out.sequences_scores.shape == (4,)
    assert out.beam_indices.shape == (4, 5)
    assert {x.shape for x in out.scores} == {(6, model.config.vocab_size)}
    # A sequence's score is the sum of its tokens' log probabilities, each found in the row that the token was written in.
    steps = np.stack(out.scores)  # [steps, R, V]
    found = steps[np.arange(5), out.beam_indices, out.sequences[:, 3:]].sum(axis=1) / 5
    np.testing.assert_allclose(found, out.sequences_scores, rtol=1e-6)


def test_each_of_several_sequences_has_rows_of_its_own() -> None:
    model = writer()
    options: dict[str, Any] = {
        "do_sample": True,
        "num_return_sequences": 3,
        "max_new_tokens": 4,
        "rng": np.random.default_rng(0),
    }
    out = generate(model, PROMPTS, **options, **EVERYTHING)
    read = out.sequences[:, :-1]
    whole = model(read, attention_mask=np.ones_like(read), output_attentions=True, output_hidden_states=True)
    for name, expected in (("attentions", whole.attentions[0][:, :, 2:]), ("hidden_states", whole.hidden_states[1][:, 2:])):
        first, *others = (layers[0 if name == "attentions" else 1] for layers in out[name])
        assert {len(x) for x in (first, *others)} == {6}
        axis = expected.ndim - 2  # that of the queries
        for step, x in enumerate((first, *others)):
            found = np.take(x, -1, axis=axis)
            np.testing.assert_allclose(found, np.take(expected, step, axis=axis)[..., : found.shape[-1]], atol=1e-5)
    np.testing.assert_allclose(np.stack(out.logits, axis=1), whole.logits[:, 2:], rtol=1e-4, atol=1e-4)


def test_words_that_are_never_written() -> None:
    model = writer()
    plain = generate(model, PROMPTS[:1], max_new_tokens=6)[0, 3:].tolist()
    first, pair = plain[0], plain[:2]
    assert first not in generate(model, PROMPTS[:1], max_new_tokens=6, bad_words_ids=[[first]])[0, 3:]
    without = generate(model, PROMPTS[:1], max_new_tokens=6, bad_words_ids=[pair])[0, 3:].tolist()
    assert without[0] == first
    assert pair not in [without[place : place + 2] for place in range(5)]
    for wrong, message in (
        ([], "a list of lists"),
        ([[]], "one token or more"),
        ([[-1]], "0 or above"),
        ([[99]], "out of range"),
    ):
        with pytest.raises(npbert.InputError, match=message):
            generate(model, PROMPTS, bad_words_ids=wrong)


def test_a_text_from_nothing_begins_with_the_token_that_begins_texts() -> None:
    model = writer()
    np.testing.assert_array_equal(generate(model, bos_token_id=2, max_new_tokens=4), generate(model, [[2]], max_new_tokens=4))
    with pytest.raises(npbert.InputError, match="there is no prompt, and no bos_token_id to begin with"):
        generate(model, max_new_tokens=4)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
@pytest.mark.parametrize("beams", [1, 3])
def test_vectors_in_place_of_a_prompt(kind: str, beams: int) -> None:
    model = writer(kind)
    embeds = model.get_input_embeddings()[PROMPTS]
    options: dict[str, Any] = {"max_new_tokens": 5, "num_beams": beams}
    wanted = generate(model, PROMPTS, attention_mask=np.ones_like(PROMPTS), **options)
    np.testing.assert_array_equal(generate(model, inputs_embeds=embeds, **options), wanted[:, 3:])
    np.testing.assert_array_equal(generate(model, PROMPTS, inputs_embeds=embeds, **options), wanted)
    assert generate(model, inputs_embeds=embeds).shape == (2, 17)  # as in the reference, 20 with the vectors counted
    with pytest.raises(npbert.InputError, match="as many prompts as input_ids, 1, got 2"):
        generate(model, PROMPTS[:1], inputs_embeds=embeds)


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
@pytest.mark.parametrize("beams", [1, 2])
def test_going_on_from_a_cache(kind: str, beams: int) -> None:
    model = writer(kind)
    first = generate(model, PROMPTS, max_new_tokens=2, return_dict_in_generate=True)
    seen = []

    def look(name: str, x: Array) -> Array:
        if name.endswith(("word_embeddings", "wte")):
            seen.append(x.shape[1])
        return x

    options: dict[str, Any] = {"max_new_tokens": 3, "num_beams": beams}
    with npbert.tracing.observe(look):
        again = generate(model, first.sequences, past_key_values=first.past_key_values, **options)
    assert seen[0] == 1  # the cache holds all but the last token
    np.testing.assert_array_equal(again, generate(model, first.sequences, **options))
    with pytest.raises(npbert.InputError, match="past_key_values: hold 4 tokens; the prompts take those and at least one more"):
        generate(model, PROMPTS, past_key_values=first.past_key_values)


def test_heads_that_are_left_out() -> None:
    model = writer()
    mask = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    out = generate(model, PROMPTS, head_mask=mask, max_new_tokens=3, **EVERYTHING)
    assert all(not step[0][:, 1].any() and not step[1][:, 0].any() for step in out.attentions)
    whole = model(out.sequences[:, :-1], head_mask=mask)
    np.testing.assert_allclose(np.stack(out.logits, axis=1), whole.logits[:, 2:], rtol=1e-6)


def test_an_encoder_decoder_s_steps() -> None:
    model = whole()
    out = generate(model, [[3, 4, 5]], max_new_tokens=3, decoder_start_token_id=1, **EVERYTHING)
    assert len(out.decoder_attentions) == len(out.cross_attentions) == len(out.decoder_hidden_states) == len(out.scores)
    assert len(out.encoder_attentions) == model.config.encoder.num_hidden_layers
    assert out.cross_attentions[0][0].shape[-1] == 3


def test_asking_for_more_without_a_place_for_it_warns() -> None:
    with pytest.warns(UserWarning, match="output_scores has no effect without return_dict_in_generate"):
        generate(writer(), PROMPTS, max_new_tokens=1, output_scores=True)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("extra", [{}, {"bad_words_ids": [[3], [5, 6], [9, 9]]}, {"repetition_penalty": 1.5}])
def test_parity_of_everything(beams: int, extra: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    from ..gpt2 import reference

    model = writer().astype(np.float32)
    theirs = reference.build("GPT2LMHeadModel", model.config.to_dict(), model.state_dict())
    options: dict[str, Any] = {"max_new_tokens": 6, "num_beams": beams, "num_return_sequences": 1, "eos_token_id": 11, **extra}
    ours = generate(model, PROMPTS, **options, **EVERYTHING)
    with torch.no_grad():
        wanted = theirs.generate(torch.tensor(PROMPTS), pad_token_id=0, do_sample=False, **options, **EVERYTHING)
    np.testing.assert_array_equal(ours.sequences, wanted.sequences)
    if beams > 1:
        np.testing.assert_array_equal(ours.beam_indices, wanted.beam_indices)
    for name in ("scores", "logits"):
        assert len(ours[name]) == len(wanted[name])
        for x, y in zip(ours[name], wanted[name], strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)
    for name in ("attentions", "hidden_states"):
        for step, their_step in zip(ours[name], wanted[name], strict=True):
            for x, y in zip(step, their_step, strict=True):
                np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)


def test_a_task_without_a_prompt_begins_with_that_token_too() -> None:
    from ..tasks import cases

    model, tokenizer = cases.model("writer"), cases.tokenizer()
    options: dict[str, Any] = {"add_special_tokens": False, "max_new_tokens": 4, "do_sample": False, "return_tensors": True}
    ask = npbert.pipeline("text-generation", model=model, tokenizer=tokenizer, **options)
    begun = ask("", bos_token_id=101)[0]["generated_token_ids"]
    assert begun == generate(model, [[101]], max_new_tokens=4)[0].tolist()
    with pytest.raises(npbert.InputError, match="inputs: has no token to continue from"):
        ask("")


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_the_score_of_each_new_token(kind: str) -> None:
    model = writer(kind)
    options: dict[str, Any] = {"max_new_tokens": 5, "return_dict_in_generate": True, "output_scores": True}
    out = generate(model, PROMPTS, **options)
    found = model.compute_transition_scores(out.sequences, out.scores)
    np.testing.assert_array_equal(found, np.stack(out.scores, axis=1).max(axis=-1))
    likely = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    np.testing.assert_allclose(likely, npbert.ops.log_softmax(np.stack(out.scores, axis=1)).max(axis=-1), rtol=1e-5)
    beams = generate(model, PROMPTS, num_beams=3, num_return_sequences=2, length_penalty=0.0, **options)
    found = model.compute_transition_scores(beams.sequences, beams.scores, beams.beam_indices)
    np.testing.assert_allclose(found.sum(axis=1), beams.sequences_scores, rtol=1e-4)
    with pytest.raises(npbert.InputError, match="scores: takes those of a generation"):
        model.compute_transition_scores(out.sequences, ())
    with pytest.raises(npbert.InputError, match=r"scores: 5 steps do not belong to sequences of shape \[2, 3\]"):
        model.compute_transition_scores(PROMPTS, out.scores)


def test_the_first_argument_by_its_other_name_and_two_lengths() -> None:
    model = writer()
    np.testing.assert_array_equal(model.generate(inputs=PROMPTS, max_new_tokens=2), model.generate(PROMPTS, max_new_tokens=2))
    with pytest.raises(npbert.InputError, match="inputs: is another name for input_ids"):
        model.generate(PROMPTS, inputs=PROMPTS)
    with pytest.warns(UserWarning, match="generate: max_length has no effect beside max_new_tokens"):
        assert model.generate(PROMPTS, max_new_tokens=2, max_length=30).shape == (2, 5)


@pytest.mark.parametrize("name", ["streamer", "logits_processor", "stopping_criteria", "assistant_model", "num_beam_groups"])
def test_arguments_of_the_reference_say_what_to_use(name: str) -> None:
    with pytest.raises(npbert.InputTypeError, match=f"generate: npbert has no {name}: (npbert|give)"):
        writer().generate(PROMPTS, max_new_tokens=2, **{name: 2})
    assert writer().generate(PROMPTS, max_new_tokens=2, **{name: None}).shape == (2, 5)
