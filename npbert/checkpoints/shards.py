"""Checkpoints in several files: an index, `*.index.json`, says which file holds which tensor."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from npbert.checkpoints import safetensors
from npbert.checkpoints.reading import kind_at, read_json
from npbert.checkpoints.writing import FilesTogether, make_directory, sync_directory, system_errors
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError, listed, shown
from npbert.types import Array, StrPath

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_SHARD_FILE = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


# ---------------------------------------------------------------------------------------------------------------- reading


def read(path: StrPath, read_file: Callable[[Path], dict[str, Array]]) -> dict[str, Array]:
    """Every tensor of the shards that the index at `path` names, each read by `read_file`.

    A tensor that the index promises must be in its file, and none may be in two. What a shard holds beyond the index is kept.
    """
    weight_map = read_index(path)
    tensors: dict[str, Array] = {}
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
    missing = [shown(file_name) for file_name, file in files.items() if kind_at(file) != "file"]
    if missing:
        raise MissingFileError(f"{path}: names shards that are not in {directory}: {listed(missing)}")
    return {name: files[file_name] for name, file_name in weight_map.items()}


# ---------------------------------------------------------------------------------------------------------------- writing


def write(
    directory: StrPath,
    tensors: Mapping[str, Array],
    max_shard_size: int | str = "5GB",
    *,
    progress: Callable[[int], object] | None = None,
) -> dict[str, list[str]]:
    """Write `tensors` as the checkpoint in `directory`, and answer which file got which of them.

    One file `model.safetensors` where they fit into `max_shard_size`; else `model-00001-of-0000N.safetensors` ... and
    `model.safetensors.index.json`, cut where the reference cuts.

    Everything is on the disk under temporary names before the first rename, the index comes after its shards, and what an
    earlier save left behind goes last. A reader that looks for `model.safetensors` first sees the old checkpoint or the new one
    at every moment, with one exception: where an earlier save had just as many shards, and so their very names, its index is
    taken away before they are replaced, since half old and half new would be wrong weights that load without a word.

    `progress`, such as the `update` of a progress bar, is told the bytes of each tensor that has been written.
    """
    home = make_directory(directory)
    with FilesTogether() as files:
        contents = write_aside(files, home, tensors, max_shard_size, progress=progress)
        take_index_away(home, contents)
        files.put_in_place()
    remove_what_an_earlier_save_left(home, contents)
    return contents


def write_aside(
    files: FilesTogether,
    home: Path,
    tensors: Mapping[str, Array],
    max_shard_size: int | str,
    *,
    progress: Callable[[int], object] | None,
) -> dict[str, list[str]]:
    """The part of `write` before the first rename."""
    sizes = {name: safetensors.stored_tensor(name, array).stop for name, array in tensors.items()}
    contents = split(sizes, max_shard_size)
    for file_name, names in contents.items():
        with files.opened(home / file_name) as file:
            safetensors.write_into(file, {name: tensors[name] for name in names}, {"format": "pt"}, progress=progress)
    if len(contents) > 1:
        with files.opened(home / INDEX_FILE) as file:
            file.write(_index(contents, sum(sizes.values())))
    return contents


def take_index_away(home: Path, contents: Iterable[str]) -> None:
    """Remove the index of an earlier save whose shards have the names of those that are about to be put in place."""
    file_names = [*contents]
    if len(file_names) > 1 and any((home / file_name).exists() for file_name in file_names):
        with system_errors(home / INDEX_FILE):
            (home / INDEX_FILE).unlink(missing_ok=True)


def remove_what_an_earlier_save_left(home: Path, contents: Collection[str]) -> None:
    """Remove weights other than those just written. What a reader looks at first goes first."""
    just_written = {*contents, INDEX_FILE} if len(contents) > 1 else {*contents}
    with system_errors(home):
        shard_files = sorted(file.name for file in home.iterdir() if _SHARD_FILE.fullmatch(file.name))
        for name in (SINGLE_FILE, INDEX_FILE, *shard_files):
            if name not in just_written and (home / name).is_file():
                (home / name).unlink(missing_ok=True)
        sync_directory(home)


def split(sizes: Mapping[str, int], max_shard_size: int | str) -> dict[str, list[str]]:
    """Which file gets which tensors, given with their sizes in bytes: cut where huggingface_hub cuts.

    That is in order; a tensor larger than a shard gets one to itself and does not end the shard that is being filled.
    """
    limit = parse_size(max_shard_size)
    if sum(sizes.values()) <= limit:
        return {SINGLE_FILE: list(sizes)}
    from huggingface_hub import split_state_dict_into_shards_factory

    cut = split_state_dict_into_shards_factory(
        dict(sizes), get_storage_size=int, filename_pattern="model{suffix}.safetensors", max_shard_size=limit
    )
    return cut.filename_to_tensors


def parse_size(size: int | str) -> int:
    """A number of bytes: an integer, or text such as "5GB" (powers of ten) or "512MiB" (powers of two).

    huggingface_hub's own function takes neither powers of two nor bare numbers, and lets sizes below a byte pass.
    """
    if isinstance(size, str):
        match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([A-Za-z]*)", size.strip(), re.ASCII)
        if match is None or match[2].upper() not in _UNITS:
            raise InputError(f"max_shard_size must be a number of bytes or text such as '5GB' or '512MiB', not {shown(size)}")
        number = int(float(match[1]) * _UNITS[match[2].upper()])
    elif isinstance(size, int) and not isinstance(size, bool):
        number = size
    else:
        raise InputTypeError(f"max_shard_size must be a number of bytes or text such as '5GB', not {shown(size)}")
    if number < 1:
        raise InputError(f"max_shard_size must be at least one byte, not {shown(size)}")
    return number


def _index(contents: Mapping[str, Iterable[str]], total_size: int) -> bytes:
    """The text of an index, given the names of the tensors in each file."""
    weight_map = {name: file_name for file_name, names in contents.items() for name in names}
    index = {"metadata": {"total_size": total_size}, "weight_map": weight_map}
    return (json.dumps(index, indent=2, sort_keys=True) + "\n").encode()
