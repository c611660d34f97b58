"""The interface of the diagnosis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from npbert import InputError, InputTypeError, golden

from ..builders import build, tiny
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
