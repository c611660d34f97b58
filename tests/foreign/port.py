"""Drives the BERT in `bert.c`: it reads a pack as any port would, runs the pass on it, and returns what the pass dumped.

`run(pack)` is an honest port; `run(pack, plant)` makes one of the mistakes of `plants.py`. Nothing of npbert is used.
"""

from __future__ import annotations

import ctypes
import functools
import json
import math
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .plants import HONEST, Plant

Array = Any
SOURCE = Path(__file__).parent / "bert.c"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
DTYPES = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}

_WEIGHT = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)
_KEEP = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.POINTER(ctypes.c_float), ctypes.c_int, ctypes.POINTER(ctypes.c_int))


class _Pass(ctypes.Structure):
    """The struct of the same name in bert.c."""

    _fields_ = (
        [(name, ctypes.c_int) for name in ("layers", "width", "heads", "inner", "batch", "length")]
        + [("eps", ctypes.c_float), ("activation", ctypes.c_char_p)]
        + [(name, ctypes.c_void_p) for name in ("ids", "types", "positions", "mask")]
        + [("weight", _WEIGHT), ("keep", _KEEP)]
        + [("plant", ctypes.c_char_p), ("plant_layer", ctypes.c_int), ("plant_block", ctypes.c_char_p)]
    )


class Contents(NamedTuple):
    """What a port needs of a pack."""

    config: Mapping[str, Any]
    weights: Mapping[str, Array]
    inputs: Mapping[str, Array]


def read(path: str | Path) -> Contents:
    """The configuration, weights and inputs in a pack, read as the README describes the format."""
    raw = Path(path).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    metadata = header.pop("__metadata__")

    def array(name: str) -> Array:
        entry = header[name]
        start, dtype = 8 + length + entry["data_offsets"][0], np.dtype(DTYPES[entry["dtype"]])
        return np.frombuffer(raw, dtype, math.prod(entry["shape"]), start).reshape(entry["shape"])

    def under(prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): array(name) for name in header if name.startswith(prefix)}

    return Contents(json.loads(metadata["config"]), under("weight:"), under("input:"))


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled pass."""
    assert COMPILER is not None
    folder = tempfile.TemporaryDirectory()
    target = Path(folder.name) / "bert.so"
    subprocess.run([COMPILER, "-O2", "-shared", "-fPIC", str(SOURCE), "-o", str(target), "-lm"], check=True)
    loaded = ctypes.CDLL(str(target))
    loaded.run.argtypes, loaded.run.restype = [ctypes.POINTER(_Pass)], None
    loaded.folder = folder  # removed with the last reference to it
    return loaded


def run(pack: str | Path | Contents, plant: Plant = HONEST) -> dict[str, Array]:
    """Every intermediate value and output of the pass under the pack's name for it."""
    contents = pack if isinstance(pack, Contents) else read(pack)
    config = {**contents.config, **plant.config}
    weights = {name: np.asarray(x, np.float32) for name, x in contents.weights.items()}
    if plant.weights:
        weights |= plant.weights(weights)
    inputs = {name: np.asarray(x, np.int64) for name, x in contents.inputs.items()}
    ids = inputs["input_ids"]
    inputs.setdefault("token_type_ids", np.zeros_like(ids))
    inputs.setdefault("attention_mask", np.ones_like(ids))
    inputs["positions"] = np.arange(ids.shape[1])
    if plant.inputs:
        inputs |= plant.inputs(inputs)
    dump = _run(config, weights, inputs, plant)
    if plant.dump:
        dump |= plant.dump(dump)
    return {name: x for name, x in dump.items() if x is not None}


def _run(
    config: Mapping[str, Any], weights: Mapping[str, Array], inputs: Mapping[str, Array], plant: Plant
) -> dict[str, Array]:
    weights = {name: np.ascontiguousarray(x, np.float32) for name, x in weights.items()}
    arrays = [np.ascontiguousarray(inputs[name]) for name in ("input_ids", "token_type_ids", "positions", "attention_mask")]
    dump: dict[str, Array] = {}

    def weight(name: bytes) -> int | None:
        x = weights.get(name.decode())
        return None if x is None else x.ctypes.data

    def keep(name: bytes, values: Any, rank: int, shape: Any) -> None:
        dump[name.decode()] = np.ctypeslib.as_array(values, tuple(shape[:rank])).copy()

    library().run(
        _Pass(
            config["num_hidden_layers"],
            config["hidden_size"],
            config["num_attention_heads"],
            config["intermediate_size"],
            *arrays[0].shape,
            config["layer_norm_eps"],
            config["hidden_act"].encode(),
            *(array.ctypes.data for array in arrays),
            _WEIGHT(weight),
            _KEEP(keep),
            plant.switch.encode(),
            -1 if plant.layer is None else plant.layer,
            plant.block.encode(),
        )
    )
    return dump


def hidden_states(dump: Mapping[str, Array]) -> dict[str, Array]:
    """What a port dumps that only keeps the hidden states: the embeddings, each layer's output, the results."""
    return {
        name: x
        for name, x in dump.items()
        if name == "embeddings" or name.startswith("output:") or (name.startswith("encoder.layer.") and name.count(".") == 2)
    }
