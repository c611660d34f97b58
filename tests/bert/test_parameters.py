"""Names, shapes, number and first values of the parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest

import npbert
from npbert import BertConfig
from npbert.bert.parameters import base_parameters

from ..builders import CLASSES, tiny

pytestmark = pytest.mark.filterwarnings("ignore:BertLMHeadModel without is_decoder")


def size_of(model_class: str, config: BertConfig) -> int:
    """The number of parameters, counted from their shapes: nothing of that size is allocated."""
    model = getattr(npbert, model_class).without_weights(config)
    return sum(math.prod(parameter.shape) for parameter in model.expected_parameters().values())


@pytest.mark.parametrize(
    ("model_class", "number"),
    [
        ("BertModel", 109_482_240),
        ("BertLMHeadModel", 109_514_298),
        ("BertForMaskedLM", 109_514_298),
        ("BertForPreTraining", 110_106_428),
        ("BertForNextSentencePrediction", 109_483_778),
        ("BertForSequenceClassification", 109_483_778),
        ("BertForMultipleChoice", 109_483_009),
        ("BertForTokenClassification", 108_893_186),
        ("BertForQuestionAnswering", 108_893_186),
    ],
)
def test_the_default_models_size_is_the_references(model_class: str, number: int) -> None:
    assert size_of(model_class, BertConfig()) == number


@pytest.mark.parity
@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize("untied", [False, True])
def test_the_references_own_count(model_class: str, untied: bool) -> None:
    import torch
    import transformers

    with torch.device("meta"):
        theirs = getattr(transformers, model_class)(transformers.BertConfig(tie_word_embeddings=not untied))
        theirs.tie_weights()
    assert size_of(model_class, BertConfig(tie_word_embeddings=not untied)) == theirs.num_parameters()


def test_num_parameters_counts_tied_tables_once() -> None:
    tied, untied = (
        npbert.BertForMaskedLM(tiny(tie_word_embeddings=tie), rng=np.random.default_rng(0)) for tie in (True, False)
    )
    assert untied.num_parameters() - tied.num_parameters() == 31 * 12
    assert tied.num_parameters() == sum(x.size for _, x in tied.named_parameters())
    pruned = npbert.BertForMaskedLM(tiny(pruned_heads={0: [1]}), rng=np.random.default_rng(0))
    assert tied.num_parameters() - pruned.num_parameters() == 4 * 4 * 12 + 3 * 4


def test_shapes() -> None:
    config = tiny(position_embedding_type="relative_key", is_decoder=True, add_cross_attention=True, pruned_heads={1: [0, 2]})
    shapes = {name: parameter.shape for name, parameter in base_parameters(config, pooler=False).items()}
    assert shapes["embeddings.word_embeddings.weight"] == (31, 12)
    assert shapes["embeddings.position_embeddings.weight"] == (17, 12)
    assert shapes["embeddings.token_type_embeddings.weight"] == (3, 12)
    assert shapes["encoder.layer.0.attention.self.query.weight"] == (12, 12)
    assert shapes["encoder.layer.1.attention.self.value.weight"] == (4, 12)
    assert shapes["encoder.layer.1.attention.self.key.bias"] == (4,)
    assert shapes["encoder.layer.1.attention.output.dense.weight"] == (12, 4)
    assert shapes["encoder.layer.1.crossattention.self.query.weight"] == (12, 12)
    assert shapes["encoder.layer.1.attention.self.distance_embedding.weight"] == (33, 4)
    assert "encoder.layer.1.crossattention.self.distance_embedding.weight" not in shapes
    assert shapes["encoder.layer.0.intermediate.dense.weight"] == (21, 12)
    assert shapes["encoder.layer.0.output.dense.weight"] == (12, 21)
    assert "pooler.dense.weight" not in shapes


@pytest.mark.parametrize("model_class", CLASSES)
def test_first_values(model_class: str) -> None:
    config = tiny(
        hidden_size=48,
        intermediate_size=80,
        vocab_size=200,
        max_position_embeddings=64,
        initializer_range=0.5,
        pad_token_id=7,
        position_embedding_type="relative_key",
    )
    model = getattr(npbert, model_class)(config, rng=np.random.default_rng(0))
    assert model.dtype == np.float32
    for name, x in model.named_parameters():
        assert x.dtype == np.float32
        if name.endswith("LayerNorm.weight"):
            assert (x == 1).all(), name
        elif name.endswith("bias"):
            assert (x == 0).all(), name
        else:
            if name.endswith("word_embeddings.weight"):
                assert (x[7] == 0).all()
                x = np.delete(x, 7, axis=0)
            assert (x != 0).all(), name
            error = 0.5 / math.sqrt(x.size)
            assert abs(x.mean(dtype=np.float64)) < 5 * error, name
            assert abs(x.std(dtype=np.float64) - 0.5) < 5 * error, name
            if x.size > 1000:  # normal, not uniform and not cut off
                assert abs(np.mean((x / 0.5) ** 4) - 3) < 0.8  # 1.8 for a uniform one
                assert np.abs(x).max() > 1.4


def test_first_values_come_from_the_generator() -> None:
    first, same, other = (
        npbert.BertModel(tiny(), rng=np.random.default_rng(seed)).state_dict()["encoder.layer.0.output.dense.weight"]
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()
    one, two = (npbert.BertModel(tiny()).get_input_embeddings() for _ in range(2))
    assert (one != two).any()


def test_no_padding_token_no_zero_row() -> None:
    table = npbert.BertModel(tiny(pad_token_id=None), rng=np.random.default_rng(0)).get_input_embeddings()
    assert (table != 0).all()


def test_no_two_parameters_begin_alike() -> None:
    values = dict(npbert.BertModel(tiny(), rng=np.random.default_rng(0)).named_parameters())
    at = "encoder.layer.0.attention.self"
    assert (values[f"{at}.query.weight"] != values[f"{at}.key.weight"]).all()
    assert (values[f"{at}.query.weight"] != values["encoder.layer.1.attention.self.query.weight"]).all()
