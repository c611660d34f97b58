"""`config.json`: found, read, checked and written. Its fields are a plain dictionary, in BERT's words."""

import json
from collections.abc import Mapping
from typing import Any

from npbert.checkpoints import names
from npbert.checkpoints.reading import read_json_object
from npbert.errors import FileError, InputTypeError, shown
from npbert.types import StrPath

CONFIG_FILES = ("config.json", "bert_config.json")  # the second one is Google's
GENERATION_FILE = "generation_config.json"

# These numbers cost memory before any weight is looked at, so a file cannot claim just any. The longest header that is read has
# no room for more layers, and the longest configuration none for the names of many more labels.
LIMITS = {"num_hidden_layers": 2_000, "n_layer": 2_000, "num_labels": 100_000}

_PARTS = ("encoder", "decoder")  # an encoder-decoder's configuration holds two others


def read_config_file(path: StrPath) -> dict[str, Any]:
    """The fields in a `config.json`, DistilBERT's in BERT's words."""
    fields = read_json_object(path)
    if fields.get("model_type") == "distilbert":
        fields = names.fields_from_distilbert(fields)
    for part in (fields, *(fields.get(name) for name in _PARTS)):
        if isinstance(part, dict):
            _check_fields(path, part)
    return fields


def _check_fields(path: StrPath, fields: Mapping[str, Any]) -> None:
    """Refuse what a program may set and a file of unknown origin may not."""
    for name, value in fields.items():
        if name == "self" or name.startswith("__"):  # Python's own, which must not be overwritten
            raise FileError(f"{path}: has the field {shown(name)}, which no configuration can have")
        if name in LIMITS and isinstance(value, int) and value > LIMITS[name]:
            raise FileError(f"{path}: {name} takes at most {LIMITS[name]} in a file, got {shown(value)}")


def config_text(fields: Mapping[str, Any]) -> str:
    """The text of a `config.json` with these fields."""
    for name in _PARTS:
        if isinstance(part := fields.get(name), Mapping):
            try:
                config_text(part)
            except InputTypeError as error:
                raise InputTypeError(f"{name}: {error}") from None
    if callable(activation := fields.get("hidden_act")):
        raise InputTypeError(f"config: hidden_act is a function ({activation!r}) and cannot be written to a file")
    return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False, default=_refuse) + "\n"


def _refuse(value: object) -> None:
    raise InputTypeError(f"config: a field holds {value!r}, which cannot be written to a file")
