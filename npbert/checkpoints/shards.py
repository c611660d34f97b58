"""Checkpoints in several files: an index, `*.index.json`, says which file holds which tensor."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from npbert.checkpoints.reading import read_json
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError, shown
from npbert.types import StrPath

_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def read_index(path: StrPath) -> dict[str, Path]:
    """Which file holds which tensor, from an index such as `{"metadata": ..., "weight_map": {"name": "file", ...}}`.

    An index may name files beside itself and nothing else: a name with a directory in it, upward or absolute, is refused. So is
    a file that is not there. Links are followed, as the hub's cache consists of them. `metadata` is not looked at: its
    `total_size` counts different things in different versions of what writes it.
    """
    index = read_json(path)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict):
        raise FileError(f"{path}: is not an index of shards: it has no object 'weight_map'")
    for name, file_name in weight_map.items():
        if not isinstance(file_name, str):
            raise FileError(f"{path}: puts tensor {shown(name)} into {shown(file_name)}, not the name of a file")
        if file_name in ("", ".", "..") or any(letter in "/\\:\0" or not letter.isprintable() for letter in file_name):
            raise FileError(f"{path}: puts tensor {shown(name)} into {shown(file_name)}; only files beside the index are taken")
    directory = Path(path).parent
    files = {file_name: directory / file_name for file_name in weight_map.values()}
    missing = [file_name for file_name, file in files.items() if not file.is_file()]
    if missing:
        listed = ", ".join(shown(name) for name in missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise MissingFileError(f"{path}: names shards that are not in {directory}: {listed}")
    return {name: files[file_name] for name, file_name in weight_map.items()}


def read(path: StrPath, read_file: Callable[[Path], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Every tensor of the shards that the index at `path` names, each read by `read_file`.

    A tensor that the index promises must be in its file, and none may be in two. What a shard holds beyond the index is kept.
    """
    weight_map = read_index(path)
    tensors: dict[str, NDArray[Any]] = {}
    found_in: dict[str, Path] = {}
    for file in dict.fromkeys(weight_map.values()):
        for name, array in read_file(file).items():
            if name in found_in:
                raise FileError(f"{file}: holds tensor {shown(name)}, which {found_in[name].name} holds too")
            found_in[name] = file
            tensors[name] = array
    for name, file in weight_map.items():
        if found_in.get(name) != file:
            elsewhere = f"; it is in {found_in[name].name}" if name in found_in else ""
            raise FileError(f"{path}: puts tensor {shown(name)} into {file.name}, which does not hold it{elsewhere}")
    # The order of the index is the writer's business (it is mostly sorted); that of the files is the model's.
    return tensors


def parse_size(size: int | str, argument: str = "max_shard_size") -> int:
    """A number of bytes: an integer, or text such as "5GB" (powers of ten) or "512MiB" (powers of two)."""
    if isinstance(size, str):
        match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z]*)", size.strip(), re.ASCII)
        if match is None or match[2].upper() not in _UNITS:
            raise InputError(f"{argument} must be a number of bytes or text such as '5GB' or '512MiB', not {shown(size)}")
        number = int(float(match[1]) * _UNITS[match[2].upper()])
    elif isinstance(size, int) and not isinstance(size, bool):
        number = size
    else:
        raise InputTypeError(f"{argument} must be a number of bytes or text such as '5GB', not {shown(size)}")
    if number < 1:
        raise InputError(f"{argument} must be at least one byte, not {shown(size)}")
    return number


def split(sizes: Mapping[str, int], max_shard_size: int | str) -> list[list[str]]:
    """The names of tensors, given with their sizes in bytes, as consecutive shards; always at least one, even of nothing.

    A tensor larger than a shard gets one to itself and does not end the shard that is being filled, as in the reference.
    """
    limit = parse_size(max_shard_size)
    parts: list[list[str]] = []
    current: list[str] = []
    filled = 0
    for name, size in sizes.items():
        if size > limit:
            parts.append([name])
            continue
        if filled + size > limit:
            parts.append(current)
            current, filled = [], 0
        current.append(name)
        filled += size
    return [*parts, current] if current or not parts else parts


def file_names(count: int) -> list[str]:
    """What the reference calls the files of a checkpoint in `count` shards."""
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def make_index(contents: Mapping[str, Iterable[str]], total_size: int) -> bytes:
    """The index of shards, given the names of the tensors in each file."""
    weight_map = {name: file_name for file_name, names in contents.items() for name in names}
    index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    return (json.dumps(index, indent=2, sort_keys=True) + "\n").encode()


def stale_files(directory: Path, *, keep: Iterable[str], single: str, index: str) -> list[Path]:
    """What an earlier save left in `directory`, in the order in which it must go: what a reader looks at first, first."""
    kept = set(keep)
    candidates = [single, index, *sorted(file.name for file in directory.iterdir() if _SHARD.fullmatch(file.name))]
    return [directory / name for name in candidates if name not in kept and (directory / name).is_file()]
