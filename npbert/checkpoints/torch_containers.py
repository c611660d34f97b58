"""The two containers of torch.save: a zip archive since torch 1.6 (2020), one stream before.

Both give a pickled object, and a function that finds the elements of the storages to which it refers.
"""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from npbert.checkpoints import dtypes, stored_zip
from npbert.checkpoints.pickle_machine import Hooks, load
from npbert.checkpoints.reading import what_it_seems
from npbert.checkpoints.torch_objects import Storage, hooks_of_a_state_dict
from npbert.errors import FileError, shown
from npbert.types import Array, StrPath

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001

LoadStorage = Callable[[Storage], Array]


def read_zip(path: StrPath, content: memoryview) -> tuple[Any, LoadStorage]:
    """The object in a zip archive, and what gives the elements of its storages."""
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
    value, end = load(path, pickled, 0, hooks_of_a_state_dict(path, storages))
    if end != len(pickled):
        raise FileError(f"{path}: {len(pickled) - end} bytes follow its pickle")

    def bytes_of(key: str) -> memoryview:
        name = f"{root}/data/{key}"
        if name not in archive:
            raise FileError(f"{path}: has no storage {shown(name)}")
        return stored_zip.summed(path, name, archive[name])

    return value, _loader(path, bytes_of, byteorder)


def read_stream(path: StrPath, content: memoryview) -> tuple[Any, LoadStorage]:
    """The object in the older format, and what gives the elements of its storages."""
    nothing = Hooks(*[_refuse_everything(path)] * 3)
    try:
        magic, position = load(path, content[:64], 0, nothing)
    except FileError:
        magic = None
    if type(magic) is not int or magic != MAGIC_NUMBER:
        hint = what_it_seems(bytes(content[:512]))
        raise FileError(f"{path}: was not written by torch.save: it is neither a zip archive nor of the older format{hint}")
    version, position = load(path, content, position, nothing)
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise FileError(f"{path}: has torch.save's protocol {shown(version)}; {PROTOCOL_VERSION} is taken")
    _, position = load(path, content, position, nothing)  # the machine's byte order and int sizes, which no element depends on
    storages: dict[str, Storage] = {}
    value, position = load(path, content, position, hooks_of_a_state_dict(path, storages))
    keys, position = load(path, content, position, nothing)
    if type(keys) is not list or not all(type(key) is str for key in keys) or len(set(keys)) != len(keys):
        raise FileError(f"{path}: its list of storages is not a list of different names")
    if set(keys) != storages.keys():
        odd = sorted(set(keys) ^ storages.keys())[0]
        raise FileError(f"{path}: its pickle and its list of storages disagree about {shown(odd)}")

    return value, _loader(path, _bytes_of_storages(path, content, position, keys, storages).__getitem__, "little")


def _bytes_of_storages(
    path: StrPath, content: memoryview, position: int, keys: list[str], storages: Mapping[str, Storage]
) -> dict[str, memoryview]:
    """The storages of the older format: they follow one another from `position` to the end of the file."""
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

    return data


def _loader(path: StrPath, bytes_of: Callable[[str], memoryview], byteorder: str) -> LoadStorage:
    """What gives the elements of a storage, the same array each time, so that its views stay views of one array."""
    loaded: dict[tuple[str, str], Array] = {}

    def load_storage(storage: Storage) -> Array:
        if (storage.key, storage.dtype) not in loaded:
            loaded[storage.key, storage.dtype] = _decode(path, bytes_of(storage.key), storage, byteorder)
        return loaded[storage.key, storage.dtype]

    return load_storage


def _decode(path: StrPath, data: memoryview, storage: Storage, byteorder: str) -> Array:
    """The elements of a whole storage."""
    stored_dtype = dtypes.stored_dtype(storage.dtype, byteorder)
    if storage.count * stored_dtype.itemsize != len(data):
        needed = f"{storage.count} elements of {storage.dtype} in the pickle, {storage.count * stored_dtype.itemsize} bytes"
        raise FileError(f"{path}: storage {shown(storage.key)} has {needed}, and {len(data)} bytes in the file")
    stored = np.frombuffer(data, stored_dtype)
    if storage.dtype == "bool" and not dtypes.holds_truth_values(stored):
        raise FileError(f"{path}: the bool storage {shown(storage.key)} holds bytes other than 0 and 1")
    return dtypes.decode(stored, storage.dtype)


def _refuse_everything(path: StrPath) -> Callable[..., NoReturn]:
    def refuse(*_: Any) -> NoReturn:
        raise FileError(f"{path}: has a global or a storage where torch.save writes bare numbers and names")

    return refuse
