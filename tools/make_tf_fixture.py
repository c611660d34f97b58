"""Make tests/checkpoints/data/tf: small checkpoints written by TensorFlow, and the values that TensorFlow reads back.

    python -m venv venv && venv/bin/pip install tensorflow-cpu cramjam
    venv/bin/python tools/make_tf_fixture.py

Every directory holds one checkpoint; `values.npz` beside it holds what `tf.train.load_checkpoint` answers for each name
(bfloat16 widened to float32, for .npz has no such type).

- pretraining: google-research/bert's variables after run_pretraining, with AdamWeightDecayOptimizer's slots and global_step
- classifier: run_classifier's variables; partitioned (sliced) word embeddings; two data shards
- squad: run_squad's variables; the index rewritten with Snappy-compressed blocks, small ones, many restart points
- dtypes: one variable of each type, scalars and empty ones, and the strings that TensorFlow 2 adds
- slice_keys.json: the keys of a large partitioned variable, whose numbers take one to five bytes
- version1: the single-file format from before 2016, which is not read
"""

import json
import os
import shutil
import struct
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

import cramjam
import numpy as np
import tensorflow as tf

ROOT = Path(__file__).parent.parent / "tests" / "checkpoints" / "data" / "tf"
CONFIG = {
    "vocab_size": 37,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
}


def bert_variables() -> dict[str, tuple[int, ...]]:
    """The names and shapes of modeling.py's BertModel."""
    hidden, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]

    def norm(scope: str) -> dict[str, tuple[int, ...]]:
        return {f"{scope}/LayerNorm/beta": (hidden,), f"{scope}/LayerNorm/gamma": (hidden,)}

    def dense(scope: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
        return {f"{scope}/kernel": (inputs, outputs), f"{scope}/bias": (outputs,)}

    found = {
        "bert/embeddings/word_embeddings": (CONFIG["vocab_size"], hidden),
        "bert/embeddings/token_type_embeddings": (CONFIG["type_vocab_size"], hidden),
        "bert/embeddings/position_embeddings": (CONFIG["max_position_embeddings"], hidden),
        **norm("bert/embeddings"),
    }
    for number in range(CONFIG["num_hidden_layers"]):
        layer = f"bert/encoder/layer_{number}"
        for part in ("query", "key", "value"):
            found |= dense(f"{layer}/attention/self/{part}", hidden, hidden)
        found |= dense(f"{layer}/attention/output/dense", hidden, hidden) | norm(f"{layer}/attention/output")
        found |= dense(f"{layer}/intermediate/dense", hidden, inner)
        found |= dense(f"{layer}/output/dense", inner, hidden) | norm(f"{layer}/output")
    return found | dense("bert/pooler/dense", hidden, hidden)


def pretraining_variables() -> dict[str, tuple[int, ...]]:
    hidden = CONFIG["hidden_size"]
    return bert_variables() | {
        "cls/predictions/transform/dense/kernel": (hidden, hidden),
        "cls/predictions/transform/dense/bias": (hidden,),
        "cls/predictions/transform/LayerNorm/beta": (hidden,),
        "cls/predictions/transform/LayerNorm/gamma": (hidden,),
        "cls/predictions/output_bias": (CONFIG["vocab_size"],),
        "cls/seq_relationship/output_weights": (2, hidden),
        "cls/seq_relationship/output_bias": (2,),
    }


def with_slots(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """AdamWeightDecayOptimizer keeps two running means beside each variable."""
    return {name + end: shape for name, shape in shapes.items() for end in ("", "/adam_m", "/adam_v")}


def write(directory: Path, prefix: str, shapes: dict[str, tuple[int, ...]], *, partitions: int = 1, seed: int = 0) -> Path:
    """Save variables of these names with tf.compat.v1.train.Saver, the word embeddings in so many partitions."""
    rng = np.random.default_rng(seed)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, shape in shapes.items():
            value = tf.constant(rng.standard_normal(shape).astype(np.float32))
            if name.endswith("word_embeddings") and partitions > 1:
                with tf.compat.v1.variable_scope("", partitioner=tf.compat.v1.fixed_size_partitioner(partitions)):
                    table = rng.standard_normal(shape).astype(np.float32)

                    def part(shape, dtype=None, partition_info=None, table=table):
                        offset = partition_info.var_offset
                        return tf.constant(table[tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))])

                    tf.compat.v1.get_variable(name, shape, initializer=part, use_resource=False)
            else:
                tf.compat.v1.get_variable(name, initializer=value)
        tf.compat.v1.train.get_or_create_global_step()
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver()
        return Path(saver.save(session, str(directory / prefix), write_meta_graph=False, write_state=False))


def keep_values(prefix: Path) -> None:
    """Write values.npz, as TensorFlow reads this checkpoint."""
    reader = tf.train.load_checkpoint(str(prefix))
    types = reader.get_variable_to_dtype_map()
    values = {name: reader.get_tensor(name) for name, dtype in types.items() if dtype != tf.string}
    np.savez_compressed(
        prefix.parent / "values.npz",
        **{name: value.astype(np.float32) if types[name] == tf.bfloat16 else value for name, value in values.items()},
    )
    print(f"{prefix.parent.name}: {len(values)} of {len(types)} tensors")


def fresh(name: str) -> Path:
    directory = ROOT / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def crc32c_masked(data: bytes) -> int:
    """Bit by bit, after RFC 3720; then LevelDB's mask."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def table_entries(data: bytes) -> list[tuple[bytes, bytes]]:
    """The entries of one of TensorFlow's own, uncompressed tables."""

    def read_varint(at: int) -> tuple[int, int]:
        number = shift = 0
        while True:
            number |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return number, at

    def block(offset: int, size: int) -> list[tuple[bytes, bytes]]:
        assert data[offset + size] == 0, "already compressed"
        end = offset + size - 4 - 4 * struct.unpack_from("<I", data, offset + size - 4)[0]
        entries, key, at = [], b"", offset
        while at < end:
            shared, at = read_varint(at)
            unshared, at = read_varint(at)
            length, at = read_varint(at)
            key, at = key[:shared] + data[at : at + unshared], at + unshared
            entries.append((key, data[at : at + length]))
            at += length
        return entries

    at = len(data) - 48
    for _ in range(2):
        _, at = read_varint(at)
    offset, at = read_varint(at)
    size, at = read_varint(at)
    found = []
    for _, handle in block(offset, size):
        start, stop = 0, 0
        for turn in range(2):
            number = shift = 0
            while True:
                byte = handle[stop]
                number |= (byte & 127) << shift
                stop, shift = stop + 1, shift + 7
                if byte < 128:
                    break
            start, size = (number, 0) if turn == 0 else (start, number)
        found += block(start, size)
    return found


def write_snappy_table(path: Path, entries: list[tuple[bytes, bytes]], *, block_size: int, restart_every: int) -> None:
    """A table in LevelDB's format (doc/table_format.md) with Snappy's own compressor on each block."""
    out = bytearray()

    def add_block(entries: list[tuple[bytes, bytes]], every: int) -> bytes:
        body, restarts, last = bytearray(), [], b""
        for number, (key, value) in enumerate(entries):
            shared = 0
            if number % every == 0:
                restarts.append(len(body))
            else:
                shared = next((i for i, (a, b) in enumerate(zip(last, key, strict=False)) if a != b), min(len(last), len(key)))
            body += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
            last = key
        body += struct.pack(f"<{len(restarts or [0])}II", *(restarts or [0]), len(restarts or [0]))
        packed = bytes(cramjam.snappy.compress_raw(bytes(body))) + b"\x01"
        handle = varint(len(out)) + varint(len(packed) - 1)
        out.extend(packed + struct.pack("<I", crc32c_masked(packed)))
        return handle

    index, block, size = [], [], 0
    for key, value in [*entries, (b"", b"")]:
        if block and (size > block_size or not key + value):
            index.append((block[-1][0], add_block(block, restart_every)))
            block, size = [], 0
        block.append((key, value))
        size += len(key) + len(value)
    footer = add_block([], 1) + add_block(index, 1)
    path.write_bytes(out + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57))


def make_pretraining() -> None:
    directory = fresh("pretraining")
    prefix = write(directory, "bert_model.ckpt", with_slots(pretraining_variables()), seed=1)
    (directory / "bert_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    keep_values(prefix)


def make_classifier() -> None:
    directory = fresh("classifier")
    hidden = CONFIG["hidden_size"]
    first = write(directory, "first", bert_variables(), partitions=3, seed=2)
    second = directory / "second"
    head = {"output_weights": (3, hidden), "output_bias": (3,)}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        rng = np.random.default_rng(3)
        for name, shape in head.items():
            tf.compat.v1.get_variable(name, initializer=tf.constant(rng.standard_normal(shape).astype(np.float32)))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(second), write_meta_graph=False, write_state=False)
    prefix = directory / "model.ckpt-7"
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(first), str(second)], destination_prefix=str(prefix), delete_old_dirs=False
    )
    for stray in [*directory.glob("first*"), *directory.glob("second*")]:
        stray.unlink()
    (directory / "bert_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    keep_values(prefix)


def make_squad() -> None:
    directory = fresh("squad")
    shapes = bert_variables() | {"cls/squad/output_weights": (2, CONFIG["hidden_size"]), "cls/squad/output_bias": (2,)}
    prefix = write(directory, "model.ckpt", shapes, seed=4)
    index = directory / "model.ckpt.index"
    write_snappy_table(index, table_entries(index.read_bytes()), block_size=700, restart_every=4)
    (directory / "bert_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    keep_values(prefix)  # TensorFlow reads the rewritten index too


def make_dtypes() -> None:
    directory = fresh("dtypes")
    values = np.array([[0, 1, -2], [3, 100, -101]])
    types = ["float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "bool"]
    variables = {name: tf.Variable(tf.cast(values, name)) for name in types}
    variables |= {name: tf.Variable(tf.cast(abs(values), name)) for name in ("uint8", "uint16", "uint32", "uint64")}
    variables |= {"text": tf.Variable(["one", "zwei", ""]), "scalar": tf.Variable(2.5), "empty": tf.Variable(tf.zeros([0, 4]))}
    prefix = Path(tf.train.Checkpoint(**variables).write(str(directory / "ckpt")))
    keep_values(prefix)


def make_version1() -> None:
    directory = fresh("version1")
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("bert/pooler/dense/bias", initializer=tf.constant([1.0, 2.0]))
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V1)
        saver.save(session, str(directory / "model.ckpt-1"), write_meta_graph=False, write_state=False)


def make_slice_keys() -> None:
    """A variable cut at numbers of each length in TensorFlow's ordered code; the keys are kept, the zeros are not."""
    directory = fresh("large")
    cuts = [0, 1, 63, 64, 65, 127, 8191, 8192, 1 << 20, (1 << 20) + 1, 1 << 27, (1 << 27) + 1]
    sizes = np.diff(cuts)
    parts = [tf.zeros([1, size], tf.int8) for size in sizes]
    tf.raw_ops.SaveV2(
        prefix=str(directory / "ckpt"),
        tensor_names=["name/ü"] * len(parts),
        shape_and_slices=[f"1 {cuts[-1]} -:{start},{size}" for start, size in zip(cuts, sizes, strict=False)],
        tensors=parts,
    )
    keys = [key.hex() for key, _ in table_entries((directory / "ckpt.index").read_bytes()) if key.startswith(b"\0")]
    shutil.rmtree(directory)
    extents = [[int(start), int(size)] for start, size in zip(cuts, sizes, strict=False)]
    (ROOT / "slice_keys.json").write_text(json.dumps({"name": "name/ü", "extents": extents, "keys": keys}, indent=1) + "\n")


if __name__ == "__main__":
    make_pretraining()
    make_classifier()
    make_squad()
    make_dtypes()
    make_version1()
    make_slice_keys()
