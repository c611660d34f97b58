"""Packs and ports that are damaged on purpose: each is refused with its name, soon, and without the memory that it claims."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npbert import FileError, InputError, InputTypeError, NpbertError, golden
from npbert.checkpoints import safetensors
from npbert.golden.maps import Rule

from ..builders import build, ids, tiny

ENCODER = Path(__file__).parent / "packs" / "encoder.safetensors"
DECODER = Path(__file__).parent / "packs" / "decoder.safetensors"


# -------------------------------------------------------------------------------------------------------------------- packs


def changed(path: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], object], of: Path = ENCODER) -> Path:
    """A committed pack with other metadata or other tensors."""
    metadata = {key: json.loads(text) for key, text in safetensors.read_metadata(of).items()}
    tensors = safetensors.read(of)
    change(metadata, tensors)
    safetensors.write(path / "pack", tensors, {key: json.dumps(value) for key, value in metadata.items()})
    return path / "pack"


def config(**fields: Any) -> Callable[[dict[str, Any], dict[str, np.ndarray]], object]:
    return lambda metadata, tensors: metadata["config"].update(fields)


def tensor(name: str, shape: list[int], dtype: type = np.int64) -> Callable[[dict[str, Any], dict[str, np.ndarray]], object]:
    return lambda metadata, tensors: tensors.update({name: np.zeros(shape, dtype)})


def decoder_of_long_texts(metadata: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    for name in list(tensors):
        if name.startswith("input:"):
            del tensors[name]
    tensors["input:input_ids"] = np.zeros((1, 20_000), np.int64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (config(num_labels=20_000_000), "num_labels takes at most 100000 in a file, got 20000000"),
        (config(num_hidden_layers=1_000_000), "num_hidden_layers takes at most 2000 in a file, got 1000000"),
        (config(__class__=5), "has the field '__class__', which no configuration can have"),
        (config(self=5), "has the field 'self'"),
        (tensor("input:encoder_hidden_states", [2, 500_000_000, 0], np.float32), r"has the shape \[2, 500000000, 0\], and no"),
        (tensor("bert.encoder", [0, 1 << 40], np.float32), "and no element"),
        (tensor("input:" + "0." * 400, [1]), "a tuple of tuples too deep"),
        (tensor("input:" + "0." * 3000, [1]), "a name of 6006 characters; 1000 are taken at most"),
        (tensor("input:a.b.c.d.e", [1]), "a tuple of tuples too deep"),
        (tensor("input:past_key_values.7", [1]), "numbered from 0 on, got 7"),
        (tensor("input:input_ids.0", [1]), "an array and a tuple of arrays"),
        (config(num_attention_heads=1), r"attention\.self:query has heads of 4, the configuration heads of 12"),
        (tensor("bert.\x1b[2Jpooler", [1]), r"'bert\.\\x1b\[2Jpooler' is a name with signs that cannot be printed"),
        (lambda metadata, tensors: metadata.update(npbert="1\n\x1b[2J"), "holds signs that cannot be printed"),
        (lambda metadata, tensors: metadata.update(npbert=["1"]), "npbert takes a text, got a list"),
        (lambda metadata, tensors: metadata["order"].append("bert.pooler"), "order has a name twice"),
    ],
)
def test_a_pack_that_claims_too_much_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    path = changed(tmp_path, change)
    with pytest.raises(FileError, match=message) as caught:
        golden.read_pack(path)
    assert str(caught.value).startswith(str(path))


def test_pairs_of_positions_are_counted_before_they_are_made(tmp_path: Path) -> None:
    path = changed(tmp_path, decoder_of_long_texts, DECODER)
    with pytest.raises(FileError, match="the inputs make 400000000 pairs of positions; 67108864 are taken at most"):
        golden.read_pack(path)


# -------------------------------------------------------------------------------------------------------------------- ports


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode("latin1") + data


def described(shape: str, descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n"


def zipped(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The content as a .npz file's only array."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("bert.pooler.npy", content)
    return file.getvalue()


def flipped(content: bytes, place: int, mask: int = 0xFF) -> bytes:
    return content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]


SOUND = npy(described("(2, 12)"), bytes(96))
DAMAGED_ARRAYS = {
    "nothing": b"",
    "no array": b"hello, this is a text and no array",
    "a zip": zipped(SOUND),
    "a damaged header": npy("((("),
    "a header that is no dictionary": npy("[1]"),
    "a header without a shape": npy("{'descr': '<f4', 'fortran_order': False}"),
    "a header that nests": npy("(" * 5000),
    "a header that computes": npy(described("(9**9**9,)")),
    "a huge shape": npy(described("(1000000000000,)")),
    "a shape larger than any array": npy(described("(1099511627776, 1099511627776, 0)")),
    "a negative shape": npy(described("(-1,)")),
    "a shape of truth values": npy(described("(True, 12)"), bytes(48)),
    "a shape of many digits": npy(described(f"({'9' * 4000},)")),
    "33 dimensions": npy(described(f"({'1,' * 33})"), bytes(4)),
    "no order": npy(described("(2, 12)", order="5"), bytes(96)),
    "an unknown type": npy(described("(2, 12)", "'<q9'"), bytes(96)),
    "a type of nothing": npy(described("(2, 12)", "'|V0'")),
    "objects": npy(described("(2, 12)", "'|O'"), bytes(192)),
    "fields that nest": npy(described("(1,)", "[('a', " * 300 + "'<f4'" + ")]" * 300), bytes(4)),
    "too few bytes": SOUND[:-1],
    "too many bytes": SOUND + b"0",
    "a version of the future": npy(described("(2, 12)"), bytes(96), version=9),
    "a header past the end": SOUND[:8] + b"\xff\xff" + SOUND[10:],
    "texts": npy(described("(2, 12)", "'<U1'"), bytes(96)),
}


@pytest.mark.parametrize("content", DAMAGED_ARRAYS.values(), ids=DAMAGED_ARRAYS)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_what_is_no_array_is_refused(tmp_path: Path, content: bytes, kind: str) -> None:
    if kind == "npy":
        port = tmp_path / "port"
        port.mkdir()
        (port / "bert.pooler.npy").write_bytes(content)
    else:
        port = tmp_path / "port.npz"
        port.write_bytes(zipped(content))
    with pytest.raises((FileError, InputTypeError), match=r"bert\.pooler"):
        golden.compare(ENCODER, port)


def encrypted(archive: bytes) -> bytes:
    """With the flag that says so, in both places."""
    directory = archive.index(b"PK\1\2")
    return flipped(flipped(archive, 6, 1), directory + 8, 1)


def of_method(archive: bytes, method: int) -> bytes:
    directory = archive.index(b"PK\1\2")
    archive = archive[:8] + struct.pack("<H", method) + archive[10:]
    return archive[: directory + 10] + struct.pack("<H", method) + archive[directory + 12 :]


DAMAGED_ZIPS = {
    "damaged deflate": flipped(zipped(SOUND, zipfile.ZIP_DEFLATED), 60),
    "a checksum that disagrees": flipped(zipped(SOUND), zipped(SOUND).index(b"PK\1\2") - 1),
    "damaged lzma": flipped(zipped(SOUND, zipfile.ZIP_LZMA), 55),
    "damaged bzip2": flipped(zipped(SOUND, zipfile.ZIP_BZIP2), 70),
    "encrypted": encrypted(zipped(SOUND)),
    "an unknown method": of_method(zipped(SOUND), 97),
    "no zip": b"PK\3\4" + bytes(100),
    "no directory": zipped(SOUND)[:-30],
    "nothing": b"",
}


@pytest.mark.parametrize("content", DAMAGED_ZIPS.values(), ids=DAMAGED_ZIPS)
def test_a_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    port = tmp_path / "port.npz"
    port.write_bytes(content)
    with pytest.raises(FileError) as caught:
        golden.compare(ENCODER, port)
    assert str(caught.value).startswith(str(port))


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "port.npz", "w") as archive:
        archive.writestr("bert.pooler.npy", SOUND)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("bert.pooler.npy", SOUND)
    with pytest.raises(FileError, match="holds two arrays of one name"):
        golden.compare(ENCODER, tmp_path / "port.npz")


def test_an_array_is_unpacked_only_as_far_as_its_bytes_can_back_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden.ports, "MAX_UNPACKED", 1 << 20)
    array = npy(described("(7000000,)", "'|i1'"), bytes(7_000_000))
    (tmp_path / "port.npz").write_bytes(zipped(array, zipfile.ZIP_DEFLATED))
    with pytest.raises(FileError, match=r"claims 7000000 bytes, compressed to [0-9]+: no array of activations shrinks so"):
        golden.compare(ENCODER, tmp_path / "port.npz")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_sound_arrays_are_read_as_numpy_reads_them(tmp_path: Path, order: Any, dtype: str, save: Any) -> None:
    x = np.asarray(golden.read_pack(ENCODER)["bert.pooler"].astype(dtype), order=order)
    for name, array in (("bert.pooler", x), ("empty", np.zeros((0, 5))), ("number", np.float32(3))):
        (tmp_path / "port").mkdir(exist_ok=True)
        np.save(tmp_path / "port" / f"{name}.npy", array)
        save(tmp_path / "port.npz", **{name: array})
        for port in ("port", "port.npz"):
            read = golden.ports.read(tmp_path / port)[name]()
            np.testing.assert_array_equal(read, array)
            assert read.dtype == array.dtype
    assert not golden.ports.read(tmp_path / "port")["bert.pooler"]().flags.writeable


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "port").mkdir()
    for path, port in (("port.npz", "port.npz"), ("port.safetensors", "port.safetensors"), ("port/pooler.npy", "port")):
        os.mkfifo(tmp_path / path)
        with pytest.raises(FileError, match="is a pipe or a device, not a file"):
            golden.compare(ENCODER, tmp_path / port)
    with pytest.raises(FileError, match="is a pipe or a device"):
        golden.read_pack(tmp_path / "port.npz")


@pytest.mark.parametrize("port", [5, None, b"port.npz", "", "a\0b", "\ud800.npz", "x" * 5000, ["port"], "/dev/null"])
def test_what_is_no_port_is_named(port: Any) -> None:
    for use in (lambda: golden.compare(ENCODER, port), lambda: golden.diagnose(ENCODER, port), lambda: golden.read_pack(port),
                lambda: golden.compare(port, {})):  # fmt: skip
        with pytest.raises(NpbertError):
            use()


def test_names_of_thousands_of_dots_are_refused(tmp_path: Path) -> None:
    x = golden.read_pack(ENCODER)["bert.pooler"]
    for name in ("bert." * 3000 + "pooler", "input:" + "0." * 3000, "output:" * 3000):
        with pytest.raises(InputError, match="port: takes names of 1000 characters at most"):
            golden.compare(ENCODER, {name: x})
    with pytest.raises(InputError, match="none of the pack's names"):
        golden.compare(ENCODER, {"bert." * 199: x})
    with pytest.raises(InputError, match=r"port: takes names that can be printed, got 'a\\nb'"):
        golden.compare(ENCODER, {"a\nb": x})


class Refusing:
    """What a framework's tensor may do when NumPy asks for its numbers."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise NotImplementedError("not on this device")


def test_an_array_that_cannot_be_had_is_named() -> None:
    with pytest.raises(InputTypeError, match=r"port: bert\.pooler takes an array \(not on this device\)"):
        golden.compare(ENCODER, {"bert.pooler": Refusing()})


# --------------------------------------------------------------------------------------------------------------------- maps


def test_a_map_of_many_stars_is_soon_done() -> None:
    assert Rule("*a" * 500 + "b", "x", None).translated("a" * 999) is None
    assert Rule("h.*.*.q", "layer.*.*", None).translated("h.1.2.3.q") == "layer.1.2.3"
    assert Rule("*", "bert.*", None).translated("") == "bert."
    assert Rule("a*a", "x", None).translated("a") is None
    assert Rule("aa", "x", None).translated("a") is None
    assert Rule("a*b*a", "*|*", None).translated("abba") == "|b"


@pytest.mark.parametrize("names", [5, ["a"], "", "a\0b", {"a": 5}, {5: "a"}, b"x"])
def test_what_is_no_map_is_named(names: Any) -> None:
    with pytest.raises(NpbertError):
        golden.compare(ENCODER, {"bert.pooler": golden.read_pack(ENCODER)["bert.pooler"]}, names=names)


# ------------------------------------------------------------------------------------------------------------------- export


@pytest.fixture(scope="module")
def model() -> Any:
    return build("BertModel", tiny(), dtype=np.float32)


def test_a_pack_goes_through_a_link_and_into_a_pipe(model: Any, tmp_path: Path) -> None:
    inputs = {"input_ids": ids(model.config, 1, 3)}
    golden.export(model, inputs, tmp_path / "pack", only="pooler")
    content = (tmp_path / "pack").read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "pack")
    golden.export(model, inputs, tmp_path / "link", only="encoder")
    assert (tmp_path / "link").is_symlink()
    assert list(golden.read_pack(tmp_path / "pack")) == ["encoder"]
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        golden.export(model, inputs, tmp_path / "pipe", only="pooler")
        received = os.read(reader, 1 << 20)
    finally:
        os.close(reader)
    assert received == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pack", "pipe"]


@pytest.mark.parametrize("path", [5, None, b"x", "", "a\0b", "\ud800", "x" * 300])
def test_what_is_no_path_is_refused_before_the_work(model: Any, path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["npbert.golden.export"], "run", None)
    with pytest.raises(NpbertError):
        golden.export(model, {"input_ids": ids(model.config, 1, 3)}, path)
