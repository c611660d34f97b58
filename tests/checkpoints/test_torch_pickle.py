import builtins
import io
import os
import pickle
import pickletools
import re
import struct
import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npbert.checkpoints import pickle_machine, torch_pickle
from npbert.checkpoints.torch_containers import MAGIC_NUMBER, PROTOCOL_VERSION
from npbert.errors import FileError, MissingFileError

EXAMPLES = settings().max_examples  # the profile decides
DATA = Path(__file__).parent / "data" / "torch"
FILES = ["zip.bin", "zip_protocol4.bin", "zip_unsummed.bin", "stream.bin", "training.bin"]


def expected() -> dict[str, np.ndarray]:
    with np.load(DATA / "expected.npz") as file:
        return {name: file[name] for name in file.files}


def same(arrays: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> None:
    assert list(arrays) == list(others)
    for name, array in arrays.items():
        assert array.dtype == others[name].dtype, name
        assert array.dtype.isnative, name
        np.testing.assert_array_equal(array, others[name], err_msg=name)
        np.testing.assert_array_equal(np.signbit(array), np.signbit(others[name]), err_msg=name)


# What torch wrote


@pytest.mark.parametrize("name", FILES)
def test_reads_what_torch_writes(name: str) -> None:
    arrays = torch_pickle.read(DATA / name)
    same(arrays, expected())
    for key, array in arrays.items():
        assert not array.flags.writeable, key
        assert array.flags.aligned, key


@pytest.mark.parametrize("name", ["python2.bin", "torch1_0.bin", "torch1_6.bin"])
def test_reads_what_torch_wrote_in_the_first_years_of_bert(name: str) -> None:
    """The formulas are those of tools/make_old_torch_fixtures.py."""
    shapes = {"dense.weight": (4, 3), "dense.bias": (4,), "LayerNorm.weight": (4,), "LayerNorm.bias": (4,)}
    whole = {key: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) - 2 for key, shape in shapes.items()}
    for dtype in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8"):
        whole[f"dtype.{dtype}"] = np.arange(100, 106).astype(dtype).reshape(2, 3)
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    whole |= {"view.base": base, "view.sliced": base[1:3, ::2], "view.transposed": base.T, "parameter": base[0]}
    arrays = torch_pickle.read(DATA / name)
    same(arrays, whole | {"scalar": np.array(7, np.float32)})
    assert np.shares_memory(arrays["view.transposed"], arrays["view.base"])


@pytest.mark.parametrize("name", FILES)
def test_views_stay_views(name: str) -> None:
    arrays = torch_pickle.read(DATA / name)
    base = arrays["view.base"]
    for view, strides in {"transposed": (4, 80, 20), "sliced": (80, 40, 4), "expanded": (0, 0), "windows": (12, 4)}.items():
        assert arrays[f"view.{view}"].strides == strides
        assert np.shares_memory(arrays[f"view.{view}"], base)
    assert np.shares_memory(arrays["tied.a"], arrays["tied.b"])
    assert not np.shares_memory(arrays["dense.weight"], base)


def test_zip_is_mapped(tmp_path: Path) -> None:
    """256 MB that the disk does not have: the storage is a hole in the file."""
    path = tmp_path / "x.bin"
    size = 1 << 28
    pickled = pickle_of({"x": tensor("0", (size // 4,), count=size // 4)})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/data/0", b"")
    content = bytearray(path.read_bytes())
    local = content.index(b"PK\x03\x04", 1)
    central = content.rindex(b"PK\x01\x02")
    directory = content.index(b"PK\x01\x02")
    for at in (local + 18, local + 22, central + 20, central + 24):
        content[at : at + 4] = struct.pack("<I", size)
    end = content.rindex(b"PK\x05\x06")
    content[end + 16 : end + 20] = struct.pack("<I", directory + size)
    with path.open("wb") as raw:
        raw.write(content[:directory])
        raw.seek(size, os.SEEK_CUR)
        raw.write(content[directory:])
    tracemalloc.start()
    x = torch_pickle.read(path)["x"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert x.nbytes == size
    assert peak < 1 << 20


def test_a_storage_is_held_against_its_checksum(tmp_path: Path) -> None:
    content = bytearray((DATA / "zip.bin").read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as file:
        entries = [entry for entry in file.infolist() if "/data/" in entry.filename and entry.file_size]
    path = tmp_path / "x.bin"
    for entry in entries:
        damaged = bytearray(content)
        local = entry.header_offset
        start = local + 30 + int.from_bytes(content[local + 26 : local + 28], "little")
        start += int.from_bytes(content[local + 28 : local + 30], "little")
        damaged[start + entry.file_size - 1] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(FileError, match=f"{entry.filename!r} does not have the checksum"):
            torch_pickle.read(path)
    assert entries


def test_many_views_of_few_bytes_are_not_believed(tmp_path: Path, survives: Any) -> None:
    """Each is within bounds; together they would be a gigabyte, from a file of a few kilobytes."""
    error = survives(torch_pickle.read, tmp_path / "x", archive({f"x{n}": tensor("0", (4 << 20,), (0,)) for n in range(64)}))
    assert isinstance(error, FileError)
    assert "'x4' of size (4194304,) and stride (0,) claims more than a file" in str(error)
    honest = read(tmp_path / "x", archive({f"x{n}": tensor("0", (6,)) for n in range(100)}))
    assert len(honest) == 100


@pytest.mark.parity
@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_against_torch(tmp_path: Path, new: bool, protocol: int) -> None:
    import torch

    state = torch.load(DATA / "zip.bin", weights_only=True)
    path = tmp_path / "x.bin"
    torch.save(state, path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    arrays = torch_pickle.read(path)
    same(arrays, {name: (t.float() if t.dtype == torch.bfloat16 else t).detach().numpy() for name, t in state.items()})
    for name, t in state.items():
        if t.dtype != torch.bfloat16 and t.numel() > 1:
            assert [step // arrays[name].itemsize for step in arrays[name].strides] == [
                step if length > 1 else 0 for step, length in zip(t.stride(), t.shape, strict=True)
            ]


@pytest.mark.parity
def test_against_torch_with_random_views(tmp_path: Path) -> None:
    import torch

    rng = np.random.default_rng(0)
    storage = torch.arange(1000, dtype=torch.int32)
    state = {}
    for number in range(200):
        size = [int(n) for n in rng.integers(0, 5, rng.integers(0, 5))]
        stride = [int(n) for n in rng.integers(0, 40, len(size))]
        state[str(number)] = storage.as_strided(size, stride, int(rng.integers(0, 200)))
    for new in (True, False):
        torch.save(state, tmp_path / "x.bin", _use_new_zipfile_serialization=new)
        same(torch_pickle.read(tmp_path / "x.bin"), {name: tensor.numpy() for name, tensor in state.items()})


# Files made by hand. `Call` and `Name` stand in a pickle for what torch would have put there.


class Name:
    """A global, pickled by its name alone, whether or not there is such a thing."""

    def __init__(self, name: str) -> None:
        self.name = name


class Call:
    """A global and what it is called with."""

    def __init__(self, name: str, *arguments: Any) -> None:
        self.name, self.arguments = name, arguments


class Reference:
    def __init__(self, value: Any) -> None:
        self.value = value


class ByHand(pickle._Pickler):  # the one in Python, whose opcodes can be written one by one
    older = False
    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_name(self, value: Name) -> None:
        module, _, name = value.name.rpartition(".")
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())

    def save_call(self, value: Call) -> None:
        self.save_name(Name(value.name))
        self.save(value.arguments)
        self.write(pickle.REDUCE)

    def save_reference(self, value: Reference) -> None:
        whole = self.older and len(value.value) == 5  # the older format says there that it is no part of another
        self.save((*value.value, None) if whole else value.value)
        self.write(pickle.BINPERSID)

    dispatch[Name] = save_name
    dispatch[Call] = save_call
    dispatch[Reference] = save_reference


def pickle_of(value: Any, *, older: bool = False) -> bytes:
    buffer = io.BytesIO()
    pickler = ByHand(buffer, 2)
    pickler.older = older
    pickler.dump(value)
    return buffer.getvalue()


def storage(key: str, kind: str = "torch.FloatStorage", count: int = 6) -> Reference:
    return Reference(("storage", Name(kind), key, "cpu", count))


def hooks() -> Call:
    return Call("collections.OrderedDict")


def tensor(key: str, size: Any, stride: Any = None, offset: Any = 0, kind: str = "torch.FloatStorage", count: Any = 6) -> Call:
    if stride is None:
        stride = tuple(int(np.prod(size[axis + 1 :])) for axis in range(len(size)))
    return Call("torch._utils._rebuild_tensor_v2", storage(key, kind, count), offset, size, stride, False, hooks())


SIX = np.arange(6, dtype="<f4")


def archive(value: Any, storages: dict[str, bytes] | None = None, **records: bytes) -> bytes:
    """A zip file as torch would write it, by Python's own zipfile."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", value if isinstance(value, bytes) else pickle_of(value))
        file.writestr("archive/version", b"3\n")
        for name, content in records.items():
            file.writestr(f"archive/{name}", content)
        for key, content in ({"0": SIX.tobytes()} if storages is None else storages).items():
            file.writestr(f"archive/data/{key}", content)
    return buffer.getvalue()


def older(value: Any, storages: dict[str, tuple[int, bytes]] | None = None, keys: Any = None, **changes: Any) -> bytes:
    """A file of the older format."""
    storages = {"0": (6, SIX.tobytes())} if storages is None else storages
    heads = {"magic": MAGIC_NUMBER, "version": PROTOCOL_VERSION, "info": {"little_endian": True}} | changes
    content = b"".join(pickle.dumps(head, 2) for head in heads.values())
    content += value if isinstance(value, bytes) else pickle_of(value, older=True)
    content += keys if isinstance(keys, bytes) else pickle_of(list(storages) if keys is None else keys)
    return content + b"".join(struct.pack("<q", count) + data for count, data in storages.values())


MADE: list[Callable[[Any], bytes]] = [archive, older]


def read(path: Path, content: bytes) -> dict[str, np.ndarray]:
    path.write_bytes(content)
    return torch_pickle.read(path)


@pytest.mark.parametrize("make", MADE)
def test_by_hand(tmp_path: Path, make: Callable[[Any], bytes]) -> None:
    value = {"x": tensor("0", (2, 3)), "t": tensor("0", (3, 2), (1, 3)), "tail": tensor("0", (2,), (2,), 3)}
    arrays = read(tmp_path / "x", make(value))
    same(arrays, {"x": SIX.reshape(2, 3), "t": SIX.reshape(2, 3).T, "tail": SIX[3::2]})


@pytest.mark.parity
def test_torch_reads_what_is_made_by_hand(tmp_path: Path) -> None:
    """Otherwise the hand-made files below, hostile by one detail, would prove nothing."""
    import torch

    for content in (archive({"x": tensor("0", (2, 3))}), older({"x": tensor("0", (2, 3))}), python_2(), archive_big_endian()):
        (tmp_path / "x").write_bytes(content)
        state = torch.load(tmp_path / "x", weights_only=False)
        same(torch_pickle.read(tmp_path / "x"), {name: tensor.detach().numpy() for name, tensor in state.items()})


def archive_big_endian() -> bytes:
    kinds = {"0": ("Double", ">f8"), "1": ("Float", ">f4"), "2": ("Half", ">f2"), "3": ("Long", ">i8"), "4": ("Short", ">i2")}
    value = {name: tensor(key, (6,), kind=f"torch.{name}Storage") for key, (name, _) in kinds.items()}
    return archive(value, {key: SIX.astype(dtype).tobytes() for key, (_, dtype) in kinds.items()}, byteorder=b"big")


def test_big_endian_files(tmp_path: Path) -> None:
    arrays = read(tmp_path / "x", archive_big_endian())
    same(
        arrays,
        {name: SIX.astype(t) for name, t in {"Double": "f8", "Float": "f4", "Half": "f2", "Long": "i8", "Short": "i2"}.items()},
    )
    bits = np.array([0x3F80, 0xC000], ">u2")  # the upper halves of 1 and -2
    value = {"x": tensor("0", (2,), kind="torch.BFloat16Storage", count=2)}
    assert read(tmp_path / "x", archive(value, {"0": bits.tobytes()}, byteorder=b"big"))["x"].tolist() == [1, -2]
    assert read(tmp_path / "x", archive({"x": tensor("0", (6,))}, byteorder=b"little"))["x"].tolist() == SIX.tolist()
    with pytest.raises(FileError, match="byteorder is b'middle'"):
        read(tmp_path / "x", archive({"x": tensor("0", (6,))}, byteorder=b"middle"))


def python_2() -> bytes:
    """As Python 2 pickled an ordered dictionary: called with its pairs, attributes after; text as bytes; the first tensors."""

    def text(value: bytes) -> bytes:
        return pickle.SHORT_BINSTRING + bytes([len(value)]) + value

    empty = b"ccollections\nOrderedDict\n]\x85R"
    referred = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"94022") + text(b"cpu") + b"K\x06NtQ"
    made = b"ctorch._utils\n_rebuild_tensor\n(" + referred + b"K\x00K\x02K\x03\x86K\x03K\x01\x86tR"
    parameter = b"ctorch._utils\n_rebuild_parameter\n" + made + b"\x88" + empty + b"\x87R"
    pairs = b"](](" + text(b"a") + made + b"e](" + text(b"b") + parameter + b"ee"
    body = b"\x80\x02ccollections\nOrderedDict\n" + pairs + b"\x85R}" + text(b"_metadata") + empty + b"sb."
    return older(body, {"94022": (6, SIX.tobytes())}, b"\x80\x02](" + text(b"94022") + b"e.")


def test_files_by_python_2(tmp_path: Path) -> None:
    same(read(tmp_path / "x", python_2()), {"a": SIX.reshape(2, 3), "b": SIX.reshape(2, 3)})


def test_parts_of_storages(tmp_path: Path) -> None:
    """Until 2018 a storage could be a part of another."""

    def part(begin: int, count: int) -> Call:
        whole = Reference(("storage", Name("torch.FloatStorage"), "0", "cpu", 6, ("1", begin, count)))
        return Call("torch._utils._rebuild_tensor_v2", whole, 1, (2,), (1,), False, hooks())

    for make in MADE:
        assert read(tmp_path / "x", make({"x": part(2, 3)}))["x"].tolist() == [3, 4]
        with pytest.raises(FileError, match="reaches past its storage of 2 elements"):
            read(tmp_path / "x", make({"x": part(2, 2)}))
        with pytest.raises(FileError, match="views elements 4 to 7 of a storage that has 6"):
            read(tmp_path / "x", make({"x": part(4, 3)}))


# What a file may hold


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("wrapper", torch_pickle.WRAPPERS)
def test_training_checkpoints(tmp_path: Path, make: Callable[[Any], bytes], wrapper: str) -> None:
    value = {
        "epoch": 3,
        wrapper: {"x": tensor("0", (6,))},
        "optimizer": {"state": {0: {"m": tensor("0", (6,))}}, "groups": [{"lr": 0.1}]},
    }
    same(read(tmp_path / "x", make(value)), {"x": SIX})


@pytest.mark.parametrize("make", MADE)
def test_what_is_no_tensor_is_left_out_aloud(tmp_path: Path, make: Callable[[Any], bytes]) -> None:
    x = {"x": tensor("0", (6,))}
    extra = {
        "version": 3,
        "note": "text",
        "lr": 0.5,
        "flag": True,
        "none": None,
        "size": Call("torch.Size", (1, 2)),
        "dt": Name("torch.float16"),
    }
    with pytest.warns(
        UserWarning, match="x: left out what is not a tensor: 'version', 'note', 'lr', 'flag', 'none', 'size', 'dt'$"
    ):
        same(read(tmp_path / "x", make(x | extra)), {"x": SIX})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(tmp_path / "x", make(x))


VALUES = {
    "list": ([tensor("0", (6,))], "holds a list, not a dictionary of tensors"),
    "tensor": (tensor("0", (6,)), "holds a Tensor, not a dictionary"),
    "text": ("x", "holds 'x', not a dictionary|disagree about '0'"),
    "key is a number": ({0: tensor("0", (6,))}, "has the key 0, not the name of a tensor"),
    "tensors in a dictionary": (
        {"x": tensor("0", (6,)), "y": {"z": tensor("0", (6,))}},
        "holds a dict called 'y' where a tensor",
    ),
    "tensors in a list": ({"x": tensor("0", (6,)), "y": [tensor("0", (6,))]}, "holds a list called 'y'"),
    "tensors in a tuple": ({"x": tensor("0", (6,)), "y": (1, tensor("0", (6,)))}, "holds a tuple called 'y'"),
    "bare storage": ({"x": tensor("0", (6,)), "y": storage("0")}, "holds a Storage called 'y'"),
    "two models": ({"model": {"x": tensor("0", (6,))}, "state_dict": {}}, "several state dicts: state_dict, model"),
}


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("case", VALUES)
def test_what_is_no_state_dict(tmp_path: Path, survives: Any, make: Callable[[Any], bytes], case: str) -> None:
    value, words = VALUES[case]
    assert re.search(words, str(survives(torch_pickle.read, tmp_path / "x", make(value))))


# Pickles that want something


def test_runs_nothing(tmp_path: Path, survives: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "trap.py").write_text(f"open({str(ran)!r}, 'w')")
    monkeypatch.syspath_prepend(str(tmp_path))
    touch = f"touch {ran}"
    write = f"open({str(ran)!r}, 'w')"

    class Real:
        def __reduce__(self) -> Any:
            return os.system, (touch,)

    wishes: list[Any] = [
        Call("os.system", touch),
        Call("posix.system", touch),
        Call("builtins.eval", write),
        Call("builtins.exec", write),
        Call("__builtin__.eval", write),
        Call("builtins.getattr", Name("os.path"), "join"),
        Call("builtins.__import__", "trap"),
        Call("subprocess.Popen", touch),
        Call("torch.load", "x"),
        Call("torch.hub.load", "x"),
        Call("torch._utils._rebuild_qtensor", 1),
        Call("torch._utils._rebuild_sparse_tensor", 1),
        Call("torch.storage._load_from_bytes", "x"),
        Call("numpy.core.multiarray._reconstruct", Name("numpy.ndarray"), (0,), "b"),
        Call("numpy._core.multiarray.scalar", 1),
        Call("copyreg._reconstructor", Name("builtins.object"), Name("builtins.object"), None),
        Call("collections.Counter"),
        Call("collections.defaultdict", Name("builtins.list")),
        Call("argparse.Namespace"),
        Call("torch.device", "cpu"),
        Name("trap.anything"),
        Name("torch.nn.modules.linear.Linear"),
        Name("torch.serialization.FloatStorage"),
        Name("torchevil.FloatStorage"),
        Name("collections.OrderedDict.__init__"),
        Name("transformers.models.bert.modeling_bert.BertModel"),
    ]
    for make in MADE:
        for wish in wishes:
            for value in (wish, {"x": tensor("0", (6,)), "y": wish}, {"state_dict": {}, "args": wish}):
                error = survives(torch_pickle.read, tmp_path / "x", make(value))
                assert isinstance(error, FileError)
                assert f"asks for {wish.name!r}, which does not belong to a state dict" in str(error)
                assert "nothing was imported or run" in str(error)
        for protocol in range(2, 6):
            error = survives(torch_pickle.read, tmp_path / "x", make(pickle.dumps({"x": Real()}, protocol)))
            assert "asks for 'posix.system'" in str(error) or "asks for 'nt.system'" in str(error)
    # Where numbers and names are due there may be no global at all, not even a harmless one.
    magic, version = pickle.dumps(MAGIC_NUMBER, 2), pickle.dumps(PROTOCOL_VERSION, 2)
    for wish in (Call("os.system", touch), Call("collections.OrderedDict"), storage("0")):
        for start in (b"", magic, magic + version):
            assert isinstance(survives(torch_pickle.read, tmp_path / "x", start + pickle_of(wish)), FileError)
        content = older({"x": tensor("0", (6,))}, keys=pickle_of(wish))
        assert isinstance(survives(torch_pickle.read, tmp_path / "x", content), FileError)
    assert not ran.exists()


def test_the_trap_works(tmp_path: Path) -> None:
    """The proof above stands on this: the same pickle does run where Python's own reader loads it."""

    class Real:
        def __reduce__(self) -> Any:
            return builtins.open, (str(tmp_path / "ran"), "w")

    pickle.loads(pickle.dumps(Real(), 2)).close()
    assert (tmp_path / "ran").exists()


BOMB = 600_000  # more than the budget of instructions
PICKLES = {
    "empty": (b"", "wants 1 bytes and has 0 left"),
    "no end": (b"\x80\x02}", "wants 1 bytes"),
    "nothing": (b"\x80\x02.", "ends with 0 values"),
    "two values": (b"}}.", "ends with 2 values"),
    "open mark": (b"}(.", "ends with 1 values"),
    "future protocol": (b"\x80\x09}.", "protocol 9"),
    "text of 4 GB": (b"X\xff\xff\xff\xffabc", "wants 4294967295 bytes and has 3 left"),
    "text of 16 EB": (b"\x8d" + b"\xff" * 8 + b"abc", "wants 18446744073709551615 bytes"),
    "text of -1": (b"T\xff\xff\xff\xffabc", "wants 4294967295 bytes"),
    "text that is not UTF-8": (b"X\1\0\0\0\xff.", "not UTF-8"),
    "integer of 2 GB": (b"\x8b\xff\xff\xff\x7f1", "integer of 2147483647 bytes"),
    "integer of -1": (b"\x8b\xff\xff\xff\xff1", "integer of 4294967295 bytes"),
    "frame of 16 EB": (b"\x80\x04\x95" + b"\xff" * 8 + b"}.", "frame of 18446744073709551615 bytes"),
    "memo of 4 billion": (b"}r\xff\xff\xff\xff.", "memoizes value 4294967295 after 2"),
    "memo of 255": (b"}q\xff.", "memoizes value 255"),
    "memo of nothing": (b"q\0.", "looks at a value on an empty stack"),
    "memo below a mark": (b"}(q\0.", "looks at a value on an empty stack"),
    "recall without memo": (b"h\0.", "recalls value 0"),
    "recall of a gap": (b"}}}q\2h\0.", "recalls value 0"),
    "tuple of nothing": (b"\x87.", "takes a value from an empty stack"),
    "tuple from below a mark": (b"}}}(\x87.", "takes a value from an empty stack"),
    "mark that is not there": (b"}t.", "goes back to a mark"),
    "call of a tuple": (b"))R.", "calls a tuple"),
    "call of text": (b"X\1\0\0\0x)R.", "calls 'x'"),
    "call without arguments": (b"ctorch\nSize\n}R.", "calls a Global with a dict"),
    "call of a type": (b"ctorch\nFloatStorage\n)R.", "calls torch.FloatStorage"),
    "append to a dictionary": (b"})a.", "appends to a dict"),
    "append to a tuple": (b")()e.", "appends to a tuple"),
    "set on a list": (b"]))s.", "on a list"),
    "key without value": (b"}()u.", "sets 1 keys and values"),
    "key is a list": (b"}])s.", "uses a list as the key"),
    "key is a tuple": (b"})]s.", "uses a tuple as the key"),
    "key is a nested tuple": (b"})" + b"\x85" * 150_000 + b"Ns.", "uses a tuple as the key"),
    "key is none": (b"}NNs.", "uses None as the key"),
    "key is not a number": (b"}G\x7f\xf8\0\0\0\0\0\0Ns.", "uses nan as the key"),
    "key is a truth value": (b"}\x88Ns.", "uses True as the key"),
    "same key twice": (b"}(K\1NK\1Nu.", "has the key 1 twice"),
    "too many integer keys": (
        b"}(" + b"".join(b"J" + struct.pack("<i", n) + b"N" for n in range(20_001)) + b"u.",
        "20000 integer keys",
    ),
    "attributes of a list": (b"]}b.", "attributes of a list"),
    "attributes of a global": (b"ctorch\nSize\n}b.", "attributes of a Global"),
    "attributes in a tuple": (b"}N}\x86b.", "attributes of a dict"),
    "global by numbers": (b"\x80\x04K\1K\2\x93.", "by something other than strings"),
    "global without end": (b"c" + b"a" * 300, "does not end"),
    "global in half": (b"cos\nsystem", "does not end"),
    "global that is not UTF-8": (b"c\xff\n\xff\n.", "not UTF-8"),
    "global with a long name": ((b"X" + struct.pack("<I", 80_000) + b"x" * 80_000) * 2 + b"\x93.", "160001 characters"),
    "instance by name": (b"(ios\nsystem\n.", "instruction b'i'"),
    "instance by object": (b"(cos\nsystem\no.", "asks for 'os.system'"),
    "new object": (b"ctorch\nSize\n)\x81.", "instruction b'.x81'"),
    "extension": (b"\x82\1.", "instruction b'.x82'"),
    "bytes": (b"C\1x.", "instruction b'C'"),
    "persistent name": (b"Px\n.", "instruction b'P'"),
    "number as text": (b"I" + b"9" * 100_000 + b"\n.", "instruction b'I'"),
    "next buffer": (b"\x97.", "instruction b'.x97'"),
    "unknown instruction": (b"\xff.", "instruction b'.xff'"),
    "reference to nothing": (b"NQ.", "refers to something other than a storage"),
    "reference to a module": (pickle_of(Reference(("module", Name("torch.Size"), "x", "y"))), "other than a storage"),
    "instructions without end": (b"N" * BOMB, "more than 500000 instructions"),
    "text beyond the budget": (b"X" + struct.pack("<I", 17 << 20) + bytes(17 << 20) + b".", "within 16777216 bytes"),
    "deep list": (b"]" * 80_000 + b"a" * 79_999 + b".", "holds a list"),
    "deep tuple": (b")" + b"\x85" * 150_000 + b".", "holds a tuple"),
    "deep dictionary": (b"}X\1\0\0\0x" * 60_000 + b"N" + b"s" * 60_000 + b".", "holds a dict called 'x'"),
    "list that holds itself": (b"]q\0h\0a.", "holds a list"),
    "dictionary that holds itself": (b"}q\0X\1\0\0\0xh\0s.", "holds a dict called 'x'"),
    "a billion laughs": (
        b"}X\1\0\0\0x(]q\0" + b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(100)) + b"ts.",
        "holds a tuple called 'x'",
    ),
}


@pytest.mark.parametrize("case", PICKLES)
def test_hostile_pickles(tmp_path: Path, case: str) -> None:
    content, words = PICKLES[case]
    for made, expected_words in ((archive(content), words), (older(content), ".")):
        began = time.perf_counter()
        with pytest.raises(FileError, match=expected_words) as caught:
            read(tmp_path / "x", made)
        assert str(tmp_path / "x") in str(caught.value)
        assert len(str(caught.value)) < 2000
        assert time.perf_counter() - began < 10


@pytest.mark.parametrize("opcode", [b"N", b"]", b"}", b")", b"(", b"]q\0", b"\x94", b"ccollections\nOrderedDict\n)R"])
def test_no_pickle_takes_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opcode: bytes) -> None:
    """A byte can ask for an empty dictionary; the budget of instructions is what bounds that."""
    budget = 50_000
    monkeypatch.setattr(pickle_machine, "MAX_INSTRUCTIONS", budget)
    (tmp_path / "x").write_bytes(archive(b"}" + opcode * 2 * budget, {}))
    tracemalloc.start()
    with pytest.raises(FileError, match=f"more than {budget} instructions"):
        torch_pickle.read(tmp_path / "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (1 << 20) + 128 * budget


def rebuilt(*arguments: Any, name: str = "_rebuild_tensor_v2") -> Call:
    return Call(f"torch._utils.{name}", *arguments)


S = storage("0")
U = storage("0", "torch.storage.UntypedStorage", 24)
NOT_WRITTEN = "with arguments.*that torch.save does not write"
TENSORS = {
    "offset past the end": (tensor("0", (6,), offset=1), "reaches past its storage of 6 elements"),
    "scalar past the end": (tensor("0", (), offset=6), "reaches past its storage of 6 elements"),
    "negative offset": (tensor("0", (1,), offset=-1), NOT_WRITTEN),
    "immense offset": (tensor("0", (1,), offset=1 << 2000), "reaches past"),
    "offset that wraps": (tensor("0", (1,), offset=1 << 62), "reaches past"),
    "one too many": (tensor("0", (7,)), "reaches past"),
    "size that wraps": (tensor("0", (1 << 62, 4)), "reaches past"),
    "size beyond 64 bits": (tensor("0", (1 << 64,), (0,)), NOT_WRITTEN),
    "negative size": (tensor("0", (-1,)), NOT_WRITTEN),
    "truth for a size": (tensor("0", (True,)), NOT_WRITTEN),
    "size is a list": (tensor("0", [6], (1,)), NOT_WRITTEN),
    "negative stride": (tensor("0", (2,), (-1,), 5), NOT_WRITTEN),
    "stride past the end": (tensor("0", (2,), (6,)), "reaches past"),
    "stride that wraps": (tensor("0", (3,), (1 << 63,)), "reaches past"),
    "fewer strides than sizes": (tensor("0", (2, 3), (1,)), NOT_WRITTEN),
    "33 dimensions": (tensor("0", (1,) * 33), NOT_WRITTEN),
    "empty but immense": (tensor("0", (0, 1 << 62)), "claims more than a file"),
    "empty and just too large": (tensor("0", (0, 1 << 61)), "claims more than a file"),  # 2**63 bytes
    "expanded to petabytes": (tensor("0", (1 << 50,), (0,)), "claims more than a file"),
    "expanded past all numbers": (tensor("0", (1 << 40, 1 << 40), (0, 0)), "claims more than a file"),
    "storage longer than the file": (tensor("0", (2,), count=1 << 60), "4611686018427387904 bytes"),
    "storage one too long": (tensor("0", (2,), count=7), "28 bytes"),
    "storage one too short": (tensor("0", (2,), count=5), "20 bytes"),
    "storage of negative length": (tensor("0", (0,), count=-1), "-1 elements"),
    "storage of half a length": (tensor("0", (0,), count=0.5), "0.5 elements"),
    "storage of wrong type": (tensor("0", (6,), kind="torch.LongStorage"), "48 bytes"),
    "storage of no type": (tensor("0", (6,), kind="torch.Size"), "storage of 'torch.Size'"),
    "storage of a dtype": (tensor("0", (6,), kind="torch.float32"), "storage of 'torch.float32'"),
    "complex": (tensor("0", (3,), kind="torch.ComplexFloatStorage"), "'torch.ComplexFloatStorage': complex numbers"),
    "quantized": (tensor("0", (6,), kind="torch.QInt32Storage"), "'torch.QInt32Storage': quantized integers"),
    "8-bit floats": (
        rebuilt(U, 0, (1,), (1,), False, None, Name("torch.float8_e5m2"), name="_rebuild_tensor_v3"),
        "floats of 8 bits",
    ),
    "neither true nor false": (
        tensor("0", (24,), kind="torch.BoolStorage", count=24),
        "bytes other than 0 and 1|6 where it lies",
    ),
    "no such storage": (tensor("1", (6,)), "has no storage 'archive/data/1'|disagree about"),
    "storage is the pickle": (tensor("../data.pkl", (1,)), "has no storage|disagree about"),
    "storage is a name": (rebuilt("0", 0, (1,), (1,), False, hooks()), NOT_WRITTEN),
    "storage is a tensor": (rebuilt(tensor("0", (1,)), 0, (1,), (1,), False, hooks()), NOT_WRITTEN),
    "no arguments": (rebuilt(), NOT_WRITTEN),
    "too many arguments": (rebuilt(S, 0, (1,), (1,), False, hooks(), {}, 1), NOT_WRITTEN),
    "hooks": (rebuilt(S, 0, (1,), (1,), False, "hook"), NOT_WRITTEN),
    "to be negated": (rebuilt(S, 0, (1,), (1,), False, hooks(), {"neg": True}), NOT_WRITTEN),
    "old tensor with more": (rebuilt(S, 0, (1,), (1,), False, name="_rebuild_tensor"), NOT_WRITTEN),
    "type is a storage": (
        rebuilt(U, 0, (1,), (1,), False, None, Name("torch.IntStorage"), name="_rebuild_tensor_v3"),
        NOT_WRITTEN,
    ),
    "type is text": (rebuilt(U, 0, (1,), (1,), False, None, "torch.int32", name="_rebuild_tensor_v3"), NOT_WRITTEN),
    "another type": (
        rebuilt(S, 0, (1,), (1,), False, None, Name("torch.int32"), name="_rebuild_tensor_v3"),
        "of int32 views a storage of float32",
    ),
    "parameter of nothing": (rebuilt(None, True, hooks(), name="_rebuild_parameter"), NOT_WRITTEN),
    "parameter of a storage": (rebuilt(S, True, hooks(), name="_rebuild_parameter"), NOT_WRITTEN),
    "size of text": (Call("torch.Size", ("a",)), NOT_WRITTEN),
    "dictionary of text": (Call("collections.OrderedDict", "ab"), NOT_WRITTEN),
    "dictionary of one pair twice": (Call("collections.OrderedDict", [["a", 1], ["a", 2]]), NOT_WRITTEN),
    "dictionary of triples": (Call("collections.OrderedDict", [["a", 1, 2]]), NOT_WRITTEN),
}


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("case", TENSORS)
def test_hostile_tensors(tmp_path: Path, survives: Any, make: Callable[[Any], bytes], case: str) -> None:
    value, words = TENSORS[case]
    error = survives(torch_pickle.read, tmp_path / "x", make({"x": value}))
    assert isinstance(error, FileError)
    assert re.search(words, str(error)), error


def test_strides_that_are_never_taken_do_not_matter(tmp_path: Path) -> None:
    for make in MADE:
        value = {"x": tensor("0", (1, 6), ((1 << 64) - 1, 1)), "y": tensor("0", (0, 6), ((1 << 64) - 1, 1))}
        same(read(tmp_path / "x", make(value)), {"x": SIX.reshape(1, 6), "y": np.empty((0, 6), np.float32)})


def test_types_without_a_storage_of_their_own(tmp_path: Path) -> None:
    """uint16 and its like come as bytes; two types may look at the same ones."""
    value = {
        "u": rebuilt(U, 1, (5,), (1,), False, None, Name("torch.uint32"), name="_rebuild_tensor_v3"),
        "f": rebuilt(U, 0, (3, 2), (1, 3), False, None, Name("torch.float32"), name="_rebuild_tensor_v3"),
    }
    for made in (archive(value), older(value, {"0": (24, SIX.tobytes())})):
        same(read(tmp_path / "x", made), {"u": SIX.view(np.uint32)[1:], "f": SIX.reshape(2, 3).T})


def test_the_first_reference_says_what_a_size_counts(tmp_path: Path) -> None:
    """In the older format, the size beside the data of a storage that is seen as bytes and as numbers."""
    as_bytes = rebuilt(U, 0, (6,), (1,), False, None, Name("torch.float32"), name="_rebuild_tensor_v3")
    first = {"a": as_bytes, "b": tensor("0", (6,))}
    same(read(tmp_path / "x", older(first, {"0": (24, SIX.tobytes())})), {"a": SIX, "b": SIX})
    second = {"b": tensor("0", (6,)), "a": as_bytes}
    same(read(tmp_path / "x", older(second, {"0": (6, SIX.tobytes())})), {"b": SIX, "a": SIX})


# Zip archives

X = {"x": tensor("0", (6,))}


def zipped(compression: int = zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as file:
        warnings.simplefilter("ignore")
        for name, content in entries.items():
            file.writestr(name.rstrip("!"), content)
    return buffer.getvalue()


def patched(content: bytes, signature: bytes, offset: int, layout: str, value: int, occurrence: int = 0) -> bytes:
    at = -1
    for _ in range(occurrence + 1):
        at = content.index(signature, at + 1)
    at += offset
    return content[:at] + struct.pack(layout, value) + content[at + struct.calcsize(layout) :]


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
GOOD = archive(X)
PKL = {"a/data.pkl": pickle_of(X), "a/data/0": SIX.tobytes()}
TORCH = (DATA / "zip.bin").read_bytes()  # has the 64-bit records, which Python writes for large archives only
ZIPS = {
    "deflated": (zipped(zipfile.ZIP_DEFLATED, **PKL), "'a/data.pkl' is compressed .method 8"),
    "bzip2": (zipped(zipfile.ZIP_BZIP2, **PKL), "compressed .method 12"),
    "deflated in the local header alone": (patched(GOOD, LOCAL, 8, "<H", 8), "contradicts the directory"),
    "encrypted": (patched(GOOD, CENTRAL, 8, "<H", 1), "'archive/data.pkl' is encrypted"),
    "encrypted in the local header alone": (patched(GOOD, LOCAL, 6, "<H", 1), "contradicts the directory"),
    "entry twice": (zipped(**PKL, **{"a/data/0!": SIX.tobytes()}), "entry 'a/data/0' twice"),
    "no pickle": (zipped(**{"a/data/0": b""}), "has 0 entries NAME/data.pkl"),
    "two pickles": (zipped(**PKL, **{"b/data.pkl": b""}), "has 2 entries NAME/data.pkl"),
    "pickle at the top": (zipped(**{"data.pkl": b""}), "has 0 entries"),
    "no entries": (b"PK\x03\x04" + zipped(), "claims bytes 0 to 0, not up to 4"),
    "TorchScript": (zipped(**PKL, **{"a/constants.pkl": b""}), "TorchScript program"),
    "upwards": (zipped(**PKL, **{"a/../../b": b""}), "forged name 'a/../../b'"),
    "absolute": (zipped(**PKL, **{"/etc/passwd": b""}), "forged name '/etc/passwd'"),
    "backslash": (patched(GOOD, b"archive/data.pkl", 7, "<B", 92, 1), "forged name"),
    "name with NUL": (patched(GOOD, b"archive/data.pkl", 7, "<B", 0, 1), "forged name"),
    "name that is not UTF-8": (patched(GOOD, b"archive/data.pkl", 0, "<B", 255, 1), "not UTF-8"),
    "another name in the local header": (patched(GOOD, b"archive/data.pkl", 0, "<B", 98), "contradicts the directory"),
    "size of 4 GB": (
        patched(patched(GOOD, CENTRAL, 20, "<I", 0xFFFFFFF0), CENTRAL, 24, "<I", 0xFFFFFFF0),
        "claims 4294967280 bytes",
    ),
    "size in need of 64 bits": (patched(GOOD, CENTRAL, 24, "<I", 0xFFFFFFFF), "lacks its 64-bit sizes"),
    "two sizes": (patched(GOOD, CENTRAL, 24, "<I", 5), "stored in .* but claims 5"),
    "another size in the local header": (patched(GOOD, LOCAL, 18, "<I", 5), "claims .* in one place and"),
    "entry that is not there": (patched(GOOD, CENTRAL, 42, "<I", 1), "is not at byte 1"),
    "entry past the end": (patched(GOOD, CENTRAL, 42, "<I", 0xFFFFFFF0), "is not at byte 4294967280"),
    "entry on another disk": (patched(GOOD, CENTRAL, 34, "<H", 1), "another disk"),
    "name longer than the directory": (patched(GOOD, CENTRAL, 28, "<H", 0xFFFF), "damaged at byte"),
    "extra field of 300 bytes": (patched(GOOD, CENTRAL, 30, "<H", 300), "damaged at byte"),
    "name of 2000 letters": (zipped(**PKL, **{"a" * 2000: b""}), "damaged at byte"),
    "comment longer than the directory": (patched(GOOD, CENTRAL, 32, "<H", 0xFFFF, 1), "damaged at byte"),
    "name longer than the archive": (patched(GOOD, LOCAL, 26, "<H", 0xFFFF), "past the end of the data"),
    "checksum": (patched(GOOD, CENTRAL, 16, "<I", 1), "checksum"),
    "more entries": (patched(patched(GOOD, END, 8, "<H", 9), END, 10, "<H", 9), "damaged at byte"),
    "fewer entries": (patched(patched(GOOD, END, 8, "<H", 1), END, 10, "<H", 1), "longer than its 1 entries"),
    "65535 entries": (patched(patched(GOOD, END, 8, "<H", 0xFFFF), END, 10, "<H", 0xFFFF), "claims 65535 entries"),
    "several disks": (patched(GOOD, END, 4, "<H", 1), "spans several"),
    "directory elsewhere": (patched(GOOD, END, 16, "<I", 0), "claims bytes 0 to"),
    "larger directory": (patched(GOOD, END, 12, "<I", 0xFFFFFFF0), "claims bytes"),
    "something before": (LOCAL + bytes(100) + GOOD, "claims bytes"),
    "something after": (GOOD + b"1", "no end record"),
    "comment cut": (patched(GOOD, END, 20, "<H", 5) + b"1234", "no end record"),
    "64-bit count": (patched(TORCH, b"PK\x06\x06", 32, "<Q", 1 << 60), "contradict each other"),
    "64-bit size": (patched(TORCH, b"PK\x06\x06", 40, "<Q", 1 << 63), "contradict each other"),
    "64-bit record elsewhere": (patched(TORCH, b"PK\x06\x07", 8, "<Q", 0), "no 64-bit end record"),
    "64-bit record past the end": (patched(TORCH, b"PK\x06\x07", 8, "<Q", 1 << 63), "no 64-bit end record"),
    "pickle with more behind": (archive(pickle_of(X) + b"1"), "1 bytes follow its pickle"),
}


@pytest.mark.parametrize("case", ZIPS)
def test_hostile_archives(tmp_path: Path, survives: Any, case: str) -> None:
    content, words = ZIPS[case]
    assert isinstance(survives(torch_pickle.read, tmp_path / "x", content), FileError)
    with pytest.raises(FileError, match=words):
        torch_pickle.read(tmp_path / "x")


def test_overlapping_entries(tmp_path: Path) -> None:
    """Two entries, one local header inside the data of another: the trick of archives that unpack to petabytes."""
    inner = zipped(**{"a/data/0": SIX.tobytes()})
    hidden = inner[: inner.index(CENTRAL)]
    content = zipped(**{"a/data.pkl": pickle_of(X), "a/data/0": SIX.tobytes(), "a/data/1": hidden})
    record = content.index(CENTRAL, content.index(CENTRAL) + 1)
    content = content[: record + 42] + struct.pack("<I", content.rindex(hidden)) + content[record + 46 :]
    with pytest.raises(FileError, match="'a/data/1' and 'a/data/0' overlap"):
        read(tmp_path / "x", content)


def test_archives_with_what_zip_allows(tmp_path: Path) -> None:
    """A comment behind, entries of no interest, and sizes in the 64-bit fields of entries."""
    buffer = io.BytesIO(GOOD)
    with zipfile.ZipFile(buffer, "a") as file:
        file.comment = b"PK\x05\x06 a comment that looks like an end record"
        file.writestr("archive/other", b"x")
        with file.open("archive/wide", "w", force_zip64=True) as wide:
            wide.write(b"y")
    same(read(tmp_path / "x", buffer.getvalue()), {"x": SIX})


def test_sizes_of_64_bits(tmp_path: Path) -> None:
    """As archives beyond 4 GB state them: in a field of the directory, here with small numbers in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", pickle_of(X))
        info = zipfile.ZipInfo("archive/data/0")
        info.extra = struct.pack("<HHxx", 0x9999, 2) + struct.pack("<HHQQ", 1, 16, 24, 24)
        file.writestr(info, SIX.tobytes())
    content = buffer.getvalue()
    for at in (20, 24):
        content = patched(content, CENTRAL, at, "<I", 0xFFFFFFFF, 1)
    same(read(tmp_path / "x", content), {"x": SIX})
    lying = patched(content, struct.pack("<HHQQ", 1, 16, 24, 24), 4, "<Q", 1 << 63, 1)
    with pytest.raises(FileError, match="stored in 24 bytes but claims 9223372036854775808"):
        read(tmp_path / "x", lying)
    both = patched(lying, struct.pack("<HHQ", 1, 16, 1 << 63), 12, "<Q", 1 << 63)
    with pytest.raises(FileError, match="claims 9223372036854775808 bytes at byte"):
        read(tmp_path / "x", both)


# The older format


def test_hostile_streams(tmp_path: Path, survives: Any) -> None:
    data = SIX.tobytes()
    cases = [
        (older(X, magic=1), "was not written by torch.save"),
        (older(X, magic=True), "was not written by torch.save"),
        (older(X, version=1002), "protocol 1002; 1001 is taken"),
        (older(X, version="a" * 10_000), "protocol 'aaa"),
        (older(X, keys="0"), "not a list of different names"),
        (older(X, keys=[0]), "not a list of different names"),
        (older(X, keys=["0", "0"]), "not a list of different names"),
        (older(X, keys=[]), "disagree about '0'"),
        (older(X, keys=["0", "1"]), "disagree about '1'"),
        (older(X, {"0": (7, data)}), "6 elements .24 bytes. in the pickle, and 7 where it lies"),
        (older(X, {"0": (-1, data)}), "and 18446744073709551615 where it lies"),
        (older(X, {"0": (6, data[:-1])}), "with 23 bytes left"),
        (older(X, {"0": (6, data + b"1")}), "1 bytes follow its last storage"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<html></html>", "web page"),
        (struct.pack("<Q", 2) + b"{}", "looks like a safetensors file"),
        (b"\0" * 1000, "was not written by torch.save"),
    ]
    for content, words in cases:
        assert isinstance(survives(torch_pickle.read, tmp_path / "x", content), FileError)
        with pytest.raises(FileError, match=words):
            torch_pickle.read(tmp_path / "x")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere"):
        torch_pickle.read(tmp_path / "nowhere")


# Anything at all


@pytest.mark.parametrize("content", [GOOD, older(X)], ids=["zip", "older"])
def test_truncated_anywhere(tmp_path: Path, survives: Any, content: bytes) -> None:
    for length in range(len(content)):
        assert isinstance(survives(torch_pickle.read, tmp_path / "x", content[:length]), FileError), length


SEEDS = [(DATA / name).read_bytes() for name in ("zip.bin", "stream.bin", "python2.bin", "torch1_6.bin")]
SMALL_SEEDS = [GOOD, older(X), python_2(), archive_big_endian()]
edit = st.tuples(
    st.integers(0, 1 << 14),
    st.integers(0, 8),
    st.binary(max_size=9) | st.sampled_from([b"\xff" * 8, b"\0" * 8, b"\x7f", b"\x80"]),
)


@settings(max_examples=3 * EXAMPLES)
@given(st.sampled_from(SEEDS + SMALL_SEEDS * 2), st.lists(edit, min_size=1, max_size=3))
def test_any_mutation(tmp_path_factory: pytest.TempPathFactory, survives: Any, content: bytes, edits: Any) -> None:
    for position, cut, insert in edits:
        position %= len(content)
        content = content[:position] + insert + content[position + cut :]
    survives(torch_pickle.read, tmp_path_factory.getbasetemp() / "mutated.bin", content)


@settings(max_examples=2 * EXAMPLES)
@given(
    st.sampled_from([X, {"x": tensor("0", (2, 3)), "y": tensor("0", (0, 3))}]),
    st.lists(edit, min_size=1, max_size=3),
    st.booleans(),
)
def test_any_pickle(tmp_path_factory: pytest.TempPathFactory, survives: Any, value: Any, edits: Any, new: bool) -> None:
    """Mutations within the pickle alone, which the checksum of an archive would otherwise stop at the door."""
    pickled = pickle_of(value)
    for position, cut, insert in edits:
        position %= len(pickled)
        pickled = pickled[:position] + insert + pickled[position + cut :]
    made = archive(pickled) if new else older(pickled)
    survives(torch_pickle.read, tmp_path_factory.getbasetemp() / "pickle.bin", made)


opcodes = st.sampled_from(
    [info.code.encode("latin-1") for info in pickletools.opcodes] + [b"K\1", b"X\1\0\0\0a", b"ctorch\nSize\n", b"q\0", b"h\0"]
)


@settings(max_examples=2 * EXAMPLES)
@given(st.lists(opcodes | st.binary(max_size=4), max_size=40).map(b"".join))
def test_any_program(tmp_path_factory: pytest.TempPathFactory, survives: Any, program: bytes) -> None:
    survives(torch_pickle.read, tmp_path_factory.getbasetemp() / "program.bin", archive(program))


numbers = st.integers(-2, 8) | st.sampled_from([1 << 31, 1 << 32, 1 << 62, 1 << 63, 1 << 64, True, None, 0.5, "1"])
tuples = st.lists(numbers, max_size=4).map(tuple)


@settings(max_examples=2 * EXAMPLES)
@given(
    numbers,
    tuples,
    tuples,
    numbers,
    st.sampled_from(["Float", "Double", "BFloat16", "Bool", "Byte", "Long"]),
    st.sampled_from(MADE),
)
def test_any_view(
    tmp_path_factory: pytest.TempPathFactory,
    survives: Any,
    offset: Any,
    size: Any,
    stride: Any,
    count: Any,
    kind: str,
    make: Any,
) -> None:
    value = {"x": tensor("0", size, stride, offset, f"torch.{kind}Storage", count)}
    survives(torch_pickle.read, tmp_path_factory.getbasetemp() / "view.bin", make(value))


@given(st.binary(max_size=100), st.sampled_from([b"", b"PK\x03\x04", pickle.dumps(MAGIC_NUMBER, 2)]))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, survives: Any, content: bytes, start: bytes) -> None:
    survives(torch_pickle.read, tmp_path_factory.getbasetemp() / "any.bin", start + content)
