"""The task heads and their losses, each against its definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import NpbertError, ops
from npbert.bert import heads

from ..builders import build, ids, tiny


def rows(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def nll(logits: np.ndarray, label: int) -> float:
    return math.log(math.fsum(math.exp(float(z)) for z in logits)) - float(logits[label])


# ---------------------------------------------------------------------------------------------------------------- heads


@pytest.mark.parametrize("tied", [True, False])
def test_masked_words_are_compared_with_every_row_of_the_table(tied: bool) -> None:
    model = build("BertForMaskedLM", tiny(tie_word_embeddings=tied, layer_norm_eps=0.1, hidden_act="relu"))
    w = model.state_dict()
    with npbert.trace() as kept:
        logits = model(ids(tiny(), 2, 4)).logits
    x = kept["bert.encoder"] @ w["cls.predictions.transform.dense.weight"].T + w["cls.predictions.transform.dense.bias"]
    x = np.maximum(x, 0)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1)
    x = x * w["cls.predictions.transform.LayerNorm.weight"] + w["cls.predictions.transform.LayerNorm.bias"]
    decoder = w["bert.embeddings.word_embeddings.weight"] if tied else w["cls.predictions.decoder.weight"]
    np.testing.assert_allclose(logits, x @ decoder.T + w["cls.predictions.bias"], rtol=1e-11, atol=1e-12)
    assert (w["cls.predictions.decoder.weight"] is w["bert.embeddings.word_embeddings.weight"]) == tied
    assert w["cls.predictions.decoder.bias"] is w["cls.predictions.bias"]


@pytest.mark.parametrize("model_class", ["BertForSequenceClassification", "BertForNextSentencePrediction"])
def test_classifiers_read_the_pooled_vector(model_class: str) -> None:
    model = build(model_class, tiny(num_labels=5))
    name = "classifier" if model_class == "BertForSequenceClassification" else "cls.seq_relationship"
    w = model.state_dict()
    with npbert.trace() as kept:
        logits = model(ids(tiny(), 3, 4)).logits
    np.testing.assert_allclose(logits, kept["bert.pooler"] @ w[f"{name}.weight"].T + w[f"{name}.bias"], rtol=1e-13)
    assert logits.shape == (3, 5 if name == "classifier" else 2)


@pytest.mark.parametrize("model_class", ["BertForTokenClassification", "BertForQuestionAnswering"])
def test_token_heads_read_every_hidden_state(model_class: str) -> None:
    model = build(model_class, tiny(num_labels=2))
    name = "classifier" if model_class == "BertForTokenClassification" else "qa_outputs"
    w = model.state_dict()
    with npbert.trace() as kept:
        out = model(ids(tiny(), 3, 4))
    expected = kept["bert.encoder"] @ w[f"{name}.weight"].T + w[f"{name}.bias"]
    if name == "classifier":
        np.testing.assert_allclose(out.logits, expected, rtol=1e-12, atol=1e-13)
    else:
        np.testing.assert_allclose(out.start_logits, expected[..., 0], rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(out.end_logits, expected[..., 1], rtol=1e-12, atol=1e-13)
    assert "bert.pooler" not in kept


def test_choices_are_scored_one_by_one() -> None:
    model = build("BertForMultipleChoice", tiny())
    tokens = ids(tiny(), 6, 4).reshape(2, 3, 4)
    mask = np.array([[[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]] * 2)
    types = np.random.default_rng(0).integers(0, 3, (2, 3, 4))
    positions = np.random.default_rng(1).integers(0, 17, (2, 3, 4))
    logits = model(tokens, attention_mask=mask, token_type_ids=types, position_ids=positions).logits
    assert logits.shape == (2, 3)
    for b in range(2):
        for c in range(3):
            alone = [x[b : b + 1, c : c + 1] for x in (tokens, mask, types, positions)]
            one = model(alone[0], attention_mask=alone[1], token_type_ids=alone[2], position_ids=alone[3]).logits
            np.testing.assert_allclose(logits[b, c], one[0, 0], rtol=1e-11)
    given = {"attention_mask": mask, "token_type_ids": types, "position_ids": positions}
    for name in given:
        without = {other: x for other, x in given.items() if other != name}
        assert not np.allclose(model(tokens, **without).logits, logits), f"{name} matters"
    embeds = model.get_input_embeddings()[tokens]
    again = model(inputs_embeds=embeds, attention_mask=mask, token_type_ids=types, position_ids=positions).logits
    np.testing.assert_array_equal(again, logits)


# --------------------------------------------------------------------------------------------------------------- losses


def test_causal_loss_compares_with_the_next_token() -> None:
    logits, labels = rows(2, 4, 5), np.array([[4, 0, -100, 3], [-100, 1, 2, 2]])
    each = [nll(logits[0, 0], 0), nll(logits[0, 2], 3), nll(logits[1, 0], 1), nll(logits[1, 1], 2), nll(logits[1, 2], 2)]
    assert heads.causal_language_model_loss(logits, labels) == pytest.approx(math.fsum(each) / 5, rel=1e-13)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ([1], [2], lambda s, e: (nll(s[0], 1) + nll(e[0], 2)) / 2),
        ([-5], [-1], lambda s, e: (nll(s[0], 0) + nll(e[0], 0)) / 2),
        ([0, 3], [2, 99], lambda s, e: (nll(s[0], 0) + nll(e[0], 2)) / 2),
        ([0, 2], [1, 3], lambda s, e: ((nll(s[0], 0) + nll(s[1], 2)) / 2 + nll(e[0], 1)) / 2),
        ([3], [1], lambda s, e: math.nan),
    ],
)
def test_span_loss(start: list[int], end: list[int], expected: Any) -> None:
    s, e = rows(len(start), 3), rows(len(start), 3, seed=1)
    assert heads.span_loss(s, e, np.array(start), np.array(end)) == pytest.approx(expected(s, e), rel=1e-13, nan_ok=True)


def test_problem_types_are_inferred_from_number_and_kind_of_labels() -> None:
    assert heads.infer_problem_type(1, np.array([1])) == "regression"
    assert heads.infer_problem_type(1, np.array([0.5])) == "regression"
    assert heads.infer_problem_type(3, np.array([1])) == "single_label_classification"
    assert heads.infer_problem_type(3, np.array([1], np.int32)) == "single_label_classification"
    assert heads.infer_problem_type(3, np.array([1], np.uint8)) == "single_label_classification"
    assert heads.infer_problem_type(3, np.zeros((1, 3))) == "multi_label_classification"
    assert heads.infer_problem_type(3, np.zeros((1, 3), np.float32)) == "multi_label_classification"


def test_classification_losses() -> None:
    logits = rows(2, 3)
    single = heads.sequence_classification_loss(logits, np.array([2, -100]), "single_label_classification")
    assert single == pytest.approx(nll(logits[0], 2), rel=1e-13)
    targets = np.array([[1, 0, 1], [0, 0, 1]])
    sigmoid = 1 / (1 + np.exp(-logits))
    expected = -np.where(targets == 1, np.log(sigmoid), np.log(1 - sigmoid)).mean()
    multi = heads.sequence_classification_loss(logits, targets, "multi_label_classification")
    assert multi == pytest.approx(expected, rel=1e-13)
    numbers = rows(2, 3, seed=1)
    regression = heads.sequence_classification_loss(logits, numbers, "regression")
    assert regression == pytest.approx(((logits - numbers) ** 2).mean(), rel=1e-13)
    column = heads.sequence_classification_loss(logits[:, :1], numbers[:, 0], "regression")
    assert column == pytest.approx(((logits[:, 0] - numbers[:, 0]) ** 2).mean(), rel=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("model_class", "fields", "labels"),
    [
        ("BertForMaskedLM", {}, {"labels": [[1, -100, 2]] * 2}),
        ("BertLMHeadModel", {"is_decoder": True}, {"labels": [[1, -100, 2]] * 2}),
        ("BertForPreTraining", {}, {"labels": [[1, -100, 2]] * 2, "next_sentence_label": [1, 0]}),
        ("BertForNextSentencePrediction", {}, {"labels": [[1], [0]]}),
        ("BertForSequenceClassification", {"num_labels": 1}, {"labels": [0.5, 2]}),
        ("BertForSequenceClassification", {"num_labels": 1}, {"labels": [[3], [2]]}),
        ("BertForSequenceClassification", {"num_labels": 4}, {"labels": [[3], [2]]}),
        ("BertForSequenceClassification", {"num_labels": 2}, {"labels": [[1.0, 0], [1, 1]]}),
        ("BertForTokenClassification", {"num_labels": 3}, {"labels": [[1, -100, 2]] * 2}),
        ("BertForQuestionAnswering", {}, {"start_positions": [0, 1], "end_positions": [2, 7]}),
    ],
)
def test_losses_of_models(model_class: str, fields: dict[str, Any], labels: dict[str, Any], dtype: Any) -> None:
    model = build(model_class, tiny(**fields), dtype=dtype)
    tokens = ids(tiny(), 2, 3)
    out = model(tokens, **labels)
    assert out.loss.dtype == dtype
    assert out.loss.shape == ()
    assert np.isfinite(out.loss)
    assert out.keys()[0] == "loss"
    without = model(tokens)
    assert without.loss is None
    assert "loss" not in without
    np.testing.assert_array_equal(without[0], out[1])


def test_pretraining_loss_is_the_sum_and_needs_both_labels() -> None:
    model = build("BertForPreTraining", tiny())
    tokens, words, follows = ids(tiny(), 2, 3), np.array([[1, -100, 2]] * 2), np.array([1, 0])
    out = model(tokens, labels=words, next_sentence_label=follows)
    both = ops.cross_entropy(out.prediction_logits, words) + ops.cross_entropy(out.seq_relationship_logits, follows)
    assert out.loss == pytest.approx(both, rel=1e-14)
    assert model(tokens).loss is None
    with pytest.raises(NpbertError, match="next_sentence_label: belongs to labels"):
        model(tokens, labels=words)
    with pytest.raises(NpbertError, match="labels: belongs to next_sentence_label"):
        model(tokens, next_sentence_label=follows)


def test_all_labels_ignored_is_nan() -> None:
    tokens = ids(tiny(), 2, 3)
    assert np.isnan(build("BertForMaskedLM", tiny())(tokens, labels=np.full((2, 3), -100)).loss)
    assert np.isnan(build("BertForTokenClassification", tiny())(tokens, labels=np.full((2, 3), -100)).loss)
    causal = build("BertLMHeadModel", tiny(is_decoder=True))
    assert np.isnan(causal(tokens, labels=[[5, -100, -100]] * 2).loss)
    assert np.isnan(causal(tokens[:, :1], labels=[[5], [5]]).loss)


def test_a_causal_model_with_labels_hands_no_cache_back() -> None:
    model = build("BertLMHeadModel", tiny(is_decoder=True))
    tokens = ids(tiny(), 1, 3)
    assert "past_key_values" in model(tokens)
    assert "past_key_values" not in model(tokens, labels=tokens)
    assert "past_key_values" not in model(tokens, use_cache=False)
    assert "past_key_values" not in build("BertLMHeadModel", tiny(is_decoder=True, use_cache=False))(tokens)


def test_problem_type_in_the_configuration_wins() -> None:
    tokens = ids(tiny(), 2, 3)
    for problem, labels in (
        ("regression", [[0, 1, 1], [1, 0, 0]]),
        ("multi_label_classification", [[0, 1, 1], [1, 0, 0]]),
    ):
        model = build("BertForSequenceClassification", tiny(num_labels=3, problem_type=problem))
        out = model(tokens, labels=labels)
        expected = heads.sequence_classification_loss(out.logits, np.array(labels), problem)
        assert out.loss == expected
    model = build("BertForSequenceClassification", tiny(num_labels=3))
    model(tokens, labels=[0, 1])
    assert model.config.problem_type is None, "a call does not change the configuration"
    assert model(tokens, labels=np.zeros((2, 3))).loss > 0


def test_question_answering_has_two_labels() -> None:
    with pytest.raises(npbert.InputError, match="num_labels 2"):
        build("BertForQuestionAnswering", tiny(num_labels=3))


def test_causal_models_that_see_what_they_predict_get_a_warning() -> None:
    with pytest.warns(UserWarning, match="is_decoder") as caught:
        npbert.BertLMHeadModel(tiny(), rng=np.random.default_rng(0))
    assert [w.filename for w in caught] == [__file__]
