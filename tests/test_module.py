"""Walking through a model: parts, weights, running one module alone, the tree, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import npbert
from npbert.module import Module

from .builders import CLASSES, POSITION_TYPES, assert_close, build, ids, inputs_for, tiny

pytestmark = pytest.mark.filterwarnings("ignore:BertLMHeadModel without is_decoder")
QUERY = "encoder.layer.0.attention.self.query.weight"


def test_weights_are_reached_by_their_names() -> None:
    model = build("BertForMaskedLM", tiny())
    weights = model.state_dict()
    assert model.bert.encoder.layer[0].attention.self.query.weight is weights[f"bert.{QUERY}"]
    assert model.bert.encoder.layer[-1].output.LayerNorm.bias is weights["bert.encoder.layer.1.output.LayerNorm.bias"]
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    for name, array in weights.items():
        module, _, last = name.rpartition(".")
        assert getattr(model.get_submodule(module), last) is array


def test_assigning_replaces_a_weight_and_unties_nothing() -> None:
    model = build("BertForMaskedLM", tiny())
    table = np.random.default_rng(0).normal(size=(31, 12)).astype(np.float32)
    model.cls.predictions.decoder.weight = table
    assert (model.state_dict()["bert.embeddings.word_embeddings.weight"] == table).all()
    assert model.bert.embeddings.word_embeddings.weight.dtype == np.float64, "the model's own type"
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    before = model(ids(tiny(), 1, 3)).logits
    model.bert.encoder.layer[1].output.LayerNorm.bias = np.ones(12)
    assert not np.allclose(model(ids(tiny(), 1, 3)).logits, before)
    with pytest.raises(npbert.InputError, match=r"bias: takes shape \[12\], got \[3\]"):
        model.bert.encoder.layer[1].output.LayerNorm.bias = np.ones(3)
    with pytest.raises(npbert.InputTypeError, match="takes numbers"):
        model.bert.encoder.layer[1].output.LayerNorm.bias = ["a"] * 12
    with pytest.raises(AttributeError, match="no weight 'scale'"):
        model.bert.encoder.layer[1].output.LayerNorm.scale = np.ones(12)


def every_pass_value(model: Any, arguments: dict[str, Any]) -> npbert.Trace:
    with npbert.trace() as kept:
        model(**arguments)
    return kept


@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize("kind", POSITION_TYPES)
def test_a_module_run_alone_gives_what_it_gave_in_the_pass(model_class: str, kind: str) -> None:
    config = tiny(position_embedding_type=kind)
    model = build(model_class, config)
    arguments = inputs_for(model_class, config)
    kept = every_pass_value(model, arguments)
    tokens = np.asarray(arguments["input_ids"]).reshape(-1, 5)
    base = model if model_class == "BertModel" else model.bert
    prefix = "" if model_class == "BertModel" else "bert."

    hidden = base.embeddings(tokens)
    assert_close(hidden, kept[f"{prefix}embeddings"], 0)
    for index, layer in enumerate(base.encoder.layer):
        at = f"{prefix}encoder.layer.{index}"
        context, probs, (key, value) = layer.attention.self(hidden)
        assert_close(context, kept[f"{at}.attention.self"], 1e-13)
        assert_close(probs, kept[f"{at}.attention.self:probs"], 1e-13)
        assert (key.shape, value.shape) == ((len(tokens), 3, 5, 4),) * 2
        attended = layer.attention(hidden)[0]
        assert_close(layer.attention.output(context, hidden), attended, 1e-13)
        assert_close(attended, kept[f"{at}.attention"], 1e-13)
        wide = layer.intermediate(attended)
        assert_close(wide, kept[f"{at}.intermediate"], 1e-13)
        assert_close(layer.intermediate.intermediate_act_fn(layer.intermediate.dense(attended)), wide, 1e-13)
        assert_close(layer.output(wide, attended), kept[f"{at}.output"], 1e-13)
        hidden = layer(hidden)[0]
        assert_close(hidden, kept[at], 1e-13)
        assert_close(
            layer.attention.self.query(hidden), base.get_submodule(f"encoder.layer.{index}.attention.self").query(hidden), 0
        )
    assert_close(base.encoder(base.embeddings(tokens))[0], hidden, 0)
    if hasattr(base, "pooler"):
        assert_close(base.pooler(hidden), kept[f"{prefix}pooler"], 1e-13)


def test_heads_run_alone() -> None:
    hidden = np.random.default_rng(0).normal(size=(2, 5, 12))
    mlm = build("BertForMaskedLM", tiny())
    assert_close(mlm.cls(hidden), mlm.cls.predictions.decoder(mlm.cls.predictions.transform(hidden)), 0)
    pretraining = build("BertForPreTraining", tiny())
    words, follows = pretraining.cls(hidden, hidden[:, 0])
    assert (words.shape, follows.shape) == ((2, 5, 31), (2, 2))
    assert_close(follows, pretraining.cls.seq_relationship(hidden[:, 0]), 0)
    assert build("BertForNextSentencePrediction", tiny()).cls(hidden[:, 0]).shape == (2, 2)
    assert build("BertForSequenceClassification", tiny()).classifier(hidden[:, 0]).shape == (2, 2)
    assert build("BertForQuestionAnswering", tiny()).qa_outputs(hidden).shape == (2, 5, 2)


def test_a_copy_of_the_hidden_states_keeps_relative_positions() -> None:
    model = build("BertModel", tiny(position_embedding_type="relative_key"))
    attention, hidden = model.encoder.layer[0].attention.self, np.random.default_rng(0).normal(size=(1, 4, 12))
    np.testing.assert_array_equal(attention(hidden)[0], attention(hidden, source=hidden.copy())[0])


def test_decoders_run_by_layers() -> None:
    model = build("BertModel", tiny(is_decoder=True, add_cross_attention=True))
    states, tokens = np.random.default_rng(0).normal(size=(1, 3, 12)), ids(tiny(), 1, 4)
    mask = np.triu(np.full((4, 4), -10000.0), 1)
    hidden = model.embeddings(tokens)
    for layer in model.encoder.layer:
        hidden = layer(hidden, mask=mask, encoder_hidden=states).hidden
    assert_close(hidden, model(tokens, encoder_hidden_states=states).last_hidden_state, 1e-13)


def test_named_modules_and_completion() -> None:
    model = build("BertForSequenceClassification", tiny())
    names = [name for name, _ in model.named_modules()]
    assert names[:4] == ["", "bert", "bert.embeddings", "bert.embeddings.word_embeddings"]
    assert "bert.encoder.layer.1.attention.output.LayerNorm" in names
    assert names[-1] == "classifier"
    assert all(isinstance(module, Module) and module.path == name for name, module in model.named_modules())
    assert {"bert", "classifier", "config", "save_pretrained"} <= set(dir(model))
    assert {"query", "key", "value"} <= set(dir(model.bert.encoder.layer[0].attention.self))
    assert [len(model.bert.encoder.layer), len(list(model.bert.encoder.layer))] == [2, 2]


def test_parameters_are_arrays() -> None:
    model = build("BertForMaskedLM", tiny())
    assert sum(p.size for p in model.parameters()) == model.num_parameters()
    assert [p.shape for p in model.parameters()] == [p.shape for _, p in model.named_parameters()]


def test_printing_shows_the_tree() -> None:
    text = str(build("BertForMaskedLM", tiny(num_hidden_layers=3)))
    assert text.splitlines()[1:5] == [
        "  bert",
        "    embeddings",
        "      word_embeddings: weight [31, 12]",
        "      position_embeddings: weight [17, 12]",
    ]
    assert "        0 to 2, 3 alike" in text
    assert text.count("query: weight [12, 12], bias [12]") == 1
    assert "      bias [31]" in text
    pruned = build("BertModel", tiny(pruned_heads={0: [1]}))
    assert "query: weight [8, 12], bias [8]" in str(pruned)
    assert str(pruned.pooler) == "Module pooler\n  dense: weight [12, 12], bias [12]"


def test_what_is_not_there_is_said() -> None:
    model = build("BertModel", tiny())
    with pytest.raises(AttributeError, match=r"encoder\.layer\.0\.attention has no 'selff'; it has self, output"):
        _ = model.encoder.layer[0].attention.selff
    assert not hasattr(model, "classifier")
    assert not hasattr(model, "generate")
    with pytest.raises(
        npbert.MissingNameError, match=r"no module 'encoder\.layer\.2'; its parts are embeddings, encoder, pooler"
    ):
        model.get_submodule("encoder.layer.2")
    with pytest.raises(npbert.MissingNameError, match="no module"):
        model.get_submodule("pooler.dense.weight")
    with pytest.raises(npbert.InputError, match=r"encoder.layer\[index\]: takes -2 to 1, got 2"):
        model.encoder.layer[2]
    with pytest.raises(npbert.InputTypeError, match="takes a whole number"):
        model.encoder.layer["0"]
    with pytest.raises(npbert.InputError, match=r"encoder\.layer: does nothing of its own; call one of its parts: 0, 1"):
        model.encoder.layer(np.zeros((1, 2, 12)))
    for arguments in ((), (np.zeros((1, 2, 7)),), (np.zeros((1, 2, 12)), 1, 2, 3), ([[1], [2, 3]],)):
        with pytest.raises(npbert.NpbertError, match="pooler"):
            model.pooler(*arguments)
    with pytest.raises(npbert.InputError, match="takes input_ids or inputs_embeds"):
        model.embeddings()
    with pytest.raises(npbert.InputError, match="the table takes 0 to 30"):
        model.embeddings([[31]])


def test_a_model_without_layers_runs() -> None:
    for model_class in ("BertModel", "BertForMaskedLM"):
        model = build(model_class, tiny(num_hidden_layers=0))
        tokens = ids(tiny(), 1, 3)
        base = model if model_class == "BertModel" else model.bert
        assert_close(base.encoder(base.embeddings(tokens))[0], base.embeddings(tokens), 0)
        assert model(tokens)[0].shape[:2] == (1, 3)


def test_models_are_copied_and_pickled_whole() -> None:
    import copy
    import pickle

    model = build("BertModel", tiny())
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(twin(ids(tiny(), 1, 3))[0], model(ids(tiny(), 1, 3))[0])
    deep = copy.deepcopy(model)
    deep.pooler.dense.bias = np.zeros(12)
    assert model.pooler.dense.bias.any()


@pytest.mark.parity
@pytest.mark.parametrize("kind", POSITION_TYPES)
def test_modules_give_the_reference_s_results(kind: str) -> None:
    import torch

    from . import reference

    config = tiny(position_embedding_type=kind, mask_value=float(np.finfo(np.float32).min))
    model = build("BertForMaskedLM", config)
    theirs = reference.build("BertForMaskedLM", config.to_dict(), model.state_dict())
    tokens = ids(config, 2, 5)
    hidden = np.random.default_rng(0).normal(size=(2, 5, 12))
    with torch.no_grad():
        x = torch.from_numpy(hidden)
        pairs = [
            (model.bert.embeddings(tokens), theirs.bert.embeddings(torch.from_numpy(tokens))),
            (model.bert.encoder.layer[1](hidden)[0], theirs.bert.encoder.layer[1](x)[0]),
            (model.bert.encoder.layer[0].attention(hidden)[0], theirs.bert.encoder.layer[0].attention(x)[0]),
            (model.bert.encoder.layer[0].attention.self(hidden)[0], theirs.bert.encoder.layer[0].attention.self(x)[0]),
            (model.bert.encoder.layer[0].intermediate(hidden), theirs.bert.encoder.layer[0].intermediate(x)),
            (model.bert.encoder(hidden)[0], theirs.bert.encoder(x)[0]),
            (model.cls(hidden), theirs.cls(x)),
            (model.cls.predictions.transform(hidden), theirs.cls.predictions.transform(x)),
        ]
    for ours, expected in pairs:
        assert_close(ours, expected.numpy(), 1e-12)


def test_a_hook_on_a_module_says_what_to_use() -> None:
    model = build("BertModel", tiny())
    message = r"^encoder\.layer\.0 has no 'register_forward_hook': see every value with npbert\.trace"
    with pytest.raises(AttributeError, match=message):
        _ = model.encoder.layer[0].register_forward_hook
