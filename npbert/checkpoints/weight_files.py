"""Finding the file of weights among a checkpoint's files, and the other files that belong to it."""

import re
from pathlib import Path
from typing import NamedTuple, TypeAlias

from npbert.checkpoints.formats import WEIGHT_FILES, format_of
from npbert.checkpoints.hub_repository import HubRepository
from npbert.checkpoints.local_files import LocalFiles, check_sha256
from npbert.checkpoints.reading import read_json_object
from npbert.errors import FileError, MissingFileError, shown

Source: TypeAlias = LocalFiles | HubRepository
"""Where a checkpoint's files come from: `fetch(filename)` gives a path or None, `where()` says where it looked."""


class WeightsFile(NamedTuple):
    """The file to begin reading at, and its format, one of `formats.WEIGHT_FILES`."""

    path: Path
    format: str


def find_weights_file(source: Source) -> WeightsFile:
    """The weights in the preferred format; all files that belong to them are there after the call."""
    if isinstance(source, LocalFiles) and source.named_file is not None:
        return WeightsFile(source.named_file, format_of(source.named_file))
    for name, format in WEIGHT_FILES.items():
        path = source.fetch(name)
        if path is not None:
            if isinstance(source, LocalFiles):
                check_sha256(source, path)
            else:
                _fetch_rest(source, path, format)
            return WeightsFile(path, format)
    looked_for = list(WEIGHT_FILES)
    if isinstance(source, LocalFiles):
        from npbert.checkpoints import tensorflow

        if any(source.directory.glob("*.index")):
            return WeightsFile(Path(f"{tensorflow.find_prefix(source.directory)}.index"), "tensorflow")
        looked_for.append("*.index")
    raise MissingFileError(f"{source.name}: no weights {source.where()} (looked for {', '.join(looked_for)})")


def _fetch_rest(repository: HubRepository, first: Path, format: str) -> None:
    """Download the files that the first one names."""
    from npbert.checkpoints import tensorflow

    names = []
    if format.endswith("shards"):
        weight_map = read_json_object(first).get("weight_map")
        names = list(weight_map.values()) if isinstance(weight_map, dict) else []
    elif format == "tensorflow":
        names = tensorflow.data_files(first)
    for name in dict.fromkeys(map(str, names)):
        if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
            raise FileError(f"{first}: names the file {shown(name)}; only files beside the index are taken")
        if repository.fetch(name) is None:
            raise MissingFileError(f"{repository.name}: no {name} {repository.where()}, though {first.name} names it")
