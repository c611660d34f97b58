"""GPT-2's checkpoints: in every format and under every name that they come with, and back to the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npbert
from npbert import FileError, InputError, NpbertError

from .builders import CLASSES, build, ids, tiny
from .cases import DATA


def save(directory: Path, arrays: dict[str, np.ndarray], **fields: Any) -> Path:
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(x) for name, x in arrays.items()}, directory / "model.safetensors")
    config = {**tiny().to_dict(), **fields}
    (directory / "config.json").write_text(json.dumps({name: x for name, x in config.items() if x is not None}))
    return directory


def test_a_field_under_two_names() -> None:
    """The reference takes the other models' name."""
    with pytest.warns(UserWarning, match="config: num_hidden_layers is 1 and n_layer is 2; num_hidden_layers counts"):
        assert npbert.GPT2Config(num_hidden_layers=1, n_layer=2).n_layer == 1
    with pytest.warns(UserWarning, match="num_hidden_layers counts"):
        assert npbert.GPT2Config.from_dict({"n_layer": 2, "num_hidden_layers": 1}).n_layer == 1
    assert npbert.GPT2Config(n_layer=2, num_hidden_layers=2).n_layer == 2
    for file, override in (("num_hidden_layers", "n_layer"), ("n_layer", "num_hidden_layers")):
        assert npbert.GPT2Config.from_dict({file: 2}, **{override: 3}).n_layer == 3


@pytest.mark.parametrize("model_class", CLASSES)
def test_saved_and_loaded(model_class: str, tmp_path: Path) -> None:
    model = build(model_class, tiny(), dtype=np.float32)
    model.save_pretrained(tmp_path)
    again = npbert.load(tmp_path)
    assert type(again) is type(model)
    assert again.config.to_dict() == model.config.to_dict() | {"torch_dtype": "float32"}
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], x, err_msg=name)
    assert "lm_head.weight" not in dict(again.named_parameters())
    assert np.shares_memory(again.weights[npbert.models.surgery.word_table(again)], again.get_input_embeddings())


def test_with_the_prefix_or_without_and_with_old_buffers(tmp_path: Path) -> None:
    """The first GPT-2's own file has no prefix, and the triangle of each layer; a language model's has one."""
    model = build("GPT2LMHeadModel", tiny(), dtype=np.float32)
    weights = dict(model.named_parameters())
    bare = {name.removeprefix("transformer."): x for name, x in weights.items()}
    for layer in range(2):
        bare[f"h.{layer}.attn.bias"] = np.tril(np.ones((1, 1, 17, 17), np.float32))
        bare[f"h.{layer}.attn.masked_bias"] = np.float32(-1e4)
    save(tmp_path, bare, architectures=["GPT2LMHeadModel"])
    for cls in (npbert.GPT2LMHeadModel, npbert.GPT2Model):
        loaded, info = cls.from_pretrained(tmp_path, output_loading_info=True)
        assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": [], "error_msgs": []}
        np.testing.assert_array_equal(
            loaded(ids(tiny(), 1, 4))[0], (model if cls is npbert.GPT2LMHeadModel else loaded)(ids(tiny(), 1, 4))[0]
        )
    save(tmp_path, {**weights, "lm_head.weight": weights["transformer.wte.weight"]})
    base, info = npbert.GPT2Model.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == []
    assert info["unexpected_keys"] == ["lm_head.weight"]
    for name, x in base.named_parameters():
        np.testing.assert_array_equal(x, weights[f"transformer.{name}"])
    table = weights["transformer.wte.weight"]
    save(tmp_path, {name: x for name, x in weights.items() if "wte" not in name} | {"lm_head.weight": table})
    np.testing.assert_array_equal(npbert.GPT2LMHeadModel.from_pretrained(tmp_path).get_input_embeddings(), table)
    save(tmp_path, {**weights, "lm_head.weight": weights["transformer.wte.weight"]})
    untied = npbert.GPT2LMHeadModel.from_pretrained(tmp_path, tie_word_embeddings=False)
    np.testing.assert_array_equal(untied.lm_head.weight, weights["transformer.wte.weight"])


def test_a_configuration_that_names_no_class(tmp_path: Path) -> None:
    model = build("GPT2Model", tiny(), dtype=np.float32)
    save(tmp_path, dict(model.named_parameters()), architectures=None)
    assert type(npbert.load(tmp_path)) is npbert.GPT2LMHeadModel
    classifier = build("GPT2ForSequenceClassification", tiny(), dtype=np.float32)
    save(tmp_path, dict(classifier.named_parameters()), architectures=None)
    assert type(npbert.load(tmp_path)) is npbert.GPT2ForSequenceClassification
    save(tmp_path, dict(model.named_parameters()), architectures=["GPT2DoubleHeadsModel"])
    with pytest.warns(UserWarning, match="npbert has no 'GPT2DoubleHeadsModel', and loads a GPT2LMHeadModel"):
        assert type(npbert.load(tmp_path)) is npbert.GPT2LMHeadModel


def test_wrong_files_are_named(tmp_path: Path) -> None:
    weights = dict(build("GPT2Model", tiny(), dtype=np.float32).named_parameters())
    turned = {name: x.T if name.endswith("c_attn.weight") else x for name, x in weights.items()}
    with pytest.raises(InputError, match=r"c_attn.weight takes shape \[12, 36\], the file has \[36, 12\]"):
        npbert.load(save(tmp_path, turned))
    with pytest.raises(FileError, match="n_layer takes at most 2000"):
        npbert.load(save(tmp_path, weights, n_layer=10**9))
    with pytest.raises(FileError, match="model_type 'gpt2'; a BertConfig takes"):
        npbert.BertModel.from_pretrained(save(tmp_path, weights))
    with pytest.raises(NpbertError, match="n_embd 12 cannot be divided among n_head 5"):
        tiny(n_head=5)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("safe", [True, False])
def test_both_ways_with_the_reference(model_class: str, tied: bool, safe: bool, tmp_path: Path) -> None:
    import torch
    import transformers

    from . import reference

    ours = build(model_class, tiny(tie_word_embeddings=tied, add_cross_attention=True), dtype=np.float32)
    arguments = {"input_ids": ids(tiny(), 2, 5)}
    expected = ours(**arguments)[0]
    ours.save_pretrained(tmp_path / "ours")
    theirs, info = getattr(transformers, model_class).from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(info.values()), info
    with torch.no_grad():
        np.testing.assert_allclose(theirs(**reference.converted(theirs, arguments))[0].numpy(), expected, atol=1e-4)
    theirs.save_pretrained(tmp_path / "theirs", safe_serialization=safe)
    again, info = getattr(npbert, model_class).from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not any(info.values()), info
    np.testing.assert_array_equal(again(**arguments)[0], expected)
    assert type(npbert.load(tmp_path / "theirs")) is type(ours)


def test_the_references_file_has_our_generation_settings() -> None:
    assert npbert.load(DATA / "checkpoint").generation_config["pad_token_id"] == 0
