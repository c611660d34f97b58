"""The safetensors format: a JSON header that says where each tensor lies, and the bytes of the tensors.

    8 bytes     the length of the header, little endian
    header      {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {"key": "text"}}
    data        every tensor, little endian, C order; offsets count from here; no gaps, no overlaps

Reading maps the file: arrays are read-only views into it, so that a checkpoint costs no memory before it is used and several
processes share one copy. The format is described at https://huggingface.co/docs/safetensors.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npbert.checkpoints import dtypes, shards
from npbert.checkpoints.reading import guess, map_file, parse_json
from npbert.checkpoints.writing import aside, replacing, sync_directory
from npbert.errors import FileError, InputError, InputTypeError, shown
from npbert.types import StrPath

# Room for some thirty thousand tensors. A Python object for every few bytes of a header is what makes a larger one a weapon.
MAX_HEADER = 4 << 20
MAX_DIMENSIONS = 32  # of NumPy 1

_FORMAT_NAMES = {name: word for word, name in dtypes.SAFETENSORS.items()}


class TensorInfo(NamedTuple):
    """What a header says of one tensor."""

    dtype: str  # NumPy's name, or "bfloat16"
    shape: tuple[int, ...]
    start: int  # of its bytes, counted from the beginning of the data
    stop: int


def read(path: StrPath) -> dict[str, NDArray[Any]]:
    """Every tensor of a safetensors file, in the order of its header.

    The arrays are read-only. All types that NumPy has are mapped from the file; bfloat16 is widened to float32 in new memory.
    """
    content = map_file(path)
    tensors, _, data_start = _parse(path, content)
    return {name: _array(path, content, name, info, data_start) for name, info in tensors.items()}


def read_header(path: StrPath) -> dict[str, TensorInfo]:
    """What a safetensors file holds, without touching any tensor."""
    return _parse(path, map_file(path))[0]


def read_metadata(path: StrPath) -> dict[str, str]:
    """The free text that a safetensors file carries beside its tensors; empty where it carries none."""
    return _parse(path, map_file(path))[1]


def _array(path: StrPath, content: memoryview, name: str, info: TensorInfo, data_start: int) -> NDArray[Any]:
    stored = np.frombuffer(content[data_start + info.start : data_start + info.stop], dtypes.stored_dtype(info.dtype))
    if info.dtype == "bool" and not dtypes.holds_truth_values(stored):
        raise FileError(f"{path}: the bool tensor {shown(name)} holds bytes other than 0 and 1")
    return dtypes.decode(stored, info.dtype).reshape(info.shape)


def _parse(path: StrPath, content: memoryview) -> tuple[dict[str, TensorInfo], dict[str, str], int]:
    """The tensors and the metadata of a header, checked against the size of the file, and where the data begins."""

    def damaged(reason: str) -> FileError:
        return FileError(f"{path}: is not a sound safetensors file: {reason}")

    if len(content) < 8:
        raise damaged(f"it has {len(content)} bytes, and the length of the header alone takes 8")
    length = int.from_bytes(content[:8], "little")
    if length > len(content) - 8:
        hint = guess(bytes(content[:512]))
        raise damaged(f"its header claims {length} bytes, and {len(content) - 8} follow{hint}")
    if length > MAX_HEADER:
        raise damaged(f"its header claims {length} bytes; {MAX_HEADER} are taken at most")
    raw = bytes(content[8 : 8 + length])
    if not raw.startswith(b"{"):
        raise damaged("its header does not begin with '{'")
    header = parse_json(raw, f"{path}: the safetensors header")

    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise damaged("its __metadata__ is not an object of strings")
    tensors = {name: _tensor_info(name, entry, damaged) for name, entry in header.items()}

    # Sorted, the tensors must follow one another without gap or overlap from the first byte of the data to the last.
    size = len(content) - 8 - length
    position = 0
    for name, info in sorted(tensors.items(), key=lambda item: item[1][2:]):
        if info.start != position:
            what = "overlaps the tensor before it" if info.start < position else "leaves a gap before it"
            raise damaged(f"tensor {shown(name)} at byte {info.start} {what}, which ends at byte {position}")
        position = info.stop
    if position != size:
        raise damaged(f"its tensors take {position} bytes, and {size} bytes of data follow the header")
    return tensors, metadata, 8 + length


def _tensor_info(name: str, entry: object, damaged: Callable[[str], FileError]) -> TensorInfo:
    """One entry of a header, believed in nothing: every length is Python's unbounded integer, so no product wraps around."""
    tensor = f"tensor {shown(name)}"
    if not name.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in name):
        raise damaged(f"{tensor} has half a character in its name")
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise damaged(f"{tensor} is not described by dtype, shape and data_offsets, and nothing else")
    word, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(word, str) or word not in dtypes.SAFETENSORS:
        reason = dtypes.REFUSED.get(word, "") if isinstance(word, str) else ""
        taken = ", ".join(dtypes.SAFETENSORS)
        raise damaged(f"{tensor} has dtype {shown(word)}{f': {reason}' if reason else ''}; taken are {taken}")
    if not _are_lengths(shape):
        raise damaged(f"{tensor} has a shape that is not a list of lengths")
    if len(shape) > MAX_DIMENSIONS:
        raise damaged(f"{tensor} has {len(shape)} dimensions; {MAX_DIMENSIONS} are taken at most")
    if not _are_lengths(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise damaged(f"{tensor} has data_offsets that are not [start, stop]")
    dtype = dtypes.SAFETENSORS[word]
    itemsize = dtypes.stored_dtype(dtype).itemsize
    span, needed = offsets[1] - offsets[0], math.prod(shape) * itemsize
    if span != needed:
        raise damaged(f"{tensor} of dtype {word} and shape {shape} needs {needed} bytes, and its data_offsets span {span}")
    if math.prod(max(length, 1) for length in shape) * itemsize >= 1 << 63:
        raise damaged(f"{tensor} has the shape {shape}, larger than any array")  # without elements, yet NumPy cannot make it
    return TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])


def _are_lengths(value: object) -> bool:
    return isinstance(value, list) and all(type(length) is int and length >= 0 for length in value)


def write(path: StrPath, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` to `path`, atomically; the same tensors in the same order always make the same bytes.

    The header keeps the order of the mapping. The data puts wider elements first, which aligns every tensor to its element
    size: the format allows no padding between tensors, and an array that lies askew cannot be used where it is mapped.
    """
    infos = {name: _info_of(name, array) for name, array in tensors.items()}
    header, order = _layout(infos, metadata)
    with replacing(path) as file:
        file.write(header)
        for name in order:
            _write_array(file, tensors[name])


def write_sharded(
    directory: StrPath,
    tensors: Mapping[str, NDArray[Any]],
    max_shard_size: int | str = "5GB",
    *,
    progress: Callable[[int], object] | None = None,
) -> dict[str, list[str]]:
    """Write `tensors` as the checkpoint in `directory`, and answer which file got which of them.

    One file `model.safetensors` where they fit into `max_shard_size`; else `model-00001-of-0000N.safetensors` ... and
    `model.safetensors.index.json`, cut where the reference cuts: in order, a tensor larger than a shard alone.

    Everything is on the disk under temporary names before the first rename, the index comes after its shards, and what an
    earlier save left behind goes last. A reader that looks for `model.safetensors` first sees the old checkpoint or the new one
    at every moment, with one exception: where an earlier save had just as many shards, and so their very names, its index is
    taken away before they are replaced, since half old and half new would be wrong weights that load without a word.

    `progress`, such as the `update` of a progress bar, is called with the size of every tensor that has been written.
    """
    sizes = {name: _info_of(name, array).stop for name, array in tensors.items()}
    parts = shards.split(sizes, max_shard_size)
    home = Path(directory)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"directory {directory} is, or lies in, a file") from None

    single, index = home / "model.safetensors", home / "model.safetensors.index.json"
    files = shards.file_names(len(parts))
    contents = dict(zip(files, parts, strict=True))
    ready: list[tuple[Path, Path]] = []
    try:
        for file_name, names in contents.items():
            infos = {name: _info_of(name, tensors[name]) for name in names}
            header, order = _layout(infos, {"format": "pt"})
            with aside(home / file_name) as (file, temporary):
                file.write(header)
                for name in order:
                    _write_array(file, tensors[name])
                    if progress is not None:
                        progress(sizes[name])
            ready.append((temporary, home / file_name))
        if len(parts) > 1:
            with aside(index) as (file, temporary):
                file.write(shards.make_index(contents, sum(sizes.values())))
            ready.append((temporary, index))
            if any((home / file_name).exists() for file_name in files):
                index.unlink(missing_ok=True)
        for temporary, target in ready:
            os.replace(temporary, target)
    except BaseException:
        for temporary, _ in ready:
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(home)
    for stale in shards.stale_files(home, keep=[target.name for _, target in ready], single=single.name, index=index.name):
        stale.unlink(missing_ok=True)
    sync_directory(home)
    return contents


def _info_of(name: str, array: NDArray[Any]) -> TensorInfo:
    """The entry of an array that is about to be written, its offsets still to be moved to where it will lie."""
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
    return TensorInfo(dtype, array.shape, 0, array.nbytes)


def _layout(infos: Mapping[str, TensorInfo], metadata: Mapping[str, str] | None) -> tuple[bytes, list[str]]:
    """The length and the header as bytes, and the names in the order in which their data follows."""
    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise InputTypeError(f"metadata must map strings to strings; {shown(key)} maps to {shown(value)}")
    order = sorted(infos, key=lambda name: -dtypes.stored_dtype(infos[name].dtype).itemsize)
    start: dict[str, int] = {}
    position = 0
    for name in order:
        start[name] = position
        position += infos[name].stop
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    for name, info in infos.items():
        offsets = [start[name], start[name] + info.stop]
        header[name] = {"dtype": _FORMAT_NAMES[info.dtype], "shape": list(info.shape), "data_offsets": offsets}
    try:
        raw = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"a name or a piece of metadata holds half a character: {shown(error.object[error.start])}") from None
    raw += b" " * (-(8 + len(raw)) % 64)  # the data begins at a cache line
    if len(raw) > MAX_HEADER:
        raise InputError(f"names, shapes and metadata take {len(raw)} bytes; a header of {MAX_HEADER} is taken at most")
    return len(raw).to_bytes(8, "little") + raw, order


def _write_array(file: IO[bytes], array: NDArray[Any]) -> None:
    """The elements of `array` in C order, little endian."""
    if array.size:
        contiguous = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        file.write(contiguous.reshape(-1).view(np.uint8).data)
