"""`pytorch_model.bin`: what torch.save writes, read without torch and without trusting it.

Two containers hold the same thing, a pickle of a dictionary in which every tensor is a view (offset, size, stride) of a storage
that lies beside the pickle. Since torch 1.6 (2020) that is a zip archive:

    NAME/data.pkl       the pickle
    NAME/data/0 ...     the storages, stored as they are, aligned to 64 bytes
    NAME/byteorder      "little" or "big"; absent from older files, which are little

Before, and so in most of the first BERT checkpoints, it was one stream:

    pickles             a magic number, a protocol version, facts about the machine, the object, the keys of the storages
    for every key       the number of elements (8 bytes), then the elements; always little endian

`torch_containers` opens both; `pickle_machine` runs the pickle; `torch_objects` says what it may mean, and describes tensors;
here the descriptions become arrays.
"""

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from npbert.checkpoints import dtypes
from npbert.checkpoints.limits import MAX_EXPANDED, MAX_SHARING
from npbert.checkpoints.reading import map_file
from npbert.checkpoints.torch_containers import LoadStorage, read_stream, read_zip
from npbert.checkpoints.torch_objects import Storage, Tensor, are_lengths
from npbert.errors import FileError, listed, shown, warn
from npbert.types import Array, StrPath

# Where training scripts put the state dict of the model, beside that of the optimizer, the epoch and the like.
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")


def read(path: StrPath) -> dict[str, Array]:
    """Every tensor of the state dict in a file by torch.save, by its name, in the order of the file.

    The arrays are read-only, and mapped from the file where its bytes serve as they are: bfloat16 is widened to float32,
    big-endian files are turned round, and the storages of the older format, which lie at any odd byte, are moved into place.
    Tensors that are views of one storage stay views of one array, with their strides.

    A training checkpoint, whose state dict is the only dictionary under one of `WRAPPERS` and which has no tensor beside it,
    gives that state dict; what stands beside it (optimizer, epoch) does not belong to the model. In a state dict, a number, a
    string or the like is left out with a warning that names it. A dictionary or a list, which may hold tensors, is an error.
    """
    content = map_file(path)
    if bytes(content[:4]) == b"PK\x03\x04":
        value, load_storage = read_zip(path, content)
    else:
        value, load_storage = read_stream(path, content)
    tensors = _state_dict(path, value)
    arrays, room = {}, MAX_SHARING * len(content) + MAX_EXPANDED
    for name, tensor in tensors.items():
        arrays[name] = _to_array(path, name, tensor, load_storage, room)
        room -= arrays[name].nbytes
    return arrays


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
        elif isinstance(entry, (dict, list, Storage)) or (type(entry) is tuple and not are_lengths(entry)):
            raise FileError(f"{path}: its state dict holds {shown(entry)} called {shown(name)} where a tensor is due")
        else:
            left_out.append(shown(name))
    if left_out:
        warn(f"{path}: left out what is not a tensor: {listed(left_out, most=10)}")
    return tensors


def _to_array(path: StrPath, name: str, tensor: Tensor, load_storage: LoadStorage, room: int) -> Array:
    """The array that a description means, of at most `room` bytes, after every element has been found to lie in its storage.

    A view costs nothing, but whoever converts or saves the tensors makes an array of each."""
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
    if math.prod(max(length, 1) for length in size) * itemsize >= 1 << 63 or elements * itemsize > room:
        raise FileError(f"{what} of size {size} and stride {stride} claims more than a file of this size can mean")
    array = load_storage(storage)  # also where no element is looked at, so that a lie about any storage comes out
    if not elements:
        result = np.empty(size, array.dtype)
        result.flags.writeable = False
        return result
    strides = tuple(step * array.itemsize if length > 1 else 0 for length, step in zip(size, stride, strict=True))
    return as_strided(array[begin + offset :], size, strides, writeable=False)
