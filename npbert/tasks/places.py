"""A model or a tokenizer pickled as where its checkpoint is.

A task that goes to other processes, or other machines, should not carry 90 MB of weights that lie there too: each process
then maps the file, and all processes of a machine share the pages. So a pickle holds the path or id, and a sum by which the
other side knows that it has found the same numbers. Weights that are no longer those of a checkpoint (they were trained, cut or
made by hand, or the file is gone) travel themselves.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from npbert.errors import FileError, NpbertError
from npbert.models.auto import MODELS
from npbert.text.auto import load_tokenizer

NOT_PICKLED = ("token", "proxies")  # how one machine reaches the hub, secrets among it, is not for others

_NOT_COMPARED = ("_backend", "_lock", "_known", "name_or_path")  # of a tokenizer


class ModelPlace(NamedTuple):
    """Where a model is, and how it was loaded."""

    path_or_id: str
    where: tuple[tuple[str, Any], ...]  # the options that say where
    model_class: str
    config: str  # as JSON
    dtype: str
    has_pooler: bool
    digest: str

    def load(self) -> Any:
        """The model, without a look at the digest."""
        cls = MODELS[self.model_class]
        config = cls.config_class.from_dict(json.loads(self.config))
        options = {"add_pooling_layer": self.has_pooler} if "add_pooling_layer" in cls.construction_options else {}
        return cls.from_pretrained(self.path_or_id, config=config, dtype=self.dtype, **dict(self.where), **options)


class TokenizerPlace(NamedTuple):
    """Where a tokenizer is."""

    path_or_id: str
    where: tuple[tuple[str, Any], ...]
    digest: str

    def load(self) -> Any:
        """The tokenizer, without a look at the digest."""
        return load_tokenizer(self.path_or_id, **dict(self.where))


def place_of(thing: Any, where: Mapping[str, Any]) -> Any:
    """Where a model or a tokenizer is, if what is there is the same; else the thing itself."""
    name = thing.name_or_path
    if not name:
        return thing
    path = os.path.abspath(name) if os.path.exists(name) else name
    options = tuple((key, value) for key, value in sorted(where.items()) if key not in NOT_PICKLED)
    try:
        place = _place(thing, path, options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return place if digest_of(place.load()) == place.digest else thing
    except (NpbertError, TypeError, KeyError):  # no such file any more, or a configuration that is not of plain values
        return thing


def _place(thing: Any, path: str, options: tuple[tuple[str, Any], ...]) -> ModelPlace | TokenizerPlace:
    if not hasattr(thing, "config"):
        return TokenizerPlace(path, options, digest_of(thing))
    config = json.dumps(thing.config.to_dict(), sort_keys=True)
    name = type(thing).__name__
    if MODELS.get(name) is not type(thing):
        raise KeyError(name)
    return ModelPlace(path, options, name, config, thing.dtype.name, thing.has_pooler, digest_of(thing))


def resolved(place: Any) -> Any:
    """The model or tokenizer of a place, or what came itself. A process loads each once; its models share the arrays."""
    if not isinstance(place, ModelPlace | TokenizerPlace):
        return place
    loaded = _loaded(place)
    return loaded.with_weights(dict(loaded.named_parameters())) if isinstance(place, ModelPlace) else loaded


@functools.lru_cache(maxsize=8)
def _loaded(place: ModelPlace | TokenizerPlace) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever made the task has seen them
        loaded = place.load()
    if digest_of(loaded) != place.digest:
        raise FileError(f"{place.path_or_id}: is another than it was where this task was pickled")
    return loaded


def digest_of(thing: Any) -> str:
    """A sum of a model's weights and of what else is not in its configuration, or of a tokenizer's vocabulary and settings."""
    digest = hashlib.sha256()
    if hasattr(thing, "config"):
        for name, array in thing.named_parameters():
            digest.update(f"{name} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        digest.update(repr((sorted(thing.frozen), sorted(thing.generation_config.items()))).encode())
    else:
        settings = {name: value for name, value in vars(thing).items() if name not in _NOT_COMPARED}
        digest.update(repr(sorted(settings.items())).encode())
        digest.update(thing.backend_tokenizer.to_str().encode())
    return digest.hexdigest()
