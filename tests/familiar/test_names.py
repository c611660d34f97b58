"""Names of the reference that npbert has too, or for which it says what to use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import familiar

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 16,
}


def config_of(**fields: Any) -> npbert.BertConfig:
    return npbert.BertConfig(**{**SIZES, **fields})


def model_of(name: str = "BertModel", **fields: Any) -> Any:
    return getattr(npbert, name)(config_of(**fields), rng=np.random.default_rng(0))


@pytest.mark.parametrize("name", sorted(familiar.HOMES))
def test_a_familiar_name_is_there(name: str) -> None:
    assert getattr(npbert, name).__doc__ or name == "ACT2FN"


@pytest.mark.parametrize("name", sorted(familiar.INSTEAD))
def test_what_is_not_there_says_what_to_use(name: str) -> None:
    with pytest.raises(AttributeError, match=f"npbert has no {name}: ") as caught:
        getattr(npbert, name)
    assert "\n" not in str(caught.value)
    assert not hasattr(npbert, name)


def test_an_unknown_name_is_an_ordinary_error() -> None:
    with pytest.raises(AttributeError, match="module 'npbert' has no attribute 'BertForEverything'"):
        npbert.BertForEverything  # noqa: B018
    with pytest.raises(ImportError):
        from npbert import BertForEverything  # noqa: F401


@pytest.mark.parametrize("model_type", ["bert", "distilbert", "gpt2"])
def test_auto_classes(model_type: str, tmp_path: Any) -> None:
    if model_type == "gpt2":
        model: Any = npbert.GPT2LMHeadModel(
            npbert.GPT2Config(vocab_size=60, n_embd=12, n_layer=1, n_head=2, n_positions=8, bos_token_id=1, eos_token_id=1),
            rng=np.random.default_rng(0),
        )
    elif model_type == "distilbert":
        config = npbert.DistilBertConfig(vocab_size=60, dim=12, n_layers=1, n_heads=3, hidden_dim=20, max_position_embeddings=8)
        model = npbert.DistilBertForMaskedLM(config, rng=np.random.default_rng(0))
    else:
        model = model_of("BertForPreTraining")
    model.save_pretrained(tmp_path)
    config = npbert.AutoConfig.from_pretrained(tmp_path)
    assert (config.model_type, config.vocab_size) == (model_type, 60)
    base = npbert.AutoModel.from_pretrained(tmp_path)
    assert type(base).__name__ == ("GPT2Model" if model_type == "gpt2" else "BertModel")
    ids = np.array([[1, 5, 9]])
    wanted = model(ids, output_hidden_states=True).hidden_states[-1]
    np.testing.assert_array_equal(base(ids).last_hidden_state, wanted)
    auto = npbert.AutoModelForCausalLM if model_type == "gpt2" else npbert.AutoModelForMaskedLM
    np.testing.assert_array_equal(auto.from_pretrained(tmp_path)(ids).logits, model(ids)[0])
    fresh = npbert.AutoModelForSequenceClassification.from_config(config)
    assert fresh(ids).logits.shape == (1, 2)
    with pytest.raises(npbert.InputError, match="AutoModelForSeq2SeqLM"):
        npbert.AutoModelForSeq2SeqLM.from_pretrained(tmp_path)


def test_distilbert_in_its_own_words() -> None:
    config = npbert.DistilBertConfig(dim=24, n_heads=2, dropout=0.3)
    assert (config.dim, config.hidden_size, config.n_layers, config.n_heads, config.hidden_dim) == (24, 24, 6, 2, 3072)
    assert (config.dropout, config.attention_dropout, config.seq_classif_dropout) == (0.3, 0.1, 0.2)
    config.n_layers = 3
    assert config.num_hidden_layers == 3


def test_the_model_as_the_reference_s_code_handles_it() -> None:
    model = model_of()
    ids = np.array([[1, 5, 9]])
    wanted = model(ids).last_hidden_state
    assert model.eval() is model
    assert model.train(False) is model
    assert model.to("cpu") is model
    assert model.to(device="cpu") is model
    assert model.cpu() is model
    assert (model.device, model.training, model.config.use_return_dict) == ("cpu", False, True)
    np.testing.assert_array_equal(model.forward(ids).last_hidden_state, wanted)
    assert model.double().dtype == np.float64
    assert model.to(np.float64).dtype == model.to(dtype="torch.float64").dtype == np.float64
    with pytest.raises(npbert.InputError, match="rng="):
        model.train()
    for place in ("cuda", "cuda:0", 0, "mps"):
        with pytest.raises(npbert.InputError, match="processor"):
            model.to(place)
    for name in ("cuda", "half", "register_forward_hook", "backward", "zero_grad"):
        with pytest.raises(AttributeError, match=f"BertModel has no '{name}': "):
            getattr(model, name)


def test_chunks() -> None:
    x = np.arange(24.0).reshape(2, 6, 2)
    for size in (0, 1, 2, 3, 6):
        np.testing.assert_array_equal(npbert.apply_chunking_to_forward(lambda a, b: a + b, size, 1, x, x), 2 * x)
    with pytest.raises(npbert.InputError, match="divisor of the length 6"):
        npbert.apply_chunking_to_forward(lambda a: a, 4, 1, x)
    with pytest.raises(npbert.InputError, match="same length"):
        npbert.apply_chunking_to_forward(lambda a, b: a, 1, 1, x, x[:, :3])
    with pytest.raises(npbert.InputError, match="one array or more"):
        npbert.apply_chunking_to_forward(lambda: x, 1, 1)


def test_pruning_by_hand_is_what_prune_heads_does() -> None:
    model = model_of()
    before = model.encoder.layer[0].attention.self.query
    heads, index = npbert.find_pruneable_heads_and_indices([0, 2], 3, 4, set())
    assert heads == {0, 2}
    assert index.tolist() == [4, 5, 6, 7]
    assert npbert.find_pruneable_heads_and_indices([0, 2], 2, 4, {0})[1].tolist() == [0, 1, 2, 3]
    query = npbert.prune_linear_layer(before, index)
    output = npbert.prune_linear_layer(model.encoder.layer[0].attention.output.dense, index, dim=1)
    model.prune_heads({0: [0, 2]})
    pruned = model.encoder.layer[0].attention
    np.testing.assert_array_equal(query.weight, pruned.self.query.weight)
    np.testing.assert_array_equal(query.bias, pruned.self.query.bias)
    np.testing.assert_array_equal(output.weight, pruned.output.dense.weight)
    x = np.ones((2, 12), np.float32)
    np.testing.assert_array_equal(query(x), pruned.self.query(x))


def test_masks_as_the_reference_makes_them() -> None:
    model, decoder = model_of(), model_of(is_decoder=True)
    least = np.finfo(np.float32).min
    np.testing.assert_array_equal(model.get_extended_attention_mask(np.array([[1, 1, 0]]), (1, 3)), [[[[0, 0, least]]]])
    causal = decoder.get_extended_attention_mask(np.array([[1, 1, 0]]), (1, 3))[0, 0]
    np.testing.assert_array_equal(causal, [[0, least, least], [0, 0, least], [0, 0, least]])
    np.testing.assert_array_equal(model.invert_attention_mask(np.array([[1, 0]])), [[[[0, least]]]])
    assert model.get_head_mask(None, 2) == [None, None]
    assert model.get_head_mask([1, 0, 1], 2).shape == (2, 1, 3, 1, 1)
    assert model.get_head_mask(np.ones((2, 3)), 2, is_attention_chunked=True).shape == (2, 1, 3, 1, 1, 1)
    with pytest.raises(npbert.InputError, match="attention_mask"):
        model.get_extended_attention_mask(np.ones(3), (3,))


def test_tables_of_a_language_model() -> None:
    model = model_of("BertForMaskedLM")
    assert model.get_output_embeddings() is model.get_input_embeddings()
    assert model_of().get_output_embeddings() is None
    assert len(model.resize_token_embeddings(61, pad_to_multiple_of=8)) == 64
    assert len(model.resize_token_embeddings(pad_to_multiple_of=10)) == 70


def test_a_configuration_as_a_file(tmp_path: Any) -> None:
    config_of().to_json_file(tmp_path / "any.json")
    assert npbert.BertConfig.from_json_file(tmp_path / "any.json") == config_of()


GOOGLES = Path(__file__).parents[1] / "checkpoints" / "data" / "tf" / "pretraining"


@pytest.mark.parametrize("name", ["BertForPreTraining", "BertForMaskedLM", "BertModel"])
def test_a_checkpoint_of_google_s(name: str) -> None:
    config = npbert.BertConfig.from_json_file(GOOGLES / "bert_config.json")
    model = getattr(npbert, name)(config)
    assert npbert.load_tf_weights_in_bert(model, config, GOOGLES / "bert_model.ckpt") is model
    wanted = getattr(npbert, name).from_pretrained(GOOGLES)
    for weight, array in model.named_parameters():
        np.testing.assert_array_equal(array, wanted.weights[weight])
    if name == "BertModel":
        bare = npbert.load_tf_weights_in_bert(npbert.BertModel(config, False), config, GOOGLES)
        np.testing.assert_array_equal(bare.get_input_embeddings(), model.get_input_embeddings())


def test_what_a_checkpoint_of_google_s_lacks_stays() -> None:
    config = npbert.BertConfig.from_json_file(GOOGLES / "bert_config.json")
    model = npbert.BertForSequenceClassification(config)
    classifier = model.weights["classifier.weight"]
    with pytest.warns(UserWarning, match=r"does not have classifier\.weight, classifier\.bias, which stay as they are"):
        npbert.load_tf_weights_in_bert(model, config, GOOGLES)
    assert model.weights["classifier.weight"] is classifier
    with pytest.raises(npbert.FileError, match="holds no weight of GPT2Model; it has bert"):
        npbert.load_tf_weights_in_bert(
            npbert.GPT2Model(npbert.GPT2Config(vocab_size=9, n_embd=4, n_layer=1, n_head=1)), None, GOOGLES
        )
    with pytest.raises(npbert.InputTypeError, match="model: takes a model of npbert, got None"):
        npbert.load_tf_weights_in_bert(None, config, GOOGLES)
