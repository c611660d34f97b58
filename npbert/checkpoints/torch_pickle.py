"""`pytorch_model.bin`: what torch.save writes, read without torch and without trusting it.

Two containers hold the same thing, a pickle of a dictionary in which every tensor is a view (offset, size, stride) of a storage
that lies beside the pickle. Since torch 1.6 (2020) that is a zip archive:

    NAME/data.pkl       the pickle
    NAME/data/0 ...     the storages, stored as they are, aligned to 64 bytes
    NAME/byteorder      "little" or "big"; absent from older files, which are little

Before, and so in most of the first BERT checkpoints, it was one stream:

    pickles             a magic number, a protocol version, facts about the machine, the object, the keys of the storages
    for every key       the number of elements (8 bytes), then the elements; always little endian

The pickle is run by pickle_machine, which builds descriptions of tensors; arrays are made of them afterwards.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from npbert.checkpoints import dtypes, stored_zip
from npbert.checkpoints.pickle_machine import Global, Hooks, load
from npbert.checkpoints.reading import map_file, what_it_seems
from npbert.errors import FileError, shown, warn
from npbert.types import StrPath

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
MAX_DIMENSIONS = 32  # of NumPy 1
# A stride of 0 makes any number of elements out of one. Masks and position tables are saved like that; gigabytes are not.
MAX_EXPANDED = 64 << 20

# Where training scripts put the state dict of the model, beside that of the optimizer, the epoch and the like.
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")


@dataclass(frozen=True)
class Storage:
    """A run of elements beside the pickle."""

    key: str
    dtype: str
    count: int
    view: tuple[int, int] | None  # files of 2018 and before may mean a part of it: where that begins, how many elements


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and stride count elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str


LoadStorage = Callable[[Storage], NDArray[Any]]


def read(path: StrPath) -> dict[str, NDArray[Any]]:
    """Every tensor of the state dict in a file by torch.save, by its name, in the order of the file.

    The arrays are read-only, and mapped from the file where its bytes serve as they are: bfloat16 is widened to float32,
    big-endian files are turned round, and the storages of the older format, which lie at any odd byte, are moved into place.
    Tensors that are views of one storage stay views of one array, with their strides.

    A training checkpoint, whose state dict is the only dictionary under one of `WRAPPERS` and which has no tensor beside it,
    gives that state dict; what stands beside it (optimizer, epoch) is no part of the model. In a state dict, a number, a string
    or the like is left out with a warning that names it, and a dictionary or list, which may hold tensors, is an error.
    """
    content = map_file(path)
    if bytes(content[:4]) == b"PK\x03\x04":
        value, load_storage = _read_zip(path, content)
    else:
        value, load_storage = _read_stream(path, content)
    tensors = _state_dict(path, value)
    return {name: _to_array(path, name, tensor, load_storage, len(content)) for name, tensor in tensors.items()}


def _read_zip(path: StrPath, content: memoryview) -> tuple[Any, LoadStorage]:
    """The object in a zip archive, and what finds its storages."""
    archive = stored_zip.entries(path, content)
    roots = [name[: -len("/data.pkl")] for name in archive if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise FileError(f"{path}: is a zip archive but not one of torch.save: it has {len(roots)} entries NAME/data.pkl")
    root = roots[0]
    if f"{root}/constants.pkl" in archive:
        raise FileError(f"{path}: is a TorchScript program, not a state dict")
    byteorder = "little"
    if f"{root}/byteorder" in archive:
        word = bytes(stored_zip.summed(path, f"{root}/byteorder", archive[f"{root}/byteorder"])[:16])
        if word not in (b"little", b"big"):
            raise FileError(f"{path}: its byteorder is {word!r}; 'little' and 'big' are taken")
        byteorder = word.decode()

    storages: dict[str, Storage] = {}
    pickled = stored_zip.summed(path, f"{root}/data.pkl", archive[f"{root}/data.pkl"])
    value, end = load(path, pickled, 0, _hooks(path, storages))
    if end != len(pickled):
        raise FileError(f"{path}: {len(pickled) - end} bytes follow its pickle")

    loaded: dict[tuple[str, str], NDArray[Any]] = {}

    def load_storage(storage: Storage) -> NDArray[Any]:
        if (storage.key, storage.dtype) not in loaded:
            name = f"{root}/data/{storage.key}"
            if name not in archive:
                raise FileError(f"{path}: has no storage {shown(name)}")
            loaded[storage.key, storage.dtype] = _decode(path, archive[name].data, storage, byteorder)
        return loaded[storage.key, storage.dtype]

    return value, load_storage


def _read_stream(path: StrPath, content: memoryview) -> tuple[Any, LoadStorage]:
    """The object in the older format, and what finds its storages."""
    nothing = Hooks(*[_refuse_everything(path)] * 3)
    try:
        magic, position = load(path, content[:64], 0, nothing)
    except FileError:
        magic = None
    if type(magic) is not int or magic != MAGIC_NUMBER:
        hint = what_it_seems(bytes(content[:512]))
        raise FileError(f"{path}: is no file of torch.save, neither a zip archive nor of the older format{hint}")
    version, position = load(path, content, position, nothing)
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise FileError(f"{path}: is of torch.save's protocol {shown(version)}; {PROTOCOL_VERSION} is taken")
    _, position = load(path, content, position, nothing)  # the machine's byte order and int sizes, which no element depends on
    storages: dict[str, Storage] = {}
    value, position = load(path, content, position, _hooks(path, storages))
    keys, position = load(path, content, position, nothing)
    if type(keys) is not list or not all(type(key) is str for key in keys) or len(set(keys)) != len(keys):
        raise FileError(f"{path}: its list of storages is not a list of different names")
    if set(keys) != storages.keys():
        odd = sorted(set(keys) ^ storages.keys())[0]
        raise FileError(f"{path}: its pickle and its list of storages disagree about {shown(odd)}")

    data: dict[str, memoryview] = {}
    for key in keys:
        storage = storages[key]
        size = storage.count * dtypes.stored_dtype(storage.dtype).itemsize
        stated = int.from_bytes(content[position : position + 8], "little")
        if len(content) - position < 8 + size or stated != storage.count:
            left = max(0, len(content) - position - 8)
            raise FileError(
                f"{path}: storage {shown(key)} has {storage.count} elements ({size} bytes) in the pickle,"
                f" and {stated} where it lies, with {left} bytes left"
            )
        data[key] = content[position + 8 : position + 8 + size]
        position += 8 + size
    if position != len(content):
        raise FileError(f"{path}: {len(content) - position} bytes follow its last storage")

    loaded: dict[tuple[str, str], NDArray[Any]] = {}

    def load_storage(storage: Storage) -> NDArray[Any]:
        if (storage.key, storage.dtype) not in loaded:
            loaded[storage.key, storage.dtype] = _decode(path, data[storage.key], storage, "little")
        return loaded[storage.key, storage.dtype]

    return value, load_storage


def _decode(path: StrPath, data: memoryview, storage: Storage, byteorder: str) -> NDArray[Any]:
    """The elements of a whole storage."""
    stored_dtype = dtypes.stored_dtype(storage.dtype, byteorder)
    if storage.count * stored_dtype.itemsize != len(data):
        needed = f"{storage.count} elements of {storage.dtype} in the pickle, {storage.count * stored_dtype.itemsize} bytes"
        raise FileError(f"{path}: storage {shown(storage.key)} has {needed}, and {len(data)} bytes in the file")
    stored = np.frombuffer(data, stored_dtype)
    if storage.dtype == "bool" and not dtypes.holds_truth_values(stored):
        raise FileError(f"{path}: the bool storage {shown(storage.key)} holds bytes other than 0 and 1")
    return dtypes.decode(stored, storage.dtype)


def _to_array(path: StrPath, name: str, tensor: Tensor, load_storage: LoadStorage, file_size: int) -> NDArray[Any]:
    """The array that a description means, after every element of it has been found to lie within its storage."""
    storage, offset, size, stride, dtype = tensor.storage, tensor.offset, tensor.size, tensor.stride, tensor.dtype
    itemsize = dtypes.stored_dtype(dtype).itemsize
    what = f"{path}: tensor {shown(name)}"
    begin, count = (0, storage.count) if storage.view is None else storage.view
    if begin + count > storage.count:
        raise FileError(f"{what} views elements {begin} to {begin + count} of a storage that has {storage.count}")
    if dtype != storage.dtype:  # newer types come as untyped storages, whose elements are bytes
        if storage.dtype != "uint8" or storage.view is not None or storage.count % itemsize:
            raise FileError(f"{what} of {dtype} views a storage of {storage.dtype}")
        storage = replace(storage, dtype=dtype, count=storage.count // itemsize)
        count = storage.count

    elements = math.prod(size)
    if elements and offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) >= count:
        raise FileError(f"{what} (offset {offset}, size {size}, stride {stride}) reaches past its storage of {count} elements")
    if math.prod(max(length, 1) for length in size) * itemsize >= 1 << 63 or elements * itemsize > file_size + MAX_EXPANDED:
        raise FileError(f"{what} of size {size} and stride {stride} claims more than a file of {file_size} bytes can mean")
    array = load_storage(storage)  # also where no element is looked at, so that a lie about any storage comes out
    if not elements:
        result = np.empty(size, array.dtype)
        result.flags.writeable = False
        return result
    strides = tuple(step * array.itemsize if length > 1 else 0 for length, step in zip(size, stride, strict=True))
    return as_strided(array[begin + offset :], size, strides, writeable=False)


def _state_dict(path: StrPath, value: Any) -> dict[str, Tensor]:
    """The tensors among `value`: the state dict itself, or a training checkpoint around it."""
    if type(value) is not dict:
        raise FileError(f"{path}: holds {shown(value)}, not a dictionary of tensors")
    if not any(isinstance(entry, Tensor) for entry in value.values()):
        wrapped = [name for name in WRAPPERS if type(value.get(name)) is dict]
        if len(wrapped) > 1:
            raise FileError(f"{path}: is a training checkpoint with several state dicts: {', '.join(wrapped)}")
        if wrapped:
            value = value[wrapped[0]]
    tensors: dict[str, Tensor] = {}
    left_out: list[str] = []
    for name, entry in value.items():
        if type(name) is not str:
            raise FileError(f"{path}: its state dict has the key {shown(name)}, not the name of a tensor")
        if isinstance(entry, Tensor):
            tensors[name] = entry
        elif isinstance(entry, (dict, list, Storage)) or (type(entry) is tuple and not _are_lengths(entry)):
            raise FileError(f"{path}: its state dict holds {shown(entry)} called {shown(name)} where a tensor is due")
        else:
            left_out.append(shown(name))
    if left_out:
        listed = ", ".join(left_out[:10]) + (f" and {len(left_out) - 10} more" if len(left_out) > 10 else "")
        warn(f"{path}: left out what is no tensor: {listed}")
    return tensors


def _refuse_everything(path: StrPath) -> Callable[..., NoReturn]:
    def refuse(*_: Any) -> NoReturn:
        raise FileError(f"{path}: has a global or a storage where torch.save writes bare numbers and names")

    return refuse


def _hooks(path: StrPath, storages: dict[str, Storage]) -> Hooks:
    """What a checkpoint's pickle may name, call and refer to. Every storage it refers to is noted in `storages`."""

    def wrong(function: str, arguments: object) -> NoReturn:
        count = f" of {len(arguments)} values" if isinstance(arguments, tuple) else ""
        raise FileError(f"{path}: its pickle calls {function} with arguments{count} that torch.save does not write")

    def find_global(name: str) -> Global:
        if name in _FUNCTIONS or name in _TYPES:
            return Global(name)
        reason = dtypes.REFUSED.get(name.rpartition(".")[2]) if name.startswith("torch.") else None
        if reason:
            raise FileError(f"{path}: holds {shown(name)}: {reason}")
        raise FileError(
            f"{path}: its pickle asks for {shown(name, 200)}, which is no part of a state dict; nothing was imported or run."
            " Tensors, parameters, storages and ordered dictionaries are read, nothing else"
        )

    def call(function: Any, arguments: tuple[Any, ...]) -> Any:
        if function.name not in _FUNCTIONS:
            wrong(function.name, arguments)
        result = _FUNCTIONS[function.name](arguments)
        if result is None:
            wrong(function.name, arguments)
        return result

    def load_reference(reference: Any) -> Storage:
        match reference:
            case ("storage", Global(name), str(key), str(), count):
                view = None
            case ("storage", Global(name), str(key), str(), count, view):
                pass
            case _:
                raise FileError(f"{path}: its pickle refers to something other than a storage")
        if name not in _TYPES or not name.endswith("Storage") or not _are_lengths((count,)):
            raise FileError(f"{path}: its pickle refers to a storage of {shown(name)} with {shown(count)} elements")
        if view is not None and not (type(view) is tuple and len(view) == 3 and _are_lengths(view[1:])):
            raise FileError(f"{path}: its pickle refers to an unknown part of storage {shown(key)}")
        storage = Storage(key, _TYPES[name], count, view and view[1:])
        storages.setdefault(key, storage)  # in the older format, the first reference says what a size counts
        return storage

    return Hooks(find_global, call, load_reference)


def _are_lengths(values: object) -> bool:
    return type(values) is tuple and all(type(value) is int and value >= 0 for value in values)


def _make_tensor(arguments: tuple[Any, ...], dtype: str | None = None) -> Tensor | None:
    match arguments:
        case (Storage() as storage, offset, size, stride):
            if not (_are_lengths((offset,)) and _are_lengths(size) and _are_lengths(stride)):
                return None
            if len(size) != len(stride) or len(size) > MAX_DIMENSIONS or any(max(v, default=0) >> 64 for v in (size, stride)):
                return None
            return Tensor(storage, offset, size, stride, dtype or storage.dtype)
    return None


def _make_tensor_2(arguments: tuple[Any, ...]) -> Tensor | None:
    """requires_grad, backward hooks and metadata follow. Metadata may tell to negate or conjugate the values."""
    match arguments:
        case (storage, offset, size, stride, bool(), dict() | None, *metadata):
            return None if len(metadata) > 1 or any(metadata) else _make_tensor((storage, offset, size, stride))
    return None


def _make_tensor_3(arguments: tuple[Any, ...]) -> Tensor | None:
    """As above, with the type before the metadata, and the storage untyped."""
    match arguments:
        case (storage, offset, size, stride, bool(), dict() | None, Global(str(name)), *metadata):
            if name not in _TYPES or name.endswith("Storage") or len(metadata) > 1 or any(metadata):
                return None
            return _make_tensor((storage, offset, size, stride), _TYPES[name])
    return None


def _make_parameter(arguments: tuple[Any, ...]) -> Tensor | None:
    """requires_grad, backward hooks and, sometimes, the Python attributes of the parameter follow; none of them is a weight."""
    return arguments[0] if len(arguments) in (3, 4) and isinstance(arguments[0], Tensor) else None


def _make_ordered_dict(arguments: tuple[Any, ...]) -> dict[Any, Any] | None:
    """Empty, or of [key, value] pairs, as Python 2 pickled it."""
    match arguments:
        case ():
            return {}
        case (list(pairs),):
            if not all(type(pair) in (list, tuple) and len(pair) == 2 and type(pair[0]) is str for pair in pairs):
                return None
            result = {pair[0]: pair[1] for pair in pairs}
            return result if len(result) == len(pairs) else None
    return None


def _make_size(arguments: tuple[Any, ...]) -> tuple[int, ...] | None:
    return arguments[0] if len(arguments) == 1 and _are_lengths(arguments[0]) else None


# Everything that a pickle may call; None says that the arguments are not what torch.save writes.
_FUNCTIONS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _make_tensor,
    "torch._utils._rebuild_tensor_v2": _make_tensor_2,
    "torch._utils._rebuild_tensor_v3": _make_tensor_3,
    "torch._utils._rebuild_parameter": _make_parameter,
    "torch._utils._rebuild_parameter_with_state": _make_parameter,
    "collections.OrderedDict": _make_ordered_dict,
    "torch.Size": _make_size,
}
# Everything that it may name besides, and the type of element that is meant.
_TYPES = (
    {f"torch.{name}": dtype for name, dtype in dtypes.TORCH_STORAGES.items()}
    | {f"torch.{name}": dtype for name, dtype in dtypes.TORCH_DTYPES.items()}
    | {"torch.UntypedStorage": "uint8", "torch.storage.UntypedStorage": "uint8", "torch.storage._UntypedStorage": "uint8"}
)
