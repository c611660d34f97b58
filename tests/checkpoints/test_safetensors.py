import json
import math
import os
import stat
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from npbert.checkpoints import reading, safetensors, shards
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError

EXAMPLES = settings().max_examples  # the profile decides
DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"]


def some_tensors() -> dict[str, np.ndarray]:
    """Every type and many shapes, in an order that would leave most of them askew if the data followed it."""
    rng = np.random.default_rng(0)
    tensors = {"flag": np.array([True, False, True])}
    for number, dtype in enumerate(reversed(DTYPES)):
        tensors[f"odd.{dtype}"] = rng.integers(0, 2, (3, 1 + number)).astype(dtype)
    tensors |= {"scalar": np.array(2.5, np.float32), "none": np.empty((0, 3), np.float32), "ünicode ☃": np.arange(5.0)}
    return tensors


def same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert set(left) == set(right)
    for name, array in left.items():
        assert array.dtype == right[name].dtype, name
        np.testing.assert_array_equal(array, right[name], err_msg=name)


def make(header: Any, data: bytes = b"") -> bytes:
    """A file with any header, given as an object or as text."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(start: int, stop: int, shape: list[Any] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


# Against the safetensors library


def test_reads_what_the_library_writes(tmp_path: Path) -> None:
    tensors = some_tensors()
    save_file(tensors, tmp_path / "x.safetensors", {"a": "b"})
    same(safetensors.read(tmp_path / "x.safetensors"), tensors)
    assert safetensors.read_metadata(tmp_path / "x.safetensors") == {"a": "b"}


def test_library_reads_what_is_written(tmp_path: Path) -> None:
    tensors = some_tensors()
    safetensors.write(tmp_path / "x.safetensors", tensors, {"format": "pt", "ü": "☃"})
    same(load_file(tmp_path / "x.safetensors"), tensors)
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt", "ü": "☃"}


@settings(max_examples=EXAMPLES // 3)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=4)),
        max_size=6,
    )
)
def test_round_trip_by_way_of_the_library(tmp_path_factory: pytest.TempPathFactory, specs: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("round") / "x"
    tensors = {name: np.arange(math.prod(shape)).astype(dtype).reshape(shape) for name, (dtype, shape) in specs.items()}
    safetensors.write(path, tensors)
    same(load_file(path), tensors)
    read = safetensors.read(path)
    same(read, tensors)
    by_width = sorted(tensors, key=lambda name: -tensors[name].itemsize)
    assert [name for name in read if read[name].size] == [name for name in by_width if tensors[name].size]
    save_file(tensors, path)
    same(safetensors.read(path), tensors)


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    # The upper halves of known float32 numbers: 1, -2, the largest, a subnormal, infinity, not a number.
    bits = np.array([0x3F80, 0xC000, 0x7F7F, 0x0001, 0xFF80, 0x7FC0], "<u2")
    (tmp_path / "x").write_bytes(make({"x": entry(0, 12, [2, 3], "BF16")}, bits.tobytes()))
    x = safetensors.read(tmp_path / "x")["x"]
    assert x.dtype == np.float32
    assert not x.flags.writeable
    largest = float.fromhex("0x1.fep127")
    np.testing.assert_array_equal(x, np.array([[1, -2, largest], [2.0**-133, -math.inf, math.nan]], np.float32))
    assert safetensors.read_header(tmp_path / "x")["x"][:2] == ("bfloat16", (2, 3))


DATA = Path(__file__).parent / "data" / "torch"


def test_reads_what_the_library_writes_of_torch_tensors() -> None:
    """Made by tools/make_torch_fixtures.py: all the types of torch, bfloat16 among them, beside torch's own widening."""
    with np.load(DATA / "expected.npz") as file:
        expected = {name: file[name] for name in file.files}
    same(safetensors.read(DATA / "library.safetensors"), expected)


# Mapping


def test_arrays_are_mapped_read_only_and_aligned(tmp_path: Path) -> None:
    safetensors.write(tmp_path / "x", some_tensors())
    for name, array in safetensors.read(tmp_path / "x").items():
        assert not array.flags.writeable, name
        assert array.flags.aligned, name
        base = array
        while isinstance(base, np.ndarray):
            base = base.base
        assert array.size == 0 or isinstance(base, memoryview), name  # otherwise it is a copy
    assert (8 + int.from_bytes((tmp_path / "x").read_bytes()[:8], "little")) % 64 == 0


def test_reading_takes_no_memory_and_no_time(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:  # a hole in the file system: half a gigabyte that is nowhere
        file.write(make({f"layer.{i}": entry(i << 22, (i + 1) << 22) for i in range(128)}))
        file.truncate(file.tell() + (128 << 22))
    tracemalloc.start()
    arrays = safetensors.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(array.nbytes for array in arrays.values()) == 1 << 29
    assert peak < 1 << 20


def test_elements_that_lie_askew_are_moved_into_place(tmp_path: Path) -> None:
    header = {"flag": entry(0, 1, [1], "BOOL"), "x": entry(1, 9)}
    (tmp_path / "x").write_bytes(make(header, b"\1" + struct.pack("<2f", 1.5, -2)))
    x = safetensors.read(tmp_path / "x")["x"]
    assert x.flags.aligned
    assert x.tolist() == [1.5, -2]


def test_arrays_outlive_the_replacement_of_their_file(tmp_path: Path) -> None:
    safetensors.write(tmp_path / "x", {"x": np.arange(1000.0)})
    before = safetensors.read(tmp_path / "x")["x"]
    safetensors.write(tmp_path / "x", {"x": before * 2})
    np.testing.assert_array_equal(before, np.arange(1000.0))
    np.testing.assert_array_equal(safetensors.read(tmp_path / "x")["x"], 2 * np.arange(1000.0))


# Writing


def test_same_tensors_make_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        safetensors.write(tmp_path / name, some_tensors(), {"k": "v"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_strides_and_byte_order_do_not_matter(tmp_path: Path) -> None:
    x = np.arange(24.0).reshape(4, 6)
    safetensors.write(tmp_path / "x", {"t": x.T, "s": x[::2, ::-1], "big": x.astype(">f4"), "zero": x[0, 0]})
    expected = {"t": x.T, "s": x[::2, ::-1], "big": x.astype(np.float32), "zero": np.array(0.0)}
    same(
        load_file(tmp_path / "x"), {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in expected.items()}
    )


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    safetensors.write(path, {"old": np.ones(3)})
    content = path.read_bytes()
    with pytest.raises(InputTypeError, match=r"'c'.*complex64"):
        safetensors.write(path, {"new": np.ones(3), "c": np.ones(3, np.complex64)})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            with pytest.raises(OSError, match="No space"):
                safetensors.write(path, {"new": np.zeros(3)})
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["x"]


def test_a_crash_before_the_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the moment of the rename, the disk has the whole new file under another name and the old one under its own."""
    path = tmp_path / "x.safetensors"
    safetensors.write(path, {"x": np.ones(3)})
    seen = []

    def look(source: Path, target: Path, replace: Any = os.replace) -> None:
        seen.append((load_file(source)["x"].tolist(), load_file(target)["x"].tolist(), Path(source).suffix))
        replace(source, target)

    monkeypatch.setattr(os, "replace", look)
    safetensors.write(path, {"x": np.zeros(3)})
    assert seen == [([0, 0, 0], [1, 1, 1], ".tmp")]
    assert load_file(path)["x"].tolist() == [0, 0, 0]


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    safetensors.write(tmp_path / "x", {"x": np.ones(3)})
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize(
    ("tensors", "metadata", "error", "words"),
    [
        ({"x": [1, 2]}, None, InputTypeError, "'x' must be a NumPy array, not a list"),
        ({3: np.ones(1)}, None, InputTypeError, "name must be a string, not 3"),
        ({"x": np.array(["a"])}, None, InputTypeError, "'x' has dtype <U1"),
        ({"x": np.array([None])}, None, InputTypeError, "'x' has dtype object"),
        ({"__metadata__": np.ones(1)}, None, InputError, "__metadata__"),
        ({"\ud800": np.ones(1)}, None, InputError, "half a character"),
        ({}, {"a": 1}, InputTypeError, "'a' maps to 1"),
        ({}, {"a": "x" * safetensors.MAX_HEADER}, InputError, "header of 4194304 is taken"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, tensors: Any, metadata: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        safetensors.write(tmp_path / "x", tensors, metadata)
    assert os.listdir(tmp_path) == []


def test_missing_places(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere"):
        safetensors.read(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match="nowhere"):
        safetensors.read(tmp_path / "nowhere" / "x")
    with pytest.raises(FileError, match="is a directory"):
        safetensors.read(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        with pytest.raises(FileError, match="a pipe or a device"):  # to open it would wait for a writer, for ever
            safetensors.read(tmp_path / "fifo")
    with pytest.raises(MissingFileError, match="nowhere does not exist"):
        safetensors.write(tmp_path / "nowhere" / "x", {})


def test_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x").write_bytes(SMALL)
    monkeypatch.setattr(reading, "open", refuse, raising=False)
    with pytest.raises(FileError, match="x: cannot be read: Permission denied"):
        safetensors.read(tmp_path / "x")


# Shards


def test_fits_into_one_file(tmp_path: Path) -> None:
    tensors = {"a": np.ones(3), "b": np.zeros(2)}
    assert shards.write(tmp_path / "new" / "dir", tensors) == {"model.safetensors": ["a", "b"]}
    assert os.listdir(tmp_path / "new" / "dir") == ["model.safetensors"]
    same(load_file(tmp_path / "new" / "dir" / "model.safetensors"), tensors)
    assert safetensors.read_metadata(tmp_path / "new" / "dir" / "model.safetensors") == {"format": "pt"}


@pytest.mark.parametrize(
    "sizes", [[6, 6, 2, 6, 2, 2], [3, 50, 3, 3, 3, 50], [50, 3], [10, 10, 1], [3, 10, 3], [5, 5, 5, 5, 5, 0]]
)
def test_cuts_where_the_reference_cuts(tmp_path: Path, sizes: list[int]) -> None:
    from huggingface_hub import split_state_dict_into_shards_factory

    tensors = {f"w{i}": np.full(size, i, np.uint8) for i, size in enumerate(sizes)}
    expected = split_state_dict_into_shards_factory(
        tensors, get_storage_size=len, filename_pattern="model{suffix}.safetensors", max_shard_size=10
    )
    assert shards.write(tmp_path, tensors, 10) == expected.filename_to_tensors
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index == {"metadata": expected.metadata, "weight_map": expected.tensor_to_filename}
    together: dict[str, np.ndarray] = {}
    for file_name, names in expected.filename_to_tensors.items():
        part = load_file(tmp_path / file_name)
        assert set(part) == set(names)
        together |= part
    same(together, tensors)


def test_progress_counts_every_byte(tmp_path: Path) -> None:
    for size in (20, "1GB"):
        counted: list[int] = []
        shards.write(tmp_path, {"a": np.ones(3), "b": np.ones(4, np.int8), "c": np.ones(0)}, size, progress=counted.append)
        assert sorted(counted) == [0, 4, 24]


def test_later_save_clears_what_the_earlier_left(tmp_path: Path) -> None:
    tensors = {name: np.ones(4, np.float32) for name in "abc"}
    others = ["config.json", "model-1.safetensors", "pytorch_model.bin"]
    for name in others:
        (tmp_path / name).write_text("not ours")
    three = [f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]
    for size, expected in (
        (16, [*three, "model.safetensors.index.json"]),
        (1 << 10, ["model.safetensors"]),
        (16, [*three, "model.safetensors.index.json"]),
        (32, [f"model-{i:05d}-of-00002.safetensors" for i in (1, 2)] + ["model.safetensors.index.json"]),
    ):
        shards.write(tmp_path, tensors, size)
        assert sorted(os.listdir(tmp_path)) == sorted(others + expected)


@pytest.mark.parametrize("before", [1, 2, 4])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_crash_between_renames_never_mixes_two_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    """Stop before each change to the directory in turn: a reader finds the old checkpoint, the new or none, never a mix."""

    class Crash(BaseException):
        pass

    monkeypatch.setattr(os, "fsync", lambda _: None)  # the order is looked at here, not the disk, and disks are slow
    names = [f"w{i}" for i in range(8)]
    changes = [(Path, "unlink"), (os, "replace")]
    finished = False
    step = 0
    while not finished:
        home = tmp_path / str(step)
        shards.write(home, {name: np.full(8, 0, np.uint8) for name in names}, 64 // before)
        left = step

        def counted(function: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                if str(args[0]).endswith(".tmp") and function is Path.unlink:
                    return function(*args, **kwargs)  # cleaning up, which a real crash would not even do
                if left == 0:
                    raise Crash
                left -= 1
                return function(*args, **kwargs)

            return call

        with monkeypatch.context() as patch:
            for owner, change in changes:
                patch.setattr(owner, change, counted(getattr(owner, change)))
            try:
                shards.write(home, {name: np.full(8, 1, np.uint8) for name in names}, 64 // after)
                finished = True
            except Crash:
                pass
        if (home / "model.safetensors").exists():  # as every reader looks for it
            values = {int(array[0]) for array in load_file(home / "model.safetensors").values()}
            assert len(values) == 1
        elif (home / "model.safetensors.index.json").exists():
            weight_map = json.loads((home / "model.safetensors.index.json").read_text())["weight_map"]
            parts = [load_file(home / file_name) for file_name in set(weight_map.values())]
            assert len({int(array[0]) for part in parts for array in part.values()}) == 1
        else:
            assert before == after  # the one case in which a moment without a checkpoint cannot be avoided
        step += 1
    assert step > 1


def test_failed_sharded_save_leaves_the_old_one(tmp_path: Path) -> None:
    shards.write(tmp_path, {"a": np.ones(3)})
    with pytest.raises(InputTypeError, match="'c'"):
        shards.write(tmp_path, {"a": np.zeros(3), "c": np.ones(3, complex)}, 10)
    with pytest.raises(InputError, match="max_shard_size"):
        shards.write(tmp_path, {"a": np.zeros(3)}, "lots")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        shards.write(tmp_path / "file", {"a": np.zeros(3)})
    assert load_file(tmp_path / "model.safetensors")["a"].tolist() == [1, 1, 1]


# Damaged and hostile files

F32 = "F32"
HOSTILE = {
    "empty": (b"", "is empty"),
    "seven bytes": (b"\0" * 7, "header too small"),
    "length past the end": (struct.pack("<Q", 1 << 40) + b"{}", "claims 1099511627776 bytes; at most 4194304 are taken"),
    "length that wraps": (b"\xff" * 8 + b"{}", "claims 18446744073709551615 bytes"),
    "length that is sane yet wrong": (struct.pack("<Q", 3) + b"{}", "invalid header length"),
    "no header": (struct.pack("<Q", 0), "invalid JSON in header: EOF"),
    "array": (make([]), "invalid type: sequence"),
    "not JSON": (make(b"{]"), "invalid JSON"),
    "not UTF-8": (make(b'{"\xff": 1}'), "invalid UTF-8"),
    "NUL padding": (make(b"{}\0\0"), "trailing characters"),
    "nested": (make(b'{"a":' * 100_000), "recursion limit exceeded"),
    "nested arrays": (make(b'{"a":' + b"[" * 1_000_000), "recursion limit exceeded"),
    "same name twice": (
        make(
            b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]},'
            b'"a":{"dtype":"U8","shape":[4],"data_offsets":[8,12]}}',
            b"1" * 12,
        ),
        "invalid offset for tensor `b`",
    ),
    "same field twice": (
        make(b'{"a":{"dtype":"F32","dtype":"F32","shape":[],"data_offsets":[0,4]}}', b"1234"),
        "duplicate field `dtype`",
    ),
    "a hundred thousand digits": (make(b'{"a":' + b"9" * 100_000 + b"}"), "number out of range"),
    "NaN": (make(b'{"a":NaN}'), "expected value"),
    "metadata of numbers": (make({"__metadata__": {"a": 1}}), "invalid type: integer `1`, expected a string"),
    "metadata of text": (make({"__metadata__": "a"}), 'invalid type: string "a", expected a map'),
    "entry is no object": (make({"a": 3}), "expected struct TensorInfo"),
    "no dtype": (make({"a": {"shape": [], "data_offsets": [0, 0]}}), "missing field `dtype`"),
    "unknown dtype": (make({"a": entry(0, 4, [1], "F31")}, b"1234"), "unknown variant `F31`"),
    "dtype is no text": (make({"a": entry(0, 4) | {"dtype": ["F32"]}}, b"1234"), "invalid type: sequence"),
    "complex": (make({"a": entry(0, 8, [1], "C64")}, b"12345678"), "'a' has dtype 'C64': complex|unknown variant `C64`"),
    "8-bit floats": (make({"a": entry(0, 1, [1], "F8_E4M3")}, b"1"), "'a' has dtype 'F8_E4M3': floats of 8 bits"),
    "negative length": (make({"a": entry(0, 4, [-1])}, b"1234"), "integer `-1`, expected usize"),
    "two negative lengths": (make({"a": entry(0, 4, [-1, -1])}, b"1234"), "integer `-1`, expected usize"),
    "fraction": (make({"a": entry(0, 4, [1.0])}, b"1234"), "floating point `1.0`, expected usize"),
    "truth for a length": (make({"a": entry(0, 4, [True])}, b"1234"), "boolean `true`, expected usize"),
    "text for a length": (make({"a": entry(0, 4, ["1"])}, b"1234"), 'string "1", expected usize'),
    "shape is no list": (make({"a": entry(0, 4) | {"shape": 1}}, b"1234"), "integer `1`, expected a sequence"),
    "product that wraps to 4": (make({"a": entry(0, 4, [(1 << 62) + 1])}, b"1234"), "overflow computing buffer size"),
    "product that wraps to 0": (make({"a": entry(0, 0, [1 << 32, 1 << 32])}), "overflow computing buffer size"),
    "empty but immense": (make({"a": entry(0, 0, [0, 1 << 62])}), "larger than any array"),
    "too many dimensions": (make({"a": entry(0, 4, [1] * 33)}, b"1234"), "33 dimensions"),
    "shape smaller than data": (make({"a": entry(0, 8, [1])}, b"12345678"), "invalid shape, data type, or offset"),
    "one offset": (make({"a": entry(0, 4) | {"data_offsets": [0]}}, b"1234"), "expected a tuple of size 2"),
    "offsets backwards": (make({"a": entry(0, 4) | {"data_offsets": [4, 0]}}, b"1234"), "invalid offset for tensor `a`"),
    "negative offset": (make({"a": entry(0, 4) | {"data_offsets": [-4, 0]}}, b"1234"), "integer `-4`, expected usize"),
    "past the end": (make({"a": entry(0, 8)}, b"1234"), "file not fully covered"),
    "data left over": (make({"a": entry(0, 4)}, b"12345"), "file not fully covered"),
    "data without tensors": (make({}, b"1"), "file not fully covered"),
    "gap": (make({"a": entry(0, 4), "b": entry(8, 12)}, b"1" * 12), "invalid offset for tensor `b`"),
    "gap at the front": (make({"a": entry(4, 8)}, b"1" * 8), "invalid offset for tensor `a`"),
    "overlap": (make({"a": entry(0, 8), "b": entry(4, 12)}, b"1" * 12), "invalid offset for tensor `b`"),
    "same bytes twice": (make({"a": entry(0, 4), "b": entry(0, 4)}, b"1234"), "invalid offset for tensor `[ab]`"),
    "one within another": (make({"a": entry(0, 12), "b": entry(4, 8)}, b"1" * 12), "invalid offset for tensor `b`"),
    "half a character": (
        make(b'{"\\ud800": {"dtype":"F32","shape":[],"data_offsets":[0,4]}}', b"1234"),
        "unexpected end of hex escape",
    ),
    "neither true nor false": (make({"a": entry(0, 2, [2], "BOOL")}, b"\1\2"), "bytes other than 0 and 1"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
    "web page": (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
    "zip": (b"PK\x03\x04" + b"\0" * 50, "zip archive"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(tmp_path: Path, survives: Any, case: str) -> None:
    content, words = HOSTILE[case]
    path = tmp_path / "x.safetensors"
    assert isinstance(survives(safetensors.read, path, content), FileError)
    for read in (safetensors.read, safetensors.read_header, safetensors.read_metadata):
        if case == "neither true nor false" and read is not safetensors.read:
            continue
        with pytest.raises(FileError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)


def test_what_the_library_takes_beyond_the_standard_is_taken(tmp_path: Path) -> None:
    """A space before the header, or a field that means nothing: neither can do harm."""
    (tmp_path / "x").write_bytes(make(b' {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "more": 1}}', bytes(4)))
    same(safetensors.read(tmp_path / "x"), load_file(tmp_path / "x"))


def test_header_longer_than_any_real_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", safetensors.MAX_HEADER + 1) + b"{")
        file.truncate(safetensors.MAX_HEADER + 100)
    with pytest.raises(FileError, match="4194305 bytes; at most 4194304 are taken"):
        safetensors.read(path)


def test_empty_tensors_may_share_a_place(tmp_path: Path) -> None:
    content = make({"a": entry(0, 4), "b": entry(4, 4, [0, 5]), "c": entry(4, 4, [0]), "d": entry(4, 8)}, b"\0" * 8)
    (tmp_path / "x").write_bytes(content)
    assert {name: array.shape for name, array in safetensors.read(tmp_path / "x").items()} == {
        "a": (1,),
        "b": (0, 5),
        "c": (0,),
        "d": (1,),
    }


SMALL = make(
    {"__metadata__": {"format": "pt"}, "a": entry(0, 8), "b": entry(8, 10, [2], "BOOL"), "c": entry(10, 14, [1, 1])}, bytes(14)
)


def test_truncated_anywhere(tmp_path: Path, survives: Any) -> None:
    for length in range(len(SMALL)):
        assert isinstance(survives(safetensors.read, tmp_path / "x", SMALL[:length]), FileError), length


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, survives: Any, content: bytes) -> None:
    survives(safetensors.read, tmp_path_factory.getbasetemp() / "any.safetensors", content)


@settings(max_examples=2 * EXAMPLES)
@given(
    st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 3), st.binary(max_size=9)), min_size=1, max_size=3),
    st.binary(max_size=5),
)
def test_any_mutation(tmp_path_factory: pytest.TempPathFactory, survives: Any, edits: Any, more: bytes) -> None:
    content = SMALL
    for position, cut, insert in edits:
        content = content[:position] + insert + content[position + cut :]
    survives(safetensors.read, tmp_path_factory.getbasetemp() / "mutated.safetensors", content + more)


numbers = (
    st.integers(-2, 40) | st.sampled_from([2**31, 2**32, 2**62, 2**63, 2**64 - 1, 2**70]) | st.floats() | st.text(max_size=2)
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F64", "F32", "BF16", "BOOL", "U8", "F8_E4M3", "C64", "X", None, 3]),
        "shape": st.lists(numbers, max_size=4) | numbers,
        "data_offsets": st.lists(numbers, max_size=3) | numbers,
    }
)


@settings(max_examples=EXAMPLES)
@given(st.dictionaries(st.sampled_from(["a", "b", "__metadata__", ""]), entries | numbers | st.none()), st.binary(max_size=40))
def test_any_header(tmp_path_factory: pytest.TempPathFactory, survives: Any, header: Any, data: bytes) -> None:
    survives(safetensors.read, tmp_path_factory.getbasetemp() / "header.safetensors", make(header, data))


@settings(max_examples=EXAMPLES)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=3), st.integers(0, 12))
def test_accepts_no_layout_that_the_library_refuses(tmp_path_factory: pytest.TempPathFactory, spans: Any, size: int) -> None:
    """Nor refuses one that the library accepts."""
    path = tmp_path_factory.getbasetemp() / "layout.safetensors"
    header = {str(i): entry(start, stop, [max(0, stop - start)], "U8") for i, (start, stop) in enumerate(spans)}
    path.write_bytes(make(header, bytes(size)))
    try:
        expected = set(load_file(path))
    except Exception:
        with pytest.raises(FileError):
            safetensors.read(path)
    else:
        assert set(safetensors.read(path)) == expected
