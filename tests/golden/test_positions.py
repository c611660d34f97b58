"""Which positions count: compared with answers by hand, and checked to depend on nothing that does not count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import npbert
from npbert.golden import positions

from ..builders import build, ids, tiny

DECODER = {"is_decoder": True, "add_cross_attention": True}


def of(config: Any, model_class: str = "BertModel", **inputs: Any) -> positions.Positions:
    config.architectures = [model_class]
    arrays = {name: x if isinstance(x, tuple) else np.asarray(x) for name, x in inputs.items()}
    return positions.of_call(config, arrays)[""]


def test_an_encoder_without_a_mask_shows_everything() -> None:
    found = of(tiny(), input_ids=np.ones((2, 3), int))
    assert all(x.all() for x in found)
    assert (found.query.shape, found.key.shape, found.visible.shape) == ((2, 3), (2, 3), (2, 3, 3))


def test_padding_is_hidden() -> None:
    found = of(tiny(), input_ids=np.ones((2, 3), int), attention_mask=[[1, 1, 0], [1, 1, 1]])
    assert found.query.tolist() == found.key.tolist() == [[True, True, False], [True, True, True]]
    assert found.visible[0].tolist() == [[True, True, False]] * 3


def test_the_pooler_reads_the_first_position_even_where_it_is_padding() -> None:
    mask = [[0, 1, 1]]
    assert of(tiny(), input_ids=[[1, 1, 1]], attention_mask=mask).query.tolist() == [[True, True, True]]
    assert of(tiny(), "BertForMaskedLM", input_ids=[[1, 1, 1]], attention_mask=mask).query.tolist() == [[False, True, True]]
    assert of(tiny(), input_ids=[[1, 1, 1]], attention_mask=mask).key.tolist() == [[False, True, True]]


def test_a_query_that_sees_nothing_has_no_answer() -> None:
    found = of(tiny(), input_ids=[[1, 1]], attention_mask=[[0, 0]])
    assert not found.query.any()
    left_padded = of(tiny(is_decoder=True), input_ids=[[1, 1, 1]], attention_mask=[[0, 1, 1]])
    assert left_padded.query.tolist() == [[False, True, True]]
    cross = {"encoder_hidden_states": np.ones((2, 2, 12)), "encoder_attention_mask": [[0, 0], [1, 0]]}
    found = of(tiny(**DECODER), input_ids=[[1], [1]], **cross)
    assert found.query.tolist() == [[False], [True]]
    assert found.cross_key.tolist() == [[False, False], [True, False]]


def test_a_key_that_only_padding_looks_at_does_not_count() -> None:
    mask = [[[1, 0, 0], [1, 0, 0], [0, 1, 0]]]  # nobody looks at the last, which looks at the second
    found = of(tiny(), input_ids=[[1, 1, 1]], attention_mask=mask)
    assert found.query.tolist() == [[True, True, False]]
    assert found.key.tolist() == [[True, False, False]]


def test_a_decoder_sees_the_cache_and_what_came_before() -> None:
    past = (tuple(np.ones((1, 3, 2, 4)) for _ in range(2)),) * 2
    found = of(tiny(is_decoder=True), input_ids=[[1, 1]], past_key_values=past, attention_mask=[[0, 1, 1, 1]])
    assert found.visible.tolist() == [[[False, True, True, False], [False, True, True, True]]]
    assert found.key.tolist() == [[False, True, True, True]]
    assert found.query.tolist() == [[True, True]]


def test_choices_are_sequences() -> None:
    mask = np.array([[[1, 1, 0], [1, 1, 1]]])
    found = of(tiny(), "BertForMultipleChoice", input_ids=np.ones((1, 2, 3), int), attention_mask=mask)
    assert found.query.tolist() == [[True, True, False], [True, True, True]]
    assert positions.counted({"": found}, "output:logits", (1, 2)).tolist() == [[True, True]]


def test_an_encoder_decoder_has_two_parts() -> None:
    config = npbert.EncoderDecoderConfig(encoder=tiny(), decoder=tiny(**DECODER), decoder_start_token_id=1, pad_token_id=0)
    inputs = {"input_ids": np.ones((1, 3), int), "attention_mask": np.array([[1, 1, 0]]), "labels": np.array([[5, -100]])}
    parts = positions.of_call(config, inputs)
    assert parts["encoder"].query.tolist() == [[True, True, False]]
    assert parts["decoder"].query.shape == (1, 2)
    assert parts["decoder"].cross_key.tolist() == [[True, True, False]]
    counted = positions.counted(parts, "encoder.encoder.layer.0", (1, 3, 12))
    assert counted.tolist() == [[[True], [True], [False]]]
    assert positions.counted(parts, "decoder.bert.encoder.layer.0", (1, 2, 12)).shape == (1, 2, 1)
    # Written so far: the start token, then 5. With -100 before it, padding stands there, which the derived mask hides.
    inputs["labels"] = np.array([[-100, 5]])
    assert positions.of_call(config, inputs)["decoder"].query.tolist() == [[True, False]]


def kinds() -> list[Any]:
    padded = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    square = np.repeat(padded[:, None], 5, axis=1)
    cross = np.array([[1, 1, 1], [1, 0, 0]])
    return [
        pytest.param("BertModel", {}, padded, None, id="encoder"),
        pytest.param("BertModel", {}, padded[:, ::-1], None, id="left-padded"),
        pytest.param("BertModel", {}, square, None, id="square"),
        pytest.param("BertModel", {"position_embedding_type": "relative_key_query"}, padded, None, id="relative"),
        pytest.param("BertLMHeadModel", {"is_decoder": True}, padded[:, ::-1], None, id="decoder"),
        pytest.param("BertLMHeadModel", DECODER, padded, cross, id="cross"),
        pytest.param("BertForQuestionAnswering", {}, padded, None, id="question"),
        pytest.param("BertForTokenClassification", {}, padded, None, id="token"),
        pytest.param("BertForSequenceClassification", {}, padded, None, id="sequence"),
    ]


@pytest.mark.parametrize(("model_class", "fields", "mask", "cross_mask"), kinds())
def test_what_does_not_count_does_not_matter(model_class: str, fields: Any, mask: Any, cross_mask: Any) -> None:
    """Other tokens behind the mask change nothing that counts, and no more is left out than has to be."""
    config = tiny(**fields)
    model = build(model_class, config)
    inputs: dict[str, Any] = {"input_ids": ids(config, 2, 5), "attention_mask": mask}
    if cross_mask is not None:
        inputs["encoder_attention_mask"] = cross_mask
        inputs["encoder_hidden_states"] = np.random.default_rng(0).normal(size=(2, 3, config.hidden_size))
    visible = positions.of_call(model.config, inputs)
    seen = mask.any(axis=1) if mask.ndim == 3 else mask
    changed = dict(inputs)
    changed["input_ids"] = np.where(seen == 0, inputs["input_ids"] % (config.vocab_size - 1) + 1, inputs["input_ids"])
    if model_class == "BertModel":  # the pooler reads the first
        changed["input_ids"][:, 0] = inputs["input_ids"][:, 0]
    if cross_mask is not None:
        changed["encoder_hidden_states"] = inputs["encoder_hidden_states"] + (1 - cross_mask)[:, :, None]

    with npbert.trace() as before:
        model(**inputs)
    with npbert.trace() as after:
        model(**changed)
    for name in before:
        counted = np.broadcast_to(positions.counted(visible, name, before[name].shape), before[name].shape)
        difference = np.abs(before[name] - after[name])
        assert difference[counted].max(initial=0) < 1e-12, name
        assert counted.any(), name
        if name.endswith("encoder.layer.0"):
            moved = (difference > 1e-12).any(axis=-1)  # [B, S]
            assert moved.any() == (seen == 0)[:, 1 if model_class == "BertModel" else 0 :].any()
