"""A checkpoint as one object: what it reads and when, and what `save` writes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npbert.checkpoints import LOCATION_OPTIONS, config_text, find, read_config_file, safetensors, save, tensorflow
from npbert.checkpoints import checkpoint as module
from npbert.checkpoints.limits import MAX_CONFIG_NUMBERS
from npbert.checkpoints.reading import UNFINISHED
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError, NpbertError, WriteError

ROOT = Path(__file__).parents[2]
TF = Path(__file__).parent / "data" / "tf"
FIELDS = {"model_type": "bert", "hidden_size": 8, "id2label": {"0": "ü"}, "architectures": ["BertModel"]}
ARRAYS = {
    "embeddings.word_embeddings.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "pooler.dense.bias": np.zeros(4, np.float64),
}


def saved(directory: Path, **options: Any) -> Path:
    save(directory, FIELDS, ARRAYS, **{"generation_settings": {"num_beams": 2}, **options})
    return directory


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_what_is_saved_is_found(tmp_path: Path) -> None:
    checkpoint = find(saved(tmp_path / "new" / "one"))
    assert files(tmp_path / "new" / "one") == ["config.json", "generation_config.json", "model.safetensors"]
    assert checkpoint.name == str(tmp_path / "new" / "one")
    assert checkpoint.fields == FIELDS
    assert checkpoint.fields_path == tmp_path / "new" / "one" / "config.json"
    assert checkpoint.generation_settings == {"num_beams": 2}
    assert checkpoint.arrays_path == tmp_path / "new" / "one" / "model.safetensors"
    assert checkpoint.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(checkpoint.arrays[name], array, strict=True)


def test_shards_and_progress(tmp_path: Path) -> None:
    told: list[int] = []
    checkpoint = find(saved(tmp_path, max_shard_size=40, progress=told.append))
    assert sorted(told) == [32, 48]
    assert checkpoint.arrays_path.name == "model.safetensors.index.json"
    assert checkpoint.arrays.keys() == ARRAYS.keys()


def test_empty_generation_settings_leave_no_file(tmp_path: Path) -> None:
    saved(tmp_path)
    saved(tmp_path, generation_settings={})
    assert files(tmp_path) == ["config.json", "model.safetensors"]
    assert find(tmp_path).generation_settings == {}


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(InputTypeError, match=r"a field holds .*cannot be written to a file"):
        save(tmp_path, {"note": object()}, {"x": np.ones(1)}, generation_settings={})
    with pytest.raises(InputTypeError, match=r"'x'.*complex"):
        save(tmp_path, {}, {"x": np.ones(1, complex)}, generation_settings={})
    checkpoint = find(tmp_path)
    assert (checkpoint.fields, checkpoint.arrays.keys()) == (FIELDS, ARRAYS.keys())


class Died(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("size", ["5GB", "1KB"])
@pytest.mark.parametrize("settings", [{}, {"num_beams": 7}])
@pytest.mark.parametrize("old_config", ["config.json", "bert_config.json"])
def test_a_save_that_dies_leaves_the_old_checkpoint_or_the_new_one_or_none_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, settings: dict[str, Any], old_config: str
) -> None:
    old = {f"x{number}": np.full(200, 1.0, np.float32) for number in range(3)}
    new = {name: array + 1 for name, array in old.items()}
    outcomes = []
    for steps in range(20):
        home = tmp_path / str(steps)
        save(home, {"hidden_act": "gelu"}, old, generation_settings={"num_beams": 2}, max_shard_size=size)
        (home / "config.json").rename(home / old_config)
        left = [steps]

        def change(function: Any, left: list[int] = left) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                if not left[0]:
                    raise Died
                left[0] -= 1
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", change(os.replace))
            patch.setattr(os, "unlink", change(os.unlink))
            with contextlib.suppress(Died):
                save(home, {"hidden_act": "relu"}, new, generation_settings=settings, max_shard_size=size)
            finished = bool(left[0])
        try:
            checkpoint = find(home)
            found = (checkpoint.fields["hidden_act"], checkpoint.generation_settings, float(checkpoint.arrays["x2"][0]))
        except NpbertError:
            found = None
        outcomes.append(found)
        if finished:
            break
    before, after = ("gelu", {"num_beams": 2}, 1.0), ("relu", settings, 2.0)
    assert outcomes[0] == before
    assert outcomes[-1] == after
    assert set(map(repr, outcomes)) <= {repr(before), repr(after), "None"}
    assert None in outcomes


def test_a_save_with_the_same_configuration_can_be_read_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a training saves again and again: there is no moment without a checkpoint."""
    saved(tmp_path)
    replace = os.replace

    def look(source: Path, target: Path) -> None:
        assert find(tmp_path).fields == FIELDS
        assert find(tmp_path).arrays.keys() == ARRAYS.keys()
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    saved(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "model.safetensors"])
@pytest.mark.parametrize("settings", [{}, {"num_beams": 2}])
def test_a_save_touches_nothing_but_files(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: takes the name of a file, but a pipe is there"):
        saved(tmp_path, generation_settings=settings)
    assert files(tmp_path) == [name]


@pytest.mark.parametrize("size", ["5GB", "1KB"])
def test_a_save_onto_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, max_shard_size=40)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for works in range(4):
        left = [works]

        def refuse(descriptor: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(WriteError, match="No space left on device"):
                save(tmp_path, {}, {f"x{n}": np.ones(200) for n in range(3)}, generation_settings={"a": 1}, max_shard_size=size)
        if size == "1KB" or works < 3:  # with one file of weights, the third sync is that of the directory, behind the renames
            assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_dead_save_is_called_one(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").write_text(UNFINISHED)
    with pytest.raises(FileError, match=r"config\.json: is not JSON: .*a save into this directory died"):
        _ = find(tmp_path).fields
    saved(tmp_path)
    assert find(tmp_path).fields == FIELDS


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    saved(tmp_path)
    for value in (float("inf"), float("nan"), {1: 2, "a": 3}, loop, {1, 2}):
        for fields, generation in (({"note": value}, {}), ({}, {"note": value})):
            with pytest.raises((InputError, InputTypeError), match="written"):
                save(tmp_path, fields, {"x": np.ones(1)}, generation_settings=generation)
    assert find(tmp_path).fields == FIELDS


def test_lone_surrogates_are_written_as_the_reference_writes_them(tmp_path: Path) -> None:
    fields = {"note": "half \ud800 \u00e9"}
    save(tmp_path, fields, {"x": np.ones(1)}, generation_settings=fields)
    assert find(tmp_path).fields == find(tmp_path).generation_settings == fields
    assert "\\ud800" in (tmp_path / "config.json").read_text()


def test_each_file_is_looked_for_and_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path)
    read: Counter[str] = Counter()

    def counted(name: str) -> None:
        function = getattr(module, name)

        def call(*arguments: Any) -> Any:
            read[name] += 1
            return function(*arguments)

        monkeypatch.setattr(module, name, call)

    for name in ("read_config_file", "read_weights", "find_weights_file", "read_json_object"):
        counted(name)
    checkpoint = find(tmp_path)
    assert not read
    for _ in range(3):
        assert checkpoint.arrays is checkpoint.arrays
        assert checkpoint.fields is checkpoint.fields
        assert checkpoint.generation_settings is checkpoint.generation_settings
        assert checkpoint.arrays_path
    assert read == {"read_config_file": 1, "read_weights": 1, "find_weights_file": 1, "read_json_object": 1}


def test_fields_alone(tmp_path: Path) -> None:
    (tmp_path / "bert_config.json").write_text('{"hidden_size": 8}')
    checkpoint = find(tmp_path)
    assert checkpoint.fields == {"hidden_size": 8}
    with pytest.raises(MissingFileError, match=r"no weights in .* \(looked for model\.safetensors, "):
        _ = checkpoint.arrays
    with pytest.raises(MissingFileError, match="no weights in"):
        _ = checkpoint.arrays_path


def test_arrays_alone(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").unlink()
    for path in (tmp_path, tmp_path / "model.safetensors"):
        checkpoint = find(path)
        assert checkpoint.arrays.keys() == ARRAYS.keys()
        with pytest.raises(MissingFileError, match=r"no configuration in .* \(looked for config\.json, bert_config\.json\)"):
            _ = checkpoint.fields


def test_other_files_alone(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    for path in (tmp_path, tmp_path / "vocab.txt"):
        checkpoint = find(path)
        assert checkpoint.file("vocab.txt") == tmp_path / "vocab.txt"
        assert checkpoint.file("tokenizer.json") is None
        assert checkpoint.generation_settings == {}
        with pytest.raises(InputError, match="filename"):
            checkpoint.file("../vocab.txt")


def test_what_is_not_there_at_all() -> None:
    with pytest.raises(MissingFileError, match=r"^\./nowhere: no such file or directory$"):
        find("./nowhere")


def test_tensorflow_in_hugging_faces_names() -> None:
    checkpoint = find(TF / "classifier" / "model.ckpt-7")
    assert checkpoint.arrays_path.name == "model.ckpt-7.index"
    assert {"bert.embeddings.word_embeddings.weight", "classifier.weight"} <= checkpoint.arrays.keys()
    assert checkpoint.fields["vocab_size"] == len(checkpoint.arrays["bert.embeddings.word_embeddings.weight"])


def test_variables_that_are_the_same_weight_twice_name_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = {"output_bias": np.ones(1), "classifier/output_bias": np.ones(1)}
    monkeypatch.setattr(tensorflow, "read", lambda path: twice)
    checkpoint = find(TF / "classifier")
    with pytest.raises(FileError, match=r"^.*model\.ckpt-7\.index: weights: two TensorFlow variables are both classifier.bias"):
        _ = checkpoint.arrays


def test_distilbert_in_berts_words_and_back(tmp_path: Path) -> None:
    fields = {"model_type": "distilbert", "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    name = "bert.encoder.layer.0.attention.self.query.bias"
    ours = find(tmp_path).fields
    assert (ours["hidden_size"], ours["num_hidden_layers"], ours["type_vocab_size"]) == (8, 1, 0)
    assert ours == read_config_file(tmp_path / "config.json")
    save(tmp_path, ours, {name: np.ones(8)}, generation_settings={})
    assert fields.items() <= json.loads((tmp_path / "config.json").read_text()).items()
    checkpoint = find(tmp_path)
    assert [*safetensors.read(checkpoint.arrays_path)] == ["distilbert.transformer.layer.0.attention.q_lin.bias"]
    assert [*checkpoint.arrays] == [name]
    assert checkpoint.fields == ours


BAD_FIELDS = [
    *({name: limit + 1} for name, limit in MAX_CONFIG_NUMBERS.items()),
    {"self": 1},
    {"__class__": 1},
]


@pytest.mark.parametrize("part", [None, "encoder", "decoder"])
@pytest.mark.parametrize("bad", BAD_FIELDS, ids=lambda bad: next(iter(bad)))
def test_fields_that_no_file_may_have(tmp_path: Path, bad: dict[str, Any], part: str | None) -> None:
    fields = {"model_type": "encoder-decoder", "encoder": {}, "decoder": {}}
    (tmp_path / "config.json").write_text(json.dumps({**fields, part: bad} if part else {**fields, **bad}))
    with pytest.raises(FileError, match=next(iter(bad))) as caught:
        _ = find(tmp_path).fields
    assert str(caught.value).startswith(str(tmp_path / "config.json"))
    with pytest.raises(FileError):
        read_config_file(tmp_path / "config.json")


def test_limits_themselves_are_taken(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**MAX_CONFIG_NUMBERS, "encoder": MAX_CONFIG_NUMBERS, "decoder": 3}))
    assert find(tmp_path).fields == {**MAX_CONFIG_NUMBERS, "encoder": MAX_CONFIG_NUMBERS, "decoder": 3}


def test_distilberts_layers_are_counted_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "distilbert", "n_layers": 10**9}))
    with pytest.raises(FileError, match="num_hidden_layers takes at most 2000 in a file, got 1000000000"):
        _ = find(tmp_path).fields


def test_config_text() -> None:
    assert config_text({"b": "ü", "a": {"1": None}}) == '{\n  "a": {\n    "1": null\n  },\n  "b": "ü"\n}\n'
    with pytest.raises(InputTypeError, match=r"^config: hidden_act is a function"):
        config_text({"hidden_act": abs})
    with pytest.raises(InputTypeError, match=r"^decoder: config: hidden_act is a function"):
        config_text({"encoder": {}, "decoder": {"hidden_act": abs}})
    with pytest.raises(InputTypeError, match=r"^encoder: config: a field holds"):
        config_text({"encoder": {"note": {1}}})


def test_the_location_options_are_those_of_find() -> None:
    import inspect

    parameters = inspect.signature(find).parameters
    assert tuple(parameters)[1:] == LOCATION_OPTIONS


def test_importing_the_room_brings_nothing_heavy() -> None:
    heavy = ("huggingface_hub", "safetensors", "tokenizers", "tqdm", "npbert.models", "npbert.tasks")
    program = f"import sys, npbert.checkpoints; print(*[name for name in {heavy} if name in sys.modules])"
    program = f"import types, sys; sys.modules['npbert'] = m = types.ModuleType('npbert'); m.__path__ = ['npbert']; {program}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
