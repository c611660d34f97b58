import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from npbert.checkpoints import safetensors, shards, torch_pickle
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError

EXAMPLES = settings().max_examples  # the profile decides
INDEX = "model.safetensors.index.json"


def index_of(weight_map: Any) -> bytes:
    return json.dumps({"metadata": {"total_size": 1.5}, "weight_map": weight_map}).encode()


def sharded(directory: Path) -> Path:
    """Two shards by the safetensors library, and their index."""
    save_file({"a": np.arange(3.0), "b": np.ones(2, np.float16)}, directory / "model-00001-of-00002.safetensors")
    save_file({"c": np.arange(4)}, directory / "model-00002-of-00002.safetensors")
    files = dict.fromkeys("ab", "model-00001-of-00002.safetensors") | {"c": "model-00002-of-00002.safetensors"}
    (directory / INDEX).write_bytes(index_of(files))
    return directory / INDEX


def test_reads_shards(tmp_path: Path) -> None:
    arrays = shards.read(sharded(tmp_path), safetensors.read)
    assert {name: array.tolist() for name, array in arrays.items()} == {"a": [0, 1, 2], "b": [1, 1], "c": [0, 1, 2, 3]}
    assert shards.read_index(tmp_path / INDEX)["c"] == tmp_path / "model-00002-of-00002.safetensors"


def test_reads_what_was_written(tmp_path: Path) -> None:
    tensors = {f"w{i}": np.full(i, i, np.float32) for i in range(10)}
    shards.write(tmp_path, tensors, 40)
    arrays = shards.read(tmp_path / INDEX, safetensors.read)
    assert list(arrays) == list(tensors)
    assert all(np.array_equal(array, tensors[name]) for name, array in arrays.items())


def test_each_file_is_read_once(tmp_path: Path) -> None:
    seen = []

    def read(path: Path) -> dict[str, Any]:
        seen.append(path.name)
        return safetensors.read(path)

    shards.read(sharded(tmp_path), read)
    assert seen == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.mark.parity
def test_reference_reads_what_was_written(tmp_path: Path) -> None:
    import torch
    import transformers

    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=10,
    )
    config.save_pretrained(tmp_path)
    model = transformers.BertModel(config)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    for size in ("2KB", "1GB"):
        shards.write(tmp_path, state, size)
        assert (tmp_path / INDEX).exists() == (size == "2KB")
        again = transformers.BertModel.from_pretrained(tmp_path)
        assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parity
def test_reads_what_the_reference_sharded(tmp_path: Path) -> None:
    import transformers

    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=10,
    )
    model = transformers.BertModel(config)
    for safe, name, read in ((True, INDEX, safetensors.read), (False, "pytorch_model.bin.index.json", torch_pickle.read)):
        model.save_pretrained(tmp_path, max_shard_size="2KB", safe_serialization=safe)
        arrays = shards.read(tmp_path / name, read)
        assert set(arrays) == set(model.state_dict())
        assert all(np.array_equal(array, model.state_dict()[name].numpy()) for name, array in arrays.items())


OUTSIDE = ["../x", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "..\\x", "C:x", "a\0b", "a\nb", "file:///x", "\u202ea"]


@pytest.mark.parametrize("file_name", OUTSIDE)
def test_index_that_points_outside(tmp_path: Path, file_name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    save_file({"a": np.ones(1)}, tmp_path / "x")
    (home / INDEX).write_bytes(index_of({"a": file_name}))
    with pytest.raises(FileError, match="only files beside the index are taken") as caught:
        shards.read(home / INDEX, safetensors.read)
    assert str(home / INDEX) in str(caught.value)


def test_links_are_followed(tmp_path: Path) -> None:
    """The hub's cache is made of them."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    save_file({"a": np.ones(1)}, tmp_path / "blobs" / "0123")
    (tmp_path / "snapshot" / "x.safetensors").symlink_to("../blobs/0123")
    (tmp_path / "snapshot" / INDEX).write_bytes(index_of({"a": "x.safetensors"}))
    assert shards.read(tmp_path / "snapshot" / INDEX, safetensors.read)["a"].tolist() == [1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"[]", "no object 'weight_map'"),
        (b"{}", "no object 'weight_map'"),
        (b'{"weight_map": []}', "no object 'weight_map'"),
        (b'{"weight_map": {"a": 1}}', "puts tensor 'a' into 1"),
        (b'{"weight_map": {"a": ["x"]}}', "puts tensor 'a' into a list"),
        (b'{"weight_map": {"a": "x", "a": "y"}}', "key 'a' twice"),
        (b'{"weight_map": {}, "weight_map": {}}', "key 'weight_map' twice"),
        (b'{"weight_map"', "is not JSON"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"weight_map": ' + b"9" * 10_000 + b"}", "10000 digits"),
        (b" " * (5 << 20), "5242880 bytes; JSON of at most"),
    ],
)
def test_index_that_is_none(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / INDEX).write_bytes(content)
    with pytest.raises(FileError, match=words) as caught:
        shards.read_index(tmp_path / INDEX)
    assert str(tmp_path / INDEX) in str(caught.value)


def test_missing_shards(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MissingFileError, match=r"not in .*: 'model-00002-of-00002.safetensors'$"):
        shards.read(index, safetensors.read)
    index.write_bytes(index_of({str(i): f"{i}.bin" for i in range(9)}))
    with pytest.raises(MissingFileError, match=r"'0.bin', '1.bin', '2.bin', '3.bin', '4.bin' and 4 more"):
        shards.read_index(index)
    with pytest.raises(MissingFileError):
        shards.read_index(tmp_path / "none.json")


def test_index_and_shards_that_disagree(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    index.write_bytes(index_of({"a": first, "b": first, "c": second, "d": second}))
    with pytest.raises(FileError, match=f"puts tensor 'd' into {second}, which does not hold it$"):
        shards.read(index, safetensors.read)
    index.write_bytes(index_of({"a": first, "b": second, "c": second}))
    with pytest.raises(FileError, match=f"puts tensor 'b' into {second}, which does not hold it; it is in {first}"):
        shards.read(index, safetensors.read)
    save_file({"c": np.ones(1), "a": np.ones(1)}, tmp_path / second)
    index.write_bytes(index_of({"a": first, "b": first, "c": second}))
    with pytest.raises(FileError, match=f"{second}: holds tensor 'a', which {first} holds too"):
        shards.read(index, safetensors.read)


def test_what_a_shard_holds_beyond_the_index_is_kept(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    index.write_bytes(index_of({"a": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"}))
    assert set(shards.read(index, safetensors.read)) == {"a", "b", "c"}


@settings(max_examples=EXAMPLES // 2)
@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.text(max_size=5) | st.floats(),
        lambda inner: st.dictionaries(st.text(max_size=3) | st.just("weight_map"), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_index(tmp_path_factory: pytest.TempPathFactory, survives: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.index.json"
    survives(lambda path: shards.read(path, safetensors.read), path, content)


@pytest.mark.parametrize(
    ("size", "number"),
    [
        (1, 1),
        (5000, 5000),
        ("5GB", 5 * 10**9),
        ("10 MB", 10**7),
        ("3kb", 3000),
        ("2KiB", 2048),
        ("1.5GiB", 3 << 29),
        ("2TB", 2 * 10**12),
        ("100", 100),
    ],
)
def test_sizes(size: int | str, number: int) -> None:
    assert shards.parse_size(size) == number


@pytest.mark.parametrize("size", ["", "GB", "5 gigabytes", "-5GB", "5GBB", "1e9", "0", "0.1", "٣GB", "9" * 10_000])
def test_what_is_no_size(size: str) -> None:
    with pytest.raises(InputError, match="max_shard_size must be"):
        shards.parse_size(size)


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_below_a_byte(size: int) -> None:
    with pytest.raises(InputError, match="at least one byte"):
        shards.parse_size(size)


@pytest.mark.parametrize("size", [None, 5.0, True, b"5GB"])
def test_sizes_of_another_kind(size: Any) -> None:
    with pytest.raises(InputTypeError, match="max_shard_size must be"):
        shards.parse_size(size)
