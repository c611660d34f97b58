"""Configurations: defaults, fields that nobody knows, and what no model can be built from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npbert import BertConfig, FileError, InputError, InputTypeError, NpbertError

from ..builders import build, ids, tiny


def test_defaults_are_those_of_the_paper() -> None:
    config = BertConfig()
    assert (config.vocab_size, config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (30522, 768, 12, 12)
    assert (config.intermediate_size, config.max_position_embeddings, config.type_vocab_size) == (3072, 512, 2)
    assert (config.hidden_act, config.layer_norm_eps, config.initializer_range) == ("gelu", 1e-12, 0.02)
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob, config.classifier_dropout) == (0.1, 0.1, None)
    assert (config.mask_value, config.pad_token_id, config.num_labels, config.head_size) == (-10000.0, 0, 2, 64)


@pytest.mark.parity
def test_defaults_are_the_references() -> None:
    import transformers

    theirs = transformers.BertConfig()
    ours = BertConfig().to_dict()
    own = {"mask_value", "pooler_act", "gradient_checkpointing"}
    assert {name: getattr(theirs, name) for name in ours if name not in own} == {
        name: value for name, value in ours.items() if name not in own
    }


def test_unknown_fields_are_kept_and_saved_again(tmp_path: Path) -> None:
    config = tiny(note="mine", nested={"a": [1, {"b": None}]}, gradient_checkpointing=False, transformers_version="4.0.0")
    assert config.note == "mine"  # type: ignore[attr-defined]
    path = tmp_path / "config.json"
    path.write_text(config.to_json_string(), encoding="utf-8")
    saved = json.loads(path.read_text(encoding="utf-8"))
    assert (saved["note"], saved["nested"], saved["transformers_version"]) == ("mine", {"a": [1, {"b": None}]}, "4.0.0")
    assert BertConfig.from_json_file(path) == config
    assert BertConfig.from_dict(saved, note="yours").note == "yours"  # type: ignore[attr-defined]
    assert build("BertModel", config).config.note == "mine"


def test_numpy_values_become_plain_ones_and_can_be_saved() -> None:
    plain = tiny(hidden_size=24, layer_norm_eps=0.5, is_decoder=True, num_labels=3, pruned_heads={1: [0, 2]}, note=[[1, 2]])
    config = tiny(
        hidden_size=np.int64(24),
        layer_norm_eps=np.float32(0.5),
        is_decoder=np.bool_(True),
        num_labels=np.uint8(3),
        pruned_heads={np.int64(1): np.array([2, 0])},
        note=(np.array([1, 2]),),
    )
    assert config == plain
    assert {type(value) for value in config.to_dict().values()} == {type(value) for value in plain.to_dict().values()}
    assert config.to_json_string() == plain.to_json_string()
    config.vocab_size = np.int32(40)  # type: ignore[assignment]
    config.mask_value = np.finfo(np.float32).min  # type: ignore[assignment]
    assert type(config.vocab_size) is int
    assert type(config.mask_value) is float
    assert build("BertModel", config)(ids(config, 1, 2))[0].shape == (1, 2, 24)


def test_what_json_cannot_hold_is_refused_when_saved() -> None:
    with pytest.raises(InputTypeError, match="field holds a object"):
        tiny(note={"deep": [object()]}).to_json_string()


def test_nothing_is_shared_with_the_caller() -> None:
    heads, nested = {0: [1]}, {"a": [1]}
    config = tiny(pruned_heads=heads, nested=nested)
    heads[0].append(2)
    nested["a"].append(2)
    assert config.pruned_heads == {0: [1]}
    assert config.nested == {"a": [1]}  # type: ignore[attr-defined]
    config.to_dict()["pruned_heads"][0].append(2)
    assert config.pruned_heads == {0: [1]}
    model = build("BertModel", config)
    config.hidden_act = "relu"
    assert model.config.hidden_act == "gelu"


def test_json_has_no_integer_keys() -> None:
    config = BertConfig.from_dict(json.loads(tiny(pruned_heads={1: [2, 0]}, num_labels=3).to_json_string()))
    assert {layer: set(heads) for layer, heads in config.pruned_heads.items()} == {1: {0, 2}}
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}


@pytest.mark.parametrize("heads", [[2, 0], [0, 2, 0], {0, 2}])
def test_pruned_heads_in_any_order_and_more_than_once(heads: Any) -> None:
    """As checkpoints that were pruned twice have them."""
    config = tiny(pruned_heads={1: heads})
    assert (config.num_heads(0), config.num_heads(1)) == (3, 1)
    assert build("BertModel", config)(ids(config, 1, 3), output_attentions=True).attentions[1].shape == (1, 1, 3, 3)


def test_labels() -> None:
    assert tiny(num_labels=5).num_labels == 5
    config = tiny(id2label={"0": "no", "1": "yes", "2": "perhaps"})
    assert (config.num_labels, config.id2label[2], config.label2id) == (3, "perhaps", {"no": 0, "yes": 1, "perhaps": 2})
    assert tiny(id2label={0: "no", 1: "yes"}, num_labels=2).id2label == {0: "no", 1: "yes"}
    with pytest.warns(UserWarning, match=r"num_labels is 3, but id2label names 2 labels"):  # as the reference has it
        assert tiny(id2label={0: "no", 1: "yes"}, num_labels=3).id2label == {0: "no", 1: "yes"}
    config.num_labels = 1
    assert config.id2label == {0: "LABEL_0"}


def test_equality_and_repr() -> None:
    assert tiny() == tiny()
    assert tiny() != tiny(hidden_act="relu")
    assert tiny(note=1) != tiny()
    assert "hidden_size=12" in repr(tiny())
    assert "layer_norm_eps" not in repr(tiny())
    with pytest.raises(TypeError):
        hash(tiny())


def test_a_callable_activation() -> None:
    def double(x: Any) -> Any:
        return 2 * x

    config = tiny(hidden_act=double)
    assert config.activation is double
    with pytest.raises(InputTypeError, match="hidden_act is a function"):
        config.to_json_string()
    linear, doubled = (build("BertModel", tiny(hidden_act=act)) for act in ("linear", double))
    first = ids(config, 1, 3)
    assert not np.allclose(linear(first).last_hidden_state, doubled(first).last_hidden_state)


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"hidden_size": 13}, ValueError, r"hidden_size 13 .*num_attention_heads 3"),
        ({"hidden_act": "gleu"}, ValueError, r"hidden_act 'gleu'.*gelu_new"),
        ({"hidden_act": None}, ValueError, r"hidden_act None"),
        ({"hidden_act": 3}, ValueError, r"hidden_act 3"),
        ({"pooler_act": "softplus"}, ValueError, r"pooler_act 'softplus'"),
        ({"position_embedding_type": "rotary"}, ValueError, r"position_embedding_type.*relative_key_query.*'rotary'"),
        ({"problem_type": "ranking"}, ValueError, r"problem_type.*regression.*'ranking'"),
        ({"add_cross_attention": True}, ValueError, r"add_cross_attention.*is_decoder"),
        ({"vocab_size": 0}, ValueError, r"vocab_size takes 1 or more, got 0"),
        ({"hidden_size": 0}, ValueError, r"hidden_size takes 1 or more"),
        ({"num_attention_heads": 0}, ValueError, r"num_attention_heads takes 1 or more"),
        ({"num_attention_heads": -3}, ValueError, r"num_attention_heads takes 1 or more"),
        ({"intermediate_size": 0}, ValueError, r"intermediate_size"),
        ({"max_position_embeddings": 0}, ValueError, r"max_position_embeddings"),
        ({"num_hidden_layers": -1}, ValueError, r"num_hidden_layers takes 0 or more"),
        ({"type_vocab_size": -1}, ValueError, r"type_vocab_size"),
        ({"chunk_size_feed_forward": -1}, ValueError, r"chunk_size_feed_forward"),
        ({"layer_norm_eps": -1e-5}, ValueError, r"layer_norm_eps"),
        ({"initializer_range": -0.1}, ValueError, r"initializer_range"),
        ({"hidden_dropout_prob": 1.1}, ValueError, r"hidden_dropout_prob.*0 to 1"),
        ({"attention_probs_dropout_prob": -0.1}, ValueError, r"attention_probs_dropout_prob"),
        ({"classifier_dropout": 2}, ValueError, r"classifier_dropout"),
        ({"pad_token_id": 31}, ValueError, r"pad_token_id takes 0 to 30, got 31"),
        ({"pruned_heads": {2: [0]}}, ValueError, r"pruned_heads names layer 2"),
        ({"pruned_heads": {-3: [0]}}, ValueError, r"pruned_heads names layer -3"),
        ({"pruned_heads": {0: [3]}}, ValueError, r"pruned_heads takes .*heads.* 0 to 2"),
        ({"pruned_heads": {0: [1.5]}}, ValueError, r"pruned_heads takes .*heads.* 0 to 2"),
        ({"pruned_heads": {0: 3}}, ValueError, r"pruned_heads"),
        ({"eos_token_id": "end"}, TypeError, r"eos_token_id"),
        ({"eos_token_id": [1, "end"]}, TypeError, r"eos_token_id"),
        ({"architectures": "BertModel"}, TypeError, r"architectures"),
        ({"pruned_heads": [[0]]}, TypeError, r"pruned_heads takes a mapping"),
        ({"pruned_heads": {"first": [0]}}, TypeError, r"pruned_heads"),
        ({"id2label": ["a", "b"]}, TypeError, r"id2label"),
        ({"num_labels": 2.5}, TypeError, r"num_labels"),
        ({"num_labels": -1}, TypeError, r"num_labels"),
        ({"vocab_size": "31"}, TypeError, r"vocab_size takes int, got '31'"),
        ({"hidden_size": 12.0}, TypeError, r"hidden_size takes int"),
        ({"num_hidden_layers": True}, TypeError, r"num_hidden_layers takes int"),
        ({"layer_norm_eps": "1e-5"}, TypeError, r"layer_norm_eps takes float"),
        ({"layer_norm_eps": float("nan")}, TypeError, r"layer_norm_eps"),
        ({"mask_value": None}, TypeError, r"mask_value takes float"),
        ({"is_decoder": 1}, TypeError, r"is_decoder takes bool"),
        ({"position_embedding_type": None}, TypeError, r"position_embedding_type takes str"),
        ({"pad_token_id": 0.5}, TypeError, r"pad_token_id takes int \| None"),
    ],
    ids=str,
)
def test_what_no_model_can_be_built_from(fields: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(NpbertError, match=message) as caught:
        tiny(**fields)
    assert isinstance(caught.value, kind)
    config = tiny()
    if "num_labels" not in fields and "id2label" not in fields and not isinstance(fields.get("pruned_heads"), list):
        for name, value in fields.items():
            setattr(config, name, value)
        if "first" not in config.pruned_heads:
            with pytest.raises(NpbertError):
                build("BertModel", config)


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_act": ["gelu"]},
        {"mask_value": float("-inf")},
        {"mask_value": -1e300},
        {"layer_norm_eps": float("inf")},
        {"mask_value": 1.0},
        {"mask_value": float("nan")},
        {"mask_value": -3.45e38},
    ],
    ids=str,
)
def test_more_that_no_model_can_be_built_from(fields: dict[str, Any]) -> None:
    with pytest.raises(NpbertError):
        tiny(**fields)


@pytest.mark.parametrize("name", ["activation", "head_size", "to_dict", "validate", "num_heads"])
def test_unknown_fields_may_have_any_name(name: str) -> None:
    config = tiny(**{name: "mine"})
    assert config.to_dict()[name] == "mine"
    assert build("BertModel", config).config.to_dict()[name] == "mine"


def test_numbers_at_the_edge_that_are_fine() -> None:
    tiny(num_hidden_layers=0, hidden_dropout_prob=0, attention_probs_dropout_prob=1, layer_norm_eps=0, type_vocab_size=0)
    tiny(pad_token_id=None, eos_token_id=[1, 2], classifier_dropout=0.5)
    tiny(hidden_dropout_prob=1)
    assert tiny(mask_value=float(np.finfo(np.float32).min)).mask_value < -1e38


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"hidden_size": 13}')
    with pytest.raises(FileError, match=r"config\.json.*hidden_size 13"):
        BertConfig.from_json_file(path)
    path.write_text("{")
    with pytest.raises(FileError, match=r"config\.json"):
        BertConfig.from_json_file(path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.json") as caught:
        BertConfig.from_json_file(tmp_path / "nothing.json")
    assert isinstance(caught.value, NpbertError)


def test_models_look_at_fields_that_were_set_later() -> None:
    config = tiny()
    config.hidden_size = 13
    with pytest.raises(InputError, match="hidden_size 13"):
        build("BertModel", config)
