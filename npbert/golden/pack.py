"""Golden packs: every intermediate of one forward pass in one safetensors file, with the error a correct port may show.

A pack is a safetensors file (8 bytes: the length n of the header, little endian; n bytes: the header, JSON; then the data):

    input:NAME       an argument of the call: input:input_ids [B, S]
    NAME             an intermediate, as npbert.trace names it: encoder.layer.0.attention.self:probs [B, N, S, T]
    output:NAME      a result of the call: output:last_hidden_state [B, S, D]
    weight:NAME      a weight under its name in the checkpoint, where the pack was exported with weights

and, where it was exported with gradients,

    grad:NAME               the gradient of the loss by the value NAME; where the pass begins with the gradients by outputs in
                            place of a loss, these are grad:output:NAME
    grad:weight:NAME        the gradient of the loss by the weight NAME
    step:K:weight:NAME      the weight NAME after K optimizer steps
    step:K:loss             the loss with the weights after K steps

Where an argument is a tuple of tuples (past_key_values), its arrays are numbered: input:past_key_values.0.1 is the value of
layer 0. The `__metadata__` of the header is one JSON text under each of the keys

    format           "npbert golden pack 1"
    npbert           the version of npbert that wrote the pack
    config           the model's configuration
    weights_sha256   SHA-256 over the weights in the order of their names, a tied weight once: for each the line
                     "NAME DTYPE [SHAPE]\\n" in UTF-8 and the bytes of its elements, little endian
    order            the names of all but inputs and weights in the order of execution, aliases among them
    aliases          {NAME: NAME}: tensors that equal another and are stored once, under the other's name
    multiples        {PRECISION: {"max_abs": ..., "rms": ...}}: a tolerance is the error measured in PRECISION, times this
                     (of gradients, times what `npbert.golden.tolerance` says)
    tolerances       {NAME: {PRECISION: {"max_abs": ..., "rms": ...}}} for float32, float16 and bfloat16, and from packs that
                     an older npbert wrote on for every precision in `npbert.golden.precision`
    training         only in packs with gradients: {"dropout_seed": the seed, or null where nothing is dropped,
                     "output_gradients": [the outputs whose gradients were given], "steps": the fields of
                     `npbert.golden.Steps` and the learning rate of each step, or null}

The truth is computed in float64 and rounded to float32 for the file (or kept). A port that computes in PRECISION is right in
a tensor when the largest difference is at most max_abs and the root of the mean square of the differences is at most rms, both
over the positions that count: see `npbert.golden.positions`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from npbert import checks
from npbert.checkpoints import safetensors
from npbert.checkpoints.config_files import check_all_fields
from npbert.checkpoints.limits import MAX_EMPTY, MAX_PAIRS, MAX_TENSOR_NAME
from npbert.checkpoints.reading import parse_json
from npbert.errors import FileError, InputError, MissingNameError, listed, shown
from npbert.golden import positions
from npbert.golden.models import Config, part_of, parts_of_config, read_config
from npbert.golden.passes import Backward
from npbert.golden.positions import Positions
from npbert.golden.precision import STORED_IN
from npbert.golden.steps import Steps
from npbert.golden.tolerance import Tolerance
from npbert.tracing import GRADIENT
from npbert.types import Array, StrPath

FORMAT = "npbert golden pack 1"
INPUT, OUTPUT, WEIGHT = "input:", "output:", "weight:"
TRAINING = "training"
METADATA_KEYS = ("format", "npbert", "config", "weights_sha256", "order", "aliases", "multiples", "tolerances")


class Pack(Mapping[str, Array]):
    """An opened pack: a mapping from the names of intermediates and outputs to arrays, in the order of execution.

    The arrays are read-only views of the file; nothing is read before it is looked at.
    """

    path: StrPath
    config: Config
    inputs: dict[str, Any]  # the call's arguments, ready for model(**pack.inputs)
    input_arrays: dict[str, Array]  # the same under the file's names: input:input_ids, input:past_key_values.0.1
    positions: dict[str, Positions]  # which positions count, by part of the model
    backward: Backward | None  # what decides the backward pass; None where the pack has no gradients
    steps: Steps | None  # how the weights are changed; None where the pack has no steps
    weights: dict[str, Array] | None  # None where the pack was exported without them
    aliases: dict[str, str]
    tolerances: dict[str, dict[str, Tolerance]]
    metadata: dict[str, Any]

    def __init__(self, path: StrPath, tensors: Mapping[str, Array], metadata: dict[str, Any]) -> None:
        self.path = path
        self.metadata = metadata
        check_all_fields(f"{path}: config", metadata["config"])
        self.config = read_config(metadata["config"])
        self.aliases = metadata["aliases"]
        self.tolerances = {name: _bounds(metadata["tolerances"][name], path) for name in metadata["order"]}
        self.input_arrays = {name: x for name, x in tensors.items() if name.startswith(INPUT)}
        self.inputs = _nested({name.removeprefix(INPUT): x for name, x in self.input_arrays.items()})
        pairs = positions.number_of_pairs(self.config, self.inputs)
        if pairs > MAX_PAIRS:
            raise ValueError(f"the inputs make {pairs} pairs of positions; {MAX_PAIRS} are taken at most")
        self.positions = positions.of_call(self.config, self.inputs)
        self.backward, self.steps = _training(metadata.get(TRAINING), tensors)
        weights = {name.removeprefix(WEIGHT): x for name, x in tensors.items() if name.startswith(WEIGHT)}
        self.weights = weights or None
        self._values = {name: tensors[self.aliases.get(name, name)] for name in metadata["order"]}

    def __getitem__(self, name: str) -> Array:
        try:
            return self._values[name]
        except KeyError:
            close = sorted((known for known in self if known.endswith(name)), key=len) or list(self)
            raise MissingNameError(f"{self.path}: no {shown(name)} in the pack; there are {', '.join(close[:3])}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def counted(self, name: str) -> Array:
        """Which elements of a tensor count."""
        shape = self[name].shape
        return np.broadcast_to(positions.counted(self.positions, name, shape), shape)

    def __repr__(self) -> str:
        return f"Pack({str(self.path)!r}, {len(self)} tensors)"


DEEPEST = 3
"""Tuples in one another that an argument may be made of: past_key_values have two."""

ALWAYS_THERE = ("float32", "float16", "bfloat16")
"""The precisions that every pack has tolerances for; packs of the first npbert have no others."""


class _Bounds(dict[str, Tolerance]):
    """What a port may be off by in one tensor, by precision."""

    def __init__(self, bounds: dict[str, Tolerance], path: StrPath) -> None:
        super().__init__(bounds)
        self._path = path

    def __missing__(self, precision: str) -> Tolerance:
        raise MissingNameError(
            f"{self._path}: was written before npbert knew what a port in {precision} may be off by; export the pack again"
        )


def _bounds(written: Mapping[str, Any], path: StrPath) -> _Bounds:
    known = {precision: written[precision] for precision in STORED_IN if precision in written or precision in ALWAYS_THERE}
    return _Bounds({precision: Tolerance(**bounds) for precision, bounds in known.items()}, path)


def _training(written: Mapping[str, Any] | None, tensors: Mapping[str, Array]) -> tuple[Backward | None, Steps | None]:
    """What the metadata says of the backward pass and of the steps."""
    if written is None:
        return None, None
    given = {name: tensors[f"{GRADIENT}{OUTPUT}{name}"] for name in written["output_gradients"]}
    steps = written["steps"]
    return Backward(written["dropout_seed"], given or None), None if steps is None else Steps.from_dict(steps)


def _begins_as_zip(path: str) -> bool:
    """Whether a file is a zip by its first bytes. At its end, numbers may look like one by chance."""
    try:
        if not os.path.isfile(path):  # a pipe would be waited for
            return False
        with open(path, "rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    except (OSError, ValueError):  # why it cannot be read is said by those who read it
        return False


def read_pack(path: StrPath) -> Pack:
    """Open a pack."""
    path = checks.path("pack", path)
    if _begins_as_zip(path):
        raise FileError(f"{path}: is no pack but a .npz file; the pack comes first, then what the port dumped")
    texts = safetensors.read_metadata(path)
    if texts.get("format") != json.dumps(FORMAT):
        written = f"its format is {shown(texts['format'])}" if "format" in texts else "it carries no pack's metadata"
        raise FileError(f"{path}: is not a golden pack that this npbert reads ({json.dumps(FORMAT)}): {written}")
    missing = [key for key in METADATA_KEYS if key not in texts]
    if missing:
        raise FileError(f"{path}: is not a sound golden pack: its metadata lacks {', '.join(missing)}")
    keys = [*METADATA_KEYS, *([TRAINING] if TRAINING in texts else [])]
    metadata = {key: parse_json(texts[key].encode("utf-8"), f"{path}: {key}") for key in keys}
    tensors = safetensors.read(path)
    try:
        _check_tensors(tensors)
        pack = Pack(path, tensors, metadata)
        _check(pack)
        return pack
    except (TypeError, LookupError, AttributeError, ValueError, OverflowError) as error:
        raise FileError(f"{path}: is not a sound golden pack: {type(error).__name__}: {error}") from error


def open_pack(pack: Pack | StrPath) -> Pack:
    """The pack, opened if need be."""
    return pack if isinstance(pack, Pack) else read_pack(pack)


def _check_tensors(tensors: Mapping[str, Array]) -> None:
    """Refuse names that no model has, and sizes that no byte of the file backs."""
    for name, x in tensors.items():
        if len(name) > MAX_TENSOR_NAME:
            raise ValueError(f"a name of {len(name)} characters; {MAX_TENSOR_NAME} are taken at most")
        if not name.isprintable():
            raise ValueError(f"{shown(name)} is a name with signs that cannot be printed")
        if not x.size and math.prod(max(size, 1) for size in x.shape) > MAX_EMPTY:
            raise ValueError(f"{shown(name)} has the shape {list(x.shape)}, and no element")


def _check(pack: Pack) -> None:
    """Refuse a pack whose parts do not fit together, so that no later step has to check."""
    for key in ("npbert", "weights_sha256"):
        if not isinstance(pack.metadata[key], str):
            raise ValueError(f"{key} takes a text, got {shown(pack.metadata[key])}")
    for text in (pack.metadata["npbert"], *pack):
        if not text.isprintable():
            raise ValueError(f"{shown(text)} holds signs that cannot be printed")
    if len(pack) < len(pack.metadata["order"]):
        raise ValueError("order has a name twice")
    for name, precisions in pack.tolerances.items():
        for bound in (bound for tolerance in precisions.values() for bound in tolerance):
            if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not 0 <= bound < math.inf:
                raise ValueError(f"{name}: a tolerance takes a number from 0 on, got {shown(bound)}")
    for name in pack:
        pack.counted(name)
        head_size = parts_of_config(pack.config)[part_of(pack.positions, name)].head_size
        if name.endswith((".self:query", ".self:key", ".self:value")) and pack[name].shape[-1] != head_size:
            raise ValueError(f"{name} has heads of {pack[name].shape[-1]}, the configuration heads of {head_size}")


def metadata_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The metadata as the file carries it: a JSON text for each key."""
    texts = {}
    for key in metadata:
        try:
            texts[key] = json.dumps(metadata[key], ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except (ValueError, TypeError) as error:  # an activation that is a function, a mask value that is infinite
            raise InputError(f"{key}: cannot be written into a pack as JSON: {error}") from None
    return texts


def flat(name: str, value: Any) -> Iterator[tuple[str, Array]]:
    """The arrays of an argument: the argument itself, or for a tuple each of its members, numbered after a dot."""
    if isinstance(value, tuple):
        for index, member in enumerate(value):
            yield from flat(f"{name}.{index}", member)
    else:
        yield name, value


def _nested(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The inverse of `flat`."""
    members: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        if name.count(".") > DEEPEST:
            raise ValueError(f"{shown(name)} is a tuple of tuples too deep")
        argument, _, numbers = name.partition(".")
        members.setdefault(argument, {})[numbers] = array

    def joined(by_numbers: dict[str, Array]) -> Any:
        if "" in by_numbers:
            if len(by_numbers) > 1:
                raise ValueError("an argument is an array and a tuple of arrays")
            return by_numbers[""]
        inner = _nested(by_numbers)
        order = [str(index) for index in range(len(inner))]
        if inner.keys() != set(order):
            raise ValueError(f"the members of a tuple are numbered from 0 on, got {listed(inner)}")
        return tuple(inner[index] for index in order)

    return {argument: joined(by_numbers) for argument, by_numbers in members.items()}


def weights_sha256(weights: Mapping[str, Array]) -> str:
    """The fingerprint of a model's weights, as the format defines it."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = weights[name]
        digest.update(f"{name} {array.dtype.name} {list(array.shape)}\n".encode())
        digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
