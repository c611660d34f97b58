"""TensorFlow checkpoints, against what TensorFlow itself reads from them; sums and compression against their specifications."""

import base64
import hashlib
import itertools
import json
import os
import shutil
import struct
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npbert import NpbertError
from npbert.checkpoints import leveldb, tensorflow
from npbert.checkpoints.crc32c import crc32c, masked_crc32c
from npbert.checkpoints.leveldb import read_table
from npbert.checkpoints.snappy import decompress
from npbert.checkpoints.tensorflow_index import slice_key
from npbert.checkpoints.wire import Damaged, read_fields, read_varint
from npbert.errors import FileError, MissingFileError

DATA = Path(__file__).parent / "data" / "tf"
PREFIXES = {
    "pretraining": "bert_model.ckpt",
    "classifier": "model.ckpt-7",
    "squad": "model.ckpt",
    "dtypes": "ckpt",
}

# ------------------------------------------------------------------------------------------------------- the right values


@pytest.mark.parametrize("name", PREFIXES)
def test_every_tensor_is_what_tensorflow_reads(name):
    found = tensorflow.read(DATA / name / PREFIXES[name])
    with np.load(DATA / name / "values.npz") as values:
        assert set(found) == set(values.files)
        for key in values.files:
            assert found[key].dtype == values[key].dtype, key
            np.testing.assert_array_equal(found[key], values[key], err_msg=key)
            assert not found[key].flags.writeable


@pytest.mark.parametrize("ending", ["", "/bert_model.ckpt", "/bert_model.ckpt.index"])
def test_directory_prefix_and_index_name_the_same_checkpoint(ending):
    path = f"{DATA / 'pretraining'}{ending}"
    assert tensorflow.find_prefix(path) == str(DATA / "pretraining" / "bert_model.ckpt")
    assert len(tensorflow.read(path)) == 139


def test_weights_are_mapped_not_copied():
    tracemalloc.start()
    found = tensorflow.read(DATA / "pretraining")
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    weights = [array for array in found.values() if array.ndim]  # global_step, an int64, lies on an odd address
    assert not any(array.flags.owndata for array in weights)
    assert used < 200_000


def test_strings_are_left_out():
    index = (DATA / "dtypes" / "ckpt.index").read_bytes()
    names = {key.decode() for key, _ in read_table(index)}
    assert names - {""} - set(tensorflow.read(DATA / "dtypes")) == {
        "_CHECKPOINTABLE_OBJECT_GRAPH",
        "text/.ATTRIBUTES/VARIABLE_VALUE",
    }


def test_keys_of_slices_are_those_that_tensorflow_writes():
    expected = json.loads((DATA / "slice_keys.json").read_text())
    keys = [slice_key(expected["name"], [None, tuple(extent)]).hex() for extent in expected["extents"]]
    assert sorted(keys) == expected["keys"]


# ------------------------------------------------------------------------------------------------------- finding the files


def test_the_single_file_format_is_refused_with_the_way_out():
    with pytest.raises(FileError, match="version 1") as caught:
        tensorflow.read(DATA / "version1" / "model.ckpt-1")
    assert "SaverDef.V2" in str(caught.value)


def test_what_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingFileError, match=r"no TensorFlow checkpoint.*\*\.index"):
        tensorflow.read(tmp_path)
    with pytest.raises(MissingFileError, match=r"nowhere\.index"):
        tensorflow.read(tmp_path / "nowhere")
    (tmp_path / "other.ckpt").write_bytes(b"not a checkpoint at all")
    with pytest.raises(FileError, match=r"other\.ckpt: not a TensorFlow checkpoint"):
        tensorflow.read(tmp_path / "other.ckpt")


def test_a_directory_with_several_checkpoints_asks_for_one(tmp_path):
    for name in ("model.ckpt-1", "model.ckpt-2"):
        (tmp_path / f"{name}.index").touch()
    with pytest.raises(MissingFileError, match=r"model\.ckpt-1\.index, model\.ckpt-2\.index"):
        tensorflow.read(tmp_path)
    (tmp_path / "bert_model.ckpt.index").touch()
    assert tensorflow.find_prefix(tmp_path) == str(tmp_path / "bert_model.ckpt")


def test_a_missing_data_file_is_named(tmp_path):
    shutil.copytree(DATA / "classifier", tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.ckpt-7.data-00001-of-00002").unlink()
    with pytest.raises(MissingFileError, match=r"model\.ckpt-7\.data-00001-of-00002"):
        tensorflow.read(tmp_path)


# --------------------------------------------------------------------------------------------------------- damaged files


def outcome(prefix: Path) -> Mapping[str, np.ndarray] | None:
    """What is read, or None after an error of npbert's that names one of the files."""
    try:
        return tensorflow.read(prefix)
    except NpbertError as error:
        message = str(error)
    assert message.startswith(str(prefix)), message
    return None


@pytest.mark.parametrize("name", ["classifier", "squad"])
def test_a_truncated_index_is_refused(tmp_path, name):
    shutil.copytree(DATA / name, tmp_path, dirs_exist_ok=True)
    prefix = tmp_path / PREFIXES[name]
    index = Path(f"{prefix}.index")
    whole = index.read_bytes()
    for size in range(len(whole)):
        index.write_bytes(whole[:size])
        assert outcome(prefix) is None, size
    index.write_bytes(whole[1:])
    assert outcome(prefix) is None


def test_a_truncated_data_file_is_refused(tmp_path):
    shutil.copytree(DATA / "pretraining", tmp_path, dirs_exist_ok=True)
    prefix = tmp_path / "bert_model.ckpt"
    data = Path(f"{prefix}.data-00000-of-00001")
    for size in (20827, 20824, 10000, 1, 0):
        os.truncate(data, size)
        assert outcome(prefix) is None, size


@pytest.mark.parametrize("name", ["classifier", "squad"])
def test_a_flipped_bit_in_the_index_is_seen(tmp_path, name):
    shutil.copytree(DATA / name, tmp_path, dirs_exist_ok=True)
    prefix = tmp_path / PREFIXES[name]
    whole = Path(f"{prefix}.index").read_bytes()
    for at in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        Path(f"{prefix}.index").write_bytes(damaged)
        assert outcome(prefix) is None, at


def test_a_flipped_bit_in_a_tensor_is_seen_and_the_tensor_named(tmp_path):
    shutil.copytree(DATA / "squad", tmp_path, dirs_exist_ok=True)
    prefix = tmp_path / "model.ckpt"
    data = Path(f"{prefix}.data-00000-of-00001")
    whole = data.read_bytes()
    for at in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        data.write_bytes(damaged)
        with pytest.raises(FileError, match=r"data-00000-of-00001: the tensor '.*' does not match its checksum"):
            tensorflow.read(prefix)


# ----------------------------------------------------------------------------- hostile files, their checksums all in order


def slow_crc32c(data: bytes) -> int:
    """After RFC 3720, a byte at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value % 2**64)
    return varint(number << 3 | 2) + varint(len(value)) + value


def shape_of(*dims: int) -> bytes:
    return field(2, b"".join(field(2, field(1, dim)) for dim in dims))


def sum_of(data: bytes) -> bytes:
    return varint(6 << 3 | 5) + struct.pack("<I", masked(slow_crc32c(data)))


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return body + struct.pack("<II", 0, 1)


def table(*blocks: bytes, compression: int = 0, handles: list[bytes] | None = None) -> bytes:
    """A table of these data blocks."""
    out = b""

    def add(contents: bytes, compression: int = 0) -> bytes:
        nonlocal out
        handle = varint(len(out)) + varint(len(contents))
        contents += bytes([compression])
        crc = slow_crc32c(contents) if len(contents) < 10_000 else crc32c(contents)
        out += contents + struct.pack("<I", masked(crc))
        return handle

    found = [add(contents, compression) for contents in blocks]
    footer = add(block([])) + add(
        block([(b"%05d" % n, handle) for n, handle in enumerate(found if handles is None else handles)])
    )
    return out + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


HEADER = (b"", field(1, 1) + field(3, field(1, 1)))
VALUES = np.arange(6, dtype="<f4").tobytes()
ENTRY = field(1, 1) + shape_of(2, 3) + field(5, 24) + sum_of(VALUES)


def write(directory: Path, index: bytes, data: bytes = VALUES) -> Path:
    (directory / "x.index").write_bytes(index)
    (directory / "x.data-00000-of-00001").write_bytes(data)
    return directory / "x"


def test_the_tables_of_these_tests_are_read(tmp_path):
    found = tensorflow.read(write(tmp_path, table(block([HEADER, (b"a", ENTRY)]))))
    np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])


BAD_ENTRIES = {
    "reaches past the file": (field(1, 1) + shape_of(7) + field(5, 28) + sum_of(VALUES), "should end at byte 28"),
    "begins past the file": (field(1, 1) + shape_of(6) + field(4, 1 << 62) + field(5, 24), "should end at byte"),
    "other size": (field(1, 1) + shape_of(2, 2) + field(5, 24) + sum_of(VALUES), "claims 24 bytes"),
    "huge shape": (field(1, 1) + shape_of(1 << 40, 1 << 40, 0), "too large"),
    "huge dimension": (field(1, 1) + shape_of(1 << 50), "dimension that no tensor has"),
    "negative dimension": (field(1, 1) + shape_of(-1), "dimension that no tensor has"),
    "many dimensions": (field(1, 1) + shape_of(*[1] * 40) + field(5, 4), "40 dimensions"),
    "unknown rank": (field(1, 1) + field(2, field(3, 1)), "does not know the shape"),
    "complex": (field(1, 8) + shape_of(3) + field(5, 24) + sum_of(VALUES), "dtype 8"),
    "bool": (field(1, 10) + shape_of(24) + field(5, 24) + sum_of(VALUES), "other than 0 and 1"),
    "no type": (shape_of(2, 3) + field(5, 24) + sum_of(VALUES), "dtype 0"),
    "other file": (field(1, 1) + field(3, 1), "data file 1 of 1"),
    "long checksum": (ENTRY + field(6, 1 << 40), "more than 32 bits"),
    "wrong checksum": (ENTRY + sum_of(b"else"), "does not match its checksum"),
    "no protocol buffer": (b"\x0b", "wire type 3"),
    "cut short": (ENTRY[:-1], "4 bytes where 3 are left"),
    "endless number": (b"\x08" + b"\xff" * 10, "more than 64 bits"),
    "cut number": (b"\x08\xff", "ends inside a number"),
    "slice of other rank": (field(1, 1) + shape_of(6) + field(7, b""), "slice of 0 dimensions"),
    "slice without entry": (field(1, 1) + shape_of(6) + field(7, field(1, b"")), "does not hold"),
    "slice beyond": (field(1, 1) + shape_of(6) + field(7, field(1, field(1, 4) + field(2, 4))), "reaches beyond"),
    "slice of bytes": (field(1, 1) + shape_of(6) + field(7, field(1, field(2, b""))), "not a number"),
}


@pytest.mark.parametrize("name", BAD_ENTRIES)
def test_a_bad_entry_is_refused(tmp_path, name):
    entry, message = BAD_ENTRIES[name]
    prefix = write(tmp_path, table(block([HEADER, (b"a", entry)])))
    with pytest.raises(FileError, match=message) as caught:
        tensorflow.read(prefix)
    assert str(caught.value).startswith(str(prefix))


BAD_TABLES = {
    "no header": (table(block([(b"a", ENTRY)])), "no header"),
    "no data files": (table(block([(b"", b"")])), "claims 0 data files"),
    "a million data files": (table(block([(b"", field(1, 10**6))])), "claims 1000000 data files"),
    "big-endian": (table(block([(b"", field(1, 1) + field(2, 1))])), "big-endian"),
    "of the future": (table(block([(b"", field(1, 1) + field(3, field(2, 9)))])), "version 9"),
    "a name twice": (table(block([HEADER, (b"a", ENTRY), (b"a", ENTRY)])), "twice"),
    "names out of order": (table(block([HEADER, (b"b", ENTRY)]), block([(b"a", ENTRY)])), "greater one"),
    "bytes used twice": (table(block([HEADER, (b"a", ENTRY), (b"b", ENTRY)])), "belong to another one too"),
    "not UTF-8": (table(block([HEADER, (b"\xff", ENTRY)])), "not UTF-8"),
    "unknown compression": (table(block([HEADER]), compression=7), "compression type 7"),
    "not Snappy": (table(block([HEADER]), compression=1), "compressed block"),
    "Snappy bomb": (table(varint(1 << 40) + b"\0a", compression=1), "claims 1099511627776 bytes"),
    "restarts that are not there": (table(struct.pack("<I", 1 << 30)), "restart points"),
    "a block too small": (table(b"abc"), "restart points"),
    "a key from nowhere": (table(b"\x09\x01\x00a" + struct.pack("<II", 0, 1)), "does not fit"),
    "a value past the block": (
        table(varint(0) + varint(1) + varint(1 << 40) + b"a" + struct.pack("<II", 0, 1)),
        "does not fit",
    ),
    "a block past the file": (table(block([HEADER]), handles=[varint(0) + varint(1 << 60)]), "behind the file"),
    "a block over and over": (table(block([HEADER]), handles=[varint(0) + varint(len(block([HEADER])))] * 2), "overlap"),
    "a handle with more": (table(block([HEADER]), handles=[varint(0) + varint(len(block([HEADER]))) + b"\0"]), "out of order"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_index_is_refused(tmp_path, name):
    index, message = BAD_TABLES[name]
    prefix = write(tmp_path, index)
    with pytest.raises(FileError, match=message) as caught:
        tensorflow.read(prefix)
    assert str(caught.value).startswith(str(prefix))


def test_an_index_of_too_many_entries_or_blocks_is_refused(tmp_path, monkeypatch):
    entry = field(1, 1) + field(2, shape_of(0)) + sum_of(b"")
    entries = [(b"", field(1, 1)), *((b"%04d" % number, entry) for number in range(20))]
    assert len(tensorflow.read(write(tmp_path, table(block(entries))))) == 20
    monkeypatch.setattr(leveldb, "MAX_INDEX_ENTRIES", 20)
    with pytest.raises(FileError, match="more than 20 entries"):
        tensorflow.read(write(tmp_path, table(block(entries))))
    with pytest.raises(FileError, match="more than 20 blocks"):
        tensorflow.read(write(tmp_path, table(block(entries[:1]), *[block([])] * 20)))


def test_a_footer_with_more_in_it_is_refused(tmp_path):
    index = bytearray(table(block([HEADER])))
    index[-10] = 1
    with pytest.raises(FileError, match="footer"):
        tensorflow.read(write(tmp_path, bytes(index)))


def sliced(*slices: tuple[int, int], total: int) -> bytes:
    """The index of a 1-d variable `a`, whose slices follow each other in the data file."""
    entries, offset = {b"": HEADER[1]}, 0
    extents = b"".join(field(7, field(1, field(1, start) + field(2, size))) for start, size in slices)
    entries[b"a"] = field(1, 1) + shape_of(total) + extents
    for start, size in slices:
        data = VALUES[offset : offset + 4 * size]
        value = field(1, 1) + shape_of(size) + field(4, offset) + field(5, 4 * size) + sum_of(data)
        entries.setdefault(slice_key("a", [(start, size)]), value)
        offset += 4 * size
    return table(block(sorted(entries.items())))


def test_slices_are_put_where_they_belong(tmp_path):
    found = tensorflow.read(write(tmp_path, sliced((4, 2), (0, 4), total=6)))
    np.testing.assert_array_equal(found["a"], [2, 3, 4, 5, 0, 1])


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([(0, 2), (2, 2)], "4 elements in all"),
        ([(0, 4), (2, 2)], "overlap"),
        ([(0, 2), (0, 2), (0, 2)], "twice"),
        ([(0, 2)] * 3, "twice"),
    ],
)
def test_slices_that_do_not_make_the_whole_are_refused(tmp_path, slices, message):
    with pytest.raises(FileError, match=message):
        tensorflow.read(write(tmp_path, sliced(*slices, total=6)))


def test_a_slice_repeated_many_times_takes_no_memory(tmp_path):
    count = 100_000
    extents = field(7, field(1, field(1, 0) + field(2, 6))) * count
    part = field(1, 1) + shape_of(6) + field(5, 24) + sum_of(VALUES)
    entries = [HEADER, (slice_key("a", [(0, 6)]), part), (b"a", field(1, 1) + shape_of(6 * count) + extents)]
    with pytest.raises(FileError, match="twice"):
        tensorflow.read(write(tmp_path, table(block(entries))))


def test_keys_that_grow_out_of_each_other_take_no_memory(tmp_path):
    """4 bytes an entry, each key one longer than the last: a megabyte of block would be gigabytes of keys."""
    body = b"".join(varint(n) + b"\x01\x00" + b"x" for n in range(50_000)) + struct.pack("<II", 0, 1)
    tracemalloc.start()
    with pytest.raises(FileError, match="stands for more than"):
        tensorflow.read(write(tmp_path, table(body)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 << 20


@given(
    blocks=st.lists(st.binary(max_size=200), max_size=3),
    compression=st.sampled_from([0, 1, 2]),
    handles=st.none() | st.lists(st.binary(max_size=6), max_size=3),
)
def test_any_blocks_are_read_or_refused(tmp_path_factory, blocks, compression, handles):
    outcome(write(tmp_path_factory.mktemp("any"), table(*blocks, compression=compression, handles=handles)))


numbers = st.integers(0, 8) | st.sampled_from([1 << 31, 1 << 32, 1 << 63, 2**64 - 1, 24, 12])
messages = st.recursive(
    st.lists(st.builds(field, st.integers(1, 8), numbers), max_size=6).map(b"".join),
    lambda inner: st.lists(st.builds(field, st.integers(1, 8), numbers | inner), max_size=6).map(b"".join),
    max_leaves=6,
)


@given(
    header=messages, entries=st.dictionaries(st.binary(min_size=1, max_size=6), messages | st.binary(max_size=30), max_size=4)
)
def test_any_entries_are_read_or_refused(tmp_path_factory, header, entries):
    index = table(block([(b"", field(1, 1) + header), *sorted(entries.items())]))
    outcome(write(tmp_path_factory.mktemp("any"), index))


# --------------------------------------------------------------------------------------------------------- CRC-32C, Snappy


@pytest.mark.parametrize(
    ("message", "crc"),
    [  # RFC 3720 B.4, and the usual check value
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_crc32c_of_the_standard(message, crc):
    assert crc32c(message) == crc


@pytest.mark.parametrize(
    "size", [1, 3, 4, 5, 558, 559, 560, 563, 564, 1127, 4499, 4500, 4501, 4505, 36027, 36028, 36029, 70001]
)
def test_crc32c_of_any_length(size):
    message = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    assert crc32c(message) == slow_crc32c(message.tobytes())


def test_crc32c_over_several_pieces():
    """A message that ends in its own register, lowest byte first, has this remainder, however long it is (RFC 3720 B.4)."""
    message = np.random.default_rng(0).integers(0, 256, (1 << 20) + 12345, np.uint8).tobytes()
    assert crc32c(message + crc32c(message).to_bytes(4, "little")) == 0x48674BC7
    assert crc32c(message) != crc32c(message[1:])
    swapped = message[64:128] + message[:64] + message[128:]
    assert crc32c(message) != crc32c(swapped)


def test_the_sparse_polynomial_is_a_multiple_of_the_castagnoli_polynomial():
    remainder = sum(1 << exponent for exponent in (563, 109, 58, 53, 31, 0))
    while remainder.bit_length() > 32:
        remainder ^= 0x11EDC6F41 << remainder.bit_length() - 33
    assert remainder == 0


def test_masked_crc32c():
    assert masked_crc32c(b"123456789") == masked(0xE3069283)


# Made by Google's compressor.
COMPRESSED = [
    ("AA==", b""),
    ("AQBh", b"a"),
    ("yAEEYWL+AgD+AgD+AgAJAg==", b"ab" * 100),
    (
        "iAVQYmVydC9lbmNvZGVyL2xheWVyXzQvShUAADJOFQAAOE4VAAgzL0wBRxxOb3JtYmlhcxUNIGF0dGVudGlvbk41AAA2ThUALkoARqcABDAvGVIU"
        "a2VybmVsUiUAAYRKGQBSuwAAN1aGAEo/AAQxME4WAO4VAAUVGdJKdAAANnLnAEYhAQA3Bfw1gFYiAEY3AAQxMU59AFIbAQliSkQAADlOQwAAMGbA"
        "AAQzLw==",
        "22953728c156ce8f",
    ),
    (
        "rAL0KwFzqb70mbv03HvSpPLIr1vZnyZ6DtMZchfdK7oVN0NuXCRB49VEEEkreIdovP8iGM+Pc3Or6OOU2vgH4k5Yw2dALigfm934UzbRW1ebdOQl"
        "CVDJyZR1JmaugceLKDWS7f+TXUBuj9tyo0mAvmTTR73N2lEXuRn1ONy3fqz+hj5SgvqUC/PrVz9fwS9PixLNiu/S9uFxb3uHgM5sq0TnjbXmJlYy"
        "CUoE/N5FoAYHuQwwXaBIA3fpfo3uMu6GUatPYuhvqEhhpsRxbFVQTOQzDlLi0LuXhs3pGyp4m32Pf3lsLXiVcjzjxgg7MJAbBk6FPS01kTxTHlBw"
        "LKKZ/iLUSJqCsAeegkq8FFzxuan/QEuEg56zqqzO+FSPikuNLrP2w/6yGsHkdk4VckR1+Ms=",
        "c53c05eb12f2a55a",
    ),
]


@pytest.mark.parametrize("case", range(len(COMPRESSED)))
def test_snappy(case):
    packed, expected = COMPRESSED[case]
    out = decompress(base64.b64decode(packed), limit=1000)
    assert out == expected if isinstance(expected, bytes) else hashlib.sha256(out).hexdigest()[:16] == expected


def test_snappy_copies_with_four_byte_offsets_and_long_literals():
    literal = bytes(range(256)) * 300
    for width, tag in ((3, 62), (4, 63)):
        packed = varint(len(literal) + 5) + bytes([tag << 2]) + (len(literal) - 1).to_bytes(width, "little") + literal
        packed += bytes([4 << 2 | 3]) + struct.pack("<I", 70_000)
        assert decompress(packed, limit=1 << 20) == literal + literal[len(literal) - 70_000 :][:5]


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x05",
        b"\x01\x00ab",  # more than it claims
        b"\x02\x00a",
        b"\x01\x04",  # a literal of two bytes, none there
        b"\x04\x00a\x01\x00",  # back by nothing
        b"\x05\x00a\x01\x02",  # back too far
        b"\x05\x00a\x01",  # no offset
        b"\x05\xfc\xff\xff\xff\xff",  # a literal of 4 GB
        b"\x05\xf0",
    ],
)
def test_bad_snappy_is_refused(packed):
    with pytest.raises(Damaged):
        decompress(packed, limit=100)


def test_snappy_stops_at_the_limit_and_at_what_is_claimed():
    assert decompress(varint(100) + bytes([60 << 2, 99]) + bytes(100), limit=100) == bytes(100)
    with pytest.raises(Damaged, match="at most 99"):
        decompress(varint(100) + bytes([60 << 2, 99]) + bytes(100), limit=99)
    bomb = varint(1) + b"\x00a" + bytes([63 << 2 | 2, 1, 0]) * 100_000  # 64 bytes from every 3
    tracemalloc.start()
    with pytest.raises(Damaged, match="makes more"):
        decompress(bomb, limit=1 << 30)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


@given(size=st.integers(0, 80), rest=st.binary(max_size=60))
def test_any_snappy_is_read_or_refused(size, rest):
    try:
        out = decompress(bytes([size]) + rest, limit=64)
    except Damaged:
        return
    assert len(out) == size <= 64


def test_varints():
    for number in (0, 1, 127, 128, 300, 2**32, 2**64 - 1):
        assert read_varint(b"x" + varint(number) + b"y", 1) == (number, 1 + len(varint(number)))
    with pytest.raises(Damaged):
        read_varint(varint(2**64), 0)


def test_fields_of_every_wire_type():
    data = field(1, 300) + field(2, b"ab") + b"\x1d\x01\x00\x00\x00" + b"\x21" + bytes(7) + b"\x80"
    assert list(read_fields(data)) == [(1, 300), (2, b"ab"), (3, 1), (4, 1 << 63)]
    for cut in itertools.chain(range(1, 3), (4, 5, 6, 8, 11, len(data) - 1)):
        with pytest.raises(Damaged):
            list(read_fields(data[:cut]))
