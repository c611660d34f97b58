"""Renaming: TensorFlow's, DistilBERT's and older names against the reference's own loaders and models."""

import json
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest

import npbert
from npbert.checkpoints import names, tensorflow
from npbert.checkpoints.names import arrays_from_tensorflow, fit_to
from npbert.errors import InputError

DATA = Path(__file__).parent / "data" / "tf"
SMALL = {
    "vocab_size": 37,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}


def arrays(*names):
    return {name: np.full(2, number) for number, name in enumerate(names)}


# ------------------------------------------------------------------------------------------------------------- TensorFlow


@pytest.mark.parametrize(
    ("variable", "name", "transposed"),
    [
        ("bert/embeddings/word_embeddings", "bert.embeddings.word_embeddings.weight", False),
        ("bert/embeddings/position_embeddings", "bert.embeddings.position_embeddings.weight", False),
        ("bert/embeddings/LayerNorm/gamma", "bert.embeddings.LayerNorm.weight", False),
        ("bert/embeddings/LayerNorm/beta", "bert.embeddings.LayerNorm.bias", False),
        (
            "bert/encoder/layer_11/attention/self/query/kernel",
            "bert.encoder.layer.11.attention.self.query.weight",
            True,
        ),
        ("bert/encoder/layer_0/attention/self/query/bias", "bert.encoder.layer.0.attention.self.query.bias", False),
        ("bert/pooler/dense/kernel", "bert.pooler.dense.weight", True),
        ("cls/predictions/transform/LayerNorm/gamma", "cls.predictions.transform.LayerNorm.weight", False),
        ("cls/predictions/output_bias", "cls.predictions.bias", False),
        ("cls/seq_relationship/output_weights", "cls.seq_relationship.weight", False),
        ("cls/seq_relationship/output_bias", "cls.seq_relationship.bias", False),
        ("cls/squad/output_weights", "cls.squad.weight", False),
        ("output_weights", "classifier.weight", False),
        ("output_bias", "classifier.bias", False),
    ],
)
def test_tensorflow_names(variable, name, transposed):
    array = np.arange(6).reshape(2, 3)
    ((found, value),) = arrays_from_tensorflow({variable: array}).items()
    assert found == name
    np.testing.assert_array_equal(value, array.T if transposed else array)


def test_what_only_training_needs_is_left_out():
    kernel = "bert/pooler/dense/kernel"
    slots = ("adam_m", "adam_v", "AdamWeightDecayOptimizer", "AdamWeightDecayOptimizer_1", "LAMB", "LAMB_1", "Adam", "Adam_1")
    variables = arrays(kernel, "global_step", "beta1_power", "beta2_power", *(f"{kernel}/{slot}" for slot in slots))
    assert list(arrays_from_tensorflow(variables)) == ["bert.pooler.dense.weight"]


def test_two_variables_of_one_name_are_refused():
    with pytest.raises(InputError, match=r"two TensorFlow variables are both bert\.x\.weight; the second is bert/x/gamma"):
        arrays_from_tensorflow(arrays("bert/x/kernel", "bert/x/gamma"))


def test_object_checkpoints_are_refused():
    with pytest.raises(InputError, match="TensorFlow 2 object checkpoint"):
        arrays_from_tensorflow(tensorflow.read(DATA / "dtypes"))


@pytest.mark.parametrize(
    ("directory", "model"),
    [
        ("pretraining", npbert.BertForPreTraining),
        ("pretraining", npbert.BertForMaskedLM),
        ("pretraining", npbert.BertModel),
        ("classifier", npbert.BertForSequenceClassification),
        ("squad", npbert.BertForQuestionAnswering),
        ("squad", npbert.BertForTokenClassification),
    ],
)
def test_a_tensorflow_checkpoint_is_all_that_a_model_wants(directory, model):
    config = npbert.BertConfig.from_dict(
        json.loads((DATA / directory / "bert_config.json").read_text()), num_labels=3 if directory == "classifier" else 2
    )
    wanted = model(config, rng=np.random.default_rng(0)).expected_parameters()
    fit = fit_to(wanted, arrays_from_tensorflow(tensorflow.read(DATA / directory)))
    assert fit.missing == []
    assert all("cls." in name or "pooler" in name for name in fit.unexpected)
    assert {name: array.shape for name, array in fit.weights.items()} == {name: p.shape for name, p in wanted.items()}
    with np.load(DATA / directory / "values.npz") as values:
        prefix = "" if model is npbert.BertModel else "bert."
        np.testing.assert_array_equal(
            fit.weights[f"{prefix}encoder.layer.1.intermediate.dense.weight"],
            values["bert/encoder/layer_1/intermediate/dense/kernel"].T,
        )


@pytest.mark.parity
@pytest.mark.parametrize(
    ("directory", "name"), [("pretraining", "BertForPreTraining"), ("squad", "BertForTokenClassification")]
)
def test_tensorflow_checkpoints_become_what_the_reference_makes_of_them(monkeypatch, directory, name):
    import torch
    import transformers
    from transformers.models.bert.modeling_bert import load_tf_weights_in_bert

    values = dict(np.load(DATA / directory / "values.npz"))  # as TensorFlow read them
    if name == "BertForTokenClassification":  # which has no pooler, and the reference's loader stumbles over one
        values = {variable: value for variable, value in values.items() if "/pooler/" not in variable}
    train = types.SimpleNamespace(
        list_variables=lambda path: [(name, value.shape) for name, value in values.items()],
        load_variable=lambda path, name: values[name],
    )
    monkeypatch.setitem(sys.modules, "tensorflow", types.SimpleNamespace(train=train))
    config = transformers.BertConfig(**json.loads((DATA / directory / "bert_config.json").read_text()))
    torch.manual_seed(0)
    model = getattr(transformers, name)(config)
    load_tf_weights_in_bert(model, config, "checkpoint")
    model.tie_weights()
    expected = {key: value.numpy() for key, value in model.state_dict().items()}

    fit = fit_to(expected, arrays_from_tensorflow(tensorflow.read(DATA / directory)))
    assert fit.missing == []
    for key, value in expected.items():
        np.testing.assert_array_equal(fit.weights[key], value, err_msg=key)


# ----------------------------------------------------------------------------------------------------------------- fit_to


def test_old_names_of_layer_norm():
    fit = fit_to(["a.LayerNorm.weight", "a.LayerNorm.bias"], arrays("a.LayerNorm.gamma", "a.LayerNorm.beta"))
    assert {name: int(array[0]) for name, array in fit.weights.items()} == {"a.LayerNorm.weight": 0, "a.LayerNorm.bias": 1}
    assert not fit.missing
    assert not fit.unexpected


@pytest.mark.parametrize(("has", "wants"), [("", ""), ("", "bert."), ("bert.", ""), ("bert.", "bert.")])
def test_prefix_in_either_direction(has, wants):
    found = arrays(f"{has}embeddings.word_embeddings.weight", f"{has}encoder.layer.0.output.dense.bias")
    fit = fit_to([f"{wants}embeddings.word_embeddings.weight", f"{wants}encoder.layer.0.output.dense.bias"], found)
    assert [int(array[0]) for array in fit.weights.values()] == [0, 1]
    assert not fit.missing
    assert not fit.unexpected


def test_buffers_are_dropped():
    found = arrays("bert.embeddings.position_ids", "embeddings.token_type_ids", "embeddings.position_ids", "x.position_ids")
    assert fit_to(["bert.a"], found).unexpected == ["x.position_ids"]


WORDS, DECODER = "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"


def test_tied_decoders():
    # Absent or present, wanted or not: one weight, and the word table is its first name.
    assert fit_to([WORDS], arrays(WORDS, DECODER))[0][WORDS][0] == 0
    assert fit_to([WORDS], arrays(DECODER, WORDS))[0][WORDS][0] == 1
    assert fit_to([WORDS, DECODER], arrays(DECODER, WORDS))[0][DECODER][0] == 1
    assert fit_to([WORDS, DECODER], arrays(WORDS)) == ({WORDS: pytest.approx(0), DECODER: pytest.approx(0)}, [], [])
    assert fit_to([WORDS], arrays(DECODER))[0][WORDS][0] == 0
    assert fit_to([WORDS, "cls.predictions.transform.dense.bias"], arrays(WORDS, DECODER)).unexpected == []
    # In a model without that head it is as unexpected as the rest of the head.
    assert fit_to([WORDS], arrays(WORDS, DECODER)).unexpected == [DECODER]
    # Untied ones are two weights.
    assert fit_to([WORDS, DECODER], arrays(DECODER, WORDS), tied=False)[0][DECODER][0] == 0
    assert fit_to([WORDS, DECODER], arrays(WORDS), tied=False).missing == [DECODER]


@pytest.mark.parametrize("has", ["cls.predictions.bias", "cls.predictions.decoder.bias"])
@pytest.mark.parametrize("wants", ["cls.predictions.bias", "cls.predictions.decoder.bias"])
def test_the_decoder_bias_has_two_names(has, wants):
    fit = fit_to([wants], arrays(has))
    assert list(fit.weights) == [wants]
    assert not fit.missing
    assert not fit.unexpected


def test_the_first_name_counts_where_a_file_has_both():
    found = arrays("cls.predictions.decoder.bias", "cls.predictions.bias")
    fit = fit_to(["cls.predictions.bias", "cls.predictions.decoder.bias"], found)
    assert [int(array[0]) for array in fit.weights.values()] == [1, 1]
    assert fit.unexpected == []


def test_a_weight_under_the_same_name_twice_is_unexpected_once():
    fit = fit_to(["bert.pooler.dense.bias"], arrays("pooler.dense.bias", "bert.pooler.dense.bias"))
    assert fit.weights["bert.pooler.dense.bias"][0] == 1
    assert fit.unexpected == ["pooler.dense.bias"]
    fit = fit_to(["a.LayerNorm.bias"], arrays("a.LayerNorm.beta", "a.LayerNorm.bias"))
    assert fit.weights["a.LayerNorm.bias"][0] == 1
    assert fit.unexpected == ["a.LayerNorm.bias"]


def test_the_squad_head():
    found = arrays("cls.squad.weight")
    assert list(fit_to(["qa_outputs.weight", "bert.x"], found).weights) == ["qa_outputs.weight"]
    assert list(fit_to(["classifier.weight"], found).weights) == ["classifier.weight"]
    assert fit_to(["cls.seq_relationship.weight"], found).unexpected == ["cls.squad.weight"]
    both = fit_to(["classifier.weight"], arrays("cls.squad.weight", "classifier.weight"))
    assert both.weights["classifier.weight"][0] == 1
    assert both.unexpected == ["cls.squad.weight"]


def test_inside_an_encoder_decoder():
    wanted = ["encoder.pooler.dense.bias", "decoder.bert.embeddings.word_embeddings.weight"]
    fit = fit_to(wanted, arrays("encoder.pooler.dense.bias", "decoder.cls.predictions.decoder.weight"))
    assert not fit.missing
    assert not fit.unexpected


@pytest.mark.parity
@pytest.mark.parametrize("saved", ["BertModel", "BertForPreTraining", "BertForMaskedLM", "BertForSequenceClassification"])
@pytest.mark.parametrize(
    "loaded",
    ["BertModel", "BertForPreTraining", "BertForMaskedLM", "BertForTokenClassification", "BertForQuestionAnswering"],
)
@pytest.mark.parametrize("tied", [True, False])
def test_missing_and_unexpected_are_what_the_reference_says(tmp_path, saved, loaded, tied):
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    config = transformers.BertConfig(**SMALL, tie_word_embeddings=tied)
    source = getattr(transformers, saved)(config)
    weights = {}
    for name, value in source.state_dict().items():
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        weights[old] = torch.randn(value.shape)
    if tied:
        weights.pop("cls.predictions.decoder.weight", None)
    prefix = "" if saved == "BertModel" else "bert."
    weights[f"{prefix}embeddings.position_ids"] = torch.arange(16)[None]
    weights["something.else"] = torch.zeros(2)
    config.save_pretrained(tmp_path)
    torch.save(weights, tmp_path / "pytorch_model.bin")
    model, info = getattr(transformers, loaded).from_pretrained(tmp_path, output_loading_info=True)

    expected = {name: value.numpy() for name, value in model.state_dict().items()}
    fit = fit_to(expected, {name: value.numpy() for name, value in weights.items()}, tied=tied)
    assert fit.missing == sorted(info["missing_keys"])
    assert fit.unexpected == sorted(info["unexpected_keys"])
    for name, array in fit.weights.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


# -------------------------------------------------------------------------------------------------------------- DistilBERT


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight"),
        ("distilbert.embeddings.LayerNorm.bias", "bert.embeddings.LayerNorm.bias"),
        ("transformer.layer.3.attention.q_lin.weight", "encoder.layer.3.attention.self.query.weight"),
        ("distilbert.transformer.layer.3.attention.k_lin.bias", "bert.encoder.layer.3.attention.self.key.bias"),
        ("transformer.layer.0.attention.v_lin.weight", "encoder.layer.0.attention.self.value.weight"),
        ("transformer.layer.0.attention.out_lin.weight", "encoder.layer.0.attention.output.dense.weight"),
        ("transformer.layer.0.sa_layer_norm.weight", "encoder.layer.0.attention.output.LayerNorm.weight"),
        ("transformer.layer.0.ffn.lin1.weight", "encoder.layer.0.intermediate.dense.weight"),
        ("transformer.layer.0.ffn.lin2.bias", "encoder.layer.0.output.dense.bias"),
        ("distilbert.transformer.layer.10.output_layer_norm.bias", "bert.encoder.layer.10.output.LayerNorm.bias"),
        ("pre_classifier.weight", "bert.pooler.dense.weight"),
        ("classifier.weight", "classifier.weight"),
        ("qa_outputs.bias", "qa_outputs.bias"),
        ("vocab_transform.weight", "cls.predictions.transform.dense.weight"),
        ("vocab_layer_norm.bias", "cls.predictions.transform.LayerNorm.bias"),
        ("vocab_projector.weight", "cls.predictions.decoder.weight"),
        ("vocab_projector.bias", "cls.predictions.bias"),
        ("something.else", "something.else"),
    ],
)
def test_distilbert_names(theirs, ours):
    assert names.name_from_distilbert(theirs) == ours
    assert names.name_to_distilbert(ours) == theirs


def test_distilbert_config():
    fields = {
        "model_type": "distilbert",
        "architectures": ["DistilBertForSequenceClassification"],
        "vocab_size": 99,
        "dim": 24,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 48,
        "activation": "relu",
        "dropout": 0.15,
        "attention_dropout": 0.25,
        "seq_classif_dropout": 0.35,
        "qa_dropout": 0.45,
        "sinusoidal_pos_embds": True,
        "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
    }
    config = npbert.BertConfig.from_dict(names.fields_from_distilbert(fields))
    assert config.architectures == ["BertForSequenceClassification"]
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers) == (99, 24, 3)
    assert (config.num_attention_heads, config.intermediate_size, config.hidden_act) == (4, 48, "relu")
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob, config.dropout_of_classifier) == (0.15, 0.25, 0.35)
    assert (config.type_vocab_size, config.pooler_act, config.layer_norm_eps) == (0, "relu", 1e-12)
    assert config.id2label == {0: "NEGATIVE", 1: "POSITIVE"}
    assert names.fields_to_distilbert(names.fields_from_distilbert(fields)) == fields


def test_a_field_of_distilbert_under_two_names():
    """The reference takes three of them under BERT's name, which counts there, and knows nothing of the others."""
    two = {"model_type": "distilbert", "dim": 24, "hidden_size": 36, "hidden_dim": 48, "intermediate_size": 60}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        fields = names.fields_from_distilbert(two)
    assert (fields["hidden_size"], fields["intermediate_size"]) == (36, 48)
    assert [str(warning.message) for warning in warned] == [
        "config: hidden_size is 36 and dim is 24; hidden_size counts",
        "config: intermediate_size is 60 and hidden_dim is 48; hidden_dim counts",
    ]
    agreeing = {"model_type": "distilbert", "dim": 24, "hidden_size": 24, "num_hidden_layers": 5}
    fields = names.fields_from_distilbert(agreeing)
    assert (fields["hidden_size"], fields["num_hidden_layers"]) == (24, 5)


def test_a_configuration_of_distilbert_is_saved_in_its_own_words(tmp_path):
    config = npbert.BertConfig.from_dict(
        names.fields_from_distilbert({"model_type": "distilbert", "dim": 24, "hidden_dim": 48})
    )
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["dim"], written["hidden_dim"], "hidden_size" in written) == (24, 48, False)
    assert json.loads(config.to_json_string()) == written
    assert npbert.BertConfig.from_pretrained(tmp_path) == config


def test_distilbert_has_its_own_defaults():
    config = npbert.BertConfig.from_dict(names.fields_from_distilbert({"model_type": "distilbert"}))
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (768, 6, 12)
    assert (config.intermediate_size, config.dropout_of_classifier) == (3072, 0.2)
    tokens = names.fields_from_distilbert({"architectures": ["DistilBertForTokenClassification"], "dropout": 0.3})
    assert npbert.BertConfig.from_dict(tokens).dropout_of_classifier == 0.3


@pytest.mark.parity
@pytest.mark.parametrize(
    "name",
    [
        "Model",
        "ForMaskedLM",
        "ForSequenceClassification",
        "ForTokenClassification",
        "ForQuestionAnswering",
        "ForMultipleChoice",
    ],
)
def test_distilbert_computes_what_the_reference_does(name):
    import torch
    import transformers

    torch.manual_seed(1)
    small = {"vocab_size": 37, "dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 12, "max_position_embeddings": 16}
    config = transformers.DistilBertConfig(**small, attn_implementation="eager", activation="gelu")
    reference = getattr(transformers, f"DistilBert{name}")(config).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    fields = json.loads(config.to_json_string(use_diff=False))
    ours = npbert.BertConfig.from_dict(names.fields_from_distilbert(fields))
    kind = getattr(npbert, f"Bert{name}")
    options = {"add_pooling_layer": False} if name == "Model" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = kind(ours, rng=np.random.default_rng(0), **options).expected_parameters()
    given = {key: value.numpy() for key, value in reference.state_dict().items()}
    fit = fit_to(wanted, names.arrays_from_distilbert(given))
    assert (fit.missing, fit.unexpected) == ([], [])
    model = kind(ours, weights=fit.weights, **options)

    rng = np.random.default_rng(2)
    ids = rng.integers(0, 37, (3, 2, 7) if name == "ForMultipleChoice" else (3, 7))
    mask = np.ones_like(ids)
    mask[0, ..., 4:] = 0
    mask[2, ...] = 0  # nothing may be looked at: then everything may, equally
    with torch.no_grad():
        expected = reference(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask)).to_tuple()
    got = model(input_ids=ids, attention_mask=mask).to_tuple()
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=2e-5, atol=2e-5)

    back = names.arrays_to_distilbert(model.state_dict())
    assert set(back) == set(given)
    for key, value in given.items():
        np.testing.assert_array_equal(back[key], value)
