"""Checkpoints on the Hugging Face hub.

Only the files that are asked for are downloaded. huggingface_hub does it: with its cache, its progress bars, its environment
(HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE, HF_TOKEN).
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from npbert.checkpoints.config_files import CONFIG_FILES
from npbert.errors import MissingFileError
from npbert.types import StrPath


class HubRepository:
    """A repository on the hub, and what is known of the way there."""

    def __init__(
        self,
        name: str,
        revision: str | None,
        cache_dir: StrPath | None,
        local_files_only: bool,
        token: str | bool | None,
        proxies: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.revision, self.token = name, revision, token
        self.cache_dir = None if cache_dir is None else os.fspath(cache_dir)
        self.cached_only = local_files_only
        # Later versions of huggingface_hub have no such argument, so it is handed on only where there is one.
        self.through: dict[str, Any] = {} if proxies is None else {"proxies": dict(proxies)}
        self.subfolder = ""
        self.trouble = ""  # why only the cache can be asked

    def below(self, subfolder: str) -> HubRepository:
        """A folder of the repository."""
        folder = copy.copy(self)
        folder.subfolder = f"{subfolder}/"
        return folder

    def fetch(self, filename: str) -> Path | None:
        """The file in the cache, downloaded if need be; None if the repository has none of this name."""
        import huggingface_hub
        from huggingface_hub import constants, utils

        errors: Any = utils  # every version has these errors there, though none lists them
        hub = constants.ENDPOINT
        self._look_for_trouble()
        nowhere = f"{self.name}: no such file or directory"
        try:
            found = huggingface_hub.hf_hub_download(
                self.name,
                self.subfolder + filename,
                revision=self.revision,
                cache_dir=self.cache_dir,
                local_files_only=self.cached_only,
                token=self.token,
                **self.through,
            )
            return Path(found)
        except errors.LocalEntryNotFoundError as error:
            if not self.cached_only:
                self.trouble = f"{hub} does not answer: {_first_line(error.__cause__ or error)}"
                self.cached_only = True  # the next file need not wait for an answer again
        except errors.EntryNotFoundError:
            return None
        except errors.HFValidationError:
            raise MissingFileError(f"{nowhere}, and not a name that a model on the hub can have") from None
        except errors.GatedRepoError as error:
            reason = _first_line(error)
            raise MissingFileError(f"{nowhere}, and {hub} does not give you the model without permission: {reason}") from None
        except errors.RepositoryNotFoundError:
            raise MissingFileError(f"{nowhere}, and no such model on {hub}, or a private one, which takes a token") from None
        except errors.RevisionNotFoundError:
            raise MissingFileError(f"{self.name}: no revision {self.revision!r} of this model on {hub}") from None
        except Exception as error:  # from whatever HTTP library this version of huggingface_hub works with
            raise MissingFileError(f"{self.name}: could not get {filename} from {hub}: {_first_line(error)}") from error
        if self._cached(filename) is None and not any(isinstance(self._cached(name), str) for name in CONFIG_FILES):
            raise MissingFileError(f"{nowhere}, and no model of this name {self.where()}")
        return None

    def where(self) -> str:
        """For a message: where files were looked for."""
        from huggingface_hub import constants

        if self.trouble:
            return f"in the cache {self.cache_dir or constants.HF_HUB_CACHE}, and {self.trouble}"
        return f"on {constants.ENDPOINT}" if self.revision is None else f"on {constants.ENDPOINT} at revision {self.revision}"

    def _look_for_trouble(self) -> None:
        """Note why the network cannot or must not be asked."""
        from huggingface_hub import constants

        if self.trouble:
            return
        if self.cached_only or constants.HF_HUB_OFFLINE:
            self.trouble = "the network must not be asked (local_files_only or HF_HUB_OFFLINE)"
        else:
            self.trouble = _why_unreachable(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        self.cached_only = bool(self.trouble)

    def _cached(self, filename: str) -> object:
        """The path of a file in the cache, a mark that the repository has none, or None where the cache does not know."""
        import huggingface_hub

        return huggingface_hub.try_to_load_from_cache(
            self.name, self.subfolder + filename, cache_dir=self.cache_dir, revision=self.revision
        )


_unreachable: dict[str, tuple[float, str]] = {}  # endpoint -> when a connection failed, and why
_REMEMBERED = 60.0  # seconds


def _why_unreachable(endpoint: str, *, timeout: float) -> str:
    """Why the hub cannot be reached; empty where it can be, or where a proxy in between knows better.

    Some versions of huggingface_hub try six times, 23 seconds in all and anew for each file, before they look into their cache.
    """
    import socket
    from urllib.request import getproxies, proxy_bypass  # which import an HTTP client

    when, why = _unreachable.get(endpoint, (-_REMEMBERED, ""))
    if time.monotonic() - when < _REMEMBERED:
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
