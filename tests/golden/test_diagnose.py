"""The interface of the diagnosis."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import npbert
from npbert import InputError, InputTypeError, golden, ops

from ..builders import build, ids, tiny
from .subjects import (
    ACTIVATION,
    SELF,
    Subject,
)


def test_the_port_may_be_a_file_under_its_own_names(subjects: dict[str, Subject], tmp_path: Path) -> None:
    subject = subjects["encoder"]
    dump = {f"my/{name}": x for name, x in subject.dump("gelu-tanh").items()}
    np.savez(tmp_path / "port.npz", **dump)
    names = {own: own.removeprefix("my/") for own in dump}
    suspects = golden.diagnose(str(subject.pack.path), tmp_path / "port.npz", names=names, precision="fp32")
    assert [suspect.mistake for suspect in suspects] == ["gelu-tanh"]


def test_merged_heads(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    dump = subject.dump("scores-not-scaled")
    for part in ("query", "key", "value"):
        x = dump[f"{SELF}:{part}"]
        dump[f"{SELF}:{part}"] = x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)
    assert [suspect.mistake for suspect in golden.diagnose(subject.pack, dump)] == ["scores-not-scaled"]


def test_the_weights_may_come_from_the_model(subjects: dict[str, Subject], tmp_path: Path) -> None:
    subject = subjects["encoder"]
    path = tmp_path / "pack"
    golden.export(subject.model, subject.inputs, path)
    dump = subject.dump("gelu-tanh")
    assert golden.diagnose(path, subject.dump()) == []  # nothing to explain, so no weights are needed
    with pytest.raises(InputError, match=r"pack: was exported without weights.* model="):
        golden.diagnose(path, dump)
    assert [suspect.mistake for suspect in golden.diagnose(path, dump, model=subject.model)] == ["gelu-tanh"]
    with pytest.raises(InputError, match="model: its weights are not those"):
        golden.diagnose(path, dump, model=build("BertModel", tiny(), seed=1, dtype=np.float32))
    with pytest.raises(InputTypeError, match="model: takes a model of npbert, got str"):
        golden.diagnose(path, dump, model="bert-base-uncased")


def test_a_pack_of_a_part(subjects: dict[str, Subject], tmp_path: Path) -> None:
    subject = subjects["encoder"]
    golden.export(subject.model, subject.inputs, tmp_path / "pack", only=["encoder.layer.?", "output:*"], weights=True)
    suspects = golden.diagnose(tmp_path / "pack", subject.dump("gelu-sigmoid"))
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("gelu-sigmoid", ACTIVATION)]
    golden.export(subject.model, subject.inputs, tmp_path / "pack", only="output:*", weights=True)
    suspects = golden.diagnose(tmp_path / "pack", subject.dump("gelu-sigmoid"))
    assert [(suspect.mistake, suspect.where) for suspect in suspects] == [("gelu-sigmoid", ACTIVATION)]


def test_nothing_is_changed(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    weights = {name: x.copy() for name, x in subject.model.state_dict().items()}
    dump = subject.dump("residual-after-layernorm")
    copies = {name: x.copy() for name, x in dump.items()}
    golden.diagnose(subject.pack, dump, model=subject.model)
    assert subject.model.config.num_hidden_layers == 2
    for before, after in ((weights, subject.model.state_dict()), (copies, dump)):
        assert all(np.array_equal(before[name], after[name]) for name in before)


def test_infinity_is_no_warning(subjects: dict[str, Subject]) -> None:
    subject = subjects["encoder"]
    dump = subject.dump()
    name = next(name for name in dump if name.endswith("encoder.layer.0"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (suspect,) = golden.diagnose(subject.pack, {**dump, name: dump[name] * np.inf})
    assert (suspect.mistake, suspect.where) == ("dump-not-computation", name)


def test_a_mistake_in_both_parts_of_a_model_is_found_in_the_first(tmp_path: Path) -> None:
    """That the same step of the other part is wrong too, which the first cannot explain, does not speak against it."""
    encoder = build("BertModel", tiny(num_hidden_layers=1))
    decoder = build("BertLMHeadModel", tiny(num_hidden_layers=1, is_decoder=True, add_cross_attention=True))
    config = npbert.EncoderDecoderConfig(
        encoder=encoder.config, decoder=decoder.config, decoder_start_token_id=1, pad_token_id=0
    )
    model = npbert.EncoderDecoderModel(config, encoder=encoder, decoder=decoder).astype(np.float32)
    inputs = {"input_ids": ids(encoder.config, 2, 6), "decoder_input_ids": ids(encoder.config, 2, 4)}
    golden.export(model, inputs, tmp_path / "pack", weights=True)
    right = ops.layer_norm

    def layer_norm(x: Any, weight: Any, bias: Any, *, eps: float, **others: Any) -> Any:
        return right(x, weight, bias, eps=1e-3, **others)

    with mock.patch.object(ops, "layer_norm", layer_norm), npbert.trace() as port:
        model(**inputs)
    suspects = golden.diagnose(tmp_path / "pack", dict(port))
    assert (suspects[0].mistake, suspects[0].where) == ("layernorm-eps", "encoder.embeddings.LayerNorm")
