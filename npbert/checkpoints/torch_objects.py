"""What the pickle of a state dict may name, call and refer to, and what is made of it: descriptions of tensors, no arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from npbert.checkpoints import dtypes
from npbert.checkpoints.limits import MAX_DIMENSIONS
from npbert.checkpoints.pickle_machine import Global, Hooks
from npbert.errors import FileError, shown
from npbert.types import StrPath


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


def hooks_of_a_state_dict(path: StrPath, storages: dict[str, Storage]) -> Hooks:
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
            f"{path}: its pickle asks for {shown(name, 200)}, which does not belong to a state dict; nothing was imported or"
            " run. Only tensors, parameters, storages and ordered dictionaries are read"
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
        if name not in _TYPES or not name.endswith("Storage") or not are_lengths((count,)):
            raise FileError(f"{path}: its pickle refers to a storage of {shown(name)} with {shown(count)} elements")
        if view is not None and not (type(view) is tuple and len(view) == 3 and are_lengths(view[1:])):
            raise FileError(f"{path}: its pickle refers to an unknown part of storage {shown(key)}")
        storage = Storage(key, _TYPES[name], count, view and view[1:])
        storages.setdefault(key, storage)  # in the older format, the first reference says what a size counts
        return storage

    return Hooks(find_global, call, load_reference)


def are_lengths(values: object) -> bool:
    return type(values) is tuple and all(type(value) is int and value >= 0 for value in values)


def _make_tensor(arguments: tuple[Any, ...], dtype: str | None = None) -> Tensor | None:
    match arguments:
        case (Storage() as storage, offset, size, stride):
            if not (are_lengths((offset,)) and are_lengths(size) and are_lengths(stride)):
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
    """The tensor comes first; requires_grad, backward hooks and sometimes Python attributes follow, which are not weights."""
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
    return arguments[0] if len(arguments) == 1 and are_lengths(arguments[0]) else None


# Everything that a pickle may call. Each function answers None to arguments that torch.save does not write.
_FUNCTIONS: dict[str, Callable[[tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _make_tensor,
    "torch._utils._rebuild_tensor_v2": _make_tensor_2,
    "torch._utils._rebuild_tensor_v3": _make_tensor_3,
    "torch._utils._rebuild_parameter": _make_parameter,
    "torch._utils._rebuild_parameter_with_state": _make_parameter,
    "collections.OrderedDict": _make_ordered_dict,
    "torch.Size": _make_size,
}
# Everything else that it may name, and the type of element that is meant.
_TYPES = (
    {f"torch.{name}": dtype for name, dtype in dtypes.TORCH_STORAGES.items()}
    | {f"torch.{name}": dtype for name, dtype in dtypes.TORCH_DTYPES.items()}
    | {"torch.UntypedStorage": "uint8", "torch.storage.UntypedStorage": "uint8", "torch.storage._UntypedStorage": "uint8"}
)
