"""The safetensors format: a JSON header that says where each tensor lies, and the bytes of the tensors.

    8 bytes     the length of the header, little endian
    header      {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {"key": "text"}}
    data        every tensor, little endian, C order; offsets count from here; no gaps, no overlaps

The package safetensors reads and checks headers. Here is what it cannot do. Reading maps the file: arrays are read-only views
into it, so that a checkpoint costs no memory before it is used and several processes share one copy; bfloat16 becomes float32.

Writing is done here altogether, because the package (0.8.0 was the latest when this was written) wants all tensors in memory at
once, while a golden pack fetches one after the other; writes metadata in a random order, so that the same tensors make
different bytes; takes a transposed array, such as a TensorFlow kernel, for one in C order and writes its numbers in the wrong
places; and cannot tell how far it has come. The format is described at https://huggingface.co/docs/safetensors.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from npbert.checkpoints import dtypes
from npbert.checkpoints.limits import MAX_DIMENSIONS, MAX_HEADER
from npbert.checkpoints.reading import map_file, what_it_seems
from npbert.checkpoints.writing import replacing
from npbert.errors import FileError, InputError, InputTypeError, shown
from npbert.types import Array, StrPath

_FORMAT_NAMES = {dtype: word for word, dtype in dtypes.SAFETENSORS.items()}


class StoredTensor(NamedTuple):
    """What a header says of one tensor."""

    dtype: str  # NumPy's name, or "bfloat16"
    shape: tuple[int, ...]
    start: int  # of its bytes, counted from the beginning of the data
    stop: int


class _Contents(NamedTuple):
    """A file whose header has been checked."""

    tensors: dict[str, StoredTensor]  # in the order of the data
    metadata: dict[str, str]
    data: memoryview


# ---------------------------------------------------------------------------------------------------------------- reading


def read(path: StrPath) -> dict[str, Array]:
    """Every tensor of a safetensors file, in the order of the data.

    The arrays are read-only. All types that NumPy has are mapped from the file; bfloat16 is widened to float32 in new memory.
    """
    contents = _open(path)
    return {name: _array(path, name, tensor, contents.data) for name, tensor in contents.tensors.items()}


def read_header(path: StrPath) -> dict[str, StoredTensor]:
    """What a safetensors file holds, without touching any tensor."""
    return _open(path).tensors


def read_metadata(path: StrPath) -> dict[str, str]:
    """The free text that a safetensors file carries beside its tensors; empty where it carries none."""
    return _open(path).metadata


def _open(path: StrPath) -> _Contents:
    from safetensors import SafetensorError, safe_open

    content = map_file(path)
    length = int.from_bytes(content[:8], "little")
    if length > MAX_HEADER:
        reason = f"its header claims {length} bytes; at most {MAX_HEADER} are taken{what_it_seems(bytes(content[:512]))}"
        raise FileError(f"{path}: is not a sound safetensors file: {reason}")
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = dict(_stored_tensors(path, file))
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise FileError(f"{path}: is not a sound safetensors file: {shown(str(error), 300)}") from None
    data = content[8 + length :]
    if len(data) != max((tensor.stop for tensor in tensors.values()), default=0):  # the package opens the file a second time
        raise FileError(f"{path}: was replaced by another file while it was being read")
    # Empty tensors may share a place, and the package tells them in any order.
    order = sorted(tensors, key=lambda name: (tensors[name].start, tensors[name].stop, name))
    return _Contents({name: tensors[name] for name in order}, metadata, data)


def _stored_tensors(path: StrPath, file: Any) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors of an open file. Each begins where the one before it ends: the package has checked that."""
    start = 0
    for name in file.offset_keys():
        tensor = file.get_slice(name)
        word, shape = tensor.get_dtype(), tensor.get_shape()
        what = f"{path}: tensor {shown(name)}"
        if word not in dtypes.SAFETENSORS:
            reason = f": {dtypes.REFUSED[word]}" if word in dtypes.REFUSED else ""
            raise FileError(f"{what} has dtype {shown(word)}{reason}; taken are {', '.join(dtypes.SAFETENSORS)}")
        if len(shape) > MAX_DIMENSIONS:
            raise FileError(f"{what} has {len(shape)} dimensions; {MAX_DIMENSIONS} are taken at most")
        dtype = dtypes.SAFETENSORS[word]
        itemsize = dtypes.stored_dtype(dtype).itemsize
        if math.prod(max(length, 1) for length in shape) * itemsize >= 1 << 63:  # it has no elements, yet NumPy cannot make it
            raise FileError(f"{what} has the shape {shape}, larger than any array")
        stop = start + math.prod(shape) * itemsize
        yield name, StoredTensor(dtype, tuple(shape), start, stop)
        start = stop


def _array(path: StrPath, name: str, tensor: StoredTensor, data: memoryview) -> Array:
    stored = np.frombuffer(data[tensor.start : tensor.stop], dtypes.stored_dtype(tensor.dtype))
    if tensor.dtype == "bool" and not dtypes.holds_truth_values(stored):
        raise FileError(f"{path}: the bool tensor {shown(name)} holds bytes other than 0 and 1")
    return dtypes.decode(stored, tensor.dtype).reshape(tensor.shape)


# ---------------------------------------------------------------------------------------------------------------- writing


def write(path: StrPath, tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` to `path`, which is replaced in one step."""
    with replacing(path) as file:
        write_into(file, tensors, metadata)


def write_into(
    file: IO[bytes],
    tensors: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
    *,
    progress: Callable[[int], object] | None = None,
) -> None:
    """Write `tensors` into an open file. The same tensors in the same order always make the same bytes.

    Wider elements go first, which aligns every tensor to its element size: the format allows no padding between tensors, and an
    array that lies askew cannot be used where it is mapped. Each array is asked for twice, once for its shape and once for its
    elements, so a mapping may fetch them when asked. `progress` is told the bytes of each array that has been written.
    """
    header, order = _header({name: stored_tensor(name, array) for name, array in tensors.items()}, metadata)
    file.write(header)
    for name in order:
        array = tensors[name]
        if array.size:
            contiguous = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            file.write(contiguous.reshape(-1).view(np.uint8).data)
        if progress is not None:
            progress(array.nbytes)


def stored_tensor(name: str, array: Array) -> StoredTensor:
    """How an array would be stored if it were the only one; an error where the format cannot hold it."""
    if not isinstance(name, str):
        raise InputTypeError(f"a tensor's name must be a string, not {shown(name)}")
    if name == "__metadata__":
        raise InputError("no tensor can be called '__metadata__': the format keeps that name for itself")
    if not isinstance(array, (np.ndarray, np.generic)):
        raise InputTypeError(f"tensor {shown(name)} must be a NumPy array, not {shown(array)}")
    dtype = array.dtype.newbyteorder("=").name
    if dtype not in _FORMAT_NAMES:
        raise InputTypeError(f"tensor {shown(name)} has dtype {array.dtype}; safetensors takes {', '.join(_FORMAT_NAMES)}")
    if array.ndim > MAX_DIMENSIONS:
        raise InputError(f"tensor {shown(name)} has {array.ndim} dimensions; {MAX_DIMENSIONS} are taken at most")
    return StoredTensor(dtype, array.shape, 0, array.nbytes)


def _header(tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str] | None) -> tuple[bytes, list[str]]:
    """The length and the header as bytes, and the names in the order in which their data follows."""
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputTypeError(f"metadata must map strings to strings; {shown(key)} maps to {shown(value)}")
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    order = sorted(tensors, key=lambda name: -dtypes.stored_dtype(tensors[name].dtype).itemsize)
    position = 0
    for name in order:
        dtype, shape, _, size = tensors[name]
        offsets = [position, position + size]
        entries[name] = {"dtype": _FORMAT_NAMES[dtype], "shape": list(shape), "data_offsets": offsets}
        position += size
    try:
        raw = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"a name or a piece of metadata holds half a character: {shown(error.object[error.start])}") from None
    raw += b" " * (-(8 + len(raw)) % 64)  # the data begins at a cache line
    if len(raw) > MAX_HEADER:
        raise InputError(f"names, shapes and metadata take {len(raw)} bytes; a header of {MAX_HEADER} is taken at most")
    return len(raw).to_bytes(8, "little") + raw, order
